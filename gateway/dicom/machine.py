"""The actions of the upper layer's state machine (PS3.8 Tables 9-6 to 9-9): what `states.TRANSITIONS` names.

A method bears its action's name (`_ae_6`, `_ar_8`, …), does what the standard writes beside it, and enters the next
state. "Close transport connection" is entering Sta1: the driver looks at `Association.closing`. The P-DATA actions
have no method: the reader receives and the writer sends in the states where the table has DT-1, DT-2, AR-6 and AR-7.

`gateway.dicom.association` builds the association's interface on this, and is the only caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from gateway.dicom.events import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    ConnectionClosed,
    Event,
    Released,
    ReleaseRequested,
)
from gateway.dicom.negotiation import AcceptedContext, accepted_contexts, refusal
from gateway.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    Pdu,
    PduType,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)
from gateway.dicom.reader import INVALID_PARAMETER_VALUE, Reader
from gateway.dicom.states import TRANSITIONS, State, Stimulus
from gateway.dicom.status import describe_abort
from gateway.dicom.writer import MIN_PEER_PDU_LENGTH, Writer
from gateway.errors import ProtocolError

_UNEXPECTED_PDU = 2  # PS3.8 Table 9-26

_RECEIVED = {
    PduType.A_ASSOCIATE_RQ: Stimulus.RQ_RECEIVED,
    PduType.A_ASSOCIATE_AC: Stimulus.AC_RECEIVED,
    PduType.A_ASSOCIATE_RJ: Stimulus.RJ_RECEIVED,
    PduType.P_DATA_TF: Stimulus.DATA_RECEIVED,
    PduType.A_RELEASE_RQ: Stimulus.RELEASE_RQ_RECEIVED,
    PduType.A_RELEASE_RP: Stimulus.RELEASE_RP_RECEIVED,
    PduType.A_ABORT: Stimulus.ABORT_RECEIVED,
}
_UNWELCOME = frozenset(("AA-1", "AA-6", "AA-7", "AA-8"))
_RECEIVING = frozenset(state for state in State if TRANSITIONS.get((Stimulus.DATA_RECEIVED, state)) in {"DT-2", "AR-6"})
_WANTED = {
    state: frozenset(
        int(pdu_type)
        for pdu_type, stimulus in _RECEIVED.items()
        if pdu_type != PduType.P_DATA_TF and TRANSITIONS.get((stimulus, state), "AA-8") not in _UNWELCOME
    )
    for state in State
}
_What: TypeAlias = Pdu | ProtocolError | None


class Machine:
    """State, timer and actions of one association."""

    def __init__(self, now: float, *, is_requestor: bool, max_pdu_length: int, artim_s: float) -> None:
        self.request: AssociateRQ | None = None
        self.answer: AssociateAC | None = None
        self.contexts: dict[int, AcceptedContext] = {}
        self.peer_max_pdu_length = 0  # bytes; 0 = no limit, once established
        self._is_requestor = is_requestor
        self._max_pdu_length = max_pdu_length
        self._artim_s = artim_s
        self._deadline: float | None = None
        self._now = now
        self._reader = Reader(self)
        self._writer = Writer()
        self._release_answered = False
        self._abort_repeated = False
        self._state = State.STA1

    # ── what the reader says ──────────────────────────────────────────────────────────────────────────────────

    def on_pdu(self, pdu_type: int, body: bytes) -> None:
        """A control PDU that this state expects."""
        try:
            pdu = decode_pdu(pdu_type, body)
            self._check(pdu)
        except ProtocolError as error:
            self.on_invalid(error)
        else:
            self._on(_RECEIVED[PduType(pdu_type)], pdu)

    def on_unexpected(self, pdu_type: int) -> None:
        """A PDU that this state does not expect."""
        error = ProtocolError(f"a PDU of type 0x{pdu_type:02X} was not expected in {self._state}", _UNEXPECTED_PDU)
        self._on(_RECEIVED[PduType(pdu_type)], error)

    def on_invalid(self, error: ProtocolError) -> None:
        """Something the standard does not know or allow."""
        self._on(Stimulus.INVALID_PDU, error)

    def _check(self, pdu: Pdu) -> None:
        """What decoding alone cannot know to be wrong."""
        if isinstance(pdu, AssociateRQ | AssociateAC) and 0 < pdu.max_pdu_length < MIN_PEER_PDU_LENGTH:
            raise ProtocolError(f"a maximum length of {pdu.max_pdu_length} fits no fragment", INVALID_PARAMETER_VALUE)
        if isinstance(pdu, AssociateAC) and self.request is not None:
            proposed = {context.context_id for context in self.request.contexts}
            if any(result.context_id not in proposed for result in pdu.results):
                raise ProtocolError("a presentation context was answered that was not proposed", 6)

    def _on(self, stimulus: Stimulus, what: _What = None) -> None:
        _ACTIONS[TRANSITIONS[stimulus, self._state]](self, what)

    def _take_events(self) -> list[Event]:
        events, self._reader.events = self._reader.events, []
        return events

    def _enter(self, state: State) -> None:
        self._state = state
        self._reader.receiving = state in _RECEIVING
        self._reader.wanted = _WANTED[state]
        self._reader.stopped = state is State.STA1
        if state is State.STA1 or state is State.STA13:
            self._reader.forget()

    def _tell(self, event: Event) -> None:
        self._reader.events.append(event)

    def _start_artim(self) -> None:
        self._deadline = self._now + self._artim_s

    def _establish(self, request: AssociateRQ, answer: AssociateAC, ours: int, peers: int) -> None:
        self.request, self.answer = request, answer
        self.contexts = accepted_contexts(request, answer)
        self.peer_max_pdu_length = peers
        self._reader.contexts = self._writer.contexts = self.contexts
        self._reader.max_pdu_length = ours or self._max_pdu_length
        self._writer.limit(peers)
        self._enter(State.STA6)

    # ── actions: association (PS3.8 Table 9-6) ────────────────────────────────────────────────────────────────

    def _ae_1(self, _: _What) -> None:
        self._enter(State.STA4)  # the caller has opened the connection

    def _ae_2(self, _: _What) -> None:
        assert self.request is not None  # noqa: S101 - given to `requestor`
        self._writer.pdu(self.request)
        self._enter(State.STA5)

    def _ae_3(self, what: _What) -> None:
        assert self.request is not None and isinstance(what, AssociateAC)  # noqa: S101 - the table says so
        self._establish(self.request, what, self.request.max_pdu_length, what.max_pdu_length)
        self._tell(AssociationAccepted(what))

    def _ae_4(self, what: _What) -> None:
        assert isinstance(what, AssociateRJ)  # noqa: S101 - the table says so
        self._tell(AssociationRejected(what.result, what.source, what.reason))
        self._enter(State.STA1)

    def _ae_5(self, _: _What) -> None:
        self._start_artim()
        self._enter(State.STA2)

    def _ae_6(self, what: _What) -> None:
        assert isinstance(what, AssociateRQ)  # noqa: S101 - the table says so
        self._deadline = None
        self.request = what
        refused = refusal(what)
        if refused is None:
            self._tell(AssociationRequested(what))
            self._enter(State.STA3)
        else:
            self._tell(AssociationRejected(refused.result, refused.source, refused.reason))
            self._ae_8(refused)

    def _ae_7(self, what: _What) -> None:
        assert self.request is not None and isinstance(what, AssociateAC)  # noqa: S101 - the table says so
        self._writer.pdu(what)
        self._establish(self.request, what, what.max_pdu_length, self.request.max_pdu_length)

    def _ae_8(self, what: _What) -> None:
        assert isinstance(what, AssociateRJ)  # noqa: S101 - the table says so
        self._writer.pdu(what)
        self._start_artim()
        self._enter(State.STA13)

    # ── actions: release (Table 9-8) ──────────────────────────────────────────────────────────────────────────

    def _ar_1(self, _: _What) -> None:
        self._writer.pdu(ReleaseRQ())
        self._enter(State.STA7)

    def _ar_2(self, _: _What) -> None:
        self._tell(ReleaseRequested())
        self._enter(State.STA8)

    def _ar_3(self, _: _What) -> None:
        self._tell(Released())
        self._enter(State.STA1)

    def _ar_4(self, _: _What) -> None:
        self._writer.pdu(ReleaseRP())
        self._start_artim()
        self._enter(State.STA13)

    def _ar_5(self, _: _What) -> None:
        self._deadline = None
        self._enter(State.STA1)

    def _ar_8(self, _: _What) -> None:
        self._tell(ReleaseRequested())
        self._enter(State.STA9 if self._is_requestor else State.STA10)

    def _ar_9(self, _: _What) -> None:
        self._writer.pdu(ReleaseRP())
        self._enter(State.STA11)

    def _ar_10(self, _: _What) -> None:
        self._tell(Released())
        self._enter(State.STA12)
        if self._release_answered:
            self._on(Stimulus.RELEASE_RESPONSE)

    # ── actions: abort (Table 9-9) ────────────────────────────────────────────────────────────────────────────

    def _aa_1(self, what: _What) -> None:
        # Asked for by this side, or a PDU out of place before there was an association: source is the user's there.
        if isinstance(what, ProtocolError):
            self._tell(Aborted(0, 0, False, str(what)))
        self._writer.drop()
        self._writer.pdu(what if isinstance(what, Abort) else Abort(0, 0))
        self._start_artim()
        self._enter(State.STA13)

    def _aa_2(self, what: _What) -> None:
        if isinstance(what, Abort) and self._state is State.STA2:  # received; in Sta13 nobody waits for it any more
            self._tell(Aborted(what.source, what.reason, True, describe_abort(what.source, what.reason)))
        self._deadline = None
        self._enter(State.STA1)

    def _aa_3(self, what: _What) -> None:
        assert isinstance(what, Abort)  # noqa: S101 - the table says so
        self._tell(Aborted(what.source, what.reason, True, describe_abort(what.source, what.reason)))
        self._writer.drop()
        self._enter(State.STA1)

    def _aa_4(self, _: _What) -> None:
        self._tell(ConnectionClosed())
        self._enter(State.STA1)

    def _aa_5(self, _: _What) -> None:
        self._tell(ConnectionClosed())
        self._deadline = None
        self._enter(State.STA1)

    def _aa_6(self, _: _What) -> None:
        return  # ignored

    def _aa_7(self, _: _What) -> None:
        # Once: a peer that goes on talking into Sta13 would otherwise fill memory with our answers.
        if not self._abort_repeated:
            self._abort_repeated = True
            self._writer.pdu(Abort(0, 0))

    def _aa_8(self, what: _What) -> None:
        assert isinstance(what, ProtocolError)  # noqa: S101 - the table says so
        self._tell(Aborted(2, what.abort_reason, False, str(what)))
        self._writer.drop()
        self._writer.pdu(Abort(2, what.abort_reason))
        self._start_artim()
        self._enter(State.STA13)


# DT-1, DT-2, AR-6 and AR-7 (P-DATA) are the reader's and the writer's: no state changes there.
_ACTIONS: dict[str, Callable[[Machine, _What], None]] = {
    action: getattr(Machine, f"_{action.lower().replace('-', '_')}")
    for action in set(TRANSITIONS.values()) - {"DT-1", "DT-2", "AR-6", "AR-7"}
}
