"""Messages on an established association: fragments in, fragments out, and the bounds."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dicom.association import (
    Aborted,
    Association,
    AssociationAccepted,
    AssociationRequested,
    CommandReceived,
    DataSetFragment,
    Event,
    State,
)
from gateway.dicom.dimse import Command, c_echo_rq, c_store_rq, encode_command, response_to
from gateway.dicom.negotiation import AcceptedContext, AcceptorPolicy, negotiate
from gateway.dicom.pdu import Abort, PDataTF, PresentationDataValue, ReleaseRP, ReleaseRQ, encode
from gateway.dicom.reader import MAX_COMMAND_BYTES, MAX_EMPTY_VALUES, MAX_SMALL_VALUES, SMALL_VALUE_BYTES
from tests.unit import dicom_strategies as dicom
from tests.unit.dicom_peer import ANSWER, CT, EXPLICIT, REQUEST, established, in_state, pdus, receive, sent

STORE = c_store_rq(1, CT, "1.2.3")
STORE_BYTES = encode_command(STORE)
DATA = bytes(range(256)) * 40


def value(data: bytes, *, context_id: int = 1, command: bool = False, last: bool = False) -> PresentationDataValue:
    """One PDV."""
    return PresentationDataValue(context_id, command, last, data)


def command_pdu(command: Command = STORE, context_id: int = 1) -> PDataTF:
    """A P-DATA-TF with a whole command."""
    return PDataTF((value(encode_command(command), context_id=context_id, command=True, last=True),))


def merged(events: list[Event]) -> list[object]:
    """The events, with neighbouring fragments of one data set joined."""
    joined: list[object] = []
    open_fragment = False
    for event in events:
        if not isinstance(event, DataSetFragment):
            joined.append(event)
            open_fragment = False
            continue
        data = bytes(event.data)
        if open_fragment:
            context_id, before, _ = joined.pop()  # type: ignore[misc]
            assert context_id == event.context_id
            data = before + data
        if data or event.last:
            joined.append((event.context_id, data, event.last))
        open_fragment = not event.last and bool(data)
    return joined


def test_a_message_comes_out_as_a_command_and_views_of_the_chunk() -> None:
    acceptor, requestor = established()
    requestor.send_command(1, STORE)
    requestor.send_data(1, DATA, True)
    chunk = memoryview(sent(requestor))
    command, fragment = acceptor.receive_data(chunk, 0.0)
    assert command == CommandReceived(AcceptedContext(1, CT, EXPLICIT), STORE)
    assert isinstance(fragment, DataSetFragment)
    assert (fragment.data.obj is chunk.obj, fragment.last, bytes(fragment.data)) == (True, True, DATA)


def test_fragments_are_passed_on_as_they_arrive() -> None:
    acceptor, _ = established()
    receive(acceptor, command_pdu())
    raw = encode(PDataTF((value(DATA, last=True),)))
    assert receive(acceptor, raw[:9]) == []
    assert merged(receive(acceptor, raw[9:112])) == [(1, DATA[:100], False)]
    assert acceptor.mid_message
    assert merged(receive(acceptor, raw[112:-1])) == [(1, DATA[100:-1], False)]
    assert merged(receive(acceptor, raw[-1:])) == [(1, DATA[-1:], True)]
    assert not acceptor.mid_message


def test_several_values_in_one_pdu() -> None:
    acceptor, _ = established()
    pdu = PDataTF(
        (
            value(STORE_BYTES[:10], command=True),
            value(STORE_BYTES[10:], command=True, last=True),
            value(DATA[:10]),
            value(b""),
            value(DATA[10:], last=True),
            value(encode_command(c_echo_rq(2)), context_id=3, command=True, last=True),
        )
    )
    store, data, echo = merged(receive(acceptor, pdu))
    assert isinstance(store, CommandReceived) and store.command == STORE
    assert data == (1, DATA, True)
    assert isinstance(echo, CommandReceived) and echo.context.context_id == 3


def test_a_last_fragment_without_a_byte_ends_the_data_set() -> None:
    acceptor, _ = established()
    events = receive(acceptor, command_pdu(), PDataTF((value(DATA),)), PDataTF((value(b"", last=True),)), command_pdu())
    assert merged(events)[1:2] == [(1, DATA, True)]
    assert [event.last for event in events if isinstance(event, DataSetFragment)] == [False, True]


conversations = st.lists(
    st.tuples(
        st.sampled_from([1, 3]),
        dicom.commands(),
        st.lists(st.binary(max_size=50), max_size=4),
        st.lists(st.integers(1, 60), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def stream_of(conversation: list[tuple[int, Command, list[bytes], list[int]]]) -> bytes:
    """A conversation as the bytes of P-DATA-TF PDUs, cut into PDVs and PDUs in the ways drawn."""
    values: list[PresentationDataValue] = []
    for context_id, command, pieces, cuts in conversation:
        raw = encode_command(command)
        marks = sorted({0, *(cut for cut in cuts if cut < len(raw)), len(raw)})
        values += [
            value(raw[begin:end], context_id=context_id, command=True, last=end == len(raw))
            for begin, end in itertools.pairwise(marks)
        ]
        if command.has_data_set:
            values += [value(piece, context_id=context_id) for piece in pieces]
            values.append(value(b"END!", context_id=context_id, last=True))
    groups = [values[begin : begin + 2] for begin in range(0, len(values), 2)]
    return b"".join(encode(PDataTF(tuple(group))) for group in groups)


def feed(association: Association, raw: bytes, cuts: list[int]) -> list[object]:
    """The joined events of a stream cut at the given places; views are copied before the next call, as drivers must."""
    marks = sorted({0, *(cut % (len(raw) + 1) for cut in cuts), len(raw)})
    events: list[Event] = []
    for begin, end in itertools.pairwise(marks):
        chunk = bytearray(raw[begin:end])
        for event in association.receive_data(memoryview(chunk), 0.0):
            if isinstance(event, DataSetFragment):
                event = event._replace(data=memoryview(bytes(event.data)))
            if isinstance(event, AssociationRequested):
                association.accept(ANSWER, 0.0)
            events.append(event)
        chunk[:] = b"\xee" * len(chunk)
    return merged(events)


@settings(max_examples=200)
@given(conversations, st.lists(st.integers(0, 5000), max_size=12))
def test_every_cut_of_a_conversation_gives_the_same_events(
    conversation: list[tuple[int, Command, list[bytes], list[int]]], cuts: list[int]
) -> None:
    raw = stream_of(conversation) + encode(ReleaseRQ())
    assert feed(established()[0], raw, cuts) == feed(established()[0], raw, [])


@settings(max_examples=200)
@given(conversations, st.data(), st.lists(st.integers(0, 5000), max_size=12))
def test_every_cut_of_a_damaged_conversation_gives_the_same_events_and_answers(
    conversation: list[tuple[int, Command, list[bytes], list[int]]], data: st.DataObject, cuts: list[int]
) -> None:
    raw = bytearray(stream_of(conversation) + encode(ReleaseRQ()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(dicom.bytes_8)
    cut, whole = established()[0], established()[0]
    assert feed(cut, bytes(raw), cuts) == feed(whole, bytes(raw), [])
    assert (sent(cut), cut.state) == (sent(whole), whole.state)


@settings(max_examples=100)
@given(dicom.requests, st.lists(st.integers(0, 5000), max_size=12))
def test_every_cut_of_a_request_gives_the_same_events(request: object, cuts: list[int]) -> None:
    raw = encode(request)  # type: ignore[arg-type]
    assert feed(Association.acceptor(0.0), raw, cuts) == feed(Association.acceptor(0.0), raw, [])


def test_every_single_byte_cut_of_a_whole_association() -> None:
    requestor = Association.requestor(REQUEST, 0.0)
    raw = sent(requestor)
    receive(requestor, ANSWER)
    requestor.send_command(1, STORE)
    requestor.send_data(1, DATA[:300], True)
    raw += sent(requestor) + encode(ReleaseRQ())
    one_by_one = feed(Association.acceptor(0.0), raw, list(range(len(raw))))
    assert [type(event) for event in one_by_one[:2]] == [AssociationRequested, CommandReceived]
    assert one_by_one[2] == (1, DATA[:300], True)
    whole = Association.acceptor(0.0)
    assert feed(whole, raw[: len(raw) - 1], [raw.index(b"\x04\x00\x00\x00")]) == one_by_one[:-1]


@settings(max_examples=100)
@given(
    st.integers(8, 4000) | st.sampled_from([0, 1 << 16, 1 << 24, 0xFFFFFFFF]),
    st.lists(st.binary(max_size=5000), max_size=5),
    st.binary(max_size=100),
)
def test_what_is_sent_arrives_and_no_pdu_is_longer_than_the_peer_allows(
    maximum: int, pieces: list[bytes], rest: bytes
) -> None:
    acceptor, requestor = established(ours=maximum)
    requestor.send_command(1, STORE)
    for piece in pieces:
        requestor.send_data(1, memoryview(piece), False)
    requestor.send_data(1, rest, True)
    raw = sent(requestor)
    sizes = [len(encode(pdu)) - 6 for pdu in pdus(raw)]
    assert max(sizes) <= (maximum or max(sizes))
    command, *fragments = merged(receive(acceptor, raw))
    assert isinstance(command, CommandReceived) and command.command == STORE
    assert fragments == [(1, b"".join(pieces) + rest, True)]


@pytest.mark.parametrize(
    ("maximum", "usable"),
    [(8, 2), (9, 2), (4096, 4090), (16384, 16378), (0, 262138), (1 << 20, 1048570), (0xFFFFFFFF, 1048570)],
)
def test_fragments_are_as_large_as_the_peer_allows_and_even(maximum: int, usable: int) -> None:
    _, requestor = established(ours=maximum)
    assert (requestor.peer_max_pdu_length, requestor.usable_data_bytes) == (maximum, usable)


def test_a_data_set_is_sent_without_being_copied() -> None:
    _, requestor = established(ours=4096)
    source = bytearray(10_000)
    requestor.send_command(1, STORE)
    requestor.send_data(1, memoryview(source), True)
    views = [part for part in requestor.outgoing() if isinstance(part, memoryview)]
    assert sum(map(len, views)) == 10_000
    assert all(view.obj is source for view in views)


def test_an_empty_piece_sends_nothing_and_an_empty_end_one_empty_value() -> None:
    _, requestor = established()
    requestor.send_command(1, STORE)
    requestor.outgoing()
    requestor.send_data(1, b"", False)
    assert requestor.outgoing() == []
    requestor.send_data(1, b"", True)
    assert pdus(sent(requestor)) == [PDataTF((value(b"", last=True),))]


def test_a_response_waits_for_the_end_of_the_data_set_being_sent() -> None:
    acceptor, requestor = established()
    requestor.send_command(1, STORE)
    requestor.send_data(1, b"half", False)
    for number in range(1000):
        requestor.send_command(3, response_to(c_echo_rq(number), 0))
    requestor.send_data(1, b"rest", True)
    events = merged(receive(acceptor, sent(requestor)))
    assert events[1] == (1, b"halfrest", True)
    assert 0 < len(events[2:]) < 100


def test_misuse_of_sending_is_an_error() -> None:
    _, requestor = established()
    with pytest.raises(ValueError):
        requestor.send_command(5, c_echo_rq(1))
    with pytest.raises(RuntimeError):
        requestor.send_data(1, b"x", True)
    with pytest.raises(RuntimeError):
        requestor.send_data(0, b"x", True)
    requestor.send_command(1, STORE)
    with pytest.raises(RuntimeError):
        requestor.send_data(3, b"x", True)
    with pytest.raises(RuntimeError):
        requestor.send_command(1, STORE)
    requestor.send_data(1, b"x", True)
    with pytest.raises(RuntimeError):
        requestor.send_data(1, b"x", True)


def test_an_abort_drops_what_was_not_handed_out() -> None:
    _, requestor = established()
    requestor.send_command(1, STORE)
    requestor.send_data(1, DATA, False)
    requestor.abort(0, 0, 1.0)
    assert pdus(sent(requestor)) == [Abort(0, 0)]


@pytest.mark.parametrize("cut", range(1, 30))
def test_after_an_abort_of_ours_nothing_more_is_told(cut: int) -> None:
    acceptor, _ = established()
    raw = encode(command_pdu()) + encode(PDataTF((value(DATA[:8]), value(DATA, last=True)))) + encode(command_pdu())
    begin = len(encode(command_pdu())) + cut
    receive(acceptor, raw[:begin])
    acceptor.abort(2, 0, 1.0)
    acceptor.outgoing()
    assert receive(acceptor, raw[begin:]) == []
    assert not acceptor.mid_message
    assert receive(acceptor, Abort(0, 0)) == []
    assert acceptor.closing


def test_what_the_peer_sends_after_the_association_ended_is_not_told() -> None:
    acceptor, _ = established()
    (event,) = receive(acceptor, Abort(0, 0), command_pdu())
    assert isinstance(event, Aborted) and event.by_peer


HUGE = struct.pack(">BxI", 4, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("what", "raw"),
    [
        ("a P-DATA-TF longer than announced", struct.pack(">BxI", 4, 16385)),
        ("a P-DATA-TF of 4 GiB", HUGE),
        ("a P-DATA-TF without a PDV", struct.pack(">BxI", 4, 0)),
        ("a P-DATA-TF shorter than a PDV header", struct.pack(">BxI", 4, 5)),
        ("a PDV longer than its PDU", struct.pack(">BxIIBB", 4, 100, 200, 1, 0)),
        ("a PDV of 4 GiB", struct.pack(">BxIIBB", 4, 100, 0xFFFFFFFF, 1, 0)),
        ("a PDV of one byte", struct.pack(">BxIIBB", 4, 100, 1, 1, 0)),
        ("a rest too short for a PDV", struct.pack(">BxIIBB", 4, 100, 94, 1, 3)),
        ("a context that was not accepted", encode(PDataTF((value(b"ab", context_id=7, command=True),)))),
        ("an even context", encode(PDataTF((value(b"ab", context_id=2, command=True),)))),
        ("a data set without a command", encode(PDataTF((value(b"ab"),)))),
        (
            "a data set after a command that has none",
            encode(command_pdu(c_echo_rq(1))) + encode(PDataTF((value(b"ab"),))),
        ),
        ("a data set on another context", encode(command_pdu()) + encode(PDataTF((value(b"ab", context_id=3),)))),
        (
            "a command within a data set",
            encode(command_pdu()) + encode(PDataTF((value(b"ab"),))) + encode(command_pdu()),
        ),
        ("a command where the data set should begin", encode(command_pdu()) + encode(command_pdu())),
        (
            "a command that changes its context",
            encode(PDataTF((value(b"ab", command=True), value(b"cd", context_id=3, command=True)))),
        ),
        ("a data set within a command", encode(PDataTF((value(b"ab", command=True), value(b"cd"))))),
        ("an empty command", encode(PDataTF((value(b"", command=True, last=True),)))),
        ("a command that is none", encode(PDataTF((value(b"GET / HTTP/1.1\r\n", command=True, last=True),)))),
        ("a release request of 5 bytes", bytes.fromhex("050000000005")),
        ("an abort of 4 GiB", bytes.fromhex("0700ffffffff")),
        ("an abort without a body", bytes.fromhex("070000000000")),
    ],
)
def test_what_breaks_the_protocol_is_answered_with_an_abort(what: str, raw: bytes) -> None:
    acceptor, _ = established()
    events = receive(acceptor, raw, now=7.0)
    assert isinstance(events[-1], Aborted), what
    assert (events[-1].source, events[-1].reason, events[-1].by_peer) == (2, 6, False), what
    assert pdus(sent(acceptor)) == [Abort(2, 6)]
    assert (acceptor.state, acceptor.deadline) == (State.STA13, 37.0)


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes.fromhex("160301020001000120"), b"\0" * 64, b"\xff" * 64]
)
def test_other_protocols_on_the_port_are_answered_with_an_abort(raw: bytes) -> None:
    association = in_state(State.STA2)
    (event,) = receive(association, raw)
    assert isinstance(event, Aborted)
    assert pdus(sent(association)) == [Abort(0, 0)]


@pytest.mark.parametrize("length", [0, 3, 256 * 1024 + 1, 0xFFFFFFFF])
def test_an_association_request_of_impossible_length_is_refused_by_its_header(length: int) -> None:
    association = in_state(State.STA2)
    assert isinstance(receive(association, struct.pack(">BxI", 1, length))[0], Aborted)


def test_an_unexpected_pdu_is_refused_before_its_body_comes() -> None:
    association = in_state(State.STA5)
    (event,) = receive(association, struct.pack(">BxI", 1, 200_000))
    assert isinstance(event, Aborted) and event.reason == 2
    assert receive(association, b"x" * 200_000) == []
    assert receive(association, Abort(0, 0)) == []
    assert association.closing


def test_a_command_set_is_bounded() -> None:
    acceptor, _ = established()
    pieces = [encode(PDataTF((value(b"x" * 16000, command=True),)))] * (MAX_COMMAND_BYTES // 16000)
    assert receive(acceptor, *pieces) == []
    assert isinstance(receive(acceptor, pieces[0])[0], Aborted)


def test_values_without_a_byte_are_tolerated_and_bounded() -> None:
    acceptor, _ = established()
    empty = encode(PDataTF((value(b""),)))
    for _ in range(2):
        events = receive(acceptor, command_pdu(), *[empty] * MAX_EMPTY_VALUES, PDataTF((value(b"", last=True),)))
        assert merged(events)[1:] == [(1, b"", True)]
    events = receive(acceptor, command_pdu(), *[empty] * (MAX_EMPTY_VALUES + 1))
    assert isinstance(events[-1], Aborted)


def test_small_fragments_without_end_are_no_message() -> None:
    """Each costs as much time as a large one; a message has thousands of them at most."""
    for size, aborted in ((1, True), (SMALL_VALUE_BYTES, False)):
        acceptor, _ = established()
        one = encode(PDataTF((value(bytes(size)),)))
        for _ in range(2):
            last = PDataTF((value(b"", last=True),))
            events = receive(acceptor, command_pdu(), *[one] * (MAX_SMALL_VALUES - 2), last)
            assert merged(events)[1:] == [(1, bytes(size * (MAX_SMALL_VALUES - 2)), True)]
        events = receive(acceptor, command_pdu(), *[one] * (MAX_SMALL_VALUES + 1))
        assert isinstance(events[-1], Aborted) == aborted


def test_no_limit_announced_means_the_bound_given_to_the_acceptor() -> None:
    for bound, aborted in ((100_000, True), (0, False)):
        association = Association.acceptor(0.0, max_pdu_length=bound)
        receive(association, REQUEST)
        association.accept(negotiate(REQUEST, AcceptorPolicy(max_pdu_length=0)), 0.0)
        events = receive(association, command_pdu(), struct.pack(">BxIIBB", 4, 200_000, 199_996, 1, 0))
        assert isinstance(events[-1], Aborted) == aborted


def test_the_requestor_learns_what_was_accepted() -> None:
    requestor = in_state(State.STA5)
    assert receive(requestor, ANSWER) == [AssociationAccepted(ANSWER)]
    assert requestor.answer == ANSWER
    assert set(requestor.contexts) == {1, 3}
    assert requestor.peer_max_pdu_length == 16384


def test_a_request_and_what_must_not_follow_it_in_one_chunk() -> None:
    association = Association.acceptor(0.0)
    events = receive(association, REQUEST, ReleaseRP())
    assert [type(event) for event in events] == [AssociationRequested, Aborted]
    association.accept(ANSWER, 0.0)
    assert pdus(sent(association)) == [Abort(2, 2)]


def test_no_text_of_an_event_shows_a_peers_value() -> None:
    acceptor, _ = established()
    raw = encode_command(c_echo_rq(1)) + struct.pack("<HHI", 0x10, 0x10, 8) + b"DOE^JANE"
    (event,) = receive(acceptor, PDataTF((value(raw, command=True, last=True),)))
    assert isinstance(event, Aborted)
    assert "DOE" not in event.text and "group 0010" in event.text
