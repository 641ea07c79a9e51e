"""What becomes of one value: the dummies, the emptied, the mapped and the moved of PS3.15 Table E.1-1a.

A code that leaves a choice is resolved by the type that the attribute has in its place (PS3.5 7.4): an attribute that
the IOD can do without goes. Where the IOD is not known the strictest type is taken, as an object that cannot be read
is of no use and a dummy says nothing.
"""

from __future__ import annotations

from struct import calcsize

from gateway.transform.values import SETTABLE

DUMMY_TEXT = "ANONYMIZED"
_DUMMIES = {
    "AE": DUMMY_TEXT,
    "AS": "000Y",
    "AT": "(0000,0000)",
    "CS": DUMMY_TEXT,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "FD": "0",
    "FL": "0",
    "IS": "0",
    "LO": DUMMY_TEXT,
    "LT": DUMMY_TEXT,
    "PN": DUMMY_TEXT,
    "SH": DUMMY_TEXT,
    "SL": "0",
    "SS": "0",
    "ST": DUMMY_TEXT,
    "SV": "0",
    "TM": "000000",
    "UC": DUMMY_TEXT,
    "UL": "0",
    "UR": "urn:anonymized",
    "US": "0",
    "UT": DUMMY_TEXT,
    "UV": "0",
}
_UNITS = {"OB": 2, "OW": 2, "OL": calcsize("=I"), "OF": calcsize("=f"), "OD": calcsize("=d"), "OV": calcsize("=q")}
_BY_TYPE = {
    "X/Z": {"1": "Z", "2": "Z", "3": "X"},
    "X/D": {"1": "D", "2": "D", "3": "X"},
    "Z/D": {"1": "D", "2": "Z", "3": "Z"},
    "X/Z/D": {"1": "D", "2": "Z", "3": "X"},
    # A sequence of references that must be there, if empty, keeps them, with the UIDs that stand for the old ones.
    "X/Z/U*": {"1": "U", "2": "U", "3": "X"},
}


def resolved(code: str, attribute_type: str) -> str:
    """One of D, Z, X, K, C, U for a code of the table; `attribute_type` is "1", "2", "3", or "" where unknown."""
    choices = _BY_TYPE.get(code)
    return code if choices is None else choices[attribute_type or "1"]


def dummy_text(vr: str) -> str:
    """A value of this VR that says nothing; "" where it has no text."""
    return _DUMMIES[vr] if vr in SETTABLE and vr in _DUMMIES else ""


def dummy_bytes(vr: str) -> bytes:
    """A value of a VR without text: zeros of one unit."""
    return bytes(_UNITS.get(vr, 2))
