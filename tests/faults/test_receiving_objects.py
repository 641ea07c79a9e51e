"""Objects that are not what they say: refused, or accepted and quarantined with the reason; never sent, never "done".

What is acknowledged stays in the spool as it came. Beside every bad object a good one is sent, and arrives.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.receiving_kit import CT, ECHO, Scene, scene
from tests.harness import wire
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.tools import peak_resident_bytes, reset_peak, resident_bytes, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, DEFLATED_LE, EXPLICIT_LE

MIB = 1 << 20
WORKER_TIME_S = 1
OTHER_CLASS = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("objects")
    with scene(folder, worker={"time": f"{WORKER_TIME_S} s", "memory": "512 MiB"}) as found:
        yield found
        found.gateway.wait_idle()
        found.judge(delivered=False)
        states = {row.state for row in found.gateway.ledger().instances.values()}
        assert states <= {"quarantined", "settled", "purging", "purged"}


def bad(data: bytes, uid: str, *, sop_class: str = CT_IMAGE_STORAGE, syntax: str = EXPLICIT_LE) -> Instance:
    """An instance of any bytes, under any name."""
    return Instance(data, sop_class, uid, syntax, hashlib.sha256(data).hexdigest())


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """An element in explicit VR little endian, whatever its length."""
    head = struct.pack("<HH2s", group, number, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def header(uid: str, sop_class: str = CT_IMAGE_STORAGE) -> bytes:
    """The elements that name an instance."""
    return b"".join(
        element(0x0008, number, b"UI", value.encode() + b"\0" * (len(value) % 2))
        for number, value in ((0x0016, sop_class), (0x0018, uid))
    )


def state_of(served: Scene, uid: str) -> str:
    """The state of the newest arrival of a UID, "" while the ledger does not know it."""
    rows = served.gateway.ledger().by_uid().get(uid, [])
    return rows[-1].state if rows else ""


def wait_quarantined(served: Scene, uid: str, timeout_s: float = 30) -> str:
    """Wait for the verdict; the reason that was logged."""
    wait_until(
        lambda: state_of(served, uid) == "quarantined", timeout_s, lambda: f"quarantine: {state_of(served, uid)}"
    )
    instance_id = served.gateway.ledger().by_uid()[uid][-1].instance_id
    lines = wait_until(lambda: served.gateway.log_lines(event="quarantined", instance_id=instance_id), 10)
    assert uid not in served.archive.contents()
    return str(lines[-1]["reason"])


def send_good(served: Scene, seed: int) -> None:
    """A good instance goes through."""
    good = make_instance(pixel_bytes=3000, seed=seed)
    assert dict(served.send([good]).statuses) == {0: 1}
    wait_until(lambda: good.sop_instance_uid in served.archive.contents(), 60, "a good instance to arrive")


# ── UIDs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

STRANGE_UIDS = {
    "climbs": "../../x",
    "absolute": "/etc/passwd",
    "NUL inside": "1.2\x003.4",
    "65 characters": "1." + "2" * 63,
    "1000 characters": "1." + "2" * 998,
    "empty": "",
    "line break": "1.2\r\n3.4",
    "quote": "1.2'; DROP TABLE instance; --",
    "8 bit": "1.2.\xff\xfe",
}


@pytest.mark.parametrize("what", STRANGE_UIDS)
def test_a_sop_instance_uid_that_is_none_is_refused_and_makes_no_file(served: Scene, what: str) -> None:
    """Whatever the name says, no file appears outside the spool; the association goes on."""
    outside = {path for path in served.gateway.config.folder.rglob("*") if "spool" not in path.parts}
    uid = STRANGE_UIDS[what]
    good = make_instance(pixel_bytes=2000, seed=100)
    with served.connect() as peer:
        status = peer.store(CT, CT_IMAGE_STORAGE, uid, good.data)
        assert status == 0x0117
        assert served_uid(served) == set(), "a refused instance is in the ledger"
        peer.release()
    served.wait_no_files(30)
    assert {path for path in served.gateway.config.folder.rglob("*") if "spool" not in path.parts} == outside


def served_uid(served: Scene) -> set[str]:
    return {uid for uid in served.gateway.ledger().by_uid() if uid in STRANGE_UIDS.values()}


def test_a_sop_class_uid_that_is_none_is_refused(served: Scene) -> None:
    with served.connect() as peer:
        assert peer.store(CT, "../../class", "1.2.3.4.5", make_instance(seed=101).data) == 0x0122


def test_a_context_carries_its_own_sop_class_only(served: Scene) -> None:
    """Else what a listener accepts would bound nothing: Verification would carry any object."""
    good = make_instance(pixel_bytes=2000, seed=102)
    with served.connect() as peer:
        assert peer.store(ECHO, CT_IMAGE_STORAGE, good.sop_instance_uid, good.data) == 0x0122
        assert peer.store(CT, OTHER_CLASS, good.sop_instance_uid, good.data) == 0x0122
        assert peer.echo(ECHO) == 0
        peer.release()


@pytest.mark.parametrize("what", ["SOP Instance UID", "SOP Class UID"])
def test_a_data_set_that_disagrees_with_its_command_is_quarantined(served: Scene, what: str) -> None:
    """PS3.4 B.2.1: they name the same instance; else neither is believed."""
    honest = make_instance(pixel_bytes=2000, seed=110 + len(what))
    if what == "SOP Instance UID":
        liar = replace(honest, sop_instance_uid="1.2.3.9999")
    else:
        liar = replace(honest, sop_class_uid=OTHER_CLASS)
    assert dict(served.send([liar]).statuses) == {0: 1}
    assert what in wait_quarantined(served, liar.sop_instance_uid)
    send_good(served, 112 + len(what))


# ── data sets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_without_a_data_set_or_with_an_empty_one_is_refused(served: Scene) -> None:
    """0xC000 (cannot understand); the association goes on."""
    with served.connect() as peer:
        without = wire.command_set(
            {
                wire.AFFECTED_SOP_CLASS_UID: CT_IMAGE_STORAGE,
                wire.COMMAND_FIELD: wire.C_STORE_RQ,
                wire.MESSAGE_ID: 77,
                wire.PRIORITY: 0,
                wire.COMMAND_DATA_SET_TYPE: wire.NO_DATA_SET,
                wire.AFFECTED_SOP_INSTANCE_UID: "1.2.3.77",
            }
        )
        peer.send(wire.p_data(CT, without, command=True, last=True))
        assert peer.recv_store_status(77) == 0xC000
        assert peer.store(CT, CT_IMAGE_STORAGE, "1.2.3.78", b"") == 0xC000
        good = make_instance(pixel_bytes=2000, seed=120)
        peer.release()
    assert dict(served.send([good]).statuses) == {0: 1}
    assert not {"1.2.3.77", "1.2.3.78"} & served.gateway.ledger().by_uid().keys()


def truncated(seed: int, cut: int) -> Instance:
    whole = make_instance(pixel_bytes=4000, seed=seed)
    return bad(whole.data[:-cut], whole.sop_instance_uid)


def past_the_end() -> Instance:
    uid = "1.2.3.200"
    return bad(header(uid) + struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 60000) + b"short ", uid)


def length_of_4_gib() -> Instance:
    uid = "1.2.3.201"
    return bad(header(uid) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 0xFFFFFFFE) + bytes(64), uid)


def garbage() -> Instance:
    return bad(hashlib.shake_128(b"garbage").digest(5000), "1.2.3.202")


def part10_file() -> Instance:
    """A whole file, preamble and all, where a data set should be."""
    made = make_instance(pixel_bytes=2000, seed=204)
    return bad(bytes(128) + b"DICM" + made.data, made.sop_instance_uid)


def endless_sequence() -> Instance:
    uid = "1.2.3.205"
    return bad(header(uid) + struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + bytes(2), uid)


def nested() -> Instance:
    """Sequences 5,000 deep, every one of them closed."""
    uid = "1.2.3.206"
    opening = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return bad(header(uid) + opening * 5000 + closing * 5000, uid)


def million_elements() -> Instance:
    """1,100,000 empty private elements, in order."""
    uid = "1.2.3.207"
    many = b"".join(
        struct.pack("<HH2sH", 0x0009 + 2 * (index // 0xF000), 0x1000 + index % 0xF000 % 0xEFFF, b"LO", 0)
        for index in range(1_100_000)
    )
    return bad(header(uid) + many, uid)


BAD_DATA_SETS = {
    "garbage": garbage,
    "truncated in the pixels": lambda: truncated(210, 1000),
    "truncated in the header": lambda: truncated(211, 4100),
    "one byte short": lambda: truncated(212, 1),
    "a length past the end": past_the_end,
    "a length of 4 GiB": length_of_4_gib,
    "a Part 10 file": part10_file,
    "a sequence without end": endless_sequence,
    "nested 5,000 deep": nested,
    "more than a million elements": million_elements,
}


@pytest.mark.parametrize("what", BAD_DATA_SETS)
def test_a_data_set_that_cannot_be_read_is_quarantined_and_never_sent(served: Scene, what: str) -> None:
    """The receiver takes it, for it does not look; the worker says why it must not be sent, and lives on."""
    instance = BAD_DATA_SETS[what]()
    assert dict(served.send([instance]).statuses) == {0: 1}
    reason = wait_quarantined(served, instance.sop_instance_uid, 60)
    assert reason
    assert all(word not in reason for word in instance.canaries)
    send_good(served, 300 + len(what))


def deflate_bomb(uid: str, gib: int) -> bytes:
    """A deflated data set of some MiB that inflates to `gib` GiB of zeros, in elements of 1 GiB."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [deflater.compress(header(uid)), deflater.flush(zlib.Z_FULL_FLUSH)]
    once = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = once.compress(bytes(64 * MIB)) + once.flush(zlib.Z_FULL_FLUSH)
    for number in range(gib):
        head = struct.pack("<HH2sHI", 0x7FE1 + 2 * number, 0x1010, b"OB", 0, 1 << 30)
        parts += [deflater.compress(head), deflater.flush(zlib.Z_FULL_FLUSH), zeros * 16]
    parts.append(deflater.flush(zlib.Z_FINISH))
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)


def test_a_deflate_bomb_hurts_only_its_own_job(served: Scene) -> None:
    """3 GiB of zeros in 3 MiB, and a worker that may take one second: it is ended and replaced until the instance is
    quarantined. The receiver's memory does not move, and what came with it and after it arrives."""
    uid = "1.2.3.208"
    bomb = bad(deflate_bomb(uid, 3), uid, syntax=DEFLATED_LE)
    receiver = served.receiver()
    reset_peak(receiver)
    before = resident_bytes(receiver)
    quarantined = served.gateway.metric("gateway_quarantined_instances")
    beside = list(make_instances(20, pixel_bytes=3000, seed=400))
    assert served.send([*beside[:10], bomb, *beside[10:]]).statuses[0] == 21
    assert peak_resident_bytes(receiver) - before < 16 * MIB
    arrived = {one.sop_instance_uid for one in beside}
    wait_until(lambda: arrived <= served.archive.contents().keys(), 60, "what came with the bomb")
    for number in range(3):
        send_good(served, 420 + number)
    wait_until(lambda: state_of(served, uid) == "quarantined", 90, lambda: f"quarantine: {state_of(served, uid)}")
    assert served.gateway.log_lines(event="child_ended", child="worker-0", status="SIGALRM")
    assert served.gateway.metric("gateway_quarantined_instances") == quarantined + 1
    assert uid not in served.archive.contents()
    assert served.receiver() == receiver
    served.gateway.wait_ready()
