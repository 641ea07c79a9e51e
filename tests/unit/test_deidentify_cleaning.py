"""Cleaned text has known words and small numbers, cleaned codes are those of public terminologies, and nothing else."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transform.deidentify.cleaning import Cleaner, parts_of
from gateway.transform.deidentify.known import MAX_ITEMS
from gateway.transform.deidentify.private import STANDARD, safe_with, without_block
from gateway.transform.deidentify.table import Option
from gateway.transform.deidentify.words import words
from tests.unit.deidentify_kit import FULL_DATES, MODIFIED_DATES, deidentified, profile
from tests.unit.samples import IMPLICIT, SOP, element, implicit, item
from tests.unit.transform_kit import reread

CLEANER = Cleaner()
KNOWN = {word.casefold() for word in words()}
PATIENT = element(0x00100010, "PN", b"Head^Jane ") + element(0x00100020, "LO", b"12")
CONTENT = [Option.CLEAN_STRUCTURED_CONTENT]


@given(st.text(max_size=200), st.sets(st.sampled_from(sorted(words())), max_size=5))
def test_nothing_is_let_through_that_is_not_known(text: str, names: set[str]) -> None:
    for word in CLEANER.clean(text, names).split():
        folded = word.casefold()
        assert folded not in names
        assert folded in KNOWN or (any(map(str.isdigit, word)) and len(word) <= 10)


@given(st.lists(st.sampled_from(sorted(words())), max_size=8))
def test_known_words_stay(known: list[str]) -> None:
    assert CLEANER.clean(" ".join(known)).split() == known


@given(st.text(max_size=200))
def test_what_is_clean_stays_clean(text: str) -> None:
    once = CLEANER.clean(text)
    assert set(CLEANER.clean(once).split()) <= set(once.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CT Abdomen 3D 2.5mm T12 L4-5", "CT Abdomen 3D 2.5mm T12 L4 5"),
        ("head of Jane Doe", "head of"),
        ("head 12345678", "head"),
        ("born 03.12.65, head", "head"),
        ("12/03/65 head", "head"),
        ("01.02 head", "head"),
        ("tel 030 12 34 56", ""),
        ("12a34b", ""),
        ("JD45m MW12 JD45 J45 M45 head", "head"),
        ("head 47y 45m 45f 45w 12a 47Y", "head"),
        ("t2w TE90 TR5 TI2 b50 Th12 C7 CT2 3T 4D", "t2w TE90 TR5 TI2 b50 Th12 C7 CT2 3T 4D"),
        ("山田太郎", ""),
        ("", ""),
    ],
)
def test_text_is_cleaned_word_by_word(text: str, expected: str) -> None:
    assert CLEANER.clean(text) == expected


def test_a_site_has_words_of_its_own() -> None:
    assert Cleaner(["Zebra-Stripe"]).clean("ZEBRA stripe horse") == "ZEBRA stripe"


def test_a_word_of_the_patients_name_goes_even_if_it_is_known() -> None:
    data = SOP + element(0x00081030, "LO", b"head chest 12 3 ") + PATIENT
    new = reread(deidentified(data, profile([Option.CLEAN_DESCRIPTORS]))[0])
    assert new.StudyDescription == "chest"
    assert parts_of("Head^Jane A") == {"head", "jane"}


def test_a_word_of_a_name_or_number_in_a_sequence_goes_even_if_it_is_known() -> None:
    others = element(0x00101002, "SQ", item(element(0x00100020, "LO", b"chest12 ")))
    person = element(0x0040A040, "CS", b"PNAME ") + element(0x0040A123, "PN", b"Ankle^Knee")
    text = element(0x0040A040, "CS", b"TEXT") + element(0x0040A160, "UT", b"ankle neck knee ")
    content = item(person) + item(text)
    deeper = item(element(0x0040A040, "CS", b"CONTAINER ") + element(0x0040A730, "SQ", content))
    for each in (content, deeper):
        data = SOP + element(0x00081030, "LO", b"ankle chest12 neck pelvis ") + PATIENT + others
        data += element(0x0040A730, "SQ", each)
        new = reread(deidentified(data, profile([Option.CLEAN_DESCRIPTORS, *CONTENT]))[0])
        assert new.StudyDescription == "neck pelvis"
        told = str(new.ContentSequence)
        assert "nkle" not in told and "neck" in told


def test_names_are_looked_for_in_so_many_items_of_each_sequence_that_no_object_can_take_long() -> None:
    nothing = item(element(0x00080100, "SH", b"A "))
    name = item(element(0x00100010, "PN", b"Neck"))
    for count, stays in ((MAX_ITEMS - 1, False), (MAX_ITEMS, True)):
        data = SOP + element(0x00081030, "LO", b"neck") + element(0x00081115, "SQ", nothing * count + name) + PATIENT
        new = reread(deidentified(data, profile([Option.CLEAN_DESCRIPTORS]))[0])
        assert (new.get("StudyDescription") == "neck") == stays


# ── codes ─────────────────────────────────────────────────────────────────────────────────────────────────────


def coded(value: str, scheme: str, meaning: str, uid: str = "1.2.826.0.1.9") -> pydicom.Dataset:
    """A coded entry of structured content, cleaned."""
    texts = [
        (0x00080100, "SH", value),
        (0x00080102, "SH", scheme),
        (0x00080104, "LO", meaning),
        (0x0008010C, "UI", uid),
    ]
    encoded = b"".join(element(tag, vr, (text + " " * (len(text) % 2)).encode()) for tag, vr, text in texts)
    content = element(0x0040A040, "CS", b"CODE") + element(0x0040A168, "SQ", item(encoded))
    data = SOP + PATIENT + element(0x0040A730, "SQ", item(content))
    (found,) = reread(deidentified(data, profile(CONTENT))[0]).ContentSequence
    return found.ConceptCodeSequence[0]


@pytest.mark.parametrize(
    ("value", "scheme", "meaning"),
    [
        ("121071", "DCM", "Finding"),
        ("71651007", "SCT", "Mammography"),
        ("mm", "UCUM", "mm"),
    ],
)
def test_a_public_code_says_what_it_says_everywhere(value: str, scheme: str, meaning: str) -> None:
    code = coded(value, scheme, "Jane Doe")
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (value, scheme, meaning)
    assert "CodingSchemeUID" in code


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("DOE", "99LOCAL"),
        ("JANE DOE", "SCT"),
        ("12345678", "SCT"),  # a number, but no concept's
        ("71651008", "SCT"),  # another check digit
        ("MEIER", "UCUM"),
        ("19650312", "DCM"),
        ("DOE", "DOE"),
        ("DOE", ""),
    ],
)
def test_any_other_code_is_replaced_by_one_that_stands_for_it(value: str, scheme: str) -> None:
    code = coded(value, scheme, "head of Jane Doe")
    assert code.CodeValue not in ("", value) and code.CodeValue == coded(value, scheme, "other").CodeValue
    assert (code.CodingSchemeDesignator, code.CodeMeaning) == ("99ANON" if scheme else "", "of")
    assert "CodingSchemeUID" not in code


# ── private attributes ────────────────────────────────────────────────────────────────────────────────────────


def test_safe_private_attributes_are_known_in_any_block() -> None:
    assert ("GEMS_ACQU_01", without_block(0x0019FF23)) in STANDARD
    assert ("SITE", 0x00290008) in safe_with([("SITE", 0x00291108)])
    assert ("SITE", 0x00290008) not in STANDARD


def test_a_creator_without_a_safe_attribute_goes_with_its_block() -> None:
    block = element(0x00190010, "LO", b"GEMS_ACQU_01") + element(0x00191002, "LO", b"UNSAFE")
    kept = element(0x00210010, "LO", b"SITE") + element(0x00211008, "LO", b"SAFE")
    asked = profile([Option.RETAIN_SAFE_PRIVATE], safe_private=[("SITE", 0x00210008)])
    new = reread(deidentified(SOP + PATIENT + block + kept, asked)[0])
    assert [each.tag for each in new if each.tag.is_private] == [0x00210010, 0x00211008]


def test_a_safe_sequence_in_un_is_looked_into() -> None:
    """PS3.5 6.2.2: in UN, a sequence is in implicit VR little endian."""
    name = b"\x10\x00\x10\x00" + (8).to_bytes(4, "little") + b"Doe^Jane"
    block = element(0x00210010, "LO", b"SITE") + element(0x00211008, "UN", item(name))
    asked = profile([Option.RETAIN_SAFE_PRIVATE], safe_private=[("SITE", 0x00210008)])
    output, _ = deidentified(SOP + PATIENT + block, asked)
    assert b"Doe" not in output and b"SITE" in output


TOLD = [
    (0x08, "DA", b"20240101"),
    (0x09, "UI", b"1.2.3.4.777\0"),
    (0x0A, "PN", b"Doe^Jane"),
    (0x0B, "DT", b"202401011200"),
]
TOLD += [(0x0C, "TM", b"1200"), (0x0D, "DS", b"CNRY"), (0x0E, "DS", b"2.5 "), (0x0F, "AS", b"095Y")]


def safe_block(vr: str = "", *options: Option, is_implicit: bool = False) -> dict[int, str]:
    """What comes out of a block of safe attributes, with their own VRs or another; dates move by a day."""
    block = element(0x00290010, "LO", b"SITE")
    block += b"".join(element(0x00291000 | number, vr or own, value) for number, own, value in TOLD)
    data = SOP + PATIENT + block
    if is_implicit:
        data = implicit(0x00080016, SOP[8:][:26]) + implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00100020, b"12")
        data += implicit(0x00290010, b"SITE")
        data += b"".join(implicit(0x00291000 | number, value) for number, _, value in TOLD)
    safe = [("SITE", 0x00290000 | number) for number, *_ in TOLD]
    asked = profile([Option.RETAIN_SAFE_PRIVATE, *options], safe_private=safe, shift_days=(1, 1), caps_age=True)
    syntax = IMPLICIT if is_implicit else "1.2.840.10008.1.2.1"
    new = reread(deidentified(data, asked, syntax)[0], syntax)
    values = {each.tag.elem & 0xFF: each.value for each in new if each.tag.group == 0x29 and each.tag.elem > 0xFF}
    return {tag: (value.decode() if isinstance(value, bytes) else str(value)).strip() for tag, value in values.items()}


def test_dates_uids_and_names_in_safe_private_attributes_are_treated_like_any_other() -> None:
    basic = safe_block()
    assert set(basic) == {0x09, 0x0E, 0x0F} and basic[0x09].startswith("2.25.")
    assert (basic[0x0E], basic[0x0F]) == ("2.5", "090Y")
    moved = safe_block("", MODIFIED_DATES, Option.RETAIN_UIDS)
    assert (moved[0x08], moved[0x0B], moved[0x0C]) == ("20231231", "202312311200", "1200")
    assert moved[0x09] == "1.2.3.4.777" and 0x0A not in moved and 0x0D not in moved
    full = safe_block("", FULL_DATES)
    assert (full[0x08], full[0x0B], full[0x0C]) == ("20240101", "202401011200", "1200")


@pytest.mark.parametrize("is_implicit", [False, True])
def test_what_looks_like_a_date_or_a_uid_is_one_where_no_vr_says_what_a_safe_attribute_is(is_implicit: bool) -> None:
    basic = safe_block("UN", is_implicit=is_implicit)
    assert 0x08 not in basic and 0x0B not in basic and basic[0x09].startswith("2.25.")
    moved = safe_block("UN", MODIFIED_DATES, is_implicit=is_implicit)
    assert (moved[0x08], moved[0x0B]) == ("20231231", "202312311200")


def test_the_private_dictionary_says_what_a_safe_attribute_is_also_where_a_vr_says_otherwise() -> None:
    """(0009,xx26) of this creator is a DA; as ACR-NEMA wrote them, dates have points."""
    safe = [("SIEMENS CM VA0  CMS", 0x00090026)]
    asked = profile([Option.RETAIN_SAFE_PRIVATE, MODIFIED_DATES], safe_private=safe, shift_days=(1, 1))
    for vr, expected in (("UN", b"20231231"), ("LO", b"")):
        block = element(0x00090010, "LO", b"SIEMENS CM VA0  CMS ") + element(0x00091026, vr, b"2024.01.01")
        new = deidentified(SOP + block + PATIENT, asked)[0]
        assert b"2024.01.01" not in new and (b"20231231" in new) == bool(expected)
