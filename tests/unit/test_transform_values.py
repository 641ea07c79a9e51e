"""Nothing invalid is written, and no message of a failure holds a value."""

from __future__ import annotations

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, HeaderError
from gateway.transform import TransformError
from gateway.transform.values import SETTABLE, ValueRefused, check, decode, encode
from tests.unit.samples import EXPLICIT, SOP, element, item
from tests.unit.transform_kit import problems_of, run

VALID = {
    "AE": ["A", "CT 1", "X" * 16],
    "AS": ["045Y", "001D"],
    "CS": ["CT", "A_B 1", "X" * 16],
    "DA": ["20240229", "19000101"],
    "DS": ["1", "-1.5", "+1e-5", " 1.5 ", "1234567890.12345"],
    "DT": ["2024", "202402", "20240229", "20240229235959", "20240229235959.123456+0100", "2024+0000", "20240229-0500"],
    "FD": ["1.5", "-1e300", "0"],
    "FL": ["1.5", "-1e30"],
    "IS": ["1", "-2147483648", "+5", "000000000001"],
    "LO": ["x" * 64, "Ä" * 64],
    "LT": ["x" * 10240, "line\r\nline\ttab\\backslash"],
    "PN": ["Doe^John", "=" + "x" * 64, "a=b=c", "^".join("abcde")],
    "SH": ["x" * 16],
    "SL": ["-2147483648"],
    "SS": ["-32768"],
    "ST": ["x" * 1024, "line\nline"],
    "SV": ["-9223372036854775808"],
    "TM": ["23", "2359", "235960", "235959.1", "235959.123456"],
    "UC": ["x" * 1000],
    "UI": ["1.2.3", "1." + "2" * 62],
    "UL": ["4294967295"],
    "UR": ["http://a.example/b?c=d"],
    "US": ["65535"],
    "UT": ["x" * 20000],
    "UV": ["18446744073709551615"],
    "AT": ["(0010,0020)", "00100020"],
}
INVALID = {
    "AE": ["X" * 17, "Ä", "A\tB", " "],
    "AS": ["45Y", "045X", "45"],
    "CS": ["ct", "A-B", "X" * 17, "Ä"],
    "DA": ["20240230", "2024-02-28", "20240101-20240201", "202401", "20241301", "2024010", "20240100"],
    "DS": ["1,5", "abc", "1.23456789012345678", "1e", ""[:0] + "0x1", "NaN"],
    "DT": ["20", "20241301", "20240230", "20240101-20250101", "20240229240000", "20240101+1500"],
    "FD": ["abc", "nan", "inf", "1,5"],
    "FL": ["1e40", "x"],
    "IS": ["1.5", "2147483648", "-2147483649", "0000000000001", "x"],
    "LO": ["x" * 65, "a\nb", "a\x1bb", "a\x85b"],
    "LT": ["x" * 10241, "a\x00b"],
    "PN": ["x" * 65, "a=b=c=d", "^".join("abcdef"), "a\rb", "=" + "x" * 65],
    "SH": ["x" * 17],
    "SL": ["2147483648"],
    "SS": ["32768"],
    "ST": ["x" * 1025],
    "SV": ["9223372036854775808"],
    "TM": ["24", "2360", "2", "235959.1234567", "10:00", "1000-1100", "235961"],
    "UC": ["a\nb"],
    "UI": ["1.02", "1..2", "a.b", "1." + "2" * 63, "1.2."],
    "UL": ["-1", "4294967296"],
    "UR": ["with space inside", "Ä"],
    "US": ["65536", "1.5", "-1"],
    "UT": ["a\x00b"],
    "UV": ["-1"],
    "AT": ["0010", "(0010,002)", "PatientID"],
}


def test_every_vr_that_can_be_set_is_tried() -> None:
    assert set(VALID) == set(INVALID) == SETTABLE


@pytest.mark.parametrize(("vr", "value"), [(vr, value) for vr, values in VALID.items() for value in values])
def test_a_valid_value_is_written_and_read_back(vr: str, value: str) -> None:
    for big_endian in (False, True):
        data = encode(vr, value, big_endian, b"ISO_IR 192")
        assert len(data) % 2 == 0
        found = decode(vr, data, big_endian, b"ISO_IR 192")
        if vr in {"FD", "FL"}:
            assert float(found[0]) == pytest.approx(float(value))
        elif vr in {"SL", "SS", "SV", "UL", "US", "UV"}:
            assert found == (str(int(value)),)
        elif vr == "AT":
            assert found == ("(0010,0020)",)
        else:
            assert found == (value.strip(),)


@pytest.mark.parametrize(("vr", "value"), [(vr, value) for vr, values in INVALID.items() for value in values])
def test_an_invalid_value_is_refused_without_being_told(vr: str, value: str) -> None:
    with pytest.raises(ValueRefused) as caught:
        check(vr, value)
    assert str(caught.value)
    if len(value) > 8:
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("vm", "counts"),
    [
        ("1", {1}),
        ("2", {2}),
        ("1-3", {1, 2, 3}),
        ("1-n", {1, 2, 3, 4, 5, 6}),
        ("2-2n", {2, 4, 6}),
        ("3-3n", {3, 6}),
        ("2-n", {2, 3, 4, 5, 6}),
        ("1 or 3", {1, 3}),
    ],
)
def test_the_number_of_values_is_held_to(vm: str, counts: set[int]) -> None:
    for count in range(1, 7):
        text = "\\".join("1" * count)
        if count in counts:
            assert encode("DS", text, False, b"", vm)
        else:
            with pytest.raises(ValueRefused, match=f"{count} values, where there can be {vm}"):
                encode("DS", text, False, b"", vm)


def test_every_multiplicity_of_the_dictionary_is_understood() -> None:
    from pydicom.datadict import DicomDictionary

    for vm in {str(entry[1]) for entry in DicomDictionary.values()}:
        least = int(vm.split("-")[0].split(" ")[0])
        assert encode("DS", "\\".join("1" * max(least, 1)), False, b"", vm)


@given(st.text(max_size=80), st.sampled_from(sorted(SETTABLE)))
def test_whatever_is_written_is_read_back(text: str, vr: str) -> None:
    try:
        data = encode(vr, text, False, b"ISO_IR 192")
    except ValueRefused:
        return
    if vr in {"LO", "SH", "UC", "PN", "LT", "ST", "UT"}:
        assert data.decode("utf-8").rstrip(" ") == text.rstrip(" ")


def test_a_value_longer_than_16_bits_can_say_is_refused() -> None:
    many = "\\".join(["x" * 64] * 600)
    data = SOP + element(0x0040A160, "UT", many.encode() + b" " * (len(many) % 2))
    with pytest.raises(TransformError, match=r"OtherPatientIDs \(0010,1000\): too long for the 16 bits of its length"):
        run(data, "- set: {OtherPatientIDs: '{TextValue}\\{TextValue}'}")
    with pytest.raises(TransformError, match="too long to be read"):
        run(SOP + element(0x0040A160, "UT", b"x" * 70_000), "- prefix: {TextValue: A}")


# ── no value in a message ─────────────────────────────────────────────────────────────────────────────────────

CANARY = "CANARY^Jane^1952"
SECRET = CANARY.encode()
FAILING = [
    "- set: {AccessionNumber: '{PatientName}{PatientName}'}",
    "- set: {Modality: '{PatientName}'}",
    "- set: {StudyDate: '{PatientName}'}",
    "- set: {Rows: '{PatientName}'}",
    "- set: {PatientWeight: '{PatientName}'}",
    "- set: {SOPInstanceUID: '{PatientName}'}",
    "- copy: {Modality: PatientName}",
    "- prefix: {PatientName: 'a=b=c=d='}",
    '- suffix: {PatientName: "\\x01"}',
    "- map: {attribute: PatientName, table: {A: B}, default: hold}",
    "- pad: {PatientName: {to: 100, with: x}}",
    "- replace: {PatientName: {regex: '(.*)', with: '\\1\\1\\1\\1\\1'}}",
    "- set: {PatientName: '{OtherPatientNames}'}",
    "- charset: ISO_IR 192",
    "- add_item: {to: OtherPatientIDsSequence, item: {TypeOfPatientID: '{PatientName}'}}",
    "- set: {ReferencedPatientSequence.PatientSex: '{ReferencedPatientSequence.PatientName}'}",
    "- set: {'(0009,1001)': '{PatientName}'}",
    "- set: {PatientSex: '{OtherPatientIDs}'}",
]


def with_canary() -> bytes:
    name = element(0x00100010, "PN", SECRET)
    inner = element(0x00081120, "SQ", item(name + element(0x00100040, "CS", b"F ")))
    others = element(0x00101000, "LO", SECRET + b"\xe9 ") + element(0x00101001, "PN", SECRET + b"\x1b$B?? ")
    return SOP + inner + element(0x00090010, "LO", SECRET) + name + others


@pytest.mark.parametrize("text", FAILING)
def test_no_failure_tells_a_value(text: str) -> None:
    with pytest.raises(TransformError) as caught:
        run(with_canary(), text)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "CANARY" not in told
    assert "Jane" not in told
    assert str(caught.value).startswith("transform t, step 1 (")


@pytest.mark.parametrize("cut", range(1, 200, 3))
def test_no_header_error_tells_a_value(cut: int) -> None:
    data = with_canary()[:-cut]
    try:
        run(data, "- remove: [private]\n- prefix: {PatientID: A}", EXPLICIT)
    except GatewayError as error:
        assert isinstance(error, HeaderError)
        assert "CANARY" not in "".join(traceback.format_exception(error))


def test_no_problem_of_a_rule_file_hides_which_attribute_is_meant() -> None:
    (problem,) = problems_of("transforms: {t: [{set: {Modality: lower}}]}")
    assert "Modality (0008,0060): not a code" in problem.message
