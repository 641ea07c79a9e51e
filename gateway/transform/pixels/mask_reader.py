"""The step `mask` as a person writes it: `nothing`, or a map of what is blanked and how."""

from __future__ import annotations

import re

from gateway.document import Items, Node, Scalar, Table
from gateway.transform.pixels.mask import Mask, ShowsNothing
from gateway.transform.pixels.regions import Length, Region
from gateway.transform.reader import Reader
from gateway.transform.steps import Action

KEYS = ("regions", "outside", "fill", "encapsulated")
SIDES = ("left", "top", "width", "height")
_LENGTH = re.compile(r"([0-9]{1,6})(%?)")
_FILL = re.compile(r"-?[0-9]{1,10}")
_ULTRASOUND = "ultrasound-regions"
MAX_REGIONS = 256


def read_mask(reader: Reader, node: Node) -> Action | None:
    """The action of a `mask` step; None, and problems, where it is none."""
    if isinstance(node, Scalar):
        if node.text == "nothing":
            return ShowsNothing()
        reader.problem(node.place, "mask is nothing, or a map that says what is blanked")
        return None
    before = len(reader.problems)
    table = reader.table(node, "mask", KEYS)
    outside = table.get("outside")
    if outside is not None and not (isinstance(outside, Scalar) and outside.text == _ULTRASOUND):
        reader.problem(outside.place, f"outside is {_ULTRASOUND}")
    regions = _regions(reader, table.get("regions"))
    fill = _fill(reader, table.get("fill"))
    is_native = _is_native(reader, table.get("encapsulated"))
    if len(reader.problems) > before:
        return None
    if not regions and outside is None:
        reader.problem(table.place, "mask needs regions, or outside, or both")
        return None
    return Mask(regions, outside is not None, fill, is_native)


def _regions(reader: Reader, node: Node | None) -> tuple[Region, ...]:
    if node is None:
        return ()
    if not isinstance(node, Items) or not 1 <= len(node.nodes) <= MAX_REGIONS:
        reader.problem(node.place, f"regions is a list of 1 to {MAX_REGIONS}, each with {', '.join(SIDES)}")
        return ()
    return tuple(region for each in node if (region := _region(reader, each)) is not None)


def _region(reader: Reader, node: Node) -> Region | None:
    table = reader.table(node, "a region", SIDES)
    missing = [side for side in SIDES if table.get(side) is None]
    if missing and table.entries:
        reader.problem(table.place, f"a region has left, top, width and height: {missing[0]} is missing")
    sides = [_length(reader, table, side) for side in SIDES if side not in missing]
    if missing or None in sides:
        return None
    return Region(*(side for side in sides if side is not None))


def _length(reader: Reader, table: Table, side: str) -> Length | None:
    node = table.entries[side]
    found = _LENGTH.fullmatch(node.text) if isinstance(node, Scalar) else None
    least = 1 if side in ("width", "height") else 0
    if found is None or int(found[1]) < least or (found[2] and int(found[1]) > 100):
        what = f"{side} is a number of pixels from {least}, or of per cent of the image such as 100%"
        reader.problem(node.place, what)
        return None
    return Length(int(found[1]), bool(found[2]))


def _fill(reader: Reader, node: Node | None) -> int | None:
    if node is None:
        return None
    if isinstance(node, Scalar) and _FILL.fullmatch(node.text):
        return int(node.text)
    reader.problem(node.place, "fill is a stored value of a pixel: a whole number")
    return None


def _is_native(reader: Reader, node: Node | None) -> bool:
    if node is None:
        return False
    if isinstance(node, Scalar) and node.text in ("same", "native"):
        return node.text == "native"
    reader.problem(node.place, "encapsulated is same or native")
    return False
