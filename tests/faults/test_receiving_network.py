"""The network is cut, slow, or ends in the middle of a data set, towards us and towards the archive.

Slots come free by their deadlines, partial files go, what was not acknowledged is sent again, and a slow healthy link
is never taken for a dead one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.receiving_kit import CONTEXTS, CT, LONG, Scene, scene
from tests.harness import wire
from tests.harness.archive import Behaviour, OurArchive, first
from tests.harness.data import Instance, make_instance
from tests.harness.machine import Network
from tests.harness.proxy import TcpProxy
from tests.harness.rawpeer import RawScu
from tests.harness.tools import require, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE

MIB = 1 << 20
PROGRESS_S = 3
SLACK_S = 20
GONE_S = 5  # partial files, after a connection has ended
LISTENER = {"progress_timeout": f"{PROGRESS_S} s"}
DESTINATION = {"progress_timeout": f"{PROGRESS_S} s", "response_timeout": f"{PROGRESS_S} s"}
SLOW_KBIT = 256
SLOW_BYTES = 20 * MIB if LONG else 384 * 1024


def begin_store(peer: RawScu, instance: Instance, length: int) -> None:
    """A C-STORE-RQ and the first bytes of its data set."""
    command = wire.c_store_rq(1, CT_IMAGE_STORAGE, instance.sop_instance_uid)
    peer.send(wire.p_data(CT, command, command=True, last=True))
    peer.send(wire.p_data(CT, instance.data[:length], command=False, last=False))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A gateway with short deadlines; the archive's behaviour is a test's to set, and is reset after it."""
    folder = tmp_path_factory.mktemp("network")
    with scene(folder, destination=DESTINATION, listeners={"main": LISTENER}) as found:
        yield found


@pytest.fixture(autouse=True)
def well_behaved(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "served" in request.fixturenames:
        found: Scene = request.getfixturevalue("served")
        found.archive.on_store = lambda facts: Behaviour()
        found.wait_no_files(SLACK_S)  # what was delivered is purged: the next test looks for files of its own


def associations(found: Scene) -> float:
    return found.gateway.metric("gateway_associations_active", role="acceptor")


# ── the sender's side ─────────────────────────────────────────────────────────────────────────────────────────────────

ENDS: dict[str, Callable[[RawScu], None]] = {
    "A-ABORT": lambda peer: peer.abort(),
    "A-P-ABORT": lambda peer: peer.abort(2, 6),
    "RST": lambda peer: peer.reset(),
    "FIN": lambda peer: peer.close(),
    "half a PDU, then RST": lambda peer: (peer.send(b"\x04\x00\x00"), peer.reset())[1],
    "A-RELEASE": lambda peer: (peer.send(wire.release_rq()), peer.expect(wire.A_RELEASE_RP), peer.close())[2],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_sender_that_ends_in_the_middle_leaves_no_partial_file_and_sends_again(served: Scene, end: str) -> None:
    """The part is gone within 5 s; the second try of the same instance is taken and arrives, once."""
    instance = make_instance(pixel_bytes=2 * MIB, seed=10 + list(ENDS).index(end))
    with served.connect() as peer:
        begin_store(peer, instance, MIB)
        wait_until(lambda: served.files(), SLACK_S, "the part to be on the disk")
        ENDS[end](peer)
        served.wait_no_files(GONE_S)
    assert dict(served.send([instance]).statuses) == {0: 1}
    report = served.judge()
    assert report.duplicates["pacs"] == 0
    wait_until(lambda: associations(served) == 0, SLACK_S)


@pytest.mark.parametrize("fault", ["stalls", "cuts with RST", "cuts with FIN"])
def test_a_network_that_fails_in_the_middle_frees_the_slot_and_the_file(served: Scene, fault: str) -> None:
    """Through a proxy: a stall is ended by the progress deadline, a cut at once; nothing of it stays."""
    instance = make_instance(pixel_bytes=2 * MIB, seed=30 + len(fault))
    with TcpProxy(served.port) as proxy, RawScu(proxy.port) as peer:
        peer.associate(CONTEXTS)
        begin_store(peer, instance, MIB)
        wait_until(lambda: served.files(), SLACK_S, "the part to be on the disk")
        if fault == "stalls":
            proxy.up.stalled = True
        else:
            proxy.cut_all("rst" if "RST" in fault else "fin")
        served.wait_no_files(PROGRESS_S + SLACK_S if fault == "stalls" else GONE_S)
        wait_until(lambda: associations(served) == 0, SLACK_S)


def test_a_sender_that_reads_no_answer_is_ended_by_a_deadline_and_its_instance_is_kept(served: Scene) -> None:
    """Half-open: the instance is whole and acknowledged, but the answer reaches nobody. It is sent on all the same."""
    instance = make_instance(pixel_bytes=100_000, seed=40)
    with TcpProxy(served.port) as proxy, RawScu(proxy.port) as peer:
        peer.associate(CONTEXTS)
        proxy.down.stalled = True
        served.journal.sending(instance.sop_instance_uid, instance.sha256)
        peer.send_store(CT, CT_IMAGE_STORAGE, instance.sop_instance_uid, instance.data)
        wait_until(lambda: instance.sop_instance_uid in served.archive.contents(), SLACK_S, "it to arrive")
        proxy.cut_all("rst")
    wait_until(lambda: associations(served) == 0, SLACK_S)
    assert dict(served.send([instance]).statuses) == {0: 1}
    served.judge()


# ── the archive's side ────────────────────────────────────────────────────────────────────────────────────────────────

ARCHIVE_ENDS = {
    "A-ABORT": Behaviour(store=False, cut="abort", cut_after=MIB),
    "A-P-ABORT": Behaviour(store=False, cut="p-abort", cut_after=MIB),
    "RST": Behaviour(store=False, cut="rst", cut_after=MIB),
    "FIN": Behaviour(store=False, cut="fin", cut_after=MIB),
    "no reading": Behaviour(store=False, stop_reading_after=MIB),
    "no answer": Behaviour(store=False, respond=False),
    "stored, and no answer": Behaviour(store=True, respond=False),
}


@pytest.mark.parametrize("end", ARCHIVE_ENDS)
def test_an_archive_that_ends_in_the_middle_gets_the_instance_again(served: Scene, end: str) -> None:
    """Cut off, standing still or silent at the first try: the slot comes free, the second try delivers."""
    instance = make_instance(
        pixel_bytes=16 * MIB if end == "no reading" else 3 * MIB, seed=50 + list(ARCHIVE_ENDS).index(end)
    )
    served.archive.on_store = first(1, ARCHIVE_ENDS[end])
    before = served.archive.duplicates()
    assert dict(served.send([instance]).statuses) == {0: 1}
    wait_until(lambda: instance.sop_instance_uid in served.archive.contents(), 60, lambda: served.gateway.log()[-2000:])
    served.judge()
    assert served.archive.tally.requests[instance.sop_instance_uid] == 2
    assert served.archive.duplicates() - before == (1 if end == "stored, and no answer" else 0)


# ── cables ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[Network, Scene]]:
    """A gateway whose archive is in another network, behind a link that can be cut and slowed down."""
    require("netns", "tc")
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        with network.inside():
            archive = stack.enter_context(OurArchive(host=network.address))
        found = stack.enter_context(
            scene(
                tmp_path,
                archive=archive,
                destination={**DESTINATION, "host": network.address},
                listeners={"main": {**LISTENER, "host": "0.0.0.0"}},
                sources={"far": {"hosts": [f"{network.address}/32"]}},
            )
        )
        yield network, found


def test_a_pulled_cable_frees_slots_and_files_and_what_was_sent_goes_again(far: tuple[Network, Scene]) -> None:
    """Nobody is told of the cut. A sender's part is removed by the progress deadline; a delivery under way is given
    up by its own, and made again when the cable is back: one duplicate at most."""
    network, found = far
    coming, going = make_instance(pixel_bytes=2 * MIB, seed=60), make_instance(pixel_bytes=2 * MIB, seed=61)
    network.rate(8000)
    with network.inside():
        peer = RawScu(found.port, network.host_address)
    peer.associate(CONTEXTS)
    begin_store(peer, coming, MIB)
    wait_until(lambda: found.files(), SLACK_S, "the part to be on the disk")
    assert dict(found.send([going]).statuses) == {0: 1}
    wait_until(lambda: found.archive.tally.requests[going.sop_instance_uid], SLACK_S, "its delivery to begin")
    network.cut()
    wait_until(lambda: len(found.files()) == 1, PROGRESS_S + SLACK_S, "the part to be removed")
    wait_until(lambda: associations(found) == 0, SLACK_S, "the slot to be free")
    wait_until(lambda: found.gateway.log_lines(event="delivery_deferred"), SLACK_S, "the delivery to be given up")
    network.mend()
    network.rate(0)
    peer.close()
    wait_until(lambda: going.sop_instance_uid in found.archive.contents(), 60, "its delivery")
    with network.inside():
        again = found.sender([coming], host=network.host_address, until_success=True).start()
    again.join(60)
    found.judge()
    assert len(found.archive.contents()[going.sop_instance_uid]) <= 2


@pytest.mark.chaos
def test_a_slow_healthy_link_completes_long_after_every_deadline(far: tuple[Network, Scene]) -> None:
    """256 kbit/s in both directions, one instance coming and one going at the same time, deadlines of 3 s: both take
    many times as long, neither is cut off, and each is sent once."""
    network, found = far
    coming, going = make_instance(pixel_bytes=SLOW_BYTES, seed=70), make_instance(pixel_bytes=SLOW_BYTES, seed=71)
    network.rate(SLOW_KBIT)
    takes_s = SLOW_BYTES * 8 / (SLOW_KBIT * 1000)
    begun = time.monotonic()
    with network.inside():
        sender = found.sender([coming], host=network.host_address, timeout_s=4 * takes_s).start()
    assert dict(found.send([going]).statuses) == {0: 1}
    sender.join(4 * takes_s + SLACK_S)
    assert dict(sender.statuses) == {0: 1}
    wait_until(lambda: going.sop_instance_uid in found.archive.contents(), 4 * takes_s, "it to arrive")
    assert time.monotonic() - begun > 3 * PROGRESS_S
    network.rate(0)
    report = found.judge()
    assert report.duplicates["pacs"] == 0
    assert found.archive.tally.requests[going.sop_instance_uid] == 1


def test_an_archive_that_answers_no_packet_holds_up_nobody(far: tuple[Network, Scene]) -> None:
    """Its cable is out before anything is sent: intake goes on, and all of it arrives, once, when it is back."""
    network, found = far
    network.cut()
    instances = [make_instance(pixel_bytes=20_000, seed=80 + number) for number in range(5)]
    assert dict(found.send(instances).statuses) == {0: 5}
    wait_until(lambda: found.gateway.log_lines(event="destination_down"), SLACK_S, "the destination to be down")
    assert found.archive.count == 0
    network.mend()
    found.gateway.wait_delivered(5, "pacs", 60)
    report = found.judge()
    assert report.duplicates["pacs"] == 0
