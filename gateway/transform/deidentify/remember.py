"""What a de-identified data set was called before, for the ledger of originals: kept in memory until it is sealed.

A `deidentify` step that remembers calls `originals_of` before it changes anything; behind the last step of the chain
`remembered` looks at what the data set is called now, as later steps may have changed that too: whoever gets the copy
asks by what stands in it. The first step that remembers counts; one behind it only sees pseudonyms.

Without *Patient ID* the pseudonym stands for a study, whose UID is then part of what is remembered. A UID that stayed
as it was is not remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.edit import read
from gateway.transform.tree import Tree
from gateway.transform.values import ValueRefused, joined
from gateway.transform.view import View

_PATIENT_ID, _STUDY_INSTANCE_UID = 0x00100020, 0x0020000D
_PATIENT = {
    "PatientID": _PATIENT_ID,
    "IssuerOfPatientID": 0x00100021,
    "PatientName": 0x00100010,
    "PatientBirthDate": 0x00100030,
}
_UIDS = {"StudyInstanceUID": _STUDY_INSTANCE_UID, "SeriesInstanceUID": 0x0020000E, "SOPInstanceUID": 0x00080018}


@dataclass(frozen=True, slots=True)
class Original:
    """Attributes as they were, and the tag of the one that stands for them in the copy. Patient data.

    `mark` tells originals with one pseudonym apart, under the key of the pseudonyms: without it nobody can try names.
    """

    tag: int
    attributes: Mapping[str, str] = field(repr=False)
    mark: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a pseudonym stands for. Patient data: seal it."""

    pseudonym: str = field(repr=False)
    mark: str = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)


def originals_of(tree: Tree, key: Key) -> tuple[Original, ...]:
    """What the data set says of patient, study, series and instance."""
    patient = {name: text for name, tag in _PATIENT.items() if (text := _text(tree, tag))}
    if "PatientID" not in patient and (study := _text(tree, _STUDY_INSTANCE_UID)):
        patient["StudyInstanceUID"] = study
    found = [(_PATIENT_ID, patient)]
    found += [(tag, {name: text}) for name, tag in _UIDS.items() if (text := _text(tree, tag))]
    return tuple(
        Original(tag, each, key.pseudonym("original", json.dumps(each, sort_keys=True))) for tag, each in found
    )


def remembered(tree: Tree) -> tuple[Remembered, ...]:
    """What is to be remembered of a data set whose steps are all done: by the names that it has now."""
    if not tree.originals:
        return ()
    view = View(tree)
    found = ((view.text(each.tag).strip(), each) for each in tree.originals)
    return tuple(
        Remembered(name, each.mark, each.attributes)
        for name, each in found
        if name and (each.tag == _PATIENT_ID or name not in each.attributes.values())
    )


def _text(tree: Tree, tag: int) -> str:
    """The value of an attribute of the top level. One that cannot be read holds nothing up: its bytes are shown."""
    try:
        return joined(read(tree.root, tag) or ()).strip()
    except ValueRefused:
        element = tree.root.get(tag)
        return "" if element is None else element.value.decode("ascii", "backslashreplace").strip(" \0")
