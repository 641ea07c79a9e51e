"""Which UIDs are no instance's: those of classes and of what DICOM itself has registered."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID_dictionary

_CLASSES = ("SOPClass", "TransferSyntax", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "CreatorUID")
_CLASS_KEYWORDS = frozenset({"CreatorVersionUID"})


@lru_cache(maxsize=1024)
def is_class(tag: int) -> bool:
    """Whether an attribute's UIDs say of what kind something is: a SOP class, a transfer syntax, a terminology."""
    keyword = keyword_for_tag(tag)
    return keyword in _CLASS_KEYWORDS or any(part in keyword for part in _CLASSES)


def is_registered(uid: str) -> bool:
    """Whether PS3.6 Annex A registers it: a well-known frame of reference or colour palette is nobody's."""
    return uid in UID_dictionary
