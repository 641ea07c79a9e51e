"""What content items (PS3.3 C.17.3) say of the patient: a birth date, an age, a name or a number, by their concept.

PS3.15 tells such values by their attribute, and Date (0040,A121) may be any date: an option that keeps dates would keep
the day of birth. So the concept name decides: a date of birth follows Patient's Birth Date, an age the cap of ages, and
who the subject is becomes a dummy. The item stays, as its template may ask for it.
"""

from __future__ import annotations

import math
from enum import Enum

from gateway.transform.deidentify.birth import Birth
from gateway.transform.deidentify.codes import code_of
from gateway.transform.parse import each_item, has_items
from gateway.transform.tree import DataSet, Element
from gateway.transform.values import ValueRefused, decode, encode, joined


class About(Enum):
    """What of the patient a content item tells."""

    NOTHING = "nothing"
    BIRTH = "birth"
    AGE = "age"
    IDENTITY = "identity"


_CONCEPTS = {
    ("DCM", "121031"): About.BIRTH,  # Subject Birth Date
    ("LN", "21112-8"): About.BIRTH,
    ("SCT", "184099003"): About.BIRTH,
    ("DCM", "121033"): About.AGE,  # Subject Age
    ("LN", "30525-0"): About.AGE,
    ("SCT", "397669002"): About.AGE,
    ("SCT", "424144002"): About.AGE,
    ("DCM", "121022"): About.IDENTITY,  # Accession Number
    ("DCM", "121029"): About.IDENTITY,  # Subject Name
    ("DCM", "121030"): About.IDENTITY,  # Subject ID
    ("LN", "54125-0"): About.IDENTITY,
}
_CONCEPT_NAME, _UNITS = 0x0040A043, 0x004008EA
_DATE_TIME, _DATE, _TIME, _NAME, _TEXT = 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123, 0x0040A160
_NUMBER, _FLOATING_POINT = 0x0040A30A, 0x0040A161
_EXACT = frozenset({_FLOATING_POINT, 0x0040A162, 0x0040A163})  # the number once more, as a float or a fraction
_VALUES = frozenset({_DATE_TIME, _DATE, _TIME, _NAME, _TEXT, _NUMBER, _FLOATING_POINT})
# UCUM units in which 90 years are so many; shorter ones do not come so far. All that is none of them counts as years.
_OF_90_YEARS = {"mo": 1080.0, "wk": 4696.0, "d": 32_872.0, "h": math.inf, "min": math.inf, "s": math.inf}


def about(data: DataSet) -> About | None:
    """What a content item tells of the patient; None for items that have no concept name of their own."""
    concept = data.get(_CONCEPT_NAME)
    if concept is None or not has_items(concept):
        return None
    found = [_CONCEPTS.get(code_of(item.data), About.NOTHING) for item in each_item(data, concept)]
    return next((each for each in found if each is not About.NOTHING), About.NOTHING)


def code_about(subject: About, data: DataSet, element: Element, birth: Birth, caps_age: bool) -> str:
    """The code for a value that tells of the patient, as the table writes it; "" for what is treated as elsewhere."""
    tag = element.tag
    if subject is About.NOTHING or tag not in _VALUES:
        return ""
    if subject is About.AGE:
        return "D" if tag == _TEXT and caps_age else ""
    if subject is About.BIRTH and tag in (_DATE_TIME, _DATE):
        return "C" if birth.moved(_text(data, element)[:8]) else "D"
    return "D"


def capped_number(data: DataSet, element: Element) -> Element | None:
    """A number of an item that tells an age, 90 years where it was more than 89; None for one that says it again."""
    if element.tag != _NUMBER and element.tag not in _EXACT:
        return element
    number = data.get(_NUMBER)
    limit = _limit(data)
    values = _text(data, number).split("\\") if number is not None else []
    if not any(_is_above(value, limit) for value in values):
        return element
    if element.tag in _EXACT:
        return None
    new = joined(tuple(f"{limit:.0f}" if _is_above(value, limit) else value for value in values))
    return data.make(element.tag, "DS", encode("DS", new, data.big_endian, b""))


def _limit(data: DataSet) -> float:
    """90 years in the units of a measured value."""
    units = data.get(_UNITS)
    if units is None or not has_items(units):
        return 90.0
    scheme, unit = next((code_of(item.data) for item in list(each_item(data, units))), ("", ""))
    return _OF_90_YEARS.get(unit, 90.0) if scheme == "UCUM" else 90.0


def _is_above(value: str, limit: float) -> bool:
    try:
        return limit - 1 < float(value) != limit
    except ValueError:
        return False  # none that could stay: see `gateway.transform.deidentify.kinds`


def _text(data: DataSet, element: Element) -> str:
    """The value as text; "" where it cannot be read."""
    if element.bulk is not None:
        return ""
    try:
        return joined(decode("DS" if element.tag == _NUMBER else "LO", element.value, data.big_endian, b"")).strip()
    except ValueRefused:
        return ""
