"""`deidentify:` in a rule file: what can be said, what is refused, and what it comes to."""

from __future__ import annotations

import re

import pytest

from gateway.errors import ConfigurationError
from gateway.transform import Key, load
from gateway.transform.deidentify.profile import Patient
from gateway.transform.deidentify.step import Deidentify
from gateway.transform.deidentify.table import Option
from tests.unit.samples import SOP, element, sample
from tests.unit.transform_kit import KEYS, before, on, problems_of, reread, run, transform

WHOLE = """
- deidentify:
    key: site
    options:
      - retain-longitudinal-modified-dates
      - retain-patient-characteristics
      - retain-safe-private
      - clean-descriptors
    patient_id: "TRIAL-{pseudonym}"
    patient_name: "Subject^{pseudonym}"
    shift_days: [30, 400]
    age_cap: 89
    birth_date: shift
    safe_private: {"SIEMENS CSA HEADER": ["(0029,xx08)"]}
    words: [ankle, "dynamic series"]
"""
FILES = {
    "10.yaml": """
tables: {trial: {file: trial.csv, key: patient_id}}
lists: {words: [ankle]}
transforms:
  t:
    - deidentify:
        key: site
        options: [clean-descriptors]
        words: {list: words}
        subjects: {table: trial, column: subject}
""",
    "trial.csv": "patient_id,subject\nP1,S-001\n",
}


def test_all_that_can_be_said_is_read() -> None:
    (step,) = transform(WHOLE).steps
    assert isinstance(step.action, Deidentify)
    profile = step.action.profile
    assert profile.options == {
        Option.RETAIN_LONGITUDINAL_MODIFIED_DATES,
        Option.RETAIN_PATIENT_CHARACTERISTICS,
        Option.RETAIN_SAFE_PRIVATE,
        Option.CLEAN_DESCRIPTORS,
    }
    assert (profile.patient_id, profile.patient_name) == ("TRIAL-{pseudonym}", "Subject^{pseudonym}")
    assert (profile.shift_days, profile.caps_age, profile.moves_birth_date) == ((30, 400), True, True)
    assert ("SIEMENS CSA HEADER", 0x00290008) in profile.safe_private
    assert profile.cleaner.clean("Ankle DYNAMIC series 123456 Miller") == "Ankle DYNAMIC series"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("{}", "deidentify is a map with key, options,"),
        ("{options: []}", "deidentify needs key: a name of pseudonym_keys"),
        ("{key: other}", "no key 'other' stands in pseudonym_keys of gateway.yaml (site)"),
        ("{key: site, colour: red}", "deidentify has no key 'colour'"),
        ("{key: site, options: [retain-uid]}", "there is no option 'retain-uid'; is retain-uids meant?"),
        (
            "{key: site, options: [retain-longitudinal-full-dates, retain-longitudinal-modified-dates]}",
            "dates are kept or moved",
        ),
        ("{key: site, patient_id: X}", "patient_id needs {pseudonym}, or all patients become one"),
        ('{key: site, patient_id: "{pseudonym}{PatientID}"}', "the only thing that braces stand around"),
        ('{key: site, patient_id: "{pseudonym}' + 50 * "x" + '"}', "longer than VR LO allows"),
        ("{key: site, shift_days: 30}", "shift_days needs the option retain-longitudinal-modified-dates"),
        ("{key: site, options: [retain-longitudinal-modified-dates], shift_days: [9, 3]}", "comes first"),
        ("{key: site, options: [retain-longitudinal-modified-dates], shift_days: 0}", "a whole number from 1"),
        ("{key: site, birth_date: shift}", "birth_date: shift needs the option"),
        ("{key: site, age_cap: 90}", "age_cap is none or 89"),
        ('{key: site, safe_private: {X: ["(0029,xx08)"]}}', "safe_private needs the option retain-safe-private"),
        ('{key: site, options: [retain-safe-private], safe_private: {X: ["(0028,xx08)"]}}', "xx is its block"),
        ("{key: site, words: {list: none}}", "words is a list of words"),
        ("{key: site, subjects: {table: t}}", "subjects needs table and column"),
    ],
)
def test_a_mistake_is_told_with_its_place(steps: str, expected: str) -> None:
    problems = problems_of(f"transforms: {{t: [{{deidentify: {steps}}}]}}")
    assert any(expected in problem.message for problem in problems), problems
    assert all(problem.line == 1 and problem.column > 1 for problem in problems)


def test_two_keys_make_two_transforms_of_one_definition() -> None:
    one, other = (load(FILES, None, keys).transforms["t"].digest for keys in (KEYS, {"site": Key(b"x" * 16)}))
    assert one != other
    changed = {**FILES, "trial.csv": "patient_id,subject\nP1,S-002\n"}
    assert load(changed, None, KEYS).transforms["t"].digest not in (one, other)
    with pytest.raises(ConfigurationError, match="no key 'site' stands in pseudonym_keys"):
        load(FILES, None)


def test_subjects_of_a_trial_have_the_names_of_its_table_and_all_others_are_held() -> None:
    (step,) = load(FILES, None, KEYS).transforms["t"].steps
    assert isinstance(step.action, Deidentify)
    profile = step.action.profile
    assert profile.pseudonym(Patient("P1", "", "1.2")) == "S-001"
    with pytest.raises(Exception, match=re.escape("PatientID (0010,0020): it is not in the table of subjects")):
        profile.pseudonym(Patient("P2", "", "1.2"))
    files = {**FILES, "10.yaml": FILES["10.yaml"].replace("column: subject", "column: subject, otherwise: pseudonym")}
    (step,) = load(files, None, KEYS).transforms["t"].steps
    assert isinstance(step.action, Deidentify)
    assert re.fullmatch("[0-9A-Z]{16}", step.action.profile.pseudonym(Patient("P2", "", "1.2")))


def test_the_patient_is_another_everywhere_and_always_the_same() -> None:
    found, again = (on("CT_small.dcm", WHOLE) for _ in range(2))
    original = before("CT_small.dcm")
    assert found == again
    assert found.PatientID.startswith("TRIAL-")
    assert str(found.PatientName) == "Subject^" + found.PatientID.removeprefix("TRIAL-")
    assert found.PatientIdentityRemoved == "YES"
    assert found.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in found.DeidentificationMethodCodeSequence] == [
        *("113100", "113105", "113107", "113108", "113111"),
    ]
    assert found.PixelData == original.PixelData
    assert found.PatientSex == original.PatientSex
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert found[keyword].value == KEYS["site"].uid(original[keyword].value)
    assert "OtherPatientIDsSequence" not in found
    assert "OriginalAttributesSequence" not in found
    days = [
        (_day(found[keyword].value) - _day(original[keyword].value)).days
        for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
    ]
    assert len(set(days)) == 1
    assert -400 <= days[0] <= -30


def _day(text: str):  # type: ignore[no-untyped-def]
    from datetime import date

    return date.fromisoformat(text)


def test_an_earlier_record_of_what_was_changed_is_gone_and_a_later_step_keeps_none() -> None:
    data = sample("CT_small.dcm").data_set
    steps = "- set: {InstitutionName: A}\n" + WHOLE.strip() + "\n- set: {InstitutionName: B}"
    found = reread(run(data, steps))
    assert found.InstitutionName == "B"
    assert "OriginalAttributesSequence" not in found


def test_a_step_whose_conditions_leave_an_instance_out_sends_nothing_in_its_place() -> None:
    data = sample("MR_small.dcm")
    steps = "- set: {InstitutionName: A}\n- when: {Modality: CT}\n  deidentify: {key: site}\n"
    with pytest.raises(Exception, match="transform t: none of its deidentify steps was done"):
        run(data.data_set, steps, data.transfer_syntax_uid)
    other = steps + "- when: {Modality: MR}\n  deidentify: {key: site, options: [retain-uids]}"
    found = reread(run(data.data_set, other, data.transfer_syntax_uid), data.transfer_syntax_uid)
    assert found.PatientIdentityRemoved == "YES"


def test_one_patient_id_of_two_issuers_is_of_two_patients_where_that_is_asked_for() -> None:
    def who(issuer: bytes, also: str = "") -> str:
        data = SOP + element(0x00100020, "LO", b"17") + element(0x00100021, "LO", issuer)
        return str(reread(run(data, f"- deidentify: {{key: site{also}}}")).PatientID)

    assert who(b"A ") == who(b"B ")
    assert who(b"A ", ", issuer: distinguish") != who(b"B ", ", issuer: distinguish")


def test_the_dates_of_a_subject_move_alike_whatever_patient_ids_the_subject_has() -> None:
    files = {**FILES, "trial.csv": "patient_id,subject\nP1,S-001\nP2,S-001\nP3,S-003\n"}
    (step,) = load(files, None, KEYS).transforms["t"].steps
    assert isinstance(step.action, Deidentify)
    days = [step.action.profile.days(Patient(each, "", "1.2")) for each in ("P1", "P2", "P3")]
    assert days[0] == days[1] != days[2]


def test_the_latest_date_of_an_examination_tells_of_a_great_age() -> None:
    steps = "- deidentify: {key: site, options: [retain-longitudinal-modified-dates], birth_date: shift, age_cap: 89}"
    for acquired, kept in ((b"20140101", True), (b"20240101", False)):
        data = SOP + element(0x00080020, "DA", b"19700101") + element(0x00080022, "DA", acquired)
        data += element(0x00100020, "LO", b"17") + element(0x00100030, "DA", b"19260101")
        assert bool(reread(run(data, steps)).PatientBirthDate) == kept


def test_who_has_no_patient_id_is_a_patient_by_the_study_and_without_a_study_is_held() -> None:
    steps = "- deidentify: {key: site}"
    one, other = (reread(run(SOP + element(0x0020000D, "UI", uid), steps)) for uid in (b"1.2.3\0", b"1.2.4\0"))
    assert one.PatientID != other.PatientID
    with pytest.raises(Exception, match=r"transform t, step 1 \(deidentify\): there is neither PatientID"):
        run(SOP, steps)
