"""The scripted archive stores what it says, and each of its vices shows on the wire."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import wire
from tests.harness.archive import Admission, Behaviour, OurArchive, by_uid, first
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.rawpeer import Aborted, Closed, RawScp, RawScu, Rejected
from tests.harness.tools import wait_until

CONTEXTS = [(wire.CT_IMAGE_STORAGE, wire.EXPLICIT_LE), (wire.VERIFICATION, wire.IMPLICIT_LE)]
ONE = make_instance()


@pytest.fixture
def archive() -> Iterator[OurArchive]:
    with OurArchive() as running:
        yield running


def connected(archive: OurArchive, timeout_s: float = 5.0) -> RawScu:
    scu = RawScu(archive.port, timeout_s=timeout_s)
    scu.associate(CONTEXTS)
    return scu


def store(scu: RawScu, instance: Instance = ONE) -> int:
    return scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data)


def test_it_stores_echoes_and_releases(archive: OurArchive, tmp_path: Path) -> None:
    with connected(archive) as scu:
        assert scu.echo(3) == 0
        assert store(scu) == 0
        assert store(scu) == 0
        scu.release()
    assert archive.contents() == {ONE.sop_instance_uid: [ONE.sha256, ONE.sha256]}
    assert archive.duplicates() == 1
    assert archive.tally.echoes == 1
    wait_until(lambda: archive.tally.released == 1)


def test_a_journal_and_kept_data(tmp_path: Path) -> None:
    journal = tmp_path / "archive.jsonl"
    with OurArchive(journal=journal, keep_data=True) as archive:
        assert store(connected(archive)) == 0
        line = json.loads(journal.read_text())
        assert (line["sop_instance_uid"], line["sha256"]) == (ONE.sop_instance_uid, ONE.sha256)
        assert archive.data[ONE.sop_instance_uid] == [ONE.data]


def test_it_is_fast_enough(archive: OurArchive) -> None:
    instances = list(make_instances(1500, pixel_bytes=8192))
    begun = time.monotonic()
    scu = connected(archive)
    for instance in instances:
        assert store(scu, instance) == 0
    rate = len(instances) / (time.monotonic() - begun)
    assert archive.contents() == {one.sop_instance_uid: [one.sha256] for one in instances}
    assert rate >= 500, f"{rate:.0f} instances a second"


def test_small_pdus_are_joined() -> None:
    with OurArchive(max_pdu=128) as archive:
        assert store(connected(archive)) == 0
        assert archive.contents() == {ONE.sop_instance_uid: [ONE.sha256]}
        assert archive.tally.most_pdu_bytes <= 128


def test_status_by_instance_and_by_try(archive: OurArchive) -> None:
    archive.on_store = first(2, Behaviour(status=0xA700, store=False))
    scu = connected(archive)
    assert [store(scu) for _ in range(3)] == [0xA700, 0xA700, 0]
    archive.on_store = by_uid({ONE.sop_instance_uid: Behaviour(status=0xB000)})
    assert store(scu) == 0xB000
    assert archive.count == 2
    assert archive.tally.requests[ONE.sop_instance_uid] == 4


@pytest.mark.parametrize(
    ("behaviour", "element", "value"),
    [
        (Behaviour(message_id_offset=1), wire.MESSAGE_ID_RESPONDED_TO, 2),
        (Behaviour(command_field=wire.C_ECHO_RSP), wire.COMMAND_FIELD, wire.C_ECHO_RSP),
    ],
)
def test_wrong_numbers_in_the_response(archive: OurArchive, behaviour: Behaviour, element: int, value: int) -> None:
    archive.on_store = lambda facts: behaviour
    scu = connected(archive)
    scu.send_store(1, ONE.sop_class_uid, ONE.sop_instance_uid, ONE.data)
    assert wire.us(scu.recv_message()[1], element) == value


def test_missing_and_other_uids_in_the_response(archive: OurArchive) -> None:
    scu = connected(archive)
    archive.on_store = lambda facts: Behaviour(omit_uids=True)
    scu.send_store(1, ONE.sop_class_uid, ONE.sop_instance_uid, ONE.data)
    assert wire.AFFECTED_SOP_INSTANCE_UID not in scu.recv_message()[1]
    archive.on_store = lambda facts: Behaviour(sop_instance_uid="1.2.3")
    scu.send_store(1, ONE.sop_class_uid, ONE.sop_instance_uid, ONE.data)
    assert wire.ui(scu.recv_message()[1], wire.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"


def test_cuts_in_mid_data_set_store_nothing(archive: OurArchive) -> None:
    big = make_instance(pixel_bytes=400_000)
    archive.on_store = lambda facts: Behaviour(cut="abort", cut_after=100_000)
    with pytest.raises((Aborted, Closed)):
        store(connected(archive), big)
    archive.on_store = lambda facts: Behaviour(cut="rst", cut_after=100_000)
    with pytest.raises(Closed):
        store(connected(archive), big)
    assert archive.count == 0


def test_stored_and_never_answered(archive: OurArchive) -> None:
    archive.on_store = lambda facts: Behaviour(respond=False)
    scu = connected(archive, timeout_s=0.3)
    with pytest.raises(TimeoutError):
        store(scu)
    assert archive.count == 1
    archive.on_store = lambda facts: Behaviour(respond=False, end="rst")
    with pytest.raises(Closed):
        store(connected(archive))
    assert archive.count == 2


def test_a_response_is_held_until_it_is_let_go(archive: OurArchive) -> None:
    gate = threading.Event()
    archive.on_store = lambda facts: Behaviour(wait_for=gate)
    scu = connected(archive)
    scu.send_store(1, ONE.sop_class_uid, ONE.sop_instance_uid, ONE.data)
    wait_until(lambda: archive.count == 1)
    with pytest.raises(TimeoutError):
        scu.recv_pdu(timeout_s=0.2)
    gate.set()
    assert wire.us(scu.recv_message(5)[1], wire.STATUS, 1) == 0


def test_it_stops_reading() -> None:
    big = make_instance(pixel_bytes=8 << 20)
    with OurArchive(on_store=lambda facts: Behaviour(stop_reading_after=1000), receive_buffer_bytes=65536) as archive:
        with pytest.raises(TimeoutError):
            store(connected(archive, timeout_s=0.5), big)
        assert archive.count == 0


def test_admission(archive: OurArchive) -> None:
    archive.on_associate = lambda request, number: Admission(reject=(2, 3, 2))
    with pytest.raises(Rejected) as rejected:
        connected(archive)
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (2, 3, 2)
    archive.on_associate = lambda request, number: Admission(abort=(2, 1))
    with pytest.raises(Aborted):
        connected(archive)
    archive.on_associate = lambda request, number: Admission(close="rst")
    with pytest.raises(Closed):
        connected(archive)
    archive.on_associate = lambda request, number: Admission(silent=True)
    with pytest.raises(TimeoutError):
        connected(archive, timeout_s=0.2)
    accept = frozenset({wire.IMPLICIT_LE})
    archive.on_associate = lambda request, number: Admission(accept=accept, refuse_verification=True)
    scu = connected(archive)
    assert scu.answer is not None
    assert {number: result for number, (result, _) in scu.answer.results.items()} == {1: 4, 3: 3}
    assert archive.tally.connections == 5


def test_it_comes_back_on_the_same_port_with_its_memory() -> None:
    archive = OurArchive().start()
    port = archive.port
    scu = connected(archive)
    assert store(scu) == 0
    archive.stop()
    with pytest.raises((Closed, Aborted)):
        store(scu)
    with pytest.raises(ConnectionRefusedError):
        RawScu(port)
    archive.start()
    assert archive.port == port
    assert store(connected(archive)) == 0
    archive.close()
    assert archive.count == 2


def test_the_raw_scp_is_answered_by_hand() -> None:
    with RawScp() as scp:
        scu = RawScu(scp.port)
        asked = threading.Thread(target=scu.associate, args=(CONTEXTS,))
        asked.start()
        peer = scp.accept_association(max_pdu=4096)
        asked.join(5)
        number = scu.send_store(1, ONE.sop_class_uid, ONE.sop_instance_uid, ONE.data)
        context_id, command, data = peer.recv_message()
        assert (context_id, data) == (1, ONE.data)
        assert wire.us(command, wire.MESSAGE_ID) == number
        peer.send(wire.abort(2, 6))
        with pytest.raises(Aborted) as aborted:
            scu.recv_message()
        assert (aborted.value.source, aborted.value.reason) == (2, 6)
        peer.reset()
        with pytest.raises(Closed):
            scu.recv_pdu(1)
