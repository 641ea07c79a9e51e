"""What stands for patients, UIDs and dates: the same for the same, another for another, and intervals survive."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transform import TransformError
from gateway.transform.deidentify.dates import MAX_AGE, capped, moved
from gateway.transform.deidentify.profile import Patient, Subjects
from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.deidentify.table import Option
from gateway.transform.values import ValueRefused
from tests.unit.deidentify_kit import KEY, MODIFIED_DATES, deidentified, profile
from tests.unit.samples import SOP, element
from tests.unit.transform_kit import reread

OTHER = Key(b"another key of sixteen bytes")
TEXTS = st.text(max_size=64)
UIDS = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
SHIFTS = st.integers(-36_525, -1)
DAYS = st.dates(date(200, 1, 1), date(9999, 12, 31))


@given(UIDS, UIDS)
def test_a_uid_has_one_that_stands_for_it_and_no_other_has_it(one: str, other: str) -> None:
    assert KEY.uid(one) == Key(b"a key that only the tests know").uid(one)
    assert (KEY.uid(one) == KEY.uid(other)) == (one == other)
    assert KEY.uid(one) not in (one, OTHER.uid(one))


@given(UIDS)
def test_what_stands_for_a_uid_is_a_uuid_as_a_number(uid: str) -> None:
    root, _, number = KEY.uid(uid).rpartition(".")
    found = UUID(int=int(number))
    assert (root, found.version, found.variant) == ("2.25", 8, "specified in RFC 4122")
    assert len(KEY.uid(uid)) <= 64


@given(TEXTS, TEXTS, st.sampled_from(["patient", "code", "days"]))
def test_a_pseudonym_stands_for_one_text_and_one_purpose(one: str, other: str, purpose: str) -> None:
    assert KEY.pseudonym(purpose, one) == KEY.pseudonym(purpose, one)
    assert KEY.pseudonym(purpose, one) != KEY.pseudonym("another", one)
    assert KEY.pseudonym(purpose, one) != OTHER.pseudonym(purpose, one)
    assert (KEY.pseudonym(purpose, one) == KEY.pseudonym(purpose, other)) == (one == other)
    assert len(KEY.pseudonym(purpose, one)) == 16 and KEY.pseudonym(purpose, one).isalnum()


@given(TEXTS, st.integers(1, 100), st.integers(0, 4000))
def test_a_number_is_within_its_bounds(text: str, least: int, more: int) -> None:
    assert least <= KEY.number("days", text, least, least + more) <= least + more


def test_a_key_is_not_shown_and_not_short() -> None:
    assert "tests" not in repr(KEY) and "tests" not in repr(profile())
    assert KEY.fingerprint != OTHER.fingerprint
    with pytest.raises(ValueError, match="16 bytes"):
        Key(b"short")


# ── dates ─────────────────────────────────────────────────────────────────────────────────────────────────────


@given(DAYS, DAYS, SHIFTS)
def test_the_time_between_two_dates_stays(one: date, other: date, days: int) -> None:
    new = [moved("DA", f"{each:%Y%m%d}".rjust(8, "0"), days) for each in (one, other)]
    found = [date.fromisoformat(each) for each in new if each]
    assert found[1] - found[0] == other - one
    assert found[0] - one == timedelta(days=days)


@given(st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)), SHIFTS, st.sampled_from(["", "+0100", "-1130"]))
def test_a_date_and_time_moves_by_days_and_keeps_its_time_and_zone(then: datetime, days: int, zone: str) -> None:
    text = f"{then:%Y%m%d%H%M%S.%f}{zone}"
    new = moved("DT", text, days)
    assert new is not None
    assert new[8:] == text[8:]
    assert new[:8] == moved("DA", text[:8], days)


@given(DAYS, SHIFTS)
def test_a_partial_date_stays_as_exact_as_it_was(day: date, days: int) -> None:
    text = f"{day:%Y%m}".rjust(6, "0")
    for length in (4, 6):
        new = moved("DT", text[:length], days)
        assert new is not None and len(new) == length and new.isdigit()


@pytest.mark.parametrize("text", ["20240229", "20000229", "2024.02.29", "20240229 "])
def test_leap_days_move(text: str) -> None:
    assert moved("DA", text, -1) in ("20240228", "20000228")
    assert moved("DA", text, -366) in ("20230228", "19990228")


@pytest.mark.parametrize(
    "text",
    ["20230229", "20241301", "2024", "20240101-20240201", "unknown", "00010101", "202401011", "２０２４０１０１"],
)
def test_what_is_no_date_is_not_moved(text: str) -> None:
    assert moved("DA", text, -30) is None


def test_a_date_that_cannot_be_moved_goes() -> None:
    data = SOP + element(0x00080020, "DA", b"DOE JANE") + element(0x00080021, "DA", b"20240301")
    data += element(0x00100020, "LO", b"17") + element(0x00181200, "DA", b"19990101\\DOE JANE ")
    new = reread(deidentified(data, profile([MODIFIED_DATES], shift_days=(1, 1)))[0])
    assert (new.StudyDate, new.SeriesDate) == ("", "20240229")
    assert "DateOfLastCalibration" not in new


@pytest.mark.parametrize(
    ("text", "expected"),
    [("089Y", "089Y"), ("090Y", MAX_AGE), ("101Y", MAX_AGE), ("999M", "999M"), ("5Y", ""), ("ninety", ""), ("", "")],
)
def test_ages_above_89_become_one(text: str, expected: str) -> None:
    assert capped(text) == expected


@pytest.mark.parametrize(
    ("born", "examined", "age", "stays"),
    [
        ("19340302", "20240301", "089Y", True),  # the day before the 90th birthday
        ("19340228", "20240301", "", False),
        ("19800101", "20240301", "044Y", True),
        ("19800101", "20240301", "095Y", False),  # what is said of the age counts too
        ("19800101", "", "", False),
    ],
)
def test_the_date_of_birth_moves_along_but_for_the_very_old(born: str, examined: str, age: str, stays: bool) -> None:
    data = SOP + element(0x00080020, "DA", examined.encode()) + element(0x00100020, "LO", b"17")
    data += element(0x00100030, "DA", born.encode()) + element(0x00101010, "AS", age.encode())
    asked = profile(
        [MODIFIED_DATES, Option.RETAIN_PATIENT_CHARACTERISTICS],
        shift_days=(10, 10),
        caps_age=True,
        moves_birth_date=True,
    )
    new = reread(deidentified(data, asked)[0])
    assert new.PatientBirthDate == (moved("DA", born, -10) if stays else "")
    assert new.PatientAge == capped(age)


# ── patients ──────────────────────────────────────────────────────────────────────────────────────────────────


def patient(patient_id: str, study: str = "1.2.3", **also: object) -> str:
    data = SOP + element(0x00100020, "LO", patient_id.encode() + b" " * (len(patient_id) % 2))
    data += element(0x0020000D, "UI", study.encode() + b"\0" * (len(study) % 2))
    return str(reread(deidentified(data, profile(**also))[0]).PatientID)  # type: ignore[arg-type]


def test_a_patient_is_the_same_in_every_study() -> None:
    assert patient("17", "1.2.3") == patient(" 17 ", "1.2.4") != patient("18", "1.2.3")
    assert patient("17") != patient("17", key=OTHER)


def test_without_a_patient_id_each_study_is_a_patient_of_its_own() -> None:
    assert patient("", "1.2.3") == patient("", "1.2.3")
    assert patient("", "1.2.3") != patient("", "1.2.5")


def test_a_patient_id_that_looks_like_a_study_is_no_study() -> None:
    assert patient("1.2.3") != patient("", "1.2.3")


def test_nobody_is_held() -> None:
    with pytest.raises(TransformError, match="neither PatientID"):
        deidentified(SOP)


def test_a_subject_has_the_name_that_the_trial_gave_and_who_is_in_no_table_is_held() -> None:
    table = {"17": "S-001"}
    assert patient("17", subjects=Subjects(table, hold=True)) == "S-001"
    assert patient("18", subjects=Subjects(table, hold=False)) == patient("18")
    with pytest.raises(TransformError, match="table of subjects") as refused:
        patient("18", subjects=Subjects(table, hold=True))
    assert "18" not in str(refused.value)
    assert "17" not in repr(Subjects(table, hold=True))


def test_formats_hold_the_pseudonym() -> None:
    data = SOP + element(0x00100020, "LO", b"17")
    new = reread(deidentified(data, profile(patient_id="T-{pseudonym}", patient_name="T^{pseudonym}"))[0])
    assert new.PatientID == f"T-{patient('17')}" and new.PatientName == f"T^{patient('17')}"


def test_days_are_those_of_the_patient_and_always_back() -> None:
    asked = profile([MODIFIED_DATES], shift_days=(30, 60))
    days = {asked.days(Patient(str(number), "", "1.2.3")) for number in range(200)}
    assert min(days) >= -60 and max(days) <= -30 and len(days) > 20
    assert asked.days(Patient("17", "", "1.2.3")) == asked.days(Patient("17", "", "1.2.4"))
    with pytest.raises(ValueRefused):
        asked.days(Patient("", "", ""))
