"""Attributes that Table E.1-1 leaves out although they tell of somebody; they go whatever was chosen.

Dates of birth and death in another calendar; what somebody else has encrypted of a patient; which private attributes
there were, by creators' names; the title of a document whose content goes; where an instance can be fetched (a URL
holds its old UIDs, and the host of a hospital); and which document in HL7 it was made of.
"""

from __future__ import annotations

from pydicom.datadict import DicomDictionary

_CODES = {
    0x00080300: "X",  # Private Data Element Characteristics Sequence
    0x00100033: "X",  # Patient's Birth Date in Alternative Calendar
    0x00100034: "X",  # Patient's Death Date in Alternative Calendar
    0x0040E001: "D",  # HL7 Instance Identifier
    0x00420010: "Z",  # Document Title
    0x0074100C: "X",  # Contact Display Name
    0x04000500: "X",  # Encrypted Attributes Sequence
}
_URIS_OF_NOBODY = frozenset({0x0008010E, 0x00080120, 0x00687005})  # of coding schemes, codes, parts of a document
_URIS = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "UR") - _URIS_OF_NOBODY


def code_beyond(tag: int) -> str:
    """The code of an attribute, as the table writes it; "" for all others."""
    return _CODES.get(tag) or ("X/Z/D" if tag in _URIS else "")
