"""Greater and less by VR, in part and in full, and how many values there are."""

from __future__ import annotations

import struct
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header, read_header
from gateway.dicom.paths import Step
from gateway.model import AssociationFacts
from gateway.rules.names import resolve
from gateway.rules.patterns import MAX_SEARCHED_BYTES
from gateway.rules.plan import Plan, load
from tests.unit.samples import EXPLICIT, SOP, MemorySource, element

FACTS = AssociationFacts("", "", "", "", "", "")


def plan(name: str, condition: str) -> Plan:
    return load({"r.yaml": f'rules: [{{name: a, match: {{"{name}": {condition}}}, send_to: x}}]'})


def matches(name: str, condition: str, *values: str) -> bool:
    path = resolve(name)
    assert isinstance(path, tuple)
    return bool(plan(name, condition).decide(Header.of({path: values}), FACTS, "", "").matched)


@pytest.mark.parametrize(
    ("name", "condition", "fits", "not_"),
    [
        ("NumberOfFrames", "{gt: 1}", ["2", "+10", "007"], ["1", "0", "-3", "x", ""]),
        ("Rows", "{ge: 512}", ["512", "1024"], ["511"]),
        ("Rows", "{lt: 512}", ["511", "-1"], ["512", "9" * 70]),
        ("Rows", "{le: 512}", ["512"], ["513"]),
        ("Rows", "{between: [100, 200]}", ["100", "200", "150"], ["99", "201"]),
        ("Rows", "{gt: 100, le: 200}", ["101", "200"], ["100", "201"]),
        ("SliceThickness", "{le: 1.5}", ["1.5", "1.50", "15E-1", ".5", "1."], ["1.50001", "1,5", "nan", "inf"]),
        ("PixelSpacing", "{lt: 1e-1}", ["0.09"], ["0.1"]),
        ("SmallestImagePixelValue", "{ge: -5}", ["-5", "0"], ["-6"]),
        ("(0009,1002)", "{gt: 2.5}", ["3"], ["2.5", "three"]),
        ("(0019,xx02,GEMS_ACQU_01)", "{gt: 2}", ["3"], ["2"]),
        ("StudyDate", "{ge: 20240131}", ["20240131", "2024.02.01", "20250101"], ["20240130", "2024013", "20241301"]),
        ("StudyDate", "{ge: 2024-01-31}", ["20240131"], ["20240130"]),
        ("StudyDate", "{ge: 2024}", ["20240101"], ["20231231"]),
        ("StudyDate", "{gt: 2024}", ["20250101"], ["20241231"]),
        ("StudyDate", "{le: 2024}", ["20241231"], ["20250101"]),
        ("StudyDate", "{lt: 2024-03}", ["20240229"], ["20240301"]),
        ("StudyDate", "{between: [202402, 202402]}", ["20240201", "20240229"], ["20240131", "20240301"]),
        ("StudyDate", "{le: 999912}", ["99991231"], ["00000101"]),
        ("StudyTime", "{ge: '19:30'}", ["193000", "1930", "20", "19:30:00", "193000.5"],
         ["1929", "19", "192959.999999"]),
        ("StudyTime", "{le: '19'}", ["195959.999999", "19"], ["20", "200000"]),
        ("StudyTime", "{lt: 190000.5}", ["190000.499999", "190000.4"], ["190000.5", "190000", "1900"]),
        ("StudyTime", "{between: [18, 23]}", ["235960", "180000"], ["175959", "236100", "240000"]),
        ("AcquisitionDateTime", "{ge: 202401311930}", ["20240131193000", "202402"], ["20240131", "20240131192959.9"]),
        ("AcquisitionDateTime", "{ge: 2024-01-31T19:30}", ["20240131193000", "20240131193000-0500"], ["2024"]),
        ("AcquisitionDateTime", "{lt: 2024}", ["2023", "20231231235959"], ["2024"]),
        ("AcquisitionDateTime", "{ge: 20240131193000+0100}", ["20240131183000+0000", "20240131203000+0200"],
         ["20240131193000", "20240131193000+0200", "20240131193000+0199"]),
        ("AcquisitionDateTime", "{lt: 2024-01-31T19:30:00-05:00}", ["20240201002959+0000"], ["20240201003000+0000"]),
        ("AcquisitionDateTime", "{lt: 2024-0100}", ["2023-0100"], ["2024-0100"]),
        ("PatientAge", "{lt: 018M}", ["017M", "001Y", "077W", "540D"], ["018M", "002Y", "079W", "548D", "18", ""]),
        ("PatientAge", "{ge: 45Y}", ["045Y", "540M"], ["044Y", "539M"]),
        ("PatientAge", "{between: [1Y, 12M]}", ["001Y", "012M"], ["011M", "013M"]),
    ],
)  # fmt: skip
def test_values_are_more_or_less(name: str, condition: str, fits: list[str], not_: list[str]) -> None:
    for value in fits:
        assert matches(name, condition, value), value
    for value in not_:
        assert not matches(name, condition, value), value


@pytest.mark.parametrize(
    ("vr", "code", "stored", "condition", "fits"),
    [
        ("FL", "f", 0.1, "{between: [0.1, 0.1]}", True),
        ("FL", "f", 0.1, "{gt: 0.1}", False),
        ("FD", "d", 0.1, "{between: [0.1, 0.1]}", True),
        ("FD", "d", -1e300, "{lt: -1e299}", True),
        ("UV", "Q", 2**64 - 1, "{gt: 18446744073709551614}", True),
        ("UV", "Q", 2**64 - 1, "{ge: 18446744073709551616}", False),
        ("SV", "q", -(2**63), "{le: -9223372036854775808}", True),
        ("SL", "i", -7, "{lt: -6}", True),
        ("UL", "I", 2**31, "{ge: 2147483648}", True),
        ("SS", "h", -7, "{lt: 0}", True),
    ],
)
def test_a_binary_number_is_compared_as_it_is_stored(
    vr: str, code: str, stored: float, condition: str, fits: bool
) -> None:
    names = {
        "FL": "RecommendedDisplayFrameRateInFloat", "FD": "CardiacRRIntervalSpecified", "UV": "FileOffsetInContainer",
        "SV": "SelectorSVValue", "SL": "ReferencePixelX0", "UL": "RegionLocationMinX0", "SS": "TagAngleSecondAxis",
    }  # fmt: skip
    path = resolve(names[vr])
    assert isinstance(path, tuple) and isinstance(path[0], int)
    made = plan(names[vr], condition)
    data = SOP + element(path[0], vr, struct.pack("<" + code, stored))
    header = read_header(MemorySource(data), EXPLICIT, made.wanted)
    assert bool(made.decide(header, FACTS, EXPLICIT, "").matched) == fits


@given(st.integers(-99999, 99999), st.integers(-99999, 99999))
def test_numbers_are_ordered_as_numbers(value: int, literal: int) -> None:
    for operator, fits in (
        ("gt", value > literal),
        ("ge", value >= literal),
        ("lt", value < literal),
        ("le", value <= literal),
    ):
        assert matches("NumberOfFrames", f"{{{operator}: {literal}}}", str(value)) == fits


DATES = st.dates(date(1000, 1, 1))


@given(DATES, DATES)
def test_dates_are_ordered_as_dates(value: date, literal: date) -> None:
    assert matches("StudyDate", f"{{lt: {literal:%Y-%m-%d}}}", value.isoformat().replace("-", "")) == (value < literal)
    assert matches("StudyDate", f"{{ge: '{literal.isoformat()}'}}", value.isoformat().replace("-", ".")) == (
        value >= literal
    )


# ── several values ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "fits", "not_"),
    [
        ("{all: 'A*'}", [("A", "AB"), ("a",)], [("A", "B"), (), ("A", "")]),
        ("{all: [A, B]}", [("A", "B", "A")], [("A", "C")]),
        ("{all: {equals: A}}", [("A", "A")], [("A", "a")]),
        ("{all: {present: true}}", [("A", "B")], [("A", "", "B"), ()]),
        ("{any: 'A*'}", [("B", "A"), ("A",)], [("B",), ()]),
        ("{count: 2}", [("A", "B"), ("A", "")], [("A",), ("A", "B", "C"), ()]),
        ("{count: 0}", [()], [("A",)]),
        ("{count: {ge: 2}}", [("A", "B"), ("A", "B", "C")], [("A",), ()]),
        ("{count: {gt: 0, lt: 3}}", [("A",), ("A", "B")], [(), ("A", "B", "C")]),
        ("{count: {between: [1, 2]}}", [("A",), ("A", "B")], [(), ("A", "B", "C")]),
        ("[X, {count: 2}]", [("X",), ("A", "B")], [("A",)]),
    ],
)
def test_all_any_and_count(condition: str, fits: list[tuple[str, ...]], not_: list[tuple[str, ...]]) -> None:
    for values in fits:
        assert matches("ImageType", condition, *values), values
    for values in not_:
        assert not matches("ImageType", condition, *values), values


def test_each_value_must_be_within_both_ends_or_one_value_be() -> None:
    assert not matches("PixelSpacing", "{gt: 1, lt: 2}", "0.5", "2.5")
    assert matches("PixelSpacing", "{gt: 1, lt: 2}", "0.5", "1.5")
    assert matches("PixelSpacing", "{all: {lt: 2}}", "0.5", "1.5")
    assert not matches("PixelSpacing", "{all: {lt: 1}}", "0.5", "1.5")
    assert not matches("PixelSpacing", "{all: {lt: 1}}")


def test_an_absent_attribute_is_neither_more_nor_less_and_has_no_values() -> None:
    for condition, fits in {"{ge: 0}": False, "{lt: 0}": False, "{all: {ge: 0}}": False, "{count: 0}": True}.items():
        made = plan("Rows", condition)
        assert bool(made.decide(Header.of({}), FACTS, "", "").matched) == fits


def test_of_very_many_values_the_first_are_compared() -> None:
    many = ("1",) * (MAX_SEARCHED_BYTES // 5)
    assert not matches("PixelSpacing", "{gt: 1}", *many, "1", "1", "2")
    assert matches("PixelSpacing", "{gt: 1}", *many[:-1], "2")


def test_comparisons_are_told_in_words() -> None:
    for name, condition, words in (
        ("Rows", "{gt: 1, le: 5}", "not: Rows is more than 1 and is at most 5"),
        ("StudyDate", "{between: [2024, 2025]}", "not: StudyDate is at least 2024 and is at most 2025"),
        ("ImageType", "{all: A}", "not: ImageType in every value is 'A'"),
        ("ImageType", "{count: {ge: 2}}", "not: ImageType has a number of values that is at least 2"),
        (
            "StationName",
            "{equals: x, fold: [case, accents]}",
            "not: StationName is exactly 'x', capitals and accents aside",
        ),
        ("StationName", "{like: x*, fold: []}", "not: StationName is like 'x*', exactly"),
    ):
        (explained,) = plan(name, condition).explain(Header.of({}), FACTS, "", "")
        assert explained.failing == words


def test_a_private_attribute_that_a_dictionary_knows_is_compared_by_its_vr() -> None:
    assert plan("(0019,xx02,GEMS_ACQU_01)", "{ge: 2}").wanted.paths == {(Step(0x00190002, "GEMS_ACQU_01"),)}
    with pytest.raises(Exception, match=r"'2.5' is not a whole number.*\(SL\)"):
        plan("(0019,xx02,GEMS_ACQU_01)", "{ge: 2.5}")
