"""Dates and times moved by whole days, so that the time between any two of a patient's stays what it was.

The time of day stays: a day more or less moves no clock. Partial dates (a year, a year and a month) stay as exact as
they were. Ages do not change, as birth and examination move alike.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

MAX_AGE = "090Y"
"""What stands for every age above 89 years."""

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)  # with points as ACR-NEMA 2.0 wrote them
_DATE_TIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?([0-9.]*)([+-]\d{4})?", re.ASCII)
_TIME = re.compile(r"[0-9:.]{2,16}", re.ASCII)
_YEARS = re.compile(r"(\d{3})Y", re.ASCII)
_AGE = re.compile(r"\d{3}[DWMY]", re.ASCII)


def moved(vr: str, text: str, days: int) -> str | None:
    """A value of VR DA, DT or TM moved by so many days; None where it is none that can be moved."""
    text = text.strip(" \0")
    if not text:
        return ""
    if vr == "TM":
        return text if _TIME.fullmatch(text) else None
    found = (_DATE if vr == "DA" else _DATE_TIME).fullmatch(text)
    if not found:
        return None
    year, month, day = found.group(1, 2, 3)
    try:
        # The middle stands for what is not said.
        then = date(int(year), int(month or 7), int(day or 15)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    new = f"{then:%Y%m%d}".rjust(8, "0")
    if vr == "DA":
        return new
    return new[: 8 if day else 6 if month else 4] + found[4] + (found[5] or "")


def capped(text: str) -> str:
    """An age (PS3.5 6.2 AS) with every one above 89 years made `MAX_AGE`; what is none becomes "".

    Months, weeks and days have three digits and do not come so far.
    """
    text = text.strip(" \0")
    if not _AGE.fullmatch(text):
        return ""
    years = _YEARS.fullmatch(text)
    return MAX_AGE if years and int(years[1]) > 89 else text
