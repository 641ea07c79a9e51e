"""PS3.8 Table 9-10, cell by cell: what each state does with each thing a peer or the caller may do."""

from __future__ import annotations

import pytest

from gateway.dicom.association import (
    Aborted,
    Association,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    Event,
    Released,
    ReleaseRequested,
    State,
)
from gateway.dicom.dimse import c_echo_rq, encode_command, response_to
from gateway.dicom.pdu import (
    Abort,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    Pdu,
    PresentationDataValue,
    ProposedContext,
    ReleaseRP,
    ReleaseRQ,
    encode,
)
from gateway.dicom.states import TRANSITIONS, Stimulus
from tests.unit.dicom_peer import (
    ANSWER,
    ARTIM_S,
    CT,
    EXPLICIT,
    OTHER_ANSWER,
    REQUEST,
    RESTING_STATES,
    established,
    in_state,
    pdus,
    receive,
    sent,
)

ECHO = PDataTF((PresentationDataValue(1, True, True, encode_command(c_echo_rq(1))),))
FROM_PEER: dict[Stimulus, Pdu | bytes] = {
    Stimulus.AC_RECEIVED: OTHER_ANSWER,
    Stimulus.RJ_RECEIVED: AssociateRJ(2, 3, 1),
    Stimulus.RQ_RECEIVED: REQUEST,
    Stimulus.DATA_RECEIVED: ECHO,
    Stimulus.RELEASE_RQ_RECEIVED: ReleaseRQ(),
    Stimulus.RELEASE_RP_RECEIVED: ReleaseRP(),
    Stimulus.ABORT_RECEIVED: Abort(2, 1),
    Stimulus.INVALID_PDU: bytes.fromhex("ff0000000004") + b"GET ",
}
# What each action does: the events' types, the PDUs' types, and the next state.
EFFECTS: dict[str, tuple[list[type[Event]], list[type], State | None]] = {
    "AE-3": ([AssociationAccepted], [], State.STA6),
    "AE-4": ([AssociationRejected], [], State.STA1),
    "AE-6": ([AssociationRequested], [], State.STA3),
    "DT-2": ([CommandReceived], [], State.STA6),
    "AR-2": ([ReleaseRequested], [], State.STA8),
    "AR-3": ([Released], [], State.STA1),
    "AR-6": ([CommandReceived], [], State.STA7),
    "AR-8": ([ReleaseRequested], [], None),
    "AR-10": ([Released], [], State.STA12),
    "AA-1": ([Aborted], [Abort], State.STA13),
    "AA-3": ([Aborted], [], State.STA1),
    "AA-6": ([], [], State.STA13),
    "AA-7": ([], [Abort], State.STA13),
    "AA-8": ([Aborted], [Abort], State.STA13),
}
RECEIVED = [(stimulus, state) for stimulus in FROM_PEER for state in RESTING_STATES if state is not State.STA1]


@pytest.mark.parametrize(("stimulus", "state"), RECEIVED, ids=[f"{state}-{stimulus}" for stimulus, state in RECEIVED])
def test_each_state_does_with_each_pdu_what_the_table_says(stimulus: Stimulus, state: State) -> None:
    association = in_state(state)
    action = TRANSITIONS[stimulus, state]
    events = receive(association, FROM_PEER[stimulus], now=5.0)
    answers = pdus(sent(association))
    if action == "AA-2":
        told, said, after = ([Aborted] if state is State.STA2 else []), [], State.STA1
    else:
        told, said, after = EFFECTS[action]
    assert [type(event) for event in events] == told
    assert [type(pdu) for pdu in answers] == said
    assert after is None or association.state is after
    assert association.closing == (association.state is State.STA1)
    if action in {"AA-1", "AA-8"}:
        assert association.deadline == 5.0 + 30.0
        source, reason = {"AA-1": (0, 0), "AA-8": (2, 1 if stimulus is Stimulus.INVALID_PDU else 2)}[action]
        assert answers == [Abort(source, reason)]
        assert events == [Aborted(source, reason, False, events[0].text)]  # type: ignore[union-attr]


@pytest.mark.parametrize("state", RESTING_STATES)
def test_each_state_ends_when_the_connection_is_lost(state: State) -> None:
    association = in_state(state)
    events = association.connection_lost(1.0)
    assert events == ([] if state in {State.STA1, State.STA13} else [ConnectionClosed()])
    assert association.state is State.STA1
    assert association.deadline is None
    assert association.connection_lost(2.0) == []


@pytest.mark.parametrize("state", RESTING_STATES)
def test_each_state_can_be_aborted_by_this_side(state: State) -> None:
    association = in_state(state)
    events = association.abort(0, 0, 1.0, "shutting down")
    if state in {State.STA1, State.STA13}:
        assert (events, sent(association)) == ([], b"")
        return
    assert events == [Aborted(0, 0, False, "shutting down")]
    if state is State.STA2:
        assert association.closing
    else:
        assert association.state is State.STA13
        assert pdus(sent(association)) == [Abort(0, 0)]
    assert association.abort(0, 0, 2.0) == []


@pytest.mark.parametrize("state", RESTING_STATES)
def test_artim_runs_before_an_association_and_after_its_end_only(state: State) -> None:
    association = in_state(state)
    if state not in {State.STA2, State.STA13}:
        assert association.deadline is None
        assert association.handle_timeout(1e9) == []
        assert association.state is state
        return
    assert association.deadline == ARTIM_S
    assert association.handle_timeout(ARTIM_S - 0.1) == []
    assert not association.closing
    assert association.handle_timeout(ARTIM_S) == ([ConnectionClosed()] if state is State.STA2 else [])
    assert association.closing
    assert association.deadline is None


def test_artim_stops_when_the_request_comes() -> None:
    assert in_state(State.STA3).deadline is None


@pytest.mark.parametrize("state", [State.STA2, State.STA3, State.STA5])
def test_before_there_is_an_association_nothing_can_be_sent(state: State) -> None:
    association = in_state(state)
    with pytest.raises(RuntimeError):
        association.send_command(1, c_echo_rq(1))
    with pytest.raises(RuntimeError):
        association.send_data(1, b"", True)
    with pytest.raises(RuntimeError):
        association.release(0.0)
    with pytest.raises(RuntimeError):
        association.respond_release(0.0)


@pytest.mark.parametrize("state", [State.STA2, State.STA5, State.STA6, State.STA8])
def test_only_a_request_can_be_answered(state: State) -> None:
    association = in_state(state)
    with pytest.raises(RuntimeError):
        association.accept(ANSWER, 0.0)
    with pytest.raises(RuntimeError):
        association.reject(AssociateRJ(1, 1, 1), 0.0)


@pytest.mark.parametrize("state", [State.STA6, State.STA7])
def test_only_a_release_can_be_answered(state: State) -> None:
    with pytest.raises(RuntimeError):
        in_state(state).respond_release(0.0)


@pytest.mark.parametrize("state", [State.STA1, State.STA13])
def test_after_the_end_whatever_is_asked_for_is_dropped(state: State) -> None:
    association = in_state(state)
    association.accept(ANSWER, 0.0)
    association.reject(AssociateRJ(1, 1, 1), 0.0)
    association.send_command(1, c_echo_rq(1))
    association.send_data(1, b"x", True)
    association.release(0.0)
    association.respond_release(0.0)
    assert sent(association) == b""
    assert association.state is state


@pytest.mark.parametrize("state", [State.STA7, State.STA9, State.STA10, State.STA11, State.STA12])
def test_who_asked_for_release_says_no_more(state: State) -> None:
    association = in_state(state)
    association.send_command(1, response_to(c_echo_rq(1), 0))
    association.release(0.0)
    assert sent(association) == b""


def test_who_was_asked_for_release_may_still_answer_what_is_open() -> None:
    association = in_state(State.STA8)
    association.send_command(1, response_to(c_echo_rq(1), 0))
    association.release(0.0)
    association.respond_release(0.0)
    assert [type(pdu) for pdu in pdus(sent(association))] == [PDataTF, ReleaseRP]


def test_a_release_in_order() -> None:
    acceptor, requestor = established()
    requestor.release(1.0)
    assert receive(acceptor, sent(requestor)) == [ReleaseRequested()]
    acceptor.respond_release(1.0)
    assert acceptor.deadline == 31.0
    assert receive(requestor, sent(acceptor)) == [Released()]
    assert requestor.closing
    assert acceptor.connection_lost(2.0) == []


def test_an_acceptor_may_ask_for_release_too() -> None:
    acceptor, requestor = established()
    acceptor.release(1.0)
    assert receive(requestor, sent(acceptor)) == [ReleaseRequested()]
    requestor.respond_release(1.0)
    assert receive(acceptor, sent(requestor)) == [Released()]
    assert acceptor.closing


@pytest.mark.parametrize("answer_at_once", [True, False])
def test_a_release_collision_ends_in_order(answer_at_once: bool) -> None:
    acceptor, requestor = established()
    acceptor.release(1.0)
    requestor.release(1.0)
    to_requestor, to_acceptor = sent(acceptor), sent(requestor)
    assert receive(requestor, to_requestor) == [ReleaseRequested()]
    assert receive(acceptor, to_acceptor) == [ReleaseRequested()]
    assert (requestor.state, acceptor.state) == (State.STA9, State.STA10)
    if answer_at_once:
        # PS3.8 9.2.3: the acceptor's response may be asked for now, and goes out after the requestor's.
        acceptor.respond_release(1.0)
        assert sent(acceptor) == b""
    requestor.respond_release(1.0)
    assert requestor.state is State.STA11
    assert receive(acceptor, sent(requestor)) == [Released()]
    if not answer_at_once:
        assert acceptor.state is State.STA12
        acceptor.respond_release(1.0)
    assert acceptor.state is State.STA13
    assert receive(requestor, sent(acceptor)) == [Released()]
    assert requestor.closing
    assert acceptor.connection_lost(2.0) == []


def test_a_release_is_not_asked_for_within_a_data_set() -> None:
    _, requestor = established()
    requestor.send_command(1, c_echo_rq(1))
    command = c_echo_rq(2)
    requestor.send_command(1, type(command)(1, 2, has_data_set=True))
    with pytest.raises(RuntimeError):
        requestor.release(0.0)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (AssociateRQ("A", "B", REQUEST.contexts, 16384, protocol_version=2), AssociateRJ(1, 2, 2)),
        (AssociateRQ("A", "B", REQUEST.contexts, 16384, application_context_name="1.2"), AssociateRJ(1, 1, 2)),
        (AssociateRQ("A", "B", (), 16384), AssociateRJ(1, 1, 1)),
    ],
)
def test_what_the_standard_refuses_is_rejected_unasked(request_: AssociateRQ, answer: AssociateRJ) -> None:
    association = in_state(State.STA2)
    events = receive(association, request_, now=3.0)
    assert events == [AssociationRejected(answer.result, answer.source, answer.reason)]
    assert pdus(sent(association)) == [answer]
    assert (association.state, association.deadline) == (State.STA13, 33.0)


def test_in_sta13_a_peer_that_goes_on_talking_is_told_once() -> None:
    association = in_state(State.STA13)
    assert receive(association, REQUEST, REQUEST, REQUEST, b"\xff" * 5000, b"GET / HTTP/1.1") == []
    assert pdus(sent(association)) == [Abort(0, 0)]
    assert not association.closing


@pytest.mark.parametrize("maximum", [1, 7])
def test_a_maximum_length_that_fits_no_fragment_is_refused(maximum: int) -> None:
    association = in_state(State.STA2)
    (event,) = receive(association, AssociateRQ("A", "B", REQUEST.contexts, maximum))
    assert isinstance(event, Aborted)
    requestor = in_state(State.STA5)
    assert isinstance(receive(requestor, type(ANSWER)("A", "B", ANSWER.results, maximum))[0], Aborted)
    assert pdus(sent(requestor)) == [Abort(2, 6)]


def test_an_answer_to_a_context_never_proposed_is_refused() -> None:
    requestor = in_state(State.STA5)
    answer = type(ANSWER)("A", "B", (type(ANSWER.results[0])(99, 0, EXPLICIT),), 16384)
    assert isinstance(receive(requestor, answer)[0], Aborted)


def test_a_request_that_cannot_be_encoded_is_a_value_error() -> None:
    with pytest.raises(ValueError):
        Association.requestor(AssociateRQ("SEVENTEEN_CHARS__", "B", (ProposedContext(1, CT, (EXPLICIT,)),)), 0.0)


def test_a_rejection_and_an_abort_carry_the_peers_numbers() -> None:
    requestor = in_state(State.STA5)
    assert receive(requestor, AssociateRJ(2, 3, 1)) == [AssociationRejected(2, 3, 1)]
    acceptor = in_state(State.STA6)
    assert receive(acceptor, Abort(2, 5), encode(ReleaseRQ())) == [
        Aborted(2, 5, True, "aborted by the upper layer: unexpected PDU parameter")
    ]
    assert acceptor.closing
