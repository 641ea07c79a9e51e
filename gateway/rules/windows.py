"""When an instance was received: weekdays and hours, by the clock of the host or of a time zone.

A window is some weekdays (none named: all of them) from one time of day up to another, which no longer belongs to it.
One that goes past midnight, as 18:00 to 06:00 does, belongs to the day on which it begins: Friday's ends on Saturday
morning.

The clock (`gateway.rules.subject.Clock`) shows "sat 2026-01-31 19:30" for the time at which the instance was received;
that time is an argument, nothing here looks at a clock. The only files that are read are those of the time zones, when
a rule names one. `gateway.rules.conditions` makes windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from gateway.rules.subject import WEEKDAYS, Received, Values

MIDNIGHT, END_OF_DAY = "00:00", "24:00"
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_RECEIVED = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?", re.ASCII
)


class Window:
    """The clock shows one of some weekdays, from `start` up to `end`, both "HH:MM"."""

    def __init__(self, weekdays: Iterable[str], start: str, end: str) -> None:
        named = frozenset(weekdays)
        self._weekdays = [day for day in WEEKDAYS if day in named] or list(WEEKDAYS)
        self._start = start
        self._end = end

    def holds(self, values: Values) -> bool:
        if not values:
            return False
        day, _, clock = values[0].split(" ")
        if self._start < self._end:
            return day in self._weekdays and self._start <= clock < self._end
        if clock >= self._start:
            return day in self._weekdays
        return clock < self._end and WEEKDAYS[WEEKDAYS.index(day) - 1] in self._weekdays

    def describe(self) -> str:
        days = "" if len(self._weekdays) == len(WEEKDAYS) else f" on {', '.join(self._weekdays)}"
        return f"is{days} from {self._start} to {self._end}"


def is_time_of_day(text: str) -> bool:
    """Whether a text is "HH:MM", between 00:00 and 24:00."""
    return _TIME_OF_DAY.fullmatch(text) is not None


def zone_of(name: str) -> ZoneInfo | str:
    """A time zone by its name in the IANA database, or (returned) a name that may be meant, "" if none is close."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Europe" is a folder of the database
        by_folded = {zone.casefold(): zone for zone in available_timezones()}
        close = get_close_matches(name.casefold(), by_folded, n=1)
        return by_folded[close[0]] if close else ""


def read_received(text: str) -> Received | None:
    """The time that a person says an instance was received; None where the text is no date and time.

    With an offset from UTC it is a moment; without, what every clock is to show, whatever zone a rule asks for: so a
    test of rules passes on any host or on none.
    """
    if not _RECEIVED.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo is None else int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
