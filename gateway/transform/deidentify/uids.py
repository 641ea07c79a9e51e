"""Which UIDs are no instance's: those of classes and of what DICOM itself has registered."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID_dictionary

from gateway.transform.deidentify.pseudonyms import Key

_CLASSES = ("SOPClass", "TransferSyntax", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "CreatorUID")
_CLASS_KEYWORDS = frozenset({"CreatorVersionUID"})


@lru_cache(maxsize=1024)
def is_class(tag: int) -> bool:
    """Whether an attribute's UIDs say of what kind something is: a SOP class, a transfer syntax, a terminology."""
    keyword = keyword_for_tag(tag)
    return keyword in _CLASS_KEYWORDS or any(part in keyword for part in _CLASSES)


@lru_cache(maxsize=8192)
def mapped(key: Key, values: bytes) -> bytes:
    """The encoded UIDs that stand for encoded UIDs; of what is no UID too, as it still tells things apart."""
    uids = (value.strip(" \0") for value in values.decode("latin-1").split("\\"))
    new = "\\".join(uid if not uid or is_registered(uid) else key.uid(uid) for uid in uids)
    return new.encode("latin-1") + b"\0" * (len(new) % 2)


def is_registered(uid: str) -> bool:
    """Whether PS3.6 Annex A registers it: a well-known frame of reference or colour palette is nobody's."""
    return uid in UID_dictionary
