"""Types of attributes (PS3.5 7.4): may one be left out, or empty, where a data set has it?

PS3.15 leaves that choice for X/Z, X/D, Z/D, X/Z/D and X/Z/U*, and wants a dummy for Z where a value must be. So
`data/types.csv` knows the attributes whose code is one of those, Z or D. Of those whose code is X it knows the few that
an IOD or a sequence asks for without a condition (a presentation state has a date of creation): there an object without
them would be none, and a dummy tells as little as nothing. It knows nothing of any other.

Rules:
  - "1" must be there with a value, "2" may be empty, "3" may be left out. 1C counts as 1 and 2C as 2: the attribute
    is there, so its condition held.
  - At the top level the IOD decides: the strictest type over all modules of the IOD, the optional ones too.
  - In an item of a sequence the sequence decides: the strictest type over all IODs, since macros hardly differ.
  - What an IOD or a sequence does not list is an addition to it (a Standard Extended SOP Class): "3".

A line of the file is an IOD (`iod`, its `sop_classes`, `within` empty) or a sequence (`within`, its tag), with the
attributes of type 1 and 2 that it has. Facts come from PS3.3 and PS3.4 as the highdicom package has them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class _Types:
    """`iods`: IOD by SOP class; `top`: types by IOD and attribute; `items`: types by sequence and attribute."""

    iods: dict[str, str]
    top: dict[tuple[str, int], str]
    items: dict[tuple[int, int], str]


def type_of(sop_class_uid: str, within: int, tag: int) -> str:
    """The type of an attribute: "1", "2" or "3"; "" at the top level of a SOP class whose IOD is not known.

    :param within: the tag of the sequence whose item holds the attribute; 0 for the top level.
    :param tag: an attribute whose code in Table E.1-1 is not K or U; of others nothing is known ("3").
    """
    types = _read()
    if within:
        return types.items.get((within, tag), "3")
    iod = types.iods.get(sop_class_uid, "")
    return types.top.get((iod, tag), "3") if iod else ""


def iod_of(sop_class_uid: str) -> str:
    """The IOD of a storage SOP class, as highdicom spells it (`ct-image`); "" where it is not known."""
    return _read().iods.get(sop_class_uid, "")


@cache
def _read() -> _Types:
    types = _Types({}, {}, {})
    file = resources.files(__package__) / "data" / "types.csv"
    for line in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        types.iods.update(dict.fromkeys(line["sop_classes"].split(), line["iod"]))
        for kind in ("1", "2"):
            tags = [int(digits, 16) for digits in line[f"type_{kind}"].split()]
            if line["within"]:
                types.items.update({(int(line["within"], 16), tag): kind for tag in tags})
            else:
                types.top.update({(line["iod"], tag): kind for tag in tags})
    return types
