"""Table E.1-1 of PS3.15: what the Basic Profile and each option do with an attribute.

`data/confidentiality.csv` has a row an attribute. Its columns: `tag` (an x stands for any digit of a repeating group),
`keyword`, `basic`, one for each option, `since` (the edition that brought it), and `derived`: the options whose code
is not the standard's but follows from its family (below).

Codes of the Basic Profile (PS3.15 E.1): X remove, Z empty or a dummy, D a dummy, U another UID. X/Z, X/D, Z/D, X/Z/D
and X/Z/U* leave the choice to the type of the attribute (`types`). Options have K, keep, and C, clean, alone; a
sequence that is kept has its items cleaned.

Where the rows come from:
  - 2024e, whole: 620 attributes and repeating groups. Private attributes, its last row, are not a row here: they have
    no tag of their own, and whoever walks a data set asks for them first.
  - 2026c adds 35 attributes; it changes no code of 2024e and removes none. Its columns of options were not at hand.
    Codes are derived where the whole family has them: dates and times (K with full dates, C with modified ones), a UID
    (K), labels, descriptions and diagnoses (C of Clean Descriptors), identifiers of devices (K), ethnic groups (K).
    What is said of gender, names and pronouns to use, and any text without a family, has none: no option keeps it.
  - What 2024e leaves out on purpose stays out: no option keeps dates of birth, the GPS time stamp, the UID of a
    digital signature or the value of a content item that is a UID (0040,A124).

Called by the engine (`Actions`) and by the document's generator (`rows`).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from types import MappingProxyType

EDITION = "PS3.15 2024e, with the attributes that 2026c added"
PLAIN = 0xFFFFFFFF
# Repeating groups are even (PS3.5 7.6): the lowest bit of the group belongs to the mask.
_REPEATING = 0xFF010000


class Option(StrEnum):
    """The options of PS3.15 E.3 that are columns of Table E.1-1, as a rule file calls them."""

    RETAIN_SAFE_PRIVATE = "retain-safe-private"
    RETAIN_UIDS = "retain-uids"
    RETAIN_DEVICE_IDENTITY = "retain-device-identity"
    RETAIN_INSTITUTION_IDENTITY = "retain-institution-identity"
    RETAIN_PATIENT_CHARACTERISTICS = "retain-patient-characteristics"
    RETAIN_LONGITUDINAL_FULL_DATES = "retain-longitudinal-full-dates"
    RETAIN_LONGITUDINAL_MODIFIED_DATES = "retain-longitudinal-modified-dates"
    CLEAN_DESCRIPTORS = "clean-descriptors"
    CLEAN_STRUCTURED_CONTENT = "clean-structured-content"
    CLEAN_GRAPHICS = "clean-graphics"
    CLEAN_PIXEL_DATA = "clean-pixel-data"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: an attribute is meant when its tag, masked, is `tag`. `options` holds the codes there are."""

    tag: int
    mask: int
    name: str
    basic: str
    options: Mapping[Option, str]
    since: str = ""
    derived: frozenset[Option] = frozenset()

    @property
    def number(self) -> str:
        """The tag as the standard writes it: `(0008,0050)`, `(60xx,3000)`."""
        text = f"{self.tag:08x}"
        if self.mask != PLAIN:
            text = text[:2] + "xx" + (text[4:] if self.mask & 0xFFFF else "xxxx")
        return f"({text[:4]},{text[4:]})"


@cache
def rows() -> tuple[Row, ...]:
    """The rows of the table, by tag; read when first asked."""
    file = resources.files(__package__) / "data" / "confidentiality.csv"
    return tuple(_row(line) for line in csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def _row(line: Mapping[str, str]) -> Row:
    digits = line["tag"]
    mask = PLAIN
    if "x" in digits:
        mask = _REPEATING | (0 if digits.endswith("xxxx") else 0xFFFF)
    return Row(
        int(digits.replace("x", "0"), 16),
        mask,
        line["keyword"],
        line["basic"],
        MappingProxyType({option: line[option] for option in Option if line[option]}),
        line["since"],
        frozenset(map(Option, line["derived"].split())),
    )


class Actions:
    """What to do with each attribute under a set of options; made once, asked for every element.

    An option's action takes the place of the Basic Profile's (PS3.15 E.3). Where one option keeps and another cleans,
    it is cleaned. That concerns eleven dates of devices, kept with a device's identity and moved with modified dates:
    left where it was, the time of a calibration or a beam hold would tell by how much the dates of a patient moved.
    Full and modified dates meet as well, but a rule file cannot ask for both.
    """

    def __init__(self, options: Collection[Option]) -> None:
        chosen = frozenset(options)
        self._plain: dict[int, str] = {}
        self._repeating: list[tuple[int, int, str]] = []
        for row in rows():
            code = _code(row, chosen)
            if row.mask == PLAIN:
                self._plain[row.tag] = code
            else:
                self._repeating.append((row.mask, row.tag, code))
        self.plain: set[tuple[int, str]] = set()
        """Tags and VRs of attributes that no rule touches, as the engine comes to know them: there are thousands at
        most, as it must know their tags."""
        self._high_bytes = frozenset(tag >> 24 for _, tag, _ in self._repeating)

    def of(self, tag: int) -> str:
        """The code of an attribute, one of the module's docstring; "" where the table does not have it."""
        code = self._plain.get(tag, "")
        if not code and tag >> 24 in self._high_bytes:
            return next((code for mask, value, code in self._repeating if tag & mask == value), "")
        return code


def _code(row: Row, chosen: frozenset[Option]) -> str:
    codes = {code for option, code in row.options.items() if option in chosen}
    return min(codes, default=row.basic)  # C before K
