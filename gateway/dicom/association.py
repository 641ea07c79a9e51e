"""One association's upper layer, sans-IO: bytes in, events out (PS3.8 chapter 9; PS3.7 for the messages on it).

    association = Association.acceptor(now)
    for event in association.receive_data(view, now): ...
    association.accept(negotiate(event.request, policy), now)
    transport.writelines(association.outgoing())

Rules:
  - No socket, no clock: time is handed in (any monotonic seconds), the ARTIM deadline is asked for.
  - What to do in which state is one table for both roles, `gateway.dicom.states`; `gateway.dicom.machine` does it.
  - A peer's bytes never raise. What breaks the protocol is answered with A-ABORT, told as `Aborted`, and the
    association waits for the connection to close (Sta13). Misuse by the caller raises RuntimeError or ValueError.
  - Events are handed over after a whole chunk was read, so the association may have ended meanwhile. What is then
    still asked of it (accept, send, release, …) is dropped without a word: the event that tells is on its way.
  - Nothing of a data set is assembled or copied, in either direction. A `DataSetFragment` is a view of the chunk and
    valid until the next call; a view given to `send_data` must not change until its bytes are written.
  - Messages follow one another (the asynchronous operations window is one): a command, then its data set on the same
    context. A response without a data set that comes due while a data set is being sent waits for its end.

Bounds: association PDUs 256 KiB; P-DATA-TF the length this side announced; command sets 64 KiB; 64 PDVs without a
byte a message; 64 waiting responses. A data set as such has no bound here: the driver counts.

`gateway.net.driver` drives this; so do tests and scripted peers.
"""

from __future__ import annotations

from gateway.dicom.dimse import Command
from gateway.dicom.events import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    DataSetFragment,
    Event,
    Released,
    ReleaseRequested,
)
from gateway.dicom.machine import Machine
from gateway.dicom.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, Pdu
from gateway.dicom.states import TRANSITIONS, State, Stimulus
from gateway.dicom.status import describe_abort

__all__ = [
    "Aborted",
    "Association",
    "AssociationAccepted",
    "AssociationRejected",
    "AssociationRequested",
    "CommandReceived",
    "ConnectionClosed",
    "DataSetFragment",
    "Event",
    "ReleaseRequested",
    "Released",
    "State",
]

_SENDING = frozenset(state for state in State if (Stimulus.DATA_REQUEST, state) in TRANSITIONS)
_ANSWERS = frozenset((Stimulus.ACCEPT, Stimulus.REJECT))
_NOT_YET = frozenset((State.STA2, State.STA3, State.STA4, State.STA5))


class Association(Machine):
    """One association, from the open connection to its end. Make one with `acceptor` or `requestor`."""

    @classmethod
    def acceptor(cls, now: float, *, max_pdu_length: int = 262_144, artim_s: float = 30.0) -> Association:
        """The accepting side of a connection just made: Sta2, ARTIM runs.

        `max_pdu_length` bounds a P-DATA-TF (bytes) where the answer given to `accept` announces no limit; 0: no bound.
        """
        association = cls(now, is_requestor=False, max_pdu_length=max_pdu_length, artim_s=artim_s)
        association._on(Stimulus.TRANSPORT_INDICATED)
        return association

    @classmethod
    def requestor(cls, request: AssociateRQ, now: float, *, artim_s: float = 30.0) -> Association:
        """The requesting side of a connection just made: A-ASSOCIATE-RQ is in `outgoing`, Sta5. Raises ValueError
        where the request cannot be encoded."""
        association = cls(now, is_requestor=True, max_pdu_length=request.max_pdu_length, artim_s=artim_s)
        association.request = request
        association._on(Stimulus.ASSOCIATE_REQUEST)
        association._on(Stimulus.TRANSPORT_CONFIRMED)
        return association

    # ── what is the case ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> State:
        """The state of PS3.8 9.2."""
        return self._state

    @property
    def closing(self) -> bool:
        """Once `outgoing` is sent, the connection must be closed."""
        return self._state is State.STA1

    @property
    def deadline(self) -> float | None:
        """When ARTIM expires; None while it does not run."""
        return self._deadline

    @property
    def mid_message(self) -> bool:
        """Whether a PDU or a message of the peer has begun and not ended."""
        return self._state is not State.STA1 and self._state is not State.STA13 and self._reader.mid_message

    @property
    def usable_data_bytes(self) -> int:
        """The largest fragment that one P-DATA-TF to the peer carries; even."""
        return self._writer.usable_data_bytes

    def outgoing(self) -> list[bytes | memoryview]:
        """What must go to the connection, in order; it is handed out once."""
        return self._writer.take()

    # ── what the transport says ───────────────────────────────────────────────────────────────────────────────

    def receive_data(self, data: memoryview | bytes, now: float) -> list[Event]:
        """Bytes from the peer, at least one, cut anyhow."""
        self._now = now
        self._reader.read(data if isinstance(data, memoryview) else memoryview(data))
        return self._take_events()

    def connection_lost(self, now: float) -> list[Event]:
        """The connection is gone, by whomever."""
        self._now = now
        if self._state is not State.STA1:
            self._on(Stimulus.TRANSPORT_CLOSED)
        return self._take_events()

    def handle_timeout(self, now: float) -> list[Event]:
        """Time has passed; nothing happens before `deadline`."""
        self._now = now
        if self._deadline is not None and now >= self._deadline:
            if self._state is State.STA2:
                self._reader.events.append(ConnectionClosed())
            self._on(Stimulus.ARTIM_EXPIRED)
        return self._take_events()

    # ── what this side wants ──────────────────────────────────────────────────────────────────────────────────

    def accept(self, answer: AssociateAC, now: float) -> None:
        """A-ASSOCIATE response, accepting. Raises ValueError where the answer cannot be encoded."""
        self._ask(Stimulus.ACCEPT, now, answer)

    def reject(self, answer: AssociateRJ, now: float) -> None:
        """A-ASSOCIATE response, rejecting."""
        self._ask(Stimulus.REJECT, now, answer)

    def release(self, now: float) -> None:
        """A-RELEASE request. Does nothing once a release or the end is under way."""
        if self._writer.mid_message and self._state is State.STA6:
            raise RuntimeError("a release was asked for in the middle of a data set")
        if self._state is not State.STA8:
            self._ask(Stimulus.RELEASE_REQUEST, now)

    def respond_release(self, now: float) -> None:
        """A-RELEASE response, at any time after `ReleaseRequested`."""
        if self._state is State.STA10:
            # PS3.8 9.2.3, release collision: the acceptor's response goes out after the peer's A-RELEASE-RP came.
            self._release_answered = True
        elif self._state in {State.STA6, State.STA7}:
            raise RuntimeError(f"a release was answered in {self._state}, and none was requested")
        else:
            self._ask(Stimulus.RELEASE_RESPONSE, now)

    def abort(self, source: int, reason: int, now: float, text: str = "") -> list[Event]:
        """A-ABORT request, in any state; PS3.8 Table 9-26 has sources (0 user, 2 provider) and reasons.

        What was queued and not handed out is dropped. Tells `Aborted` with `text`, or nothing where the association
        had ended already.
        """
        self._now = now
        if (Stimulus.ABORT_REQUEST, self._state) in TRANSITIONS:
            self._reader.events.append(Aborted(source, reason, False, text or describe_abort(source, reason)))
            self._on(Stimulus.ABORT_REQUEST, None if self._state is State.STA2 else Abort(source, reason))
        return self._take_events()

    def send_command(self, context_id: int, command: Command) -> None:
        """Queue a command set. If it has a data set, `send_data` must follow until `last`.

        Raises ValueError where the context was not accepted or the command cannot be encoded.
        """
        if self._may_send():
            self._writer.command(context_id, command)

    def send_data(self, context_id: int, view: bytes | memoryview, last: bool) -> None:
        """Queue the next bytes of the data set that the command announced, as views, cut to what the peer takes.

        Every `view` but the last should have even length (PS3.8 Annex E.1). Raises RuntimeError where no command with
        a data set was sent on this context.
        """
        if self._may_send():
            self._writer.data(context_id, view, last)

    def _may_send(self) -> bool:
        if self._state in _SENDING:
            return True
        if self._state in _NOT_YET:
            raise RuntimeError(f"nothing can be sent in {self._state}: there is no association yet")
        return False

    def _ask(self, stimulus: Stimulus, now: float, pdu: Pdu | None = None) -> None:
        """A service primitive of this side: dropped after the end, an error before its time."""
        self._now = now
        if (stimulus, self._state) in TRANSITIONS:
            self._on(stimulus, pdu)
        elif self._state in _NOT_YET or (stimulus in _ANSWERS and self._state in _SENDING):
            raise RuntimeError(f"{stimulus} is not possible in {self._state}")
