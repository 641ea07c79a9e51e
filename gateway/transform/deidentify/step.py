"""`deidentify`: the step that makes of a data set one that tells of nobody (PS3.15 Annex E)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.dicom.header import SOP_INSTANCE_UID
from gateway.transform.deidentify.birth import birth_of
from gateway.transform.deidentify.edition import method
from gateway.transform.deidentify.engine import Engine, Subject
from gateway.transform.deidentify.known import names_of
from gateway.transform.deidentify.method import tell, write_anew
from gateway.transform.deidentify.profile import PSEUDONYM, Patient, Profile
from gateway.transform.deidentify.remember import originals_of
from gateway.transform.deidentify.table import Option
from gateway.transform.edit import read
from gateway.transform.names import label
from gateway.transform.pixels.overlays import without_overlay
from gateway.transform.pixels.risk import has_pixels, why_at_risk
from gateway.transform.pixels.scrub import scrub
from gateway.transform.steps import Origin
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused, joined

_PATIENT_ID, _PATIENT_NAME, _BIRTH_DATE = 0x00100020, 0x00100010, 0x00100030
_ISSUER, _STUDY_INSTANCE_UID = 0x00100021, 0x0020000D


@dataclass(frozen=True, slots=True)
class Deidentify:
    """Runs the profile over a tree; what was there before is forgotten, records of earlier steps too."""

    profile: Profile

    @property
    def fingerprint(self) -> str:
        """What tells it from the same step with another key, or of another gateway."""
        return f"{method()} {self.profile.key.fingerprint}"

    def run(self, tree: Tree, origin: Origin) -> None:
        """:raises ValueRefused: the patient cannot be told from others, or something cannot be made safe."""
        profile, root = self.profile, tree.root
        tree.forget()
        self._check_pixels(tree)
        if profile.remembers and not tree.originals:
            tree.originals = originals_of(tree, profile.key)
        # An issuer that cannot be read holds nobody up where it tells nobody apart.
        issuer = _text(tree, _ISSUER).strip() if profile.by_issuer else ""
        patient = Patient(_text(tree, _PATIENT_ID).strip(), issuer, _text(tree, _STUDY_INSTANCE_UID).strip())
        pseudonym = profile.pseudonym(patient)
        days = profile.days(patient) if profile.moves_dates else 0
        names = names_of(root) if profile.cleans_text else frozenset()
        birth = birth_of(tree, profile, days)
        birth_date = birth.moved(_text(tree, _BIRTH_DATE)) if birth.moves else ""
        Engine(profile, Subject(origin.sop_class_uid, days, names, birth)).walk(root)
        if not profile.has(Option.RETAIN_UIDS) and not _text(tree, SOP_INSTANCE_UID):
            # The one that the instance was sent under would be sent on.
            raise ValueRefused(f"{label(SOP_INSTANCE_UID)}: there is none that another could stand for")
        write_anew(root, _PATIENT_ID, profile.patient_id.replace(PSEUDONYM, pseudonym))
        write_anew(root, _PATIENT_NAME, profile.patient_name.replace(PSEUDONYM, pseudonym))
        if birth_date:
            write_anew(root, _BIRTH_DATE, birth_date)
        tell(tree, profile)

    def _check_pixels(self, tree: Tree) -> None:
        """:raises ValueRefused: what the pixels may show, nobody has seen to."""
        at_risk = why_at_risk(tree)
        if at_risk:
            raise ValueRefused(at_risk)
        if self.profile.has(Option.CLEAN_PIXEL_DATA) and has_pixels(tree) and not tree.pixels_clean:
            raise ValueRefused(f"the option {Option.CLEAN_PIXEL_DATA} is chosen, and no mask step was done")
        without_overlay(tree)
        scrub(tree)


def _text(tree: Tree, tag: int) -> str:
    """The value of an attribute of the top level; "" where there is none."""
    return joined(read(tree.root, tag) or ())
