"""Content items that tell of the patient follow the attributes that tell the same: birth date, age, name and number."""

from __future__ import annotations

import struct
from collections.abc import Collection

import pydicom
import pytest

from gateway.transform.deidentify.table import Option
from tests.unit.deidentify_kit import FULL_DATES, MODIFIED_DATES, deidentified, profile
from tests.unit.samples import SOP, element, item
from tests.unit.transform_kit import reread

BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
CONTENT = Option.CLEAN_STRUCTURED_CONTENT
BIRTH, AGE, NAME, NUMBER, FINDING = "121031", "121033", "121029", "121030", "121071"


def text(tag: int, vr: str, value: str) -> bytes:
    return element(tag, vr, (value + " " * (len(value) % 2)).encode())


def code(tag: int, value: str, scheme: str = "DCM") -> bytes:
    return element(tag, "SQ", item(text(0x00080100, "SH", value) + text(0x00080102, "SH", scheme)))


def content(kind: str, concept: str, value: bytes, scheme: str = "DCM") -> bytes:
    return item(text(0x0040A040, "CS", kind) + code(0x0040A043, concept, scheme) + value)


def born(value: str = "19300102") -> bytes:
    return text(0x0040A121, "DA", value)


def aged(value: str, unit: str = "a", more: bytes = b"") -> bytes:
    measured = code(0x004008EA, unit, "UCUM") + more + text(0x0040A30A, "DS", value)
    return element(0x0040A300, "SQ", item(measured))


def report(
    items: bytes, options: Collection[Option], *, age: int | None = None, moves_birth: bool = False
) -> list[pydicom.Dataset]:
    """The content that comes out, with dates moved by a day."""
    asked = profile(options, shift_days=(1, 1), caps_age=age is not None, moves_birth_date=moves_birth)
    data = SOP + text(0x00080020, "DA", "20240101") + text(0x00100020, "LO", "17")
    data += element(0x0040A730, "SQ", items)
    return list(reread(deidentified(data, asked, sop_class_uid=BASIC_TEXT_SR)[0]).ContentSequence)


@pytest.mark.parametrize("options", [{FULL_DATES}, {CONTENT, FULL_DATES}, {CONTENT, MODIFIED_DATES}, {CONTENT}])
@pytest.mark.parametrize(("concept", "scheme"), [(BIRTH, "DCM"), ("21112-8", "LN"), ("184099003", "SCT")])
def test_no_option_for_dates_keeps_a_date_of_birth(concept: str, scheme: str, options: set[Option]) -> None:
    for value in (born(), text(0x0040A120, "DT", "19300102"), text(0x0040A160, "UT", "1 2 1930")):
        (found,) = report(content("DATE", concept, value, scheme), options)
        told = found.get("Date") or found.get("DateTime") or found.TextValue
        assert told in ("19000101", "19000101000000", "ANONYMIZED")


def test_dates_of_what_was_examined_are_kept_or_moved_beside_it() -> None:
    items = content("DATE", BIRTH, born()) + content("DATE", FINDING, born("20200102"))
    for options, expected in (({CONTENT, FULL_DATES}, "20200102"), ({CONTENT, MODIFIED_DATES}, "20200101")):
        assert [each.Date for each in report(items, options)] == ["19000101", expected]


def test_a_date_of_birth_moves_with_all_others_where_that_is_asked_for_but_for_the_very_old() -> None:
    options = {CONTENT, MODIFIED_DATES}
    items = content("DATE", BIRTH, born()) + content("DATE", BIRTH, born("19600102"))
    assert [each.Date for each in report(items, options, moves_birth=True)] == ["19300101", "19600101"]
    assert [each.Date for each in report(items, options, moves_birth=True, age=89)] == ["19000101", "19600101"]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("95", "a", "90"), ("90", "a", "90"), ("89", "a", "89"), ("95", "unheard", "90"), ("95", "mo", "95"),
        ("1140", "mo", "1080"), ("5000", "wk", "4696"), ("40000", "d", "32872"), ("300", "d", "300"),
        ("900", "h", "900"),
    ],
)  # fmt: skip
def test_an_age_above_89_is_90_years(value: str, unit: str, expected: str) -> None:
    exact = element(0x0040A161, "FD", struct.pack("<d", float(value)))
    (found,) = report(content("NUM", AGE, aged(value, unit, exact)), {CONTENT}, age=89)
    measured = found.MeasuredValueSequence[0]
    assert str(measured.NumericValue) == expected
    assert ("FloatingPointValue" in measured) == (value == expected)


def test_other_numbers_and_other_profiles_know_no_greatest_age() -> None:
    (found,) = report(content("NUM", FINDING, aged("95")), {CONTENT}, age=89)
    assert found.MeasuredValueSequence[0].NumericValue == 95
    (found,) = report(content("NUM", AGE, aged("95")), {CONTENT})
    assert found.MeasuredValueSequence[0].NumericValue == 95
    within = element(0x0040A730, "SQ", content("NUM", FINDING, aged("95")))
    (found,) = report(content("NUM", AGE, aged("95") + within), {CONTENT}, age=89)
    assert found.ContentSequence[0].MeasuredValueSequence[0].NumericValue == 95
    (found,) = report(content("TEXT", AGE, text(0x0040A160, "UT", "95 years")), {CONTENT}, age=89)
    assert found.TextValue == "ANONYMIZED"


@pytest.mark.parametrize("concept", [NAME, NUMBER, "121022"])
def test_who_the_subject_is_becomes_a_dummy_whatever_words_are_known(concept: str) -> None:
    for kind, value in (
        ("TEXT", text(0x0040A160, "UT", "neck 17")),
        ("PNAME", text(0x0040A123, "PN", "neck^17")),
        ("NUM", aged("17")),
    ):
        (found,) = report(content(kind, concept, value), {CONTENT, FULL_DATES})
        assert "17" not in str(found).replace(f"'{concept}'", "") and "neck" not in str(found)
        assert found.ConceptNameCodeSequence[0].CodeValue == concept


def test_acquisition_context_is_content_too() -> None:
    context = content("DATE", BIRTH, born()) + content("NUM", AGE, text(0x0040A30A, "DS", "95"))
    data = SOP + text(0x00100020, "LO", "17") + element(0x00400555, "SQ", context)
    asked = profile({CONTENT, FULL_DATES}, caps_age=True)
    one, other = reread(deidentified(data, asked)[0]).AcquisitionContextSequence
    assert (one.Date, other.NumericValue) == ("19000101", 90)
