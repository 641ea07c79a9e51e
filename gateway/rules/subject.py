"""What a rule can look at: the attributes of a data set, the facts of the association, by key.

A `Subject` gives a tuple of texts for a key, () where the attribute is empty, None where it is absent. A key is the
path of an attribute (`gateway.dicom.paths`), a `NamePart` of one, the name of a fact, or a `Clock`;
`gateway.rules.names` makes keys of what people write.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from pydicom.uid import UID_dictionary

from gateway.dicom.paths import AttributePath
from gateway.model import AssociationFacts

Values = tuple[str, ...] | None
NAME_GROUPS = ("alphabetic", "ideographic", "phonetic")
NAME_COMPONENTS = ("family", "given", "middle", "prefix", "suffix")


@dataclass(frozen=True, slots=True)
class NamePart:
    """A part of a person's name (PS3.5 6.2.1): of one component group or of all, one component or the whole group.

    `group` counts in `NAME_GROUPS`, `component` in `NAME_COMPONENTS`; None is all of them.
    """

    path: AttributePath
    group: int | None
    component: int | None

    def of(self, names: Values) -> Values:
        """This part of some names; names that do not have it give nothing."""
        if names is None:
            return None
        found = []
        for name in names:
            groups = name.split("=")
            for group in groups if self.group is None else groups[self.group : self.group + 1]:
                components = [group] if self.component is None else group.split("^")[self.component :]
                # PS3.5 6.2.1.2: delimiters of trailing empty components mean nothing.
                if components and (text := components[0].rstrip("^").strip(" ")):
                    found.append(text)
        return tuple(found)


# When an instance was received: milliseconds since 1970, or what the clock is to show, whatever zone is asked for.
Received = int | datetime
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Clock:
    """What a clock showed when the instance was received; `zone` None is the host's own."""

    zone: ZoneInfo | None

    def at(self, received: Received | None) -> Values:
        """Weekday, date and time, as in "sat 2026-01-31 19:30"; None where it is not known when."""
        if received is None:
            return None
        if isinstance(received, int):
            received = datetime.fromtimestamp(received / 1000, UTC).astimezone(self.zone)
        return (f"{WEEKDAYS[received.weekday()]} {received:%Y-%m-%d %H:%M}",)


Key = AttributePath | NamePart | Clock | str
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


class Attributes(Protocol):
    """What a subject reads attributes from: a `Header`, or a data set that a transform works on."""

    def get(self, path: AttributePath) -> Values:
        """The values of an attribute: None when absent, () when present and empty."""


class Subject(dict[Key, Values]):
    """What rules look at, read when it is asked for. Patient data: never log one."""

    __slots__ = ("_header", "_received")

    def __init__(
        self,
        header: Attributes,
        facts: AssociationFacts,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        received: Received | None = None,
    ) -> None:
        super().__init__()
        self._header = header
        self._received = received
        self["calling_ae_title"] = (facts.calling_ae_title,) if facts.calling_ae_title else ()
        self["called_ae_title"] = (facts.called_ae_title,) if facts.called_ae_title else ()
        self["source"] = (facts.source,) if facts.source else ()
        self["host"] = (facts.peer_host,) if facts.peer_host else ()
        self["listener"] = (facts.listener,) if facts.listener else ()
        self["transfer_syntax"] = uid_names(transfer_syntax_uid)
        self["sop_class"] = uid_names(sop_class_uid)

    def __missing__(self, key: Key) -> Values:
        values: Values
        if isinstance(key, tuple):
            values = self._header.get(key)
        elif isinstance(key, NamePart):
            values = key.of(self[key.path])
        else:
            values = key.at(self._received) if isinstance(key, Clock) else None
        self[key] = values
        return values


def path_of(key: Key) -> AttributePath | None:
    """The path of the attribute that a key looks at; None for a fact or a clock."""
    if isinstance(key, NamePart):
        return key.path
    return key if isinstance(key, tuple) else None


@lru_cache(maxsize=1024)
def uid_names(uid: str) -> tuple[str, ...]:
    """A UID, with the keyword and the name that PS3.6 gives it; () for none."""
    if not uid:
        return ()
    entry = UID_dictionary.get(uid)
    return (uid, str(entry[4]), str(entry[0])) if entry else (uid,)
