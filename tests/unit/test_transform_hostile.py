"""Whatever stands in a data set, a chain ends soon, with a data set that can be read or with an error that says why."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dicom.header import Wanted, read_header
from gateway.errors import HeaderError
from gateway.transform import TransformError
from tests.unit.samples import IMPLICIT, SOP, MemorySource, element, implicit, item, undefined
from tests.unit.test_header import VARIED
from tests.unit.transform_kit import reread, run

CHAINS = [
    "- remove: [private, '(60xx,xxxx)']",
    "- charset: ISO_IR 192",
    "- set: {PatientID: '{PatientName}', StudyID: '1'}",
    "- add_item: {to: RequestAttributesSequence, item: {StudyID: A}}\n- empty: [PatientName, ContentSequence]",
    "- case: {PatientName: upper, ReferencedSeriesSequence.SeriesInstanceUID: lower}\n- record: false",
    "- remove: [private]\n- charset: ISO_IR 192\n- remove_item: {from: ContentSequence, item: 1}",
    "- when: {BeamSequence.BeamName: '*'}\n  set: {BeamSequence.BeamName: B}\n- strip: [PatientID, StudyDescription]",
]
SMALL = [each for each in VARIED if len(each.data_set) < 60_000]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(VARIED), st.sampled_from(CHAINS))
def test_what_comes_out_of_a_sample_can_be_read(each, steps: str) -> None:  # type: ignore[no-untyped-def]
    try:
        data = run(each.data_set, steps, each.transfer_syntax_uid)
    except TransformError:
        return
    read_header(MemorySource(data), each.transfer_syntax_uid, Wanted.of())


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SMALL), st.integers(0, 2**32), st.sampled_from(CHAINS))
def test_what_comes_out_of_a_damaged_sample_can_be_read(each, seed: int, steps: str) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(seed)
    data = bytearray(each.data_set)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        read_header(MemorySource(bytes(data)), each.transfer_syntax_uid, Wanted.of())
        written = run(bytes(data), steps, each.transfer_syntax_uid)
    except (HeaderError, TransformError):
        return
    read_header(MemorySource(written), each.transfer_syntax_uid, Wanted.of())


def many(tag: int, count: int, vr: str = "LO", value: bytes = b"X ") -> bytes:
    """So many elements, one after the other."""
    return b"".join(element(tag + index, vr, value) for index in range(count))


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        (SOP + b"".join(many((group << 16) + 0x1001, 20_000) for group in (9, 11, 13, 15, 17)), "- remove: [private]"),
        (
            element(0x00080005, "CS", b"ISO_IR 100")
            + SOP
            + b"".join(many((group << 16) + 0x1001, 20_000, value=b"\xe9 ") for group in (9, 11, 13, 15)),
            "- charset: ISO_IR 192",
        ),
        (
            SOP + undefined(0x0040A730, "SQ", item(element(0x00100020, "LO", b"X ")) * 50_000),
            "- prefix: {ContentSequence.PatientID: A}",
        ),
        (SOP + undefined(0x0040A730, "SQ", item(element(0x00091001, "LO", b"X ")) * 50_000), "- remove: [private]"),
        (SOP + element(0x0040A160, "UT", b"a" * 65_000), "- replace: {TextValue: {regex: '(a*)*b', with: ''}}"),
        (SOP + element(0x0040A160, "UT", b"\\" * 65_000), "- set: {OtherPatientIDs: '{TextValue}'}"),
        (SOP + many(0x00101001, 1, "PN", b"\\" * 65_000), "- suffix: {OtherPatientNames: A}"),
        (
            element(0x00080005, "CS", b"\\ISO 2022 IR 87 ") + SOP + many(0x00101001, 1, "PN", b"\x1b$B;3\x1b(B" * 7000),
            "- prefix: {OtherPatientNames: A}",
        ),
    ],
    ids=["private", "charset", "items", "private items", "pattern", "separators", "empty names", "escapes"],
)
def test_a_wide_data_set_takes_seconds_not_hours(data: bytes, steps: str) -> None:
    began = time.process_time()
    try:
        run(data, steps + "\n- record: true")
    except (HeaderError, TransformError) as error:
        assert str(error)
    assert time.process_time() - began < 15


def test_private_attributes_go_from_more_frames_than_could_be_open_at_once() -> None:
    private = element(0x00091001, "LO", b"X ") * 30 + element(0x00180050, "DS", b"1 ")
    frame = item(undefined(0x00289110, "SQ", item(private)) + undefined(0x00209113, "SQ", item(private)))
    data = SOP + undefined(0x52009230, "SQ", frame * 3_000)
    clean = item(
        undefined(0x00289110, "SQ", item(element(0x00180050, "DS", b"1 ")))
        + undefined(0x00209113, "SQ", item(element(0x00180050, "DS", b"1 ")))
    )
    written = run(data, "- remove: [private]\n- record: false")
    assert written == SOP + undefined(0x52009230, "SQ", clean * 3_000)


def test_memory_is_bounded_by_what_is_opened() -> None:
    frames = undefined(0x52009230, "SQ", item(element(0x00200013, "IS", b"1 ") * 20) * 40_000)
    data = SOP + frames
    assert len(data) > 6_000_000
    tracemalloc.start()
    run(data, "- set: {PatientID: A}")
    closed = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert closed < 3 * len(data)  # the pieces that this test keeps, and little more
    with pytest.raises(HeaderError, match="hold more than"):
        run(data, "- remove: [private]")


def test_deflated_data_that_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    from gateway.dicom import window
    from tests.unit.samples import DEFLATED

    monkeypatch.setattr(window, "MAX_INFLATED_BYTES", 8 * 1024 * 1024)
    deflater = zlib.compressobj(9, wbits=-15)
    bomb = deflater.compress(SOP + element(0x7FE00010, "OW", bytes(32 << 20))) + deflater.flush()
    with pytest.raises(HeaderError, match="holds more than"):
        run(bomb, "- set: {PatientID: A}", DEFLATED)


def test_implicit_text_of_unknown_vr_is_not_touched_by_a_conversion() -> None:
    data = implicit(0x00080005, b"ISO_IR 100") + implicit(0x00080018, b"1.2\0") + implicit(0x00091001, b"\xe9 ")
    assert implicit(0x00091001, b"\xe9 ") in run(data, "- charset: ISO_IR 192", IMPLICIT)


# An unknown VR in front of a length that has 32 bits here, and would be 121 were it taken for one of 16.
AMBIGUOUS = struct.pack("<HH2sHI", 0x0032, 0x1064, b"S\xb6", 121, 90) + b"x" * 90


def test_an_unknown_vr_that_would_be_read_otherwise_is_not_sent_on() -> None:
    assert run(SOP + AMBIGUOUS, "") == SOP + AMBIGUOUS
    harmless = run(SOP + AMBIGUOUS, "- set: {StudyDescription: X}\n- record: false")
    assert harmless.endswith(AMBIGUOUS)
    with pytest.raises(HeaderError, match="unknown VR, and would be read otherwise"):
        run(SOP + AMBIGUOUS, f"- set: {{ScheduledProcedureStepDescription: {'A' * 64}}}\n- record: false")


def test_an_unknown_vr_is_told_of_as_one_that_can_be_read() -> None:
    odd = struct.pack("<HH2sH", 0x0009, 0x1001, b"??", 4) + b"ODD "
    found = reread(run(SOP + odd, "- remove: ['(0009,xxxx)']"))
    told = found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0][0x00091001]
    assert (told.VR, told.value) == ("UN", b"ODD ")


def test_a_long_sequence_that_changes_but_keeps_its_length_is_told_of() -> None:
    data = SOP + undefined(0x0040A730, "SQ", item(element(0x00100020, "LO", b"X ")) * 5_000)
    assert len(data) > 70_000
    found = reread(run(data, "- prefix: {ContentSequence.PatientID: A}"))
    assert found.ContentSequence[4_999].PatientID == "AX"
    assert len(found.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].ContentSequence) == 0
