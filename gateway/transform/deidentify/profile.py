"""What a `deidentify` step was asked for: options of PS3.15 E.3, the key, and what stands in place of the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.transform.deidentify.cleaning import Cleaner
from gateway.transform.deidentify.private import Safe
from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.deidentify.table import Actions, Option
from gateway.transform.values import ValueRefused

PSEUDONYM = "{pseudonym}"


@dataclass(frozen=True, slots=True)
class Subjects:
    """A mapping table of a trial: Patient ID → what stands for the patient. `hold`: who is not in it is held."""

    table: Mapping[str, str] = field(repr=False)
    hold: bool


class Patient(NamedTuple):
    """What tells patients apart, as it came."""

    patient_id: str
    issuer: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Profile:
    """See the module's docstring. `shift_days`: least and most; `patient_id` and `patient_name` hold `PSEUDONYM`.

    `by_issuer`: one Patient ID of two issuers is of two patients. `remembers`: what stands behind the pseudonyms is
    kept, sealed, where gateway.yaml has `reidentification`.
    """

    options: frozenset[Option]
    actions: Actions
    key: Key
    patient_id: str
    patient_name: str
    subjects: Subjects | None
    shift_days: tuple[int, int]
    caps_age: bool
    moves_birth_date: bool
    safe_private: Safe
    cleaner: Cleaner
    remembers: bool = True
    by_issuer: bool = False

    def has(self, option: Option) -> bool:
        """Whether an option was chosen."""
        return option in self.options

    @property
    def moves_dates(self) -> bool:
        """Whether dates are moved."""
        return Option.RETAIN_LONGITUDINAL_MODIFIED_DATES in self.options

    @property
    def cleans_text(self) -> bool:
        """Whether any text is cleaned instead of taken out."""
        return not self.options.isdisjoint(_CLEANING)

    def pseudonym(self, patient: Patient) -> str:
        """What stands for a patient.

        :raises ValueRefused: nobody says who the patient is.
        """
        subject = self._subject(patient)
        return subject or self.key.pseudonym("patient", self._identity(patient))

    def days(self, patient: Patient) -> int:
        """By how many days the dates of a patient move: back, never forward. Those of a subject move alike, whatever
        Patient IDs the subject has. :raises ValueRefused: as `pseudonym`.
        """
        subject = self._subject(patient)
        identity = f"subject\0{subject}" if subject else self._identity(patient)
        return -self.key.number("days", identity, *self.shift_days)

    def _subject(self, patient: Patient) -> str:
        if self.subjects is None:
            return ""
        subject = self.subjects.table.get(patient.patient_id, "")
        if not subject and self.subjects.hold:
            raise ValueRefused("PatientID (0010,0020): it is not in the table of subjects")
        return subject

    def _identity(self, patient: Patient) -> str:
        """What pseudonym and days are made of.

        Without a Patient ID each study is a patient of its own: two people must never become one.
        """
        if patient.patient_id:
            return f"id\0{patient.patient_id}" + (f"\0{patient.issuer}" if self.by_issuer else "")
        if patient.study_instance_uid:
            return f"study\0{patient.study_instance_uid}"
        raise ValueRefused(
            "there is neither PatientID (0010,0020) nor StudyInstanceUID (0020,000d) to tell patients by"
        )


_CLEANING = frozenset(
    {
        Option.CLEAN_DESCRIPTORS,
        Option.CLEAN_STRUCTURED_CONTENT,
        Option.CLEAN_GRAPHICS,
        Option.RETAIN_PATIENT_CHARACTERISTICS,
        Option.RETAIN_DEVICE_IDENTITY,
        Option.RETAIN_INSTITUTION_IDENTITY,
    }
)
