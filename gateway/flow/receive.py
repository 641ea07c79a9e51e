"""The receiver role: associations in, durable spool files and ledger rows out. Never parses a data set.

What a C-STORE-RQ is answered with:

======  ===========================================================================================================
0x0000  the data set is in the spool, flushed; the ledger is told within milliseconds, or adopts it at the next start
0x0117  Affected SOP Instance UID is not a UID
0x0122  Affected SOP Class UID is not a UID, or not that of the presentation context
0xA700  no room (watermark, disk full, flush failed), or intake is closed because the ledger fails or lags too far;
        or the object is larger than the listener allows
0xC000  no data set, or an empty one
======  ===========================================================================================================

Refused instances are read to their last fragment; the association goes on. Any request but C-STORE and C-ECHO is
answered with 0x0211 (PS3.7 C.5.24).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway import telemetry
from gateway.config.values import Listener, Source
from gateway.dicom.dimse import Command, CommandField
from gateway.dicom.negotiation import AcceptedContext, AcceptorPolicy, negotiate
from gateway.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from gateway.dicom.status import UNRECOGNIZED_OPERATION
from gateway.errors import SpoolError, SpoolFull
from gateway.flow import admission
from gateway.flow.intake import Flushed, Flushes, Recorder
from gateway.flow.room import give_up_ballast
from gateway.model import Arrival, AssociationFacts
from gateway.net.served import ServerAssociation, Sink
from gateway.spool import ArrivalMeta, Intake, Spool, SpoolWriter

FILL_PAUSE_S = 0.2
LARGE_BYTES = 8 << 20  # freeing more takes a file system so long that a thread does it
POOL_PATIENCE_S = 10.0

SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117
SOP_CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

# PS3.5 9.1, but for leading zeros and letters (hashes in the place of UIDs): both exist in the field, archives take
# them, and no UID ever becomes part of a path or a query.
_UID = re.compile(r"[0-9A-Za-z.]{1,64}")


def _begin(waiting: asyncio.Future[Sink], begin: Callable[[], Sink]) -> None:
    if not waiting.done():
        waiting.set_result(begin())


@dataclass(slots=True)
class _Facts:
    """What the receiver keeps with an association."""

    facts: AssociationFacts
    listener: Listener


class Receiver:
    """The service behind the receiver's listeners. Make it inside the running event loop.

    :param generation: the token that owns this process's files in the spool.
    :param stranger: is told of each sender that is refused because nobody knows it.
    """

    def __init__(
        self,
        spool: Spool,
        generation: str,
        pool_size: int,
        recorder: Recorder,
        listeners: Mapping[str, Listener],
        sources: Mapping[str, Source],
        stranger: Callable[[str, str], None] = lambda calling_ae_title, peer_host: None,
    ) -> None:
        self.listeners = listeners
        self.sources = sources
        self._stranger = stranger
        self._spool = spool
        self._intake = Intake(spool, generation, pool_size)
        self._pool_size = pool_size
        self._recorder = recorder
        self._flushes = Flushes(self.discard)
        self._filler = ThreadPoolExecutor(1, thread_name_prefix="spool-pool")
        self._draining = False
        self._fill_wanted = asyncio.Event()
        self._beginning: deque[tuple[asyncio.Future[Sink], Callable[[], Sink]]] = deque()  # those that found no file

    def drain(self, draining: bool) -> None:
        """Take no more associations, those there are go on to their end; or take them again."""
        self._draining = draining
        telemetry.not_ready("drained", draining, "the host takes no associations: see `gateway drain`")

    async def fill(self) -> bool:
        """Have more files ready. False: there is no room. Then the receiver serves all the same, and refuses."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._filler, self._intake.fill)
        except SpoolError as error:
            telemetry.problem("spool_pool", reason=str(error))
            return False
        return True

    async def run(self) -> None:
        """Serve flushes, recording and the file pool until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flushes.run(), name="flushes")
            tasks.create_task(self._recorder.run(), name="record arrivals")
            tasks.create_task(self._keep_pool(), name="fill the pool")

    def close(self) -> None:
        """Remove the pool's unused files. Blocks."""
        self._filler.shutdown(wait=True)
        self._intake.close()

    async def _keep_pool(self) -> None:
        while True:
            await self._fill_wanted.wait()
            self._fill_wanted.clear()
            while self._intake.available < self._pool_size:
                filled = await self.fill()
                while self._beginning and (self._intake.available or not filled):
                    _begin(*self._beginning.popleft())  # without a fill, to be refused
                if not filled:
                    await asyncio.sleep(FILL_PAUSE_S)

    # ── Service ───────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, association: ServerAssociation, request: AssociateRQ) -> AssociateAC | AssociateRJ:
        listener = self.listeners[association.listener]
        verdict = admission.admit(
            request,
            association.peer.host,
            listener,
            self.sources,
            association.acceptor.associations,
            association.acceptor.associations_of(association.peer.host),
            self._recorder.open,
            self._draining,
        )
        if isinstance(verdict, admission.Rejection):
            _tell_rejection(association, request, verdict)
            if verdict.is_stranger:
                self._stranger(request.calling_ae_title, association.peer.host)
            return verdict.answer
        policy = AcceptorPolicy(
            abstract_syntaxes=None if listener.abstract_syntaxes is None else frozenset(listener.abstract_syntaxes),
            transfer_syntaxes=listener.transfer_syntaxes,
            max_pdu_length=listener.max_pdu_length,
        )
        facts = AssociationFacts(
            association_id=secrets.token_hex(8),
            listener=listener.name,
            source=verdict,
            calling_ae_title=request.calling_ae_title,
            called_ae_title=request.called_ae_title,
            peer_host=association.peer.host,
        )
        association.facts = _Facts(facts, listener)
        telemetry.association_accepted(
            **_told(association, request),
            association_id=facts.association_id,
            source=verdict,
            contexts=len(request.contexts),
        )
        return negotiate(request, policy)

    def rejected(self, association: ServerAssociation, request: AssociateRQ, answer: AssociateRJ) -> None:
        _tell_rejection(association, request, admission.unsupported(answer))

    def command(
        self, association: ServerAssociation, context: AcceptedContext, command: Command
    ) -> Sink | int | asyncio.Future[Sink]:
        if command.command_field == CommandField.C_ECHO_RQ:
            return SUCCESS
        if command.command_field != CommandField.C_STORE_RQ:
            return UNRECOGNIZED_OPERATION
        kept = association.facts
        assert isinstance(kept, _Facts)  # noqa: S101 - set by admit, before any command
        status, reason = self._refusal(context, command)
        if status == SUCCESS:
            return self._begin_store(lambda: _StoreSink(self, kept, context, command))
        telemetry.store_refused(
            source=kept.facts.source,
            status=status,
            reason=reason,
            association_id=kept.facts.association_id,
        )
        return status

    def closed(self, association: ServerAssociation, result: str) -> None:
        kept = association.facts
        assert isinstance(kept, _Facts)  # noqa: S101 - set by admit
        telemetry.association_closed(
            role="acceptor",
            association_id=kept.facts.association_id,
            result=result,
            seconds=asyncio.get_running_loop().time() - association.opened_at,
        )
        if not association.acceptor.associations:
            self._recorder.hurry()

    def connection_ended(self, association: ServerAssociation, text: str) -> None:
        telemetry.association_closed(
            role="acceptor", association_id="", result="failed", seconds=0.0, text=f"{association.peer.host}: {text}"
        )

    @staticmethod
    def exhausted(exhausted: bool) -> None:
        """There is no descriptor left for a connection, or there is one again."""
        telemetry.not_ready("no_descriptors", exhausted, "who connects is hung up on; raise the limit of open files")

    # ── storing ───────────────────────────────────────────────────────────────────────────────────────────────

    def _refusal(self, context: AcceptedContext, command: Command) -> tuple[int, str]:
        if not _UID.fullmatch(command.affected_sop_instance_uid):
            return INVALID_SOP_INSTANCE, "the Affected SOP Instance UID is not a UID"
        if not _UID.fullmatch(command.affected_sop_class_uid):
            return SOP_CLASS_NOT_SUPPORTED, "the Affected SOP Class UID is not a UID"
        # Else a listener's bounds would be none: a context of any class would carry instances of all of them.
        if command.affected_sop_class_uid != context.abstract_syntax:
            return SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"
        if not command.has_data_set:
            return CANNOT_UNDERSTAND, "the C-STORE has no data set"
        if self._recorder.failed:
            return OUT_OF_RESOURCES, "intake is closed: the ledger failed; restart the gateway to have it checked"
        if not self._recorder.open:
            return OUT_OF_RESOURCES, "intake is closed until the ledger has caught up"
        return SUCCESS, ""

    def _begin_store(self, begin: Callable[[], Sink]) -> Sink | asyncio.Future[Sink]:
        """Begin an instance; where there is no file for it, when there is one, or after POOL_PATIENCE_S without."""
        if self._intake.available:
            return begin()
        self._fill_wanted.set()
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Sink] = loop.create_future()
        self._beginning.append((waiting, begin))
        timer = loop.call_later(POOL_PATIENCE_S, _begin, waiting, begin)
        waiting.add_done_callback(lambda _: timer.cancel())
        return waiting

    def begin(self, meta: ArrivalMeta) -> SpoolWriter:
        """A pooled file for an instance. :raises SpoolError: there is none."""
        try:
            return self._intake.begin(meta)  # never a fill: it may wait for the disk, and everybody with it
        finally:
            if self._intake.available < self._pool_size:
                self._fill_wanted.set()

    def discard(self, writer: SpoolWriter) -> None:
        """Remove the file of an instance that is not wanted; freeing a large one takes the file system a while."""
        if writer.length > LARGE_BYTES:
            self._filler.submit(writer.discard)
        else:
            writer.discard()

    def flush(self, writer: SpoolWriter, flushed: Flushed) -> None:
        """Have a finished file flushed."""
        self._flushes.submit(writer, flushed)

    def stored(self, arrival: Arrival) -> None:
        """A durable, acknowledged arrival."""
        self._recorder.submit(arrival)

    def out_of_room(self) -> None:
        """The file system may be full."""
        give_up_ballast(self._spool)


def _told(association: ServerAssociation, request: AssociateRQ) -> dict[str, str]:
    return {
        "role": "acceptor",
        "peer_host": association.peer.host,
        "calling": request.calling_ae_title,
        "called": request.called_ae_title,
    }


def _tell_rejection(association: ServerAssociation, request: AssociateRQ, rejection: admission.Rejection) -> None:
    answer = rejection.answer
    telemetry.association_rejected(
        **_told(association, request),
        association_id=secrets.token_hex(8),
        label=rejection.label,
        result=answer.result,
        source=answer.source,
        reason=answer.reason,
        text=rejection.text,
    )


class _StoreSink:
    """One C-STORE's data set on its way into the spool."""

    __slots__ = ("_began", "_failure", "_kept", "_max_bytes", "_receiver", "_status", "_writer")

    def __init__(self, receiver: Receiver, kept: _Facts, context: AcceptedContext, command: Command) -> None:
        self._receiver = receiver
        self._kept = kept
        self._began = time.monotonic()
        self._max_bytes = kept.listener.max_object_bytes
        self._status = SUCCESS
        self._failure = ""
        self._writer: SpoolWriter | None = None
        meta = ArrivalMeta(
            facts=kept.facts,
            sop_class_uid=command.affected_sop_class_uid,
            sop_instance_uid=command.affected_sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            received_at_ms=time.time_ns() // 1_000_000,
        )
        try:
            self._writer = receiver.begin(meta)
        except SpoolError as error:
            self._refuse(OUT_OF_RESOURCES, error)

    def write(self, data: memoryview) -> None:
        writer = self._writer
        if writer is None:
            return
        try:
            writer.write(data)
        except SpoolError as error:
            self._refuse(OUT_OF_RESOURCES, error)
            return
        if writer.length > self._max_bytes:
            self._refuse(OUT_OF_RESOURCES, SpoolError(f"larger than max_object ({self._max_bytes} bytes)"))

    def finish(self, done: Callable[[int], None]) -> None:
        writer = self._writer
        if writer is not None and not writer.length:
            self._refuse(CANNOT_UNDERSTAND, SpoolError("the data set is empty"))
            writer = None
        if writer is None:
            self._answer_refusal(done)
            return
        try:
            arrival = writer.finish()
        except SpoolError as error:
            self._refuse(OUT_OF_RESOURCES, error)
            self._answer_refusal(done)
            return

        def flushed(error: SpoolError | None) -> None:
            if error is not None:
                self._note(OUT_OF_RESOURCES, error)
                self._answer_refusal(done)
                return
            # Recorded also when the association is gone meanwhile: the sender may have been told, or sends again.
            self._receiver.stored(arrival)
            done(SUCCESS)
            telemetry.instance_received(
                source=arrival.facts.source,
                size_bytes=arrival.length,
                seconds=time.monotonic() - self._began,
                association_id=arrival.facts.association_id,
                instance_id=arrival.instance_id,
            )

        self._writer = None  # it is the flush's now: what is acknowledged is never discarded
        self._receiver.flush(writer, flushed)

    def discard(self) -> None:
        if self._writer is not None:
            self._receiver.discard(self._writer)
            self._writer = None

    def _refuse(self, status: int, error: SpoolError) -> None:
        self._note(status, error)
        self.discard()

    def _note(self, status: int, error: SpoolError) -> None:
        self._status = status
        self._failure = str(error)
        if isinstance(error, SpoolFull):
            self._receiver.out_of_room()

    def _answer_refusal(self, done: Callable[[int], None]) -> None:
        facts = self._kept.facts
        telemetry.store_refused(
            source=facts.source, status=self._status, reason=self._failure, association_id=facts.association_id
        )
        done(self._status)
