"""Greater and less, by VR: numbers, dates, times and ages, and how many values there are.

A text is read as a span from its first to its last moment (a number is a span of one point), since dates and times may
be written in part (PS3.5 6.2: of TM and DT the rear components may be left out; `2024` as a literal is the year). A
comparison holds when it does whatever was left out: `2024` is at least `202401`, not at least `202406`. What is not
of the VR's form fits no comparison.

`reader_of` says how values of a VR are read; a literal that a person wrote must have the VR's form too, and is a
`LiteralError` otherwise. DT with an offset from UTC is compared with values that have one, as moments; without, as what
the clock showed where the value was written. Pure; `gateway.rules.conditions` makes conditions of this.
"""

from __future__ import annotations

import re
import struct
from calendar import monthrange
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from gateway.rules.patterns import bounded
from gateway.rules.subject import Values

WORDS = {"gt": "is more than", "ge": "is at least", "lt": "is less than", "le": "is at most"}
_MAX_NUMBER_CHARACTERS = 64
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"([0-9]{4})(?:[-.]?([0-9]{2})(?:[-.]?([0-9]{2}))?)?")
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?))?)?)?"
    r"([+-][0-9]{4})?"
)
_ISO_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})(?:-([0-9]{2})(?:[T ]([0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?))?)?"
    r"([+-][0-9]{2}:[0-9]{2})?"
)
_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
# A year has 365.25 days, a month a twelfth of that: all of them whole numbers of sixteenths of a day.
_AGE_UNITS = {"D": 16, "W": 7 * 16, "M": 487, "Y": 12 * 487}
_DAY_US = 24 * 3600 * 1_000_000
_MAX_OFFSET_MINUTES = 14 * 60  # PS3.5 6.2: -1200 to +1400

Span = tuple[int | Decimal, int | Decimal]
Read = Callable[[str], Span | None]


class LiteralError(ValueError):
    """A literal has not the form of the VR; the text says what form that is."""


@dataclass(frozen=True, slots=True)
class Bound:
    """`operator` is a key of `WORDS`, `text` the literal as it was written."""

    operator: str
    span: Span
    text: str

    def admits(self, span: Span) -> bool:
        """Whether a value of that span fits, whatever was left out of it."""
        low, high = self.span
        if self.operator == "gt":
            return span[0] > high
        if self.operator == "ge":
            return span[0] >= low
        if self.operator == "lt":
            return span[1] < low
        return span[1] <= high


def are_apart(low: Bound, high: Bound) -> bool:
    """Whether nothing fits both ends."""
    least = low.span[1] if low.operator == "gt" else low.span[0]
    most = high.span[0] if high.operator == "lt" else high.span[1]
    return least > most or (least == most and (low.operator, high.operator) != ("ge", "le"))


class Compared:
    """Any value fits all bounds. `read` makes a span of a value."""

    def __init__(self, bounds: Iterable[Bound], read: Read) -> None:
        self._bounds = tuple(bounds)
        self._read = read

    def holds(self, values: Values) -> bool:
        return any(self._fits(value) for value in bounded(values))

    def _fits(self, value: str) -> bool:
        span = self._read(value)
        return span is not None and all(bound.admits(span) for bound in self._bounds)

    def describe(self) -> str:
        return _described(self._bounds)


class Count:
    """There are so many values (PS3.5 6.4): none where the attribute is absent or empty."""

    def __init__(self, bounds: Iterable[Bound]) -> None:
        self._bounds = tuple(bounds)

    def holds(self, values: Values) -> bool:
        count = len(values or ())
        return all(bound.admits((count, count)) for bound in self._bounds)

    def describe(self) -> str:
        return f"has a number of values that {_described(self._bounds)}"


def _described(bounds: tuple[Bound, ...]) -> str:
    return " and ".join(f"{WORDS[bound.operator]} {bound.text}" for bound in bounds)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Reader:
    """How values of a VR are read; `form` says it to people. `literal` reads what a rule says, where that differs."""

    form: str
    read: Read
    literal: Read | None = None

    def literal_of(self, text: str) -> tuple[Span, Read]:
        """What a literal means, and how the values that it is compared with are read.

        :raises LiteralError: it has not the form.
        """
        span = (self.literal or self.read)(text)
        if span is not None:
            return span, self.read
        if self.read is _date_time and (span := _moment(text)) is not None:
            return span, _moment
        raise LiteralError(self.form)


def reader_of(vr: str) -> Reader | None:
    """How values of a VR are compared; None for those that are not. "" is not known: numbers, if any."""
    if " or " in vr:  # PS3.6 leaves some pixel-like attributes a choice, of numbers all
        vr = "US"
    return _READERS.get(vr)


def _number(text: str) -> Span | None:
    if len(text) > _MAX_NUMBER_CHARACTERS or not _NUMBER.fullmatch(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number, number


def _whole_number(text: str) -> Span | None:
    span = _number(text)
    return span if span is not None and span[0] == int(span[0]) else None


def _single(text: str) -> Span | None:
    """A literal as FL holds it, rounded to single precision: 0.1 equals what a file has for 0.1."""
    try:
        return _number(text) and _number(str(struct.unpack("<f", struct.pack("<f", float(text)))[0]))
    except OverflowError:
        return None


def _double(text: str) -> Span | None:
    return _number(text) and _number(str(float(text)))


def _date(text: str) -> Span | None:
    """Days. PS3.5 6.2: YYYYMMDD, of old also YYYY.MM.DD."""
    found = _DATE.fullmatch(text)
    return _days(*found.groups()) if found else None


def _days(year: str, month: str | None, day: str | None) -> tuple[int, int] | None:
    try:
        first = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None
    low = first.toordinal()
    if month is None:
        return low, date(first.year, 12, 31).toordinal()
    return low, low if day else low + monthrange(first.year, first.month)[1] - 1


def _time(text: str) -> tuple[int, int] | None:
    """Microseconds of the day. PS3.5 6.2: HHMMSS.FFFFFF, of old also with colons; 60 is a leap second."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds, fraction = found.groups()
    if int(hours) > 23 or int(minutes or 0) > 59 or int(seconds or 0) > 60:
        return None
    low = (int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) * 1_000_000
    low += int((fraction or "").ljust(6, "0"))
    if seconds == "60":  # the last moment of its minute, so that it stays in its hour and day
        return low - 1, low - 1
    if minutes is None:
        return low, low + 3_600_000_000 - 1
    if seconds is None:
        return low, low + 60_000_000 - 1
    return low, low + 10 ** (6 - len(fraction or "")) - 1


def _date_time(text: str) -> Span | None:
    """Microseconds, of what the clock showed; an offset in a value is not looked at, a literal has none."""
    return _clock(text)[0]


def _date_time_literal(text: str) -> Span | None:
    span, offset_minutes = _clock(text)
    return span if offset_minutes is None else None


def _moment(text: str) -> Span | None:
    """Microseconds, in UTC; a value without an offset is not a moment."""
    span, offset_minutes = _clock(text)
    if span is None or offset_minutes is None:
        return None
    return span[0] - offset_minutes * 60_000_000, span[1] - offset_minutes * 60_000_000


def _clock(text: str) -> tuple[tuple[int, int] | None, int | None]:
    """What the clock showed, and its offset from UTC in minutes, where that is told."""
    found = _DATE_TIME.fullmatch(text) or _ISO_DATE_TIME.fullmatch(text)
    if not found:
        return None, None
    year, month, day, clock, offset = found.groups()
    days, time = _days(year, month, day), (0, _DAY_US - 1)
    if clock:
        within = _time(clock)
        if within is None:
            return None, None
        time = within
    if days is None:
        return None, None
    span = days[0] * _DAY_US + time[0], days[1] * _DAY_US + time[1]
    if offset is None:
        return span, None
    digits = offset.replace(":", "")
    minutes = int(digits[1:3]) * 60 + int(digits[3:5])
    if minutes > _MAX_OFFSET_MINUTES or int(digits[3:5]) > 59:
        return None, None
    return span, -minutes if digits[0] == "-" else minutes


def _age(text: str) -> Span | None:
    """Sixteenths of a day. PS3.5 6.2: nnnD, nnnW, nnnM, nnnY."""
    found = _AGE.fullmatch(text)
    if not found:
        return None
    duration = int(found[1]) * _AGE_UNITS[found[2]]
    return duration, duration


_WHOLE = Reader("a whole number, as in 512", _number, _whole_number)
_DECIMAL = Reader("a number, as in 1.5 or 2e-3", _number)
_READERS = {
    "": _DECIMAL,
    "DS": _DECIMAL,
    "FD": Reader(_DECIMAL.form, _number, _double),
    "FL": Reader(_DECIMAL.form, _number, _single),
    **dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US", "UV"), _WHOLE),
    "AS": Reader("an age, as in 018M or 45Y (D days, W weeks, M months, Y years)", _age),
    "DA": Reader("a date, as in 20240131, 2024-01-31 or 2024", _date),
    "TM": Reader("a time of day, as in 193000, 19:30 or 19", _time),
    "DT": Reader(
        "a date and time, as in 20240131193000, 2024-01-31T19:30 or 20240131193000+0100",
        _date_time,
        _date_time_literal,
    ),
}
WHOLE_NUMBER = _WHOLE
