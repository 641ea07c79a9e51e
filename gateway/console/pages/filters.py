"""What templates do to values before they show them: dates, counts, sizes, and the tone of a state."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from markupsafe import Markup, escape

from gateway.ledger.look import AgeCell, Happening, Moment
from gateway.rules.subject import uid_names
from gateway.words import age, counted, plain, size

OLD_S, OLDER_S = 3600, 4 * 3600


def shown(value: object) -> object:
    """Text as a page may show it; what a template made itself stays."""
    return value if isinstance(value, Markup) else plain(value)


def as_typed(value: object) -> Markup:
    """What a person typed, for the field it was typed into: escaped, and else unchanged."""
    return escape(str(value))


def utc(at_ms: int) -> str:
    """A moment for `datetime=`: 2026-11-26T23:18:10Z."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_text(at_ms: int) -> str:
    """A moment for people whose browser runs no script."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def dicom_date(value: str) -> str:
    """A date of DICOM (PS3.5 6.2, DA) as people write it; what is none stays as it is."""
    found = re.fullmatch(r"([0-9]{4})([0-9]{2})([0-9]{2})", value)
    return "-".join(found.groups()) if found else value


def grouped(number: int) -> str:
    """A count in groups of three, with narrow no-break spaces: 1 234 567."""
    return f"{number:,}".replace(",", "\u202f")


def count(number: int) -> Markup:
    """The same for a template: its spaces are ours, and stay."""
    return Markup(grouped(number))  # noqa: S704 - digits and spaces


def short(number: int) -> str:
    """A count for a narrow place: 999, 1.2k, 34k, 5.6M."""
    for unit, of in (("M", 1_000_000), ("k", 1_000)):
        if number >= of:
            share = number / of
            return f"{share:.1f}{unit}" if share < 9.95 else f"{share:.0f}{unit}"
    return str(number)


def of_deliveries(number: int) -> str:
    """`1 delivery`, `12 deliveries`."""
    return "1 delivery" if number == 1 else f"{number} deliveries"


# ── states ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_TONES = {
    "delivered": "good",
    "settled": "good",
    "up": "good",
    "held": "warn",
    "deferred": "warn",
    "paused": "warn",
    "half_open": "warn",
    "dead": "bad",
    "quarantined": "bad",
    "down": "bad",
}
_STATE_WORDS = {"leased": "under way", "half_open": "half-open", "deferred": "to be tried again", "purged": "freed"}


def tone_of(state: object) -> str:
    """The tone of a badge of a state; "" where it has none."""
    return _TONES.get(str(state), "")


def lamp_tone(state: object) -> str:
    """The tone of a lamp of a state."""
    return _TONES.get(str(state), "idle")


def state_word(state: object) -> str:
    """A state in words."""
    return _STATE_WORDS.get(str(state), str(state))


def moment_tone(moment: Moment) -> str:
    """The tone of a moment of a timeline."""
    if moment.what is Happening.STOPPED:
        return "bad" if moment.state == "dead" else "warn"
    return "good" if moment.what in (Happening.DELIVERED, Happening.SETTLED) else ""


# ── ages ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Bin:
    """A column of a histogram. `tone` is old or older where it should make somebody look."""

    label: str
    count: int
    more: bool = False
    tone: str = ""


class Celled(Protocol):
    """Whatever waits by age."""

    @property
    def cells(self) -> Sequence[AgeCell]: ...


def bins(queue: Celled) -> list[Bin]:
    """The columns of what waits for one destination."""
    below = 0
    found = []
    for cell in queue.cells:
        label = _bound(cell.up_to_s) if cell.up_to_s else "older"
        since = below if cell.up_to_s else max(below, 1)
        tone = "older" if since >= OLDER_S else "old" if since >= OLD_S else ""
        found.append(Bin(label, cell.count, cell.more, tone))
        below = cell.up_to_s or below
    return found


def bins_of_all(queues: Iterable[Celled]) -> list[Bin]:
    """The columns of what waits for all destinations together."""
    columns = list(zip(*(bins(queue) for queue in queues), strict=True))
    return [
        Bin(column[0].label, sum(each.count for each in column), any(each.more for each in column), column[0].tone)
        for column in columns
    ]


def _bound(seconds: int) -> str:
    """An age that is read at a glance: 5 min, 80 min, 2.7 h, 21 h."""
    if seconds < 2 * 3600:
        return f"{seconds // 60} min"
    hours = seconds / 3600
    return f"{hours:.1f} h".replace(".0 ", " ") if hours < 9.95 else f"{hours:.0f} h"


# ── foreign identifiers, orders ───────────────────────────────────────────────────────────────────────────────────────


def uid_name(uid: str) -> str:
    """A UID with the name that PS3.6 gives it."""
    names = uid_names(uid)
    return f"{names[2]} ({uid})" if len(names) > 1 else uid


def order_words(which: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What an audited order was about: names and values."""
    found = []
    for name, value in which.items():
        if value in ("", None, [], {}, ()):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        found.append((name.replace("_", " "), text if isinstance(text, str) else json.dumps(text)))
    return found


FILTERS = {
    "utc": utc,
    "utc_text": utc_text,
    "dicom_date": dicom_date,
    "age": age,
    "bytes": size,
    "count": count,
    "counted": counted,
    "deliveries": of_deliveries,
    "short": short,
    "as_typed": as_typed,
    "tone": tone_of,
    "lamp_tone": lamp_tone,
    "state_word": state_word,
    "moment_tone": moment_tone,
    "bins": bins,
    "uid_name": uid_name,
    "order_words": order_words,
}
