"""Sizes and times as people write them: `5 GiB`, `100 MB`, `500 ms`, `7 d`.

Rules:
  - a number (a decimal fraction is fine) and a unit; the space between them may be left out; `0` needs no unit;
  - sizes: B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024);
  - times: ms, s, min, h, d;
  - units are written exactly so: `m` could be minutes or months and `Mb` bits, so they are refused with a hint.

`format_…` is the inverse: `parse_size(format_size(n)) == n`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

SIZE_UNITS: Mapping[str, int] = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
TIME_UNITS_MS: Mapping[str, int] = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}

MAX_SIZE_BYTES = 2**63 - 1
MAX_TIME_S = 100 * 366 * 86_400.0

_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) *([^\W\d_]*)")

_SPELLINGS = {
    "m": "min", "mins": "min", "minute": "min", "minutes": "min",
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "msec": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
    "byte": "B", "bytes": "B", "k": "KiB", "kb": "KiB", "g": "GiB", "t": "TiB",
}  # fmt: skip


def parse_size(text: str) -> int:
    """A size in bytes. Raises ValueError with a sentence that says how to write it."""
    amount = _scaled(text, SIZE_UNITS, "a size", "5 GiB")
    if amount != int(amount):
        raise ValueError("is not a whole number of bytes")
    if amount > MAX_SIZE_BYTES:
        raise ValueError("is larger than any disk")
    return int(amount)


def parse_duration(text: str) -> float:
    """A time in seconds. Raises ValueError with a sentence that says how to write it."""
    seconds = float(_scaled(text, TIME_UNITS_MS, "a time", "30 s") / 1000)
    if seconds > MAX_TIME_S:
        raise ValueError("is longer than a hundred years")
    return seconds


def format_size(size_bytes: int) -> str:
    """The shortest exact way to write a size; binary units before decimal ones."""
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
        if size_bytes and size_bytes % SIZE_UNITS[unit] == 0:
            return f"{size_bytes // SIZE_UNITS[unit]} {unit}"
    return f"{size_bytes} B"


def format_duration(seconds: float) -> str:
    """The shortest exact way to write a time of whole milliseconds."""
    milliseconds = round(seconds * 1000)
    if not milliseconds:
        return "0 s"
    unit = next(unit for unit in ("d", "h", "min", "s", "ms") if milliseconds % TIME_UNITS_MS[unit] == 0)
    return f"{milliseconds // TIME_UNITS_MS[unit]} {unit}"


def _scaled(text: str, units: Mapping[str, int], what: str, example: str) -> Decimal:
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"is not {what}: write a number and a unit, such as {example!r}")
    number, unit = Decimal(match[1]), match[2]
    if unit in units:
        return number * units[unit]
    if not unit and not number:
        return number
    known = ", ".join(units)
    if not unit:
        raise ValueError(f"is not {what} without a unit: write one of {known}, such as {example!r}")
    meant = _SPELLINGS.get(unit.lower(), next((name for name in units if name.lower() == unit.lower()), None))
    hint = f"; did you mean '{match[1]} {meant}'?" if meant in units else ""
    raise ValueError(f"is not {what}: the unit must be one of {known}{hint}")
