"""The associations to one destination: how they are asked for, what they were asked for, and what is told of them.

A `Line` opens associations, and remembers what was accepted on them. A `Slot` holds one of them, with the contexts that
were proposed on it, and opens another when a delivery needs what it has not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway import telemetry
from gateway.config.values import Destination, Transcode
from gateway.dicom.negotiation import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    propose,
    verification_context,
)
from gateway.dicom.pdu import AssociateRQ, ProposedContext
from gateway.errors import AssociationAborted, AssociationRejected, PeerError, PeerTimeout
from gateway.flow.accepts import Accepts, Wanted, wanted_by, with_substitutes
from gateway.flow.send import Context, calling_ae_title, context_of
from gateway.model import DeliveryLease
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation, RequestorLimits, open_association


@dataclass(frozen=True, slots=True)
class Line:
    """How to reach a destination."""

    destination: Destination
    ticker: Ticker
    accepts: Accepts = field(default_factory=Accepts, compare=False)

    @property
    def transcodes(self) -> bool:
        """Whether copies may go in other transfer syntaxes."""
        return self.destination.transcode is Transcode.LOSSLESS

    async def open(self, calling: str, wanted: Sequence[Wanted]) -> tuple[ClientAssociation, frozenset[Context]]:
        """Open an association for as many of the wanted contexts as fit into one, the first ones first; and for what
        may stand for them, where the destination gets copies.

        :returns: the association, and what was proposed on it.
        :raises PeerError: there is none.
        """
        asked = with_substitutes(wanted) if self.transcodes else list(dict.fromkeys(each.context for each in wanted))
        proposed = propose(asked)[0]
        association = await self._open(calling, proposed)
        offered = frozenset((context.abstract_syntax, ts) for context in proposed for ts in context.transfer_syntaxes)
        return association, offered & frozenset(asked)

    async def echo(self, calling: str) -> int | None:
        """A C-ECHO on an association of its own; its status, None where Verification is not accepted."""
        association = await self._open(calling, [verification_context()])
        try:
            status = await association.echo()
        except BaseException:
            association.abort("the echo failed")
            raise
        await association.release()
        return status

    async def _open(self, calling: str, contexts: Sequence[ProposedContext]) -> ClientAssociation:
        destination = self.destination
        request = AssociateRQ(
            called_ae_title=destination.ae_title,
            calling_ae_title=calling,
            contexts=tuple(contexts),
            max_pdu_length=destination.max_pdu_length,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        )
        limits = RequestorLimits(
            connect_timeout_s=destination.connect_timeout_s,
            association_timeout_s=destination.association_timeout_s,
            response_timeout_s=destination.response_timeout_s,
            progress_timeout_s=destination.progress_timeout_s,
            max_pdu_length=destination.max_pdu_length,
        )
        return await open_association(destination.host, destination.port, request, limits, self.ticker)


class Slot:
    """One association at a time.

    :ivar waited: idle since its last delivery, so that the peer may have closed it.
    """

    def __init__(self) -> None:
        self.association: ClientAssociation | None = None
        self.waited = False
        self._line: Line | None = None
        self._calling = ""
        self._offered: frozenset[Context] = frozenset()
        self._refused: frozenset[Context] = frozenset()
        self._opened_at = 0.0
        self._sent = 0

    @property
    def usable(self) -> bool:
        """There is an association that takes another message."""
        return self.association is not None and self.association.usable

    @property
    def association_id(self) -> str:
        """Of the present association, for logs; "" without one."""
        return "" if self.association is None else self.association.association_id

    def fits(self, line: Line, lease: DeliveryLease) -> bool:
        """The association is one of this line, and was proposed this delivery's context under the calling AE title it
        needs; where that was refused, it is known what else the peer takes, if a copy may go. A delivery marked `alone`
        fits an association that nothing was sent on."""
        context = context_of(lease)
        if not self.usable or self._line is not line or context not in self._offered:
            return False
        if context in self._refused and line.transcodes and not line.accepts.knows(wanted_by(lease)):
            return False
        if lease.alone and (self._sent or self.waited):
            return False
        return calling_ae_title(line.destination, lease) == self._calling

    async def open(self, line: Line, lease: DeliveryLease, others: Iterable[DeliveryLease]) -> None:
        """Have an association for a delivery, proposing also what the deliveries behind it need.

        :raises PeerError: there is none.
        """
        await self.release()
        destination = line.destination
        calling = calling_ae_title(destination, lease)
        wanted = list(dict.fromkeys([wanted_by(lease), *map(wanted_by, others)]))
        try:
            self.association, self._offered = await line.open(calling, wanted)
        except PeerError as error:
            _tell_failure(destination, calling, error)
            raise
        self._refused = line.accepts.learn(self._offered, self.association.contexts.values())
        self._calling = calling
        self._line = line
        self._opened_at = asyncio.get_running_loop().time()
        self._sent = 0
        self.waited = False
        telemetry.association_accepted(
            role="requestor",
            association_id=self.association_id,
            peer_host=destination.host,
            calling=calling,
            called=destination.ae_title,
            contexts=len({each.context for each in wanted}),
        )

    def sent(self) -> None:
        """A delivery was answered on it."""
        self._sent += 1
        self.waited = False

    async def release(self) -> None:
        """Release the association in order, or note how it ended."""
        association, self.association = self.association, None
        if association is None:
            return
        failure = association.failure
        try:
            await association.release()
        finally:
            self._tell_end(association, failure)

    def _tell_end(self, association: ClientAssociation, failure: PeerError | None) -> None:
        telemetry.association_closed(
            role="requestor",
            association_id=association.association_id,
            result=_result(failure),
            seconds=asyncio.get_running_loop().time() - self._opened_at,
            instances=self._sent,
            text="" if failure is None else str(failure),
        )


def _result(failure: PeerError | None) -> str:
    if failure is None:
        return "released"
    if isinstance(failure, PeerTimeout):
        return "timeout"
    return "aborted" if isinstance(failure, AssociationAborted) else "lost"


def _tell_failure(destination: Destination, calling: str, error: PeerError) -> None:
    if not isinstance(error, AssociationRejected):
        telemetry.association_closed(
            role="requestor", association_id="", result="failed", seconds=0.0, text=f"{destination.name}: {error}"
        )
        return
    telemetry.association_rejected(
        role="requestor",
        association_id="",
        peer_host=destination.host,
        calling=calling,
        called=destination.ae_title,
        result=error.result,
        source=error.source,
        reason=error.reason,
        text=str(error),
    )
