"""What a rule can look at: the attributes of a data set, the facts of the association, by key.

A `Subject` gives a tuple of texts for a key, () where the attribute is empty, None where it is absent. A key is the
path of an attribute (`gateway.dicom.paths`) or the name of a fact; `gateway.rules.names` makes keys of what people
write.
"""

from __future__ import annotations

from functools import lru_cache

from pydicom.uid import UID_dictionary

from gateway.dicom.header import AttributePath, Header
from gateway.model import AssociationFacts

Key = AttributePath | str
Values = tuple[str, ...] | None
FACTS = frozenset(
    {
        "calling_ae_title",
        "called_ae_title",
        "source",
        "host",
        "listener",
        "transfer_syntax",
        "sop_class",
    }
)


class Subject(dict[Key, Values]):
    """What rules look at, read when it is asked for. Patient data: never log one."""

    __slots__ = ("_header",)

    def __init__(self, header: Header, facts: AssociationFacts, transfer_syntax_uid: str, sop_class_uid: str) -> None:
        super().__init__()
        self._header = header
        self["calling_ae_title"] = (facts.calling_ae_title,) if facts.calling_ae_title else ()
        self["called_ae_title"] = (facts.called_ae_title,) if facts.called_ae_title else ()
        self["source"] = (facts.source,) if facts.source else ()
        self["host"] = (facts.peer_host,) if facts.peer_host else ()
        self["listener"] = (facts.listener,) if facts.listener else ()
        self["transfer_syntax"] = uid_names(transfer_syntax_uid)
        self["sop_class"] = uid_names(sop_class_uid)

    def __missing__(self, key: Key) -> Values:
        values = self[key] = None if isinstance(key, str) else self._header.get(key)
        return values


@lru_cache(maxsize=1024)
def uid_names(uid: str) -> tuple[str, ...]:
    """A UID, with the keyword and the name that PS3.6 gives it; () for none."""
    if not uid:
        return ()
    entry = UID_dictionary.get(uid)
    return (uid, str(entry[4]), str(entry[0])) if entry else (uid,)
