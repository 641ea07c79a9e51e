"""The format of a spool file: others can read it, and no change of it goes unnoticed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pydicom
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import SpoolCorrupt
from gateway.spool import FoundState, read_arrival, record, scan
from tests.harness.data import make_instance, sendable_sample_files
from tests.harness.tools import program, require, run
from tests.unit.spool_kit import CT, EXPLICIT_LE, GENERATION, make_facts, make_intake, make_meta, make_spool, store

INSTANCE_ID = "0190a1b2c3d47000800000000000002a"


def make_record(**changes: object) -> record.Record:
    values: dict[str, object] = {
        "instance_id": INSTANCE_ID,
        "generation": GENERATION,
        "offset": 0,
        "length": 7,
        "checksum": xxhash.xxh3_128_digest(b"dataset"),
        "sop_class_uid": CT,
        "sop_instance_uid": "1.2.3",
        "transfer_syntax_uid": EXPLICIT_LE,
        "received_at_ms": 1_760_000_000_123,
        "facts": make_facts(),
    }
    return record.Record(**{**values, **changes})  # type: ignore[arg-type]


def header_of(told: record.Record) -> bytes:
    meta = record.encode_meta(
        told.instance_id, told.sop_class_uid, told.sop_instance_uid, told.transfer_syntax_uid, told.facts
    )
    return record.encode_header(meta, told)


def test_the_longest_header_fits_into_one_read() -> None:
    told = make_record(
        generation="a" * 64,
        sop_class_uid="1" * 64,
        sop_instance_uid="2" * 64,
        transfer_syntax_uid="3" * 64,
        facts=make_facts(calling_ae_title="C" * 64, called_ae_title="D" * 64),
    )
    header = header_of(told)
    assert len(header) <= record.HEADER_MAX_BYTES
    assert record.decode_header(header + b"dataset").sop_instance_uid == "2" * 64


def test_pydicom_reads_the_file_with_the_same_data_set_bytes(tmp_path: Path) -> None:
    instance = make_instance(Modality="CT")
    spool = make_spool(tmp_path / "spool")
    meta = make_meta(
        make_facts(calling_ae_title="CT1", called_ae_title="GATEWAY"),
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )
    arrival = store(make_intake(spool), instance.data, meta)

    raw = spool.path(arrival.path).read_bytes()
    assert raw[arrival.offset :] == instance.data
    found = pydicom.dcmread(spool.path(arrival.path))
    assert found.Modality == "CT"
    assert found.SOPInstanceUID == instance.sop_instance_uid
    file_meta = found.file_meta
    assert file_meta.MediaStorageSOPInstanceUID == instance.sop_instance_uid
    assert file_meta.MediaStorageSOPClassUID == instance.sop_class_uid
    assert file_meta.TransferSyntaxUID == instance.transfer_syntax_uid
    assert file_meta.SourceApplicationEntityTitle == "CT1"
    assert file_meta.SendingApplicationEntityTitle == "CT1"
    assert file_meta.ReceivingApplicationEntityTitle == "GATEWAY"
    assert len(file_meta.PrivateInformation) == record.RECORD_BYTES
    assert found.file_meta.FileMetaInformationGroupLength == arrival.offset - 144


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own samples hold values that it warns of
def test_every_sample_in_every_transfer_syntax_is_still_read_by_pydicom(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    samples = sendable_sample_files()
    intake = make_intake(spool, pool_size=len(samples))
    for sample in samples:
        original = pydicom.dcmread(sample.path)
        arrival = store(intake, sample.instance().data, make_meta(transfer_syntax_uid=sample.transfer_syntax_uid))
        again = pydicom.dcmread(spool.path(arrival.path))
        assert again == original, sample.name


def test_dcmdump_reads_the_file(tmp_path: Path) -> None:
    dcmdump = program("dcmdump")
    instance = make_instance(Modality="MR")
    spool = make_spool(tmp_path / "spool")
    meta = make_meta(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
    )
    arrival = store(make_intake(spool), instance.data, meta)
    told = run([dcmdump, "-Un", "--verbose", spool.path(arrival.path)]).check()
    assert "(0002,0102) OB" in told.stdout
    assert f"[{instance.sop_instance_uid}]" in told.stdout
    assert "(0008,0060) CS [MR]" in told.stdout
    assert "W:" not in told.output
    assert "E:" not in told.output


def test_the_record_comes_back_as_it_was_written() -> None:
    told = make_record()
    header = header_of(told)
    found = record.decode_header(header + b"dataset")
    assert found == make_record(offset=len(header))
    assert found.arrival("x").facts == told.facts


ODD_TEXTS = st.text(alphabet=st.characters(codec=None, exclude_categories=[]), max_size=300)


@settings(max_examples=150, deadline=None)
@given(title=ODD_TEXTS, called=ODD_TEXTS, host=ODD_TEXTS, sop_class=ODD_TEXTS, instance=ODD_TEXTS, syntax=ODD_TEXTS)
def test_any_text_of_a_peer_comes_back_bounded_and_leaves_a_readable_file(
    title: str, called: str, host: str, sop_class: str, instance: str, syntax: str
) -> None:
    facts = record.bounded_facts(make_facts(calling_ae_title=title, called_ae_title=called, peer_host=host))
    uids = [record.bounded(uid, record.UID_MAX_BYTES) for uid in (sop_class, instance, syntax)]
    told = make_record(
        facts=facts, sop_class_uid=uids[0], sop_instance_uid=uids[1], transfer_syntax_uid=uids[2], length=0
    )
    header = header_of(told)
    found = record.decode_header(header)
    assert found.facts == facts
    assert [found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid] == uids
    assert title.startswith(facts.calling_ae_title)
    meta = pydicom.dcmread(io.BytesIO(header)).file_meta
    for uid in (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID):
        assert uid.is_valid or uid in uids
        assert set(uid) <= set("0123456789.")
    for found_title in (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle):
        assert "\\" not in str(found_title)
        assert str(found_title).isprintable()


@pytest.mark.parametrize(
    "odd",
    [
        "../../x",
        "/etc/passwd",
        "1.2\0.3",
        "1.2.3\0",
        "",
        "x" * 5000,
        "1" * 65,
        "1.2.840\r\n",
        "ü" * 200,
        "\ud800",
        "%s%n",
    ],
)
def test_no_text_of_a_peer_becomes_part_of_a_path(tmp_path: Path, odd: str) -> None:
    spool = make_spool(tmp_path / "spool")
    intake = make_intake(spool, pool_size=1)
    facts = make_facts(calling_ae_title=odd, called_ae_title=odd, peer_host=odd, association_id=odd)
    meta = make_meta(facts, sop_class_uid=odd, sop_instance_uid=odd, transfer_syntax_uid=odd)
    arrival = store(intake, b"data set", meta)
    assert arrival.path == f"incoming/{GENERATION}/000000/{arrival.instance_id}.dcm"
    everything = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert everything == [f"spool/{arrival.path}"]
    assert read_arrival(spool.path(arrival.path), arrival.path, verify=True) == arrival
    assert odd.startswith(arrival.sop_instance_uid)
    assert len(arrival.sop_instance_uid.encode("utf-8", "surrogatepass")) <= record.UID_MAX_BYTES
    header = spool.path(arrival.path).read_bytes()[: arrival.offset]
    assert pydicom.dcmread(io.BytesIO(header)).file_meta.MediaStorageSOPInstanceUID


def test_an_unusable_uid_is_replaced_in_the_file_meta_only(tmp_path: Path) -> None:
    require("dcmdump")
    spool = make_spool(tmp_path / "spool")
    data = make_instance().data
    arrival = store(make_intake(spool), data, make_meta(sop_instance_uid="../../x"))
    file_meta = pydicom.dcmread(spool.path(arrival.path)).file_meta
    assert file_meta.MediaStorageSOPInstanceUID == f"2.25.{int(arrival.instance_id, 16)}"
    assert read_arrival(spool.path(arrival.path), arrival.path).sop_instance_uid == "../../x"
    run([program("dcmdump"), spool.path(arrival.path)]).check()


def stored_file(tmp_path: Path, data: bytes) -> tuple[Path, str, bytes]:
    spool = make_spool(tmp_path / "spool")
    arrival = store(make_intake(spool, pool_size=1), data)
    path = spool.path(arrival.path)
    return path, arrival.path, path.read_bytes()


def test_every_single_flipped_byte_is_found(tmp_path: Path) -> None:
    path, relative, good = stored_file(tmp_path, b"data set bytes")
    with path.open("r+b", buffering=0) as file:
        for at in range(len(good)):
            os.pwrite(file.fileno(), bytes([good[at] ^ 0xFF]), at)
            with pytest.raises(SpoolCorrupt):
                read_arrival(path, relative, verify=True)
            os.pwrite(file.fileno(), good[at : at + 1], at)
    read_arrival(path, relative, verify=True)


def test_a_flipped_byte_of_the_header_is_found_without_reading_the_data_set(tmp_path: Path) -> None:
    path, relative, good = stored_file(tmp_path, b"data set bytes")
    for at in range(0, len(good) - 14, 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(SpoolCorrupt):
            read_arrival(path, relative)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_any_bytes_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    told = make_record(length=64, checksum=xxhash.xxh3_128_digest(bytes(range(64))))
    good = header_of(told) + bytes(range(64))
    at = data.draw(st.integers(0, len(good) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=40))
    changed = good[:at] + patch + good[at + len(patch) :]
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"{INSTANCE_ID}.dcm"
    path.write_bytes(changed)
    if changed == good:
        read_arrival(path, path.name, verify=True)
    else:
        with pytest.raises(SpoolCorrupt):
            read_arrival(path, path.name, verify=True)


DATA_SETS = [b"data set bytes", bytes(5000), b""]


@pytest.mark.parametrize("data", DATA_SETS)
def test_a_header_with_one_changed_bit_is_damaged_and_never_taken_for_one_that_was_cut_short(data: bytes) -> None:
    header = header_of(make_record(length=len(data), checksum=xxhash.xxh3_128_digest(data)))
    for at in range(len(header)):
        for bit in range(8):
            changed = header[:at] + bytes([header[at] ^ 1 << bit]) + header[at + 1 :]
            with pytest.raises(record.DamagedHeader):
                record.decode_header((changed + data)[: record.HEADER_MAX_BYTES])


@pytest.mark.parametrize("data", DATA_SETS)
def test_a_header_that_was_cut_short_is_told_from_a_damaged_one(data: bytes) -> None:
    header = header_of(make_record(length=len(data), checksum=xxhash.xxh3_128_digest(data)))
    for end in range(len(header) - record.CHECKSUM_BYTES + 1):
        block = (header[:end] + bytes(len(header) - end) + data)[: record.HEADER_MAX_BYTES]
        with pytest.raises(SpoolCorrupt) as caught:
            record.decode_header(block)
        assert not isinstance(caught.value, record.DamagedHeader), f"{end} bytes were written"
    for end in range(144 + 12, len(header)):
        with pytest.raises(record.DamagedHeader):
            record.decode_header(header[:end])


def test_a_header_without_its_beginning_or_its_middle_is_damaged() -> None:
    header = header_of(make_record())
    for first, end in ((0, 512), (512, 1024), (128, 132), (128, 144)):
        with pytest.raises(record.DamagedHeader):
            record.decode_header(header[:first] + bytes(end - first) + header[end:] + b"dataset")


def test_truncated_at_any_length_it_is_never_taken_as_complete(tmp_path: Path) -> None:
    path, relative, good = stored_file(tmp_path, b"data set bytes")
    for length in range(len(good) - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(SpoolCorrupt):
            read_arrival(path, relative)


def test_bytes_behind_the_data_set_are_found(tmp_path: Path) -> None:
    path, relative, good = stored_file(tmp_path, b"data set bytes")
    path.write_bytes(good + b"\0")
    with pytest.raises(SpoolCorrupt, match="bytes, not"):
        read_arrival(path, relative)


def test_a_file_under_another_ones_name_is_not_taken(tmp_path: Path) -> None:
    path, _, _ = stored_file(tmp_path, b"data set bytes")
    other = path.with_name(f"{INSTANCE_ID}.dcm")
    path.rename(other)
    with pytest.raises(SpoolCorrupt, match="another instance"):
        read_arrival(other, other.name)


def test_a_whole_record_of_another_version_is_damaged_not_incomplete(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    path, _, good = stored_file(tmp_path, b"")
    body = bytearray(good[: -record.CHECKSUM_BYTES])
    body[len(good) - record.RECORD_BYTES + len(record.MAGIC)] = 99
    path.write_bytes(bytes(body) + xxhash.xxh3_128_digest(bytes(body)))
    [found] = scan(spool)
    assert found.state is FoundState.DAMAGED
    assert "version" in found.reason


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=3000))
def test_junk_is_never_a_record_and_never_crashes_the_reader(junk: bytes) -> None:
    for block in (junk, bytes(128) + b"DICM" + junk, header_of(make_record())[:144] + junk):
        with pytest.raises(SpoolCorrupt):
            record.decode_header(block)
