"""What a `deidentify` step was asked for: options of PS3.15 E.3, the key, and what stands in place of the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Profile:
    """See the module's docstring. `shift_days`: least and most; `patient_id` and `patient_name` hold `PSEUDONYM`.

    `remembers`: what stands behind the pseudonyms is kept, sealed, where gateway.yaml has `reidentification`.
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

    def pseudonym(self, patient_id: str, study_instance_uid: str) -> str:
        """What stands for a patient.

        Without a Patient ID each study is a patient of its own: two people must never become one.

        :raises ValueRefused: nobody says who the patient is.
        """
        if self.subjects is not None:
            subject = self.subjects.table.get(patient_id)
            if subject:
                return subject
            if self.subjects.hold:
                raise ValueRefused("PatientID (0010,0020): it is not in the table of subjects")
        return self.key.pseudonym("patient", self.identity(patient_id, study_instance_uid))

    def days(self, patient_id: str, study_instance_uid: str) -> int:
        """By how many days the dates of a patient move: back, never forward."""
        return -self.key.number("days", self.identity(patient_id, study_instance_uid), *self.shift_days)

    @staticmethod
    def identity(patient_id: str, study_instance_uid: str) -> str:
        """What pseudonym and days are made of. :raises ValueRefused: as `pseudonym`."""
        if patient_id:
            return f"id\0{patient_id}"
        if study_instance_uid:
            return f"study\0{study_instance_uid}"
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
