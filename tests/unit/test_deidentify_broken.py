"""De-identification fails closed: what is broken is made safe or held, and nothing of it is recorded anywhere."""

from __future__ import annotations

import tracemalloc

import pytest

from gateway.errors import HeaderError
from gateway.transform import TransformError, prepare
from gateway.transform.deidentify.table import Option
from gateway.transform.names import standard_vr
from tests.unit.deidentify_kit import ALL, LOOKED_AT, deidentified, profile, step_of
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, SOP, MemorySource, element, implicit, item, undefined
from tests.unit.transform_kit import origin, part10, reread, run_all, transform

ID = element(0x00100020, "LO", b"17")
CANARY = b"CNRY00001 "
OPTIONS = [frozenset(), frozenset(Option) - {Option.RETAIN_LONGITUDINAL_FULL_DATES}]


def output(data: bytes, options: frozenset[Option] = OPTIONS[1]) -> bytes:
    return deidentified(data, profile(options))[0]


# ── what cannot be read ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "broken",
    [
        element(0x00100010, "PN", b"CNRY\xe4\xf6\xfc "),
        element(0x00081030, "LO", b"CNRY\x1b$B\x80\x80"),
        element(0x00081030, "US", CANARY),
        element(0x00081030, "OB", CANARY),
        element(0x00080020, "DA", CANARY),
        element(0x00080020, "SQ", item(element(0x00081030, "LO", CANARY))),
        element(0x00081030, "SQ", item(element(0x00100010, "PN", CANARY))),
        undefined(0x00081030, "UT", item(element(0x00100010, "PN", CANARY))),
        undefined(0x00181000, "UT", item(element(0x00100010, "PN", CANARY))),
        element(0x00081115, "SQ", CANARY),
        element(0x00081115, "OB", item(element(0x00100010, "PN", CANARY))),
        element(0x00081115, "UT", item(element(0x00100010, "PN", CANARY))),
        element(0x0040A730, "SQ", CANARY),
        element(0x00400275, "SQ", b""),
        element(0x00104000, "UT", CANARY * 7000),
        element(0x00081030, "UT", CANARY * 7000),
        element(0x0040A730, "SQ", item(element(0x0040A160, "UT", CANARY * 7000))),
        element(0x0040A730, "SQ", item(element(0x0040A160, "UT", CANARY)) * 4000),
        element(0x00081115, "SQ", item(element(0x00100010, "PN", CANARY)) * 4000),
        element(0x00081111, "UN", item(implicit(0x00081155, CANARY))),
        element(0x00081155, "UI", b"CNRY\xff\xfe"),
        element(0x00100010, "PN", CANARY) + element(0x00100010, "PN", CANARY),
        element(0x00100033, "LO", CANARY),
        element(0x00081190, "UR", b"http://CNRY/"),
        element(0x00281199, "UI", b"1.2.3\\CNRY"),
        element(0x04000500, "SQ", item(element(0x04000520, "OB", CANARY))),
        element(0x0040E001, "ST", CANARY),
    ],
)  # fmt: skip
def test_nothing_of_a_broken_attribute_comes_through(broken: bytes, options: frozenset[Option]) -> None:
    new = output(SOP + broken + ID, options - {Option.RETAIN_UIDS})
    assert b"CNRY" not in new
    assert reread(new).PatientIdentityRemoved == "YES"


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00080020, "DA"), (0x00080020, "LO"), (0x00080030, "TM"), (0x0008002A, "DT"), (0x00101010, "AS"),
        (0x00101030, "DS"), (0x0020000E, "UI"), (0x00081150, "UI"), (0x00141020, "DA"), (0x0040A121, "DA"),
    ],
)  # fmt: skip
def test_a_name_in_the_place_of_a_date_a_number_or_a_uid_is_not_retained(tag: int, vr: str) -> None:
    options = frozenset(Option) - {Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}
    before = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    name = element(tag, vr, b"DOE^JANE")
    new = output(before + name + ID if tag < 0x00100020 else before + ID + name, options)
    assert b"DOE" not in new


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00180050, "DS"), (0x00200013, "IS"), (0x00180050, "LO"), (0x00280010, "LO"), (0x00280010, "CS"),
        (0x00180050, "UN"), (0x30060050, "DS"),
    ],
)  # fmt: skip
def test_a_name_in_the_place_of_any_number_does_not_stay(tag: int, vr: str, options: frozenset[Option]) -> None:
    number = b"2.5 " if standard_vr(tag) == "DS" else b"25"
    within = element(0x00081115, "SQ", item(element(tag, vr, CANARY)))
    assert b"CNRY" not in output(SOP + within + ID + element(tag, vr, CANARY), options)
    assert number in output(SOP + ID + element(tag, vr, number), options)


def test_numbers_too_many_to_be_held_are_looked_at_in_pieces() -> None:
    many = b"2.5\\" * 400_000 + b"2.5 "
    for value, stays in ((many, True), (many[:-4] + b"Doe ", False)):
        data = implicit(0x00080016, SOP[8:34]) + implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00100020, b"17")
        new = deidentified(data + implicit(0x30060050, value), profile(), IMPLICIT)[0]
        assert (many[:-4] in new) == stays and b"Doe" not in new


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("code", [b"Doe^Jane", b"DOE^JANE", b"DOE_JANE_AND_MORE ", b"CT\\Doe"])
def test_a_name_in_the_place_of_a_code_does_not_stay_in_content(code: bytes, options: frozenset[Option]) -> None:
    new = output(SOP + ID + element(0x0040A730, "SQ", item(element(0x0040A040, "CS", code))), options)
    assert code.strip() not in new and b"ANONYMIZED" in new
    for kept in (b"TEXT", b"A B\\C_1 "):
        assert kept in output(SOP + ID + element(0x0040A730, "SQ", item(element(0x0040A040, "CS", kept))), options)


@pytest.mark.parametrize(
    "broken",
    [
        element(0x00100020, "LO", b"CNRY\xe4 "),
        element(0x00100020, "SQ", item(element(0x00100010, "PN", CANARY))),
        element(0x00100020, "UT", CANARY * 7000),
        ID + undefined(0x00101002, "SQ", CANARY),
        ID + undefined(0x00081115, "SQ", CANARY),
        ID + element(0x00081115, "SQ", item(b"") + CANARY),
    ],
)
def test_what_cannot_be_made_safe_is_held_without_a_word_of_it(broken: bytes) -> None:
    with pytest.raises((TransformError, HeaderError)) as refused:
        output(SOP + broken)
    assert "CNRY" not in str(refused.value)


def test_an_instance_without_a_uid_is_not_sent_under_the_one_that_it_came_under() -> None:
    data = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + ID
    for uid in (b"", element(0x00080018, "UI", b""), element(0x00080018, "LO", b"1.2.3.4 ")):
        with pytest.raises(TransformError, match=r"SOPInstanceUID \(0008,0018\)"):
            deidentified(data[:34] + uid + data[34:])
    assert deidentified(data, profile([Option.RETAIN_UIDS]))[1].sop_instance_uid == "1.2.3.4"


def test_what_is_no_uid_still_tells_instances_apart() -> None:
    uids = [element(0x0020000E, "UI", uid) for uid in (b"\xe4A", b"\xe4B")]
    ours = [reread(output(SOP + uid + ID, OPTIONS[0])).SeriesInstanceUID for uid in uids]
    assert len(set(ours)) == 2 and all(uid.startswith("2.25.") for uid in ours)


def test_64_levels_are_walked_through_and_more_are_held() -> None:
    def nested(levels: int) -> bytes:
        data = element(0x00100010, "PN", CANARY)
        for _ in range(levels):
            data = undefined(0x00081115, "SQ", item(data, of_undefined_length=True))
        return SOP + data + ID

    assert b"CNRY" not in output(nested(64))
    with pytest.raises(HeaderError, match="64 levels"):
        output(nested(65))


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_an_overlay_in_the_pixels_is_held(syntax: str) -> None:
    order = ">" if syntax == BIG_ENDIAN else "<"
    sop = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0", order)
    sop += element(0x00080018, "UI", b"1.2.3.4\0", order) + element(0x00100020, "LO", b"17", order)

    def overlay(bits: int | None, bit: int) -> bytes:
        byteorder = "big" if order == ">" else "little"
        found = b"" if bits is None else element(0x60000100, "US", bits.to_bytes(2, byteorder), order)  # type: ignore[arg-type]
        return sop + found + element(0x60000102, "US", bit.to_bytes(2, byteorder), order)  # type: ignore[arg-type]

    for bits, bit in ((16, 12), (None, 12)):
        with pytest.raises(TransformError, match="bits of the pixels"):
            deidentified(overlay(bits, bit), transfer_syntax_uid=syntax)
    deidentified(overlay(1, 0), transfer_syntax_uid=syntax)


def test_implicit_vr_hides_nothing() -> None:
    data = implicit(0x00080016, b"1.2.840.10008.5.1.4.1.1.2\0") + implicit(0x00080018, b"1.2.3.4\0")
    data += implicit(0x00081115, item(implicit(0x00100010, CANARY))) + implicit(0x00089FFE, CANARY)
    data += implicit(0x00091001, CANARY) + implicit(0x00100020, b"17")
    assert b"CNRY" not in deidentified(data, profile(ALL), IMPLICIT)[0]


# ── records ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_step_in_front_or_behind_leaves_a_record() -> None:
    old = element(0x04000561, "SQ", item(element(0x04000550, "SQ", item(element(0x00100010, "PN", CANARY)))))
    data = SOP + element(0x00080005, "CS", b"ISO_IR 100") + element(0x00080080, "LO", CANARY)
    data += element(0x00100010, "PN", "CNRY^Jürgen".encode("latin-1") + b" ") + ID + old
    before = transform("- set: {InstitutionName: 'In front', PatientComments: '{PatientName}'}\n- charset: ISO_IR 192")
    after = transform("- set: {InstitutionName: Behind, PatientName: 'Another'}\n- remove: [PatientID]")
    new = reread(run_all(data, [before, step_of(profile()), after, transform("- charset: ISO_IR 192")])[0])
    assert "OriginalAttributesSequence" not in new
    assert (new.InstitutionName, new.PatientName) == ("Behind", "Another")
    assert b"CNRY" not in run_all(data, [before, step_of(profile()), after])[0]


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────


class Large:
    """A data set with pixel data of 1 GiB that are made when they are read."""

    def __init__(self) -> None:
        self._head = SOP + ID + element(0x7FE00010, "OW", b"")[:-4] + (1 << 30).to_bytes(4, "little")
        self._length = len(self._head) + (1 << 30)

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self._length - offset))
        found = self._head[offset : offset + length]
        return found + bytes(length - len(found))


def test_memory_does_not_grow_with_the_pixels() -> None:
    tracemalloc.start()
    prepared = prepare([LOOKED_AT, step_of(profile(ALL))], Large(), origin(), system="gateway")
    lengths: list[int] = []
    prepared.write(lambda piece: lengths.append(len(piece)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(lengths) > 1 << 30
    assert peak < 64 << 20


def test_what_is_written_is_a_data_set() -> None:
    prepared = prepare([step_of(profile())], MemorySource(SOP + ID), origin(), system="gateway")
    pieces: list[bytes] = []
    prepared.write(lambda piece: pieces.append(bytes(piece)))
    assert part10(b"".join(pieces)) and reread(b"".join(pieces)).SOPInstanceUID == prepared.sop_instance_uid
