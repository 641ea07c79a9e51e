"""Peers that are silent, slow, lying, flooding or no DICOM at all: the others are served, and nothing grows.

One gateway with short deadlines and a small `max_object` stands for the whole module, so that what one test leaves
behind would show in the next; each ends by having its good instances judged.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.receiving_kit import CONTEXTS, CT, ECHO, LONG, Scene, scene
from tests.harness import wire
from tests.harness.data import make_instance, make_instances
from tests.harness.rawpeer import Aborted, Closed, RawPeer, RawScu, Rejected
from tests.harness.tools import open_descriptors, peak_resident_bytes, reset_peak, resident_bytes, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, Context

MIB = 1 << 20
ARTIM_S = PROGRESS_S = 3
MAX_OBJECT = 4 * MIB
GROWTH = 24 * MIB
# A closed deadline is looked at once a second; the rest is for a machine that has other things to do.
SLACK_S = 15
BY_HOST = "127.0.0.2"  # a source that is known by its address alone
GONE = (Closed, Aborted, OSError)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(
        tmp_path_factory.mktemp("peers"),
        listeners={
            "main": {
                "artim_timeout": f"{ARTIM_S} s",
                "progress_timeout": f"{PROGRESS_S} s",
                "max_object": f"{MAX_OBJECT} B",
                "max_associations": 300,
                "max_associations_per_host": 300,
            }
        },
        sources={
            "loopback": {"ae_titles": ["RAWSCU", "JOURNAL"], "hosts": ["127.0.0.1"]},
            "byhost": {"hosts": [f"{BY_HOST}/32"]},
        },
    ) as found:
        assert found.serves()
        yield found


@pytest.fixture(autouse=True)
def still_well(served: Scene) -> Iterator[None]:
    """Around each test: the same receiver lives, has lost no descriptor, crashed nowhere, and good instances arrive."""
    pid = served.receiver()
    before = open_descriptors(pid)
    yield
    assert served.receiver() == pid
    wait_until(
        lambda: open_descriptors(pid) <= before + 4, SLACK_S, lambda: f"{open_descriptors(pid)}, {before} before"
    )
    assert not served.gateway.log_lines(event="crashed") + served.gateway.log_lines(event="library_message")
    good = list(make_instances(3, pixel_bytes=20_000, seed=random.randrange(1 << 30)))
    assert dict(served.send(good).statuses) == {0: 3}
    served.judge(strangers=True)


def association_request(calling: str | bytes = "RAWSCU", called: str | bytes = "GATEWAY") -> bytes:
    contexts = [Context(CT, *one_context(0)), Context(ECHO, *one_context(1))]
    return wire.associate_rq(contexts, called, calling)


def one_context(index: int) -> tuple[str, tuple[str, ...]]:
    return CONTEXTS[index][0], (CONTEXTS[index][1],)


def open_peer(served: Scene, host: str = "127.0.0.1") -> RawPeer:
    """A TCP connection from an address of loopback."""
    return RawPeer(socket.create_connection(("127.0.0.1", served.port), 10, source_address=(host, 0)))


def closed(peer: RawPeer) -> bool:
    """Whether the gateway has ended the connection; does not wait."""
    peer.sock.setblocking(False)
    try:
        while peer.sock.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def begin_store(peer: RawPeer, message_id: int = 1, uid: str = "1.2.3.4") -> None:
    command = wire.c_store_rq(message_id, CT_IMAGE_STORAGE, uid)
    peer.send(wire.p_data(CT, command, command=True, last=True))


# ── silent and slow ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_peer_is_served_beside_500_silent_and_trickling_ones_which_are_closed_in_time(served: Scene) -> None:
    """460 say nothing; 20 send an association request byte by byte, 20 a data set; each is closed by its deadline."""
    begun = time.monotonic()
    silent = [open_peer(served) for _ in range(460)]
    headers = [open_peer(served) for _ in range(20)]
    bodies = [served.connect() for _ in range(20)]
    for index, peer in enumerate(bodies):
        begin_store(peer, uid=f"1.2.3.{index}")
        peer.send(struct.pack(">BxIIBB", wire.P_DATA_TF, 5006, 5002, CT, 0))
    trickles = [(peer, association_request()) for peer in headers] + [(peer, bytes(5000)) for peer in bodies]
    stopping = threading.Event()

    def trickle() -> None:
        sent = 0
        while not stopping.wait(1.0):
            for peer, data in trickles:
                with contextlib.suppress(OSError):
                    peer.sock.send(data[sent : sent + 1])
            sent += 1

    thread = threading.Thread(target=trickle)
    thread.start()
    waiting = [*silent, *headers, *bodies]
    took: list[float] = []
    instances = make_instances(10_000, pixel_bytes=20_000, seed=1)
    try:
        while waiting:
            good = served.send([next(instances)])
            assert dict(good.statuses) == {0: 1}
            took += good.latencies_s
            waiting = [peer for peer in waiting if not closed(peer)]
            assert time.monotonic() - begun < ARTIM_S + PROGRESS_S + 2 * SLACK_S, f"{len(waiting)} are still open"
    finally:
        stopping.set()
        thread.join()
        for peer in [*silent, *headers, *bodies]:
            peer.close()
    took.sort()
    assert len(took) >= 5
    assert took[int(len(took) * 0.9)] <= 1.0, took


# ── lies ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

LIES = {
    "an association request of 4 GiB": (False, struct.pack(">BxI", wire.A_ASSOCIATE_RQ, 0xFFFFFFFF) + bytes(200)),
    "a P-DATA-TF of 4 GiB": (True, struct.pack(">BxI", wire.P_DATA_TF, 0xFFFFFFFF) + bytes(200)),
    "a P-DATA-TF longer than announced": (True, struct.pack(">BxI", wire.P_DATA_TF, 300_000) + bytes(200)),
    "a PDV of 4 GiB": (True, struct.pack(">BxIIBB", wire.P_DATA_TF, 100, 0xFFFFFFFF, CT, 3) + bytes(94)),
    "a PDV of length 0": (True, struct.pack(">BxIIBB", wire.P_DATA_TF, 6, 0, CT, 3)),
    "a PDU without a PDV": (True, struct.pack(">BxI", wire.P_DATA_TF, 0)),
    "a context that was not accepted": (True, wire.p_data(77, b"\0" * 8, command=True, last=True)),
    "a data set without a command": (True, wire.p_data(CT, b"\0" * 8, command=False, last=True)),
    "a PDU type that is not known": (True, struct.pack(">BxI", 0x42, 4) + bytes(4)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_peer_that_lies_about_lengths_is_aborted(served: Scene, lie: str) -> None:
    associated, raw = LIES[lie]
    with served.connect() if associated else open_peer(served) as peer:
        peer.send(raw)
        peer.expect(wire.A_ABORT, SLACK_S)


def send_until_aborted(peer: RawPeer, piece: bytes, limit: int) -> int:
    """Send the same bytes again and again until A-ABORT comes back; how many it took. AssertionError past `limit`."""
    sent = 0
    while sent < limit:
        peer.send(piece)
        sent += len(piece)
        if select.select([peer.sock], [], [], 0)[0]:
            peer.expect(wire.A_ABORT, SLACK_S)
            return sent
    raise AssertionError(f"not aborted after {sent} bytes")


def send_until_cut(peer: RawPeer, piece: bytes, limit: int) -> int:
    """Send until the peer has ended the connection, or the limit was passed; how many bytes were taken."""
    sent = 0
    peer.sock.settimeout(PROGRESS_S + SLACK_S)
    with contextlib.suppress(*GONE):
        while sent < limit:
            sent += peer.sock.send(piece)
    return sent


@pytest.mark.parametrize("what", ["a storage SOP class", "an instance that is refused at once"])
def test_a_data_set_without_end_is_cut_off_in_bounded_memory(served: Scene, what: str) -> None:
    """`max_object` is 4 MiB; 256 MiB of fragments, none of them the last, are not taken."""
    pid = served.receiver()
    reset_peak(pid)
    before = resident_bytes(pid)
    piece = wire.p_data(CT, bytes(16_000), command=False, last=False) * 16
    with served.connect() as peer:
        begin_store(peer, uid="1.2.3.4" if what == "a storage SOP class" else "../../x")
        assert send_until_aborted(peer, piece, 256 * MIB) > MAX_OBJECT
    served.wait_no_files(SLACK_S)
    assert peak_resident_bytes(pid) - before < GROWTH


def test_an_object_beyond_max_object_is_refused_and_the_association_goes_on(served: Scene) -> None:
    """4.5 MiB: read to its end, 0xA700; the next instance on the same association is taken."""
    large = make_instance(pixel_bytes=MAX_OBJECT + MIB // 2, seed=5)
    small = make_instance(pixel_bytes=5000, seed=6)
    sender = served.send([large, small])
    assert dict(sender.statuses) == {0xA700: 1, 0: 1}
    assert sender.connects == 1


@pytest.mark.parametrize("part", ["command", "data set"])
def test_fragments_without_a_byte_are_cut_off(served: Scene, part: str) -> None:
    """A million PDVs of no byte, none of them the last."""
    piece = wire.p_data(CT, b"", command=part == "command", last=False) * 1000
    with served.connect() as peer:
        if part == "data set":
            begin_store(peer)
        send_until_aborted(peer, piece, len(piece) * 1000)


def test_a_peer_that_asks_and_never_reads_the_answers_does_not_fill_memory(served: Scene) -> None:
    """C-ECHO requests as fast as they go, no answer read: it is held up, and cut off by the progress deadline."""
    pid = served.receiver()
    reset_peak(pid)
    before = resident_bytes(pid)
    piece = wire.p_data(ECHO, wire.c_echo_rq(1), command=True, last=True) * 500
    with served.connect() as peer:
        sent = send_until_cut(peer, piece, 512 * MIB)
        assert sent < 256 * MIB
        assert peak_resident_bytes(pid) - before < GROWTH


# ── floods ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_floods_of_associations_and_probes_leave_memory_and_descriptors_flat(served: Scene) -> None:
    """A load balancer's probes (connect and close, with FIN or RST), and associations that come and go."""
    pid = served.receiver()
    rounds = 20 if LONG else 2

    def flood(count: int) -> None:
        for index in range(count):
            with open_peer(served) as probe:
                if index % 2:
                    probe.reset()
            with served.connect() as peer:
                if index % 3 == 0:
                    peer.release()
                elif index % 3 == 1:
                    peer.abort()

    flood(150)
    before = resident_bytes(pid)
    for _ in range(rounds):
        flood(200)
    assert resident_bytes(pid) - before < 8 * MIB
    wait_until(lambda: served.gateway.metric("gateway_associations_active", role="acceptor") == 0, SLACK_S)


def test_associations_beyond_the_limit_are_rejected_for_now_and_admitted_when_there_is_room(served: Scene) -> None:
    """300 are open: the next one is told `local limit exceeded` (PS3.8 Table 9-21); one leaves, and it gets in."""
    held = [served.connect() for _ in range(300)]
    try:
        with pytest.raises(Rejected) as rejected:
            served.connect()
        assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (2, 3, 2)
        held.pop().release()
        wait_until(lambda: _admitted(served), SLACK_S, "a place to be free again")
    finally:
        for peer in held:
            peer.close()


def _admitted(served: Scene) -> bool:
    with contextlib.suppress(Rejected):
        return served.serves()
    return False


# ── other protocols ───────────────────────────────────────────────────────────────────────────────────────────────────


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="gateway").do_handshake()
    return outgoing.read()


def _random_bytes() -> bytes:
    return random.Random(7).randbytes(4096)


OTHERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "TLS": _client_hello(),
    "random bytes": _random_bytes(),
    "HL7 over MLLP": b"\x0bMSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.5\r\x1c\r",
    "a line of text": b"hello\r\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("protocol", OTHERS)
def test_another_protocol_on_the_port_is_aborted(served: Scene, protocol: str) -> None:
    with open_peer(served) as peer:
        peer.send(OTHERS[protocol])
        peer.expect(wire.A_ABORT, SLACK_S)


@pytest.mark.chaos
def test_mutated_conversations_crash_and_hang_nothing(served: Scene) -> None:
    """Association requests and stores with bits flipped, bytes gone, doubled or put in, each on its own connection."""
    source = random.Random(11)
    silent: list[RawPeer] = []
    for case in range(5_000 if LONG else 150):
        uid = f"{MUTANTS}{case}"
        instance = make_instance(pixel_bytes=500, seed=1000 + case % 50, SOPInstanceUID=uid, PatientName="MUTANT")
        request = bytearray(association_request())
        store = bytearray(
            wire.p_data(CT, wire.c_store_rq(1, CT_IMAGE_STORAGE, uid), command=True, last=True)
            + wire.p_data(CT, instance.data, command=False, last=True)
            + wire.release_rq()
        )
        for _ in range(source.randint(1, 3)):
            mutate(source, request if source.random() < 0.3 else store)
        peer = open_peer(served)
        peer.sock.sendall(request)
        with contextlib.suppress(*GONE, TimeoutError):
            peer.recv_pdu(0.2)  # where a length was mutated the gateway waits for more
            peer.send(bytes(store))
            if case % 25 == 0:  # these wait for their deadlines
                silent.append(peer)
                continue
            while peer.recv_pdu(0.2)[0] == wire.P_DATA_TF:
                pass
        peer.close()
    wait_until(lambda: all(map(closed, silent)), ARTIM_S + PROGRESS_S + SLACK_S, "the deadlines to close the silent")
    served.gateway.wait_idle()
    stored = [uid for uid in served.gateway.ledger().by_uid() if uid.startswith(MUTANTS)]
    assert len(stored) > 20, "hardly any mutant got as far as the spool"


MUTANTS = "1.2.826.0.1."


def mutate(source: random.Random, stream: bytearray) -> None:
    """One damage, anywhere but in the data set's UIDs."""
    at = source.randrange(len(stream))
    kind = source.randrange(5)
    if kind == 0:
        stream[at] ^= 1 << source.randrange(8)
    elif kind == 1:
        stream[at] = source.choice((0, 1, 0x7F, 0x80, 0xFF))
    elif kind == 2:
        del stream[at : at + source.randint(1, 64)]
    elif kind == 3:
        stream[at:at] = stream[at : at + source.randint(1, 64)]
    else:
        stream[at:at] = source.randbytes(source.randint(1, 16))


# ── AE titles ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ODD_TITLES = {
    "CR LF": b"EVIL\r\nlevel=err",
    "NUL": b"EV\0IL",
    "ESC": b"\x1b[31mRED\x1b[0m",
    "backslash": b"A\\B",
    "8 bit": "SCHÄDEL".encode("latin-1"),
    "blank": b" " * 16,
}


@pytest.mark.parametrize("host", ["127.0.0.1", BY_HOST])
@pytest.mark.parametrize("title", ODD_TITLES)
def test_an_odd_calling_ae_title_is_rejected_with_one_escaped_log_line(served: Scene, title: str, host: str) -> None:
    """Also from a host whose every AE title is welcome: PS3.5 6.2 says what an AE title is."""
    assert_rejected(served, association_request(calling=ODD_TITLES[title]), host, (1, 1, 3))


@pytest.mark.parametrize("title", ["NOBODY", "<b>NOBODY</b>", '"},{"x":"'])
def test_an_unknown_calling_ae_title_is_rejected_with_one_log_line(served: Scene, title: str) -> None:
    assert_rejected(served, association_request(calling=title), "127.0.0.1", (1, 1, 3))


def assert_rejected(served: Scene, request: bytes, host: str, why: tuple[int, int, int]) -> None:
    mark = len(served.gateway.log())
    with open_peer(served, host) as peer:
        peer.send(request)
        with pytest.raises(Rejected) as rejected:
            peer.expect(wire.A_ASSOCIATE_AC)
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == why
    lines = wait_until(lambda: of_the_receiver(served, mark), SLACK_S, "a log line")
    assert [line["event"] for line in lines] == ["association_rejected"]


def of_the_receiver(served: Scene, mark: int) -> list[dict[str, object]]:
    """The receiver's log lines since a mark; every line of it must be one JSON object in printable ASCII."""
    text = served.log_since(mark)
    assert text.isascii() and all(c.isprintable() or c == "\n" for c in text)
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if line["process"].startswith("receiver")]


def test_titles_of_17_bytes_move_everything_behind_them_and_are_refused(served: Scene) -> None:
    """The fields are 16 bytes; a longer title pushes the rest out of its place. One line, and no association."""
    mark = len(served.gateway.log())
    whole = association_request()
    body = whole[6:26] + b"X" + whole[26:]
    with open_peer(served) as peer:
        peer.send(wire.pdu(wire.A_ASSOCIATE_RQ, body))
        assert peer.recv_pdu(SLACK_S)[0] in (wire.A_ASSOCIATE_RJ, wire.A_ABORT)
    lines = wait_until(lambda: of_the_receiver(served, mark), SLACK_S, "a log line")
    assert len(lines) == 1


# ── maximum PDU length of the peer ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("maximum", [8, 16, 128, 4096, 0, 0xFFFFFFFF])
def test_no_answer_of_ours_exceeds_the_peers_maximum_pdu_length(served: Scene, maximum: int) -> None:
    """PS3.8 D.1: tiny ones are kept to, 0 (no limit) and 4 GiB work."""
    instance = make_instance(pixel_bytes=3000, seed=900 + maximum % 97)
    with RawScu(served.port) as scu:
        scu.associate(CONTEXTS, max_pdu=maximum)
        number = scu.send_store(CT, CT_IMAGE_STORAGE, instance.sop_instance_uid, instance.data)
        command = bytearray()
        last = False
        while not last:
            body = scu.expect(wire.P_DATA_TF)
            assert maximum == 0 or len(body) <= maximum
            [(_, _, last, piece)] = wire.parse_pdvs(body)
            command += piece
        answer = wire.parse_command(bytes(command))
        assert wire.us(answer, wire.MESSAGE_ID_RESPONDED_TO) == number
        assert wire.us(answer, wire.STATUS, 0xFFFF) == 0
        scu.release()


def test_a_maximum_pdu_length_that_fits_no_fragment_is_aborted(served: Scene) -> None:
    for maximum in (1, 6, 7):
        with RawScu(served.port) as scu, pytest.raises(Aborted):
            scu.associate(CONTEXTS, max_pdu=maximum)
