"""Table E.1-1 is the standard's: it agrees with another program's copy of it, and options change what they name."""

from __future__ import annotations

import importlib
import itertools

import pytest
from pydicom.datadict import RepeatersDictionary, dictionary_VR, keyword_for_tag

from gateway.transform.deidentify.table import PLAIN, Actions, Option, Row, rows
from tests.harness.tools import require

CODES = {"D", "Z", "X", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
LISTS = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip
REPEATING = {"50xxxxxx", "60xx3000", "60xx4000"}

# Attributes of 2026c that pydicom 3.0's dictionary (2024c) does not know yet: names to use, gender, diagnoses,
# annotations of waveforms.
UNKNOWN_TO_PYDICOM = {
    0x00081301, 0x00081302, 0x00081303, 0x00081304, 0x00100011, 0x00100012, 0x00100013, 0x00100014, 0x00100015,
    0x00100016, 0x00100041, 0x00100042, 0x00100043, 0x00100044, 0x00100045, 0x00100046, 0x00100047, 0x00102162,
    0x0040A034, 0x0040A035, 0x0040B034, 0x0040B036, 0x0040B03B, 0x0040B03F, 0x0040E012,
}  # fmt: skip

# Rows of the standard that no option keeps or cleans, though their VR is that of a family: on purpose, see `table`.
NO_DATE_OPTION = {"PatientBirthDate", "PatientBirthTime", "GPSTimeStamp"}
NO_UID_OPTION = {"DigitalSignatureUID", "UID"}
DATES = {Option.RETAIN_LONGITUDINAL_FULL_DATES: "K", Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: "C"}


def plain() -> list[Row]:
    return [row for row in rows() if row.mask == PLAIN]


def by_name(name: str) -> Row:
    return next(row for row in rows() if row.name == name)


def number(row: Row) -> str:
    return row.number.strip("()").replace(",", "")


def codes_of_package(edition: str) -> dict[str, str]:
    """The Basic Profile of an edition as dicom-anonymizer has it: by digits of the tag."""
    require("dicomanonymizer")
    module = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{edition}")
    found = {}
    for name, code in LISTS.items():
        for tag in getattr(module, name):
            # A repeating group has its mask beside it: (60xx,3000), and (50xx,xxxx).
            digits = f"{tag[0]:04x}{tag[1]:04x}"
            if len(tag) == 4:
                digits = digits[:2] + "xx" + (digits[4:] if tag[3] else "xxxx")
            found[digits] = code
    return found


def test_the_rows_of_2024e_are_those_of_another_program() -> None:
    # The nearest edition that it has is 2024b: no attribute and no code differs.
    assert {number(row): row.basic for row in rows() if row.since == "2024e"} == codes_of_package("2024b")


def test_with_2026c_it_agrees_about_every_attribute() -> None:
    # 2026c took no attribute away and changed no code; it added 35.
    assert {number(row): row.basic for row in rows()} == codes_of_package("2026c")
    assert sum(row.since == "2026c" for row in rows()) == 35


def test_since_2023_eleven_attributes_were_added_and_one_code_changed() -> None:
    ours, theirs = {number(row): row.basic for row in rows() if row.since == "2024e"}, codes_of_package("2023")
    # Issuers and other IDs of clinical trials; when and by whom a region of interest was drawn.
    assert set(ours) - set(theirs) == {
        "00120022", "00120023", "00120032", "00120041", "00120043", "00120055", "00120073",
        "3006002d", "3006002e", "3006004d", "3006004e",
    }  # fmt: skip
    assert set(theirs) <= set(ours)
    # Patient ID became Z/D: some IODs (of implants) have it as type 1.
    assert {tag: (theirs[tag], ours[tag]) for tag in theirs if theirs[tag] != ours[tag]} == {"00100020": ("Z", "Z/D")}


def test_every_keyword_is_that_of_the_dictionary() -> None:
    unknown = {row.tag for row in plain() if not keyword_for_tag(row.tag)}
    assert unknown == UNKNOWN_TO_PYDICOM
    assert [row for row in plain() if row.tag not in unknown and row.name != keyword_for_tag(row.tag)] == []
    assert all(row.name.isalnum() for row in rows())
    repeaters = {entry[4] for entry in RepeatersDictionary.values()}
    assert {row.name for row in rows() if row.mask != PLAIN} <= repeaters


def test_every_code_is_one_of_the_standards() -> None:
    assert {row.basic for row in rows()} == CODES
    assert set(itertools.chain.from_iterable(row.options.values() for row in rows())) == {"K", "C"}
    assert len({row.tag for row in rows()}) == len(rows())
    assert [row.tag for row in plain()] == sorted(row.tag for row in plain())
    assert {number(row) for row in rows() if row.mask != PLAIN} == REPEATING
    assert not any(row.tag >> 16 & 1 for row in rows())


def test_options_that_keep_never_meet_options_that_clean_but_for_dates() -> None:
    device = {Option.RETAIN_DEVICE_IDENTITY: "K"}
    mixed = [row for row in rows() if len(set(row.options.values())) > 1]
    assert [row.name for row in mixed if dict(row.options) not in (DATES, DATES | device)] == []
    of_devices = {row.name for row in mixed if row.options.items() >= device.items()}
    assert of_devices == {
        "BeamHoldTransitionDateTime", "CalibrationDate", "CalibrationDateTime", "CalibrationTime",
        "DateOfInstallation", "DateOfLastCalibration", "DateOfLastDetectorCalibration", "DateOfManufacture",
        "DateTimeOfLastCalibration", "TimeOfLastCalibration", "TimeOfLastDetectorCalibration",
    }  # fmt: skip


def test_each_family_has_its_options_but_for_what_the_standard_leaves_out() -> None:
    known = [row for row in plain() if keyword_for_tag(row.tag)]
    dates = {row.name for row in known if dictionary_VR(row.tag) in ("DA", "TM", "DT")}
    assert {name for name in dates if not by_name(name).options.items() >= DATES.items()} == NO_DATE_OPTION
    uids = {row.name for row in known if dictionary_VR(row.tag) == "UI"}
    assert {name for name in uids if by_name(name).options.get(Option.RETAIN_UIDS) != "K"} == NO_UID_OPTION
    assert all(row.options.items() >= DATES.items() for row in rows() if row.name.endswith("DateTime"))


def test_codes_of_options_are_derived_for_new_attributes_alone() -> None:
    for row in rows():
        assert row.derived == (frozenset(row.options) if row.since == "2026c" else frozenset()), row.name
    named = {row.name for row in rows() if row.derived}
    assert "TableTopPositionAlignmentUID" in named
    assert not named & {"NameToUse", "PronounComment", "GenderIdentitySequence", "UnformattedTextValue"}


@pytest.mark.parametrize(
    ("options", "name", "code"),
    [
        ([], "PatientName", "Z"),
        ([], "StudyDate", "Z"),
        ([Option.RETAIN_LONGITUDINAL_FULL_DATES], "StudyDate", "K"),
        ([Option.RETAIN_LONGITUDINAL_MODIFIED_DATES], "StudyDate", "C"),
        ([Option.RETAIN_LONGITUDINAL_MODIFIED_DATES, Option.RETAIN_LONGITUDINAL_FULL_DATES], "StudyDate", "C"),
        ([Option.RETAIN_LONGITUDINAL_FULL_DATES], "PatientBirthDate", "Z"),
        ([], "StudyInstanceUID", "U"),
        ([Option.RETAIN_UIDS], "StudyInstanceUID", "K"),
        ([Option.RETAIN_UIDS], "DeviceUID", "K"),
        ([Option.RETAIN_DEVICE_IDENTITY], "DeviceUID", "K"),
        ([Option.RETAIN_DEVICE_IDENTITY], "BeamHoldTransitionDateTime", "K"),
        ([Option.RETAIN_DEVICE_IDENTITY, Option.RETAIN_LONGITUDINAL_FULL_DATES], "BeamHoldTransitionDateTime", "K"),
        ([Option.RETAIN_DEVICE_IDENTITY, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES], "BeamHoldTransitionDateTime", "C"),
        ([Option.CLEAN_DESCRIPTORS], "StudyDescription", "C"),
        ([Option.RETAIN_PATIENT_CHARACTERISTICS], "Allergies", "C"),
        ([Option.RETAIN_PATIENT_CHARACTERISTICS], "PatientAge", "K"),
        ([Option.RETAIN_INSTITUTION_IDENTITY], "InstitutionName", "K"),
        ([Option.CLEAN_STRUCTURED_CONTENT], "ContentSequence", "C"),
        ([Option.CLEAN_GRAPHICS], "GraphicAnnotationSequence", "C"),
        (list(Option), "PatientName", "Z"),
    ],
)
def test_an_option_takes_the_place_of_the_basic_profile_where_it_says_so(
    options: list[Option], name: str, code: str
) -> None:
    assert Actions(options).of(by_name(name).tag) == code


def test_overlays_and_curves_are_meant_in_every_group_of_theirs() -> None:
    basic, clean = Actions([]), Actions([Option.CLEAN_GRAPHICS])
    for tag in (0x60003000, 0x601E3000, 0x60024000, 0x50000005, 0x50FE3000):
        assert (basic.of(tag), clean.of(tag)) == ("X", "C")
    # Rows and columns of an overlay say nothing of a patient; groups that are odd are private.
    assert [basic.of(tag) for tag in (0x60000010, 0x60013000, 0x50010010)] == ["", "", ""]


def test_the_table_says_nothing_of_other_attributes() -> None:
    assert [Actions(Option).of(tag) for tag in (0x00280010, 0x7FE00010, 0x00080016, 0x00091001)] == ["", "", "", ""]
