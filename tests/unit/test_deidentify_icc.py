"""An ICC profile keeps its colours and names no device, unless that is retained; what is no profile goes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transform.deidentify.icc import MAX_PROFILE_BYTES, without_device
from gateway.transform.deidentify.table import Option
from tests.unit.deidentify_kit import deidentified, profile
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, SOP, element, implicit, item
from tests.unit.transform_kit import reread

CANARY = b"CNRY"
XYZ = b"XYZ " + bytes(4) + struct.pack(">3i", 41_000, 22_000, 1_000)
GAMMA = b"curv" + bytes(4) + struct.pack(">IH", 1, 0x0233) + bytes(0)
PARAMETRIC = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, 157_286, 62_000, 3_500, 5_000, 2_600)
TABLE = b"mft2" + bytes(4) + bytes(range(200))
TEXT = b"text" + bytes(4) + CANARY + b"\0"
COLOURS = {b"wtpt": XYZ, b"rXYZ": XYZ, b"gXYZ": XYZ, b"bXYZ": XYZ, b"rTRC": GAMMA, b"gTRC": GAMMA, b"bTRC": PARAMETRIC}
TELLING = {b"dmnd": TEXT, b"dmdd": TEXT, b"desc": TEXT, b"cprt": TEXT, b"CNRY": TEXT}
LONGER = {b"bkpt": XYZ + CANARY, b"lumi": XYZ + CANARY}
LYING = {b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 9) + CANARY, b"chad": b"sf32" + bytes(4) + CANARY}


def made(tags: dict[bytes, bytes], version: int = 4) -> bytes:
    """A profile of these tags, with a canary in every field of its header that may hold something."""
    start, table, data = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = CANARY + bytes([version, 0x20, 0, 0]) + b"mntrRGB XYZ " + struct.pack(">6H", 2024, 1, 1, 12, 0, 0)
    head += b"acsp" + CANARY * 6 + struct.pack(">I", 1) + bytes.fromhex("0000f6d6000100000000d32d") + CANARY * 12
    return struct.pack(">I", start + len(data)) + head + table + data


def tags_of(made_anew: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", made_anew, 128)
    entries = [struct.unpack_from(">4sII", made_anew, 132 + 12 * index) for index in range(count)]
    return {name: made_anew[start : start + length] for name, start, length in entries}


@pytest.mark.parametrize("version", [2, 4])
def test_the_numbers_of_colours_stay_and_all_else_goes(version: int) -> None:
    new = without_device(made({**COLOURS, b"A2B0": TABLE, **TELLING, **LYING, **LONGER}, version))
    assert new is not None and CANARY not in new and struct.pack(">H", 2024) not in new[:128]
    assert struct.unpack_from(">I", new)[0] == len(new) and len(new) % 2 == 0
    assert new[8] == version and new[12:24] == b"mntrRGB XYZ " and new[36:40] == b"acsp" and new[67] == 1
    tags = tags_of(new)
    assert {name: tags[name] for name in COLOURS} == COLOURS and tags[b"A2B0"] == TABLE
    assert set(tags) == {*COLOURS, b"A2B0", b"desc", b"cprt", *LONGER} and tags[b"lumi"] == XYZ
    assert without_device(new) == new


@given(st.binary(max_size=400))
def test_bytes_that_are_no_profile_are_none(data: bytes) -> None:
    assert without_device(data) is None
    assert CANARY not in (without_device(made(COLOURS) + data + CANARY) or b"")


@given(st.integers(128, 400), st.binary(max_size=8))
def test_a_broken_profile_is_made_anew_or_is_none(at: int, data: bytes) -> None:
    whole = made(COLOURS)
    new = without_device(whole[:at] + data + whole[at + len(data) :])
    assert new is None or without_device(new) == new


def test_a_profile_stays_as_it_is_with_the_identity_of_devices() -> None:
    profiles = element(0x00282000, "OB", made({**COLOURS, **TELLING}))
    data = SOP + element(0x00100020, "LO", b"17") + element(0x00480105, "SQ", item(profiles)) + b""
    data = data[: -len(element(0x00480105, "SQ", item(profiles)))] + profiles + data[-len(profiles) - 20 :]
    for options, stays in (([], False), ([Option.RETAIN_DEVICE_IDENTITY], True), ([Option.CLEAN_DESCRIPTORS], False)):
        new = reread(deidentified(data, profile(options))[0])
        for found in (new.ICCProfile, new.OpticalPathSequence[0].ICCProfile):
            assert (CANARY in found) == stays and tags_of(found)[b"rXYZ"] == XYZ


def test_a_long_profile_is_read_from_the_source_however_it_is_encoded() -> None:
    long = made({**COLOURS, b"A2B0": TABLE * 1000, **TELLING})
    for syntax, order in ((EXPLICIT, "<"), (BIG_ENDIAN, ">"), (IMPLICIT, "")):
        write = (lambda tag, vr, value: implicit(tag, value)) if not order else element
        rest = (order,) if order else ()
        data = write(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0", *rest)
        data += write(0x00080018, "UI", b"1.2.3\0", *rest) + write(0x00100020, "LO", b"17", *rest)
        data += write(0x00282000, "OB", long + bytes(len(long) % 2), *rest)
        found = reread(deidentified(data, transfer_syntax_uid=syntax)[0], syntax).ICCProfile
        assert CANARY not in found and tags_of(found)[b"A2B0"] == TABLE * 1000


@pytest.mark.parametrize("options", [[], [Option.RETAIN_DEVICE_IDENTITY]])
@pytest.mark.parametrize(
    "value", [CANARY, b"", made({b"desc": TEXT}), made(COLOURS) + CANARY * (MAX_PROFILE_BYTES // 4)]
)
def test_what_is_no_profile_goes(value: bytes, options: list[Option]) -> None:
    data = SOP + element(0x00100020, "LO", b"17") + element(0x00282000, "OB", value)
    new = deidentified(data, profile(options))[0]
    assert CANARY not in new and "ICCProfile" not in reread(new)
