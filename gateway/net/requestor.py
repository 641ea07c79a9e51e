"""The requestor: one association that we ask for, as an object to await on.

Rules:
  - One message at a time; a response counts only if it answers our command with our message ID, and only after the
    last fragment was handed over. Affected SOP class and instance UID are compared where present (they are optional in
    a C-STORE-RSP, PS3.7 9.1.1.1, and real peers leave them out). Anything else is a broken peer: A-ABORT.
  - Every wait has a deadline: connect, association, response; sending is bounded by progress (see `driver`). The time
    for a response runs only while the peer has all of the message: as long as its TCP takes what the kernel still
    holds (megabytes, on a slow link), it begins anew.
  - A peer that takes tiny PDUs costs neither memory nor the event loop's attention: `MAX_PDUS_A_WRITE` at a time.
  - Whatever goes wrong is one of `gateway.errors.PeerError`; the association is unusable after that.

Called by the forwarder, `gateway echo` and `gateway send`. TLS belongs in `open`, before the association is requested.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import socket
from collections.abc import AsyncIterable
from dataclasses import dataclass

from gateway.dicom.association import (
    Aborted,
    Association,
    AssociationAccepted,
    CommandReceived,
    ConnectionClosed,
    DataSetFragment,
    Event,
    Released,
    ReleaseRequested,
)
from gateway.dicom.association import (
    AssociationRejected as RejectedEvent,
)
from gateway.dicom.dimse import Command, CommandField, c_echo_rq, c_store_rq, response_to
from gateway.dicom.negotiation import AcceptedContext
from gateway.dicom.pdu import AssociateRQ
from gateway.dicom.status import UNRECOGNIZED_OPERATION
from gateway.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionFailed,
    PeerError,
    PeerTimeout,
)
from gateway.net.driver import MIN_PROGRESS_BYTES, Driver, Ticker

VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"
MAX_PDUS_A_WRITE = 1024
MAX_REQUESTS = 64  # of the peer, while it does not read
RELEASE_TIMEOUT_S = 5.0  # a courtesy: everything was answered, and who does not answer this is not waited for
CLOSE_TIMEOUT_S = 5.0
LOOK_S = 1.0  # how often the kernel is asked what the peer has taken


@dataclass(frozen=True, slots=True)
class RequestorLimits:
    """Deadlines of an association we ask for, in seconds, and the PDU length we announce."""

    connect_timeout_s: float = 10.0
    association_timeout_s: float = 30.0
    response_timeout_s: float = 60.0
    progress_timeout_s: float = 60.0
    max_pdu_length: int = 262_144


class ClientAssociation:
    """An established association. Make one with `open_association`."""

    def __init__(self, where: str, limits: RequestorLimits) -> None:
        self.association_id = secrets.token_hex(8)  # ours, for logs
        self.driver: Driver
        self._where = where
        self._limits = limits
        self._message_id = 0
        self._failure: PeerError | None = None
        self._loop = loop = asyncio.get_running_loop()
        self._waits_for, self._waits_s, self._waits_sending = "", 0.0, False
        self._taken, self._ends_at = 0, math.inf  # never: nobody waits
        self._look_timer: asyncio.TimerHandle | None = None
        # From the start: the answer to the A-ASSOCIATE-RQ may be read before anybody awaits it.
        self._waiter: asyncio.Future[Command | None] | None = loop.create_future()
        self._sending = False
        self._asked = 0  # requests of the peer since our last one
        self._closed = loop.create_future()

    # ── driver's side ─────────────────────────────────────────────────────────────────────────────────────────

    def on_event(self, event: Event) -> None:
        if isinstance(event, CommandReceived):
            self._answer(event)
        elif isinstance(event, AssociationAccepted | Released):
            self._wake(None)
        elif isinstance(event, RejectedEvent):
            self._fail(_rejected(self._where, event))
        elif isinstance(event, Aborted):
            text = f"{self._where}: {event.text}"
            self._fail(AssociationAborted(event.source, event.reason, text, by_us=not event.by_peer))
        elif isinstance(event, ConnectionClosed):
            self._fail(ConnectionFailed(f"{self._where}: the peer closed the connection"))
        elif isinstance(event, ReleaseRequested):
            # The peer (an acceptor may, PS3.8 7.2) wants to end it: it ends, and cannot be used again.
            self.driver.core.respond_release(asyncio.get_running_loop().time())
            self._fail(ConnectionFailed(f"{self._where}: the peer released the association"))
        elif isinstance(event, DataSetFragment):
            return  # the data set of a response: of no use here

    def on_lost(self) -> None:
        self._fail(ConnectionFailed(f"{self._where}: the connection was lost"))
        if not self._closed.done():
            self._closed.set_result(None)

    def on_tick(self, now: float) -> None:
        return

    def _answer(self, event: CommandReceived) -> None:
        command = event.command
        if not command.command_field & 0x8000:
            # We offer no service on an association of ours (PS3.7 C.5.24).
            self._asked += 1
            if self._asked > MAX_REQUESTS and self.driver.held_up:
                self._break("asked without end and did not read the answers")
            elif command.command_field != CommandField.C_CANCEL_RQ:
                self.driver.core.send_command(event.context.context_id, response_to(command, UNRECOGNIZED_OPERATION))
            return
        waiter = self._waiter
        # An answer brings the acknowledgement of all that its writer has read (RFC 9293 3.8.6): what the kernel still
        # holds cannot have been read by a peer that says it has stored it.
        early = self._sending or self.driver.taken_bytes() < self.driver.bytes_out
        if waiter is None or waiter.done() or early:
            self._sending = early  # it had less than the whole
            self._break("answered before it had the whole message" if early else "answered nothing we asked")
            return
        waiter.set_result(command)

    def _wake(self, value: Command | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(value)

    def _fail(self, error: PeerError) -> None:
        if self._failure is None:
            self._failure = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure)
            self._waiter.exception()  # whoever sends hears of it by `_failure`: nobody may be waiting yet

    def _break(self, text: str) -> None:
        """The peer does not keep to the protocol: abort, and never believe it."""
        self._fail(AssociationAborted(0, 0, f"{self._where}: aborted by us: {text}", by_us=True))
        self.driver.abort(text)

    # ── caller's side ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def usable(self) -> bool:
        """Another message can be sent."""
        return self._failure is None and not self.driver.lost

    @property
    def failure(self) -> PeerError | None:
        """Why it cannot be used any more; None while it can."""
        return self._failure

    @property
    def sent_whole(self) -> bool:
        """The last fragment of the last C-STORE was handed over: the peer may have stored it, whatever it answered."""
        return not self._sending

    @property
    def contexts(self) -> dict[int, AcceptedContext]:
        """What the peer accepted, by presentation context ID."""
        return self.driver.core.contexts

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int | None:
        """The ID of an accepted context for exactly this abstract and transfer syntax, or None."""
        for context_id, context in self.contexts.items():
            if context.abstract_syntax == sop_class_uid and context.transfer_syntax == transfer_syntax_uid:
                return context_id
        return None

    async def echo(self) -> int | None:
        """C-ECHO; the status, or None when the peer did not accept Verification. Raises `PeerError`."""
        for context_id, context in self.contexts.items():
            if context.abstract_syntax == VERIFICATION_SOP_CLASS:
                command = c_echo_rq(self._next_message_id())
                self._begin()
                self.driver.core.send_command(context_id, command)
                self.driver.flush()
                return _status(await self._response(command))
        return None

    async def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        data_set: memoryview | AsyncIterable[tuple[bytes | memoryview, bool]],
        priority: int = 0,
    ) -> int:
        """C-STORE; the status of the response.

        :param data_set: the whole, which must not change until this returns; or pieces of it, each with True on the
            last. An exception raised there aborts the association before the last piece leaves, and is passed on.
        :param priority: (0000,0700): 0 medium, 1 high, 2 low.
        """
        command = c_store_rq(self._next_message_id(), sop_class_uid, sop_instance_uid, priority)
        self._sending = True
        self._begin()
        try:
            self.driver.core.send_command(context_id, command)
            if isinstance(data_set, memoryview):
                await self._send(context_id, data_set, True)
            else:
                async for chunk, last in data_set:
                    await self._send(context_id, chunk, last)
        except BaseException as error:
            if self._failure is None or error is not self._failure:
                self._break("the data set could not be sent whole")
            raise
        return _status(await self._response(command))

    async def _send(self, context_id: int, chunk: bytes | memoryview, last: bool) -> None:
        core = self.driver.core
        step = max(1, core.usable_data_bytes) * MAX_PDUS_A_WRITE
        view = memoryview(chunk)
        while True:
            self._check()
            piece, view = view[:step], view[step:]
            ends = last and not view
            self._sending = not ends
            core.send_data(context_id, piece, ends)
            self.driver.flush()
            if not ends:
                await self.driver.drained()
            if not view:
                return
            await asyncio.sleep(0)

    async def release(self) -> None:
        """Release in order and wait, not long, for the end; never raises for what the peer does."""
        try:
            if self.usable:
                self._begin()
                self.driver.core.release(asyncio.get_running_loop().time())
                self.driver.flush()
                assert self._waiter is not None  # noqa: S101 - made by _begin
                with contextlib.suppress(PeerError, TimeoutError):
                    await asyncio.wait_for(self._waiter, min(RELEASE_TIMEOUT_S, self._limits.association_timeout_s))
            self.driver.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._closed), CLOSE_TIMEOUT_S)
        finally:
            if not self.driver.lost:
                self.driver.kill()

    def abort(self, text: str) -> None:
        """A-ABORT (source: service user) and close."""
        if not self.driver.lost:
            self._fail(AssociationAborted(0, 0, f"{self._where}: aborted by us: {text}", by_us=True))
            self.driver.abort(text)

    async def established(self) -> None:
        """Wait for the peer's answer to our A-ASSOCIATE-RQ; once, before anything is sent."""
        await self._wait(self._limits.association_timeout_s, "no answer to the association request")

    def _next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        self._check()
        self._asked = 0
        self._waiter = asyncio.get_running_loop().create_future()

    async def _response(self, command: Command) -> Command:
        answer = await self._wait(self._limits.response_timeout_s, "no response", sending=True)
        assert answer is not None  # noqa: S101 - only a command ends this wait
        wrong = _mismatch(command, answer)
        if wrong:
            self._break(wrong)
            assert self._failure is not None  # noqa: S101 - set by _break
            raise self._failure
        return answer

    async def _wait(self, timeout_s: float, text: str, *, sending: bool = False) -> Command | None:
        """:param sending: the time begins anew while the peer's TCP still takes what we sent."""
        waiter = self._waiter
        assert waiter is not None  # noqa: S101 - made by __init__ or _begin
        self._waits_for, self._waits_s, self._waits_sending = text, timeout_s, sending
        self._taken, self._ends_at = self._taken_bytes(), self._loop.time() + timeout_s
        if self._look_timer is None or timeout_s < LOOK_S:
            self._look_in(timeout_s)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.abort("cancelled")
            raise
        finally:
            self._waiter, self._ends_at = None, math.inf

    def _look_in(self, seconds: float) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._look_timer = self._loop.call_later(min(LOOK_S, seconds), self._look)

    def _look(self) -> None:
        """Once a second while there is something to wait for: no timer is made and cancelled for every message."""
        self._look_timer = None
        if self._waiter is None or self._waiter.done() or self._ends_at == math.inf:
            return  # what is being sent now has no deadline but its progress
        now, taken = self._loop.time(), self._taken_bytes()
        if taken - self._taken >= MIN_PROGRESS_BYTES or self._taken < taken == self.driver.bytes_out:
            self._taken, self._ends_at = taken, now + self._waits_s
        if now < self._ends_at:
            self._look_in(self._ends_at - now)
        else:
            self._fail(PeerTimeout(f"{self._where}: {self._waits_for} within {self._waits_s:g} s"))
            self.driver.abort(self._waits_for)

    def _taken_bytes(self) -> int:
        return self.driver.taken_bytes() if self._waits_sending else 0


async def open_association(
    host: str, port: int, request: AssociateRQ, limits: RequestorLimits, ticker: Ticker
) -> ClientAssociation:
    """Connect and establish an association.

    :raises ConnectionFailed: no connection, or it broke.
    :raises AssociationRejected: A-ASSOCIATE-RJ.
    :raises AssociationAborted: an abort instead of an answer.
    :raises PeerTimeout: no connection or no answer in time.
    """
    loop = asyncio.get_running_loop()
    where = f"{host}:{port}"
    association = ClientAssociation(where, limits)
    core = Association.requestor(request, loop.time(), artim_s=limits.association_timeout_s)
    association.driver = Driver(core, association, ticker, limits.progress_timeout_s)
    try:
        async with asyncio.timeout(limits.connect_timeout_s):
            await loop.create_connection(lambda: association.driver, host, port)
    except TimeoutError:
        raise PeerTimeout(f"{where}: no connection within {limits.connect_timeout_s:g} s") from None
    except socket.gaierror as error:
        raise ConnectionFailed(f"{where}: the host name is not known ({error.strerror})") from None
    except UnicodeError:  # encodings.idna: a label that is empty or has more than 63 characters
        raise ConnectionFailed(f"{where}: this cannot be a host name") from None
    except OSError as error:
        # Not error.strerror: asyncio puts the address into it once more.
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        raise ConnectionFailed(f"{where}: no connection ({why})") from None
    try:
        await association.established()
    except BaseException:
        association.driver.close()
        raise
    return association


def _status(answer: Command) -> int:
    return -1 if answer.status is None else answer.status


def _mismatch(command: Command, answer: Command) -> str:
    """Why a response does not answer our command; "" when it does."""
    if answer.command_field != command.command_field | 0x8000:
        return f"answered with command 0x{answer.command_field:04X}"
    if answer.message_id_being_responded_to != command.message_id:
        return "answered another message ID"
    if answer.status is None:
        return "answered without a status"
    if answer.affected_sop_class_uid and answer.affected_sop_class_uid != command.affected_sop_class_uid:
        return "answered for another SOP class"
    mine = command.affected_sop_instance_uid
    if answer.affected_sop_instance_uid and mine and answer.affected_sop_instance_uid != mine:
        return "answered for another SOP instance"
    return ""


_RJ_RESULT = {1: "permanently", 2: "for now"}
# PS3.8 Table 9-21, (source, reason).
_RJ_REASON = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def _rejected(where: str, event: RejectedEvent) -> AssociationRejected:
    how = _RJ_RESULT.get(event.result, f"with result {event.result}")
    why = _RJ_REASON.get((event.source, event.reason), f"source {event.source}, reason {event.reason}")
    text = f"{where}: the association was rejected {how}: {why}"
    return AssociationRejected(event.result, event.source, event.reason, text)
