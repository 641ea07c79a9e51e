"""Sampling of repeated log lines: what is told again and again is told now and then, with how often it was not.

Lines of trouble (warnings, errors, and a few of level info that come with it) are sampled by their *kind*: the event
and those of its fields that say what went wrong where (destination, source, reason, status, …), not which instance or
association it was. Of each kind:

  - the first BURST lines in a minute are written, and HOURLY in an hour;
  - what follows is counted. A minute later one line tells of it, of the same event: the newest of those that were left
    out, with the field `suppressed`, how many they were. While it goes on, such a line comes after two minutes, four, …
    at most an hour;
  - after QUIET_S without any, or when nothing was left out since the last such line, it begins anew.

So a line that comes now and then is always written, whatever floods the log beside it. Kinds are bounded: what a peer
may make new ones of without end is counted together, by event and what of the fields is the gateway's own word (reason,
code, …): who floods an event under ever new names hides none of its other reasons. Audit and access events are never
sampled, nor are lines that trace an instance: one each is what they are for.

Pure: times are arguments. `gateway.telemetry.log` calls it, under its own lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

BURST, HOURLY = 10, 60
MINUTE_S, HOUR_S = 60.0, 3600.0
QUIET_S = 300.0
KINDS_MAX = 500  # in all, and
KINDS_OF_EVENT_MAX = 100  # of one event; past that, by
REASONS_OF_EVENT_MAX = 50  # of one event, which are besides these

SUPPRESSED = "suppressed"
_NEVER_S = float("inf")
_TROUBLE = frozenset({"warning", "error"})
_INFO = frozenset({"delivery_deferred", "destination_changed"})
# Who did what, and what is told once of each that it is about.
_NEVER = ("audit_", "console_", "gateway_", "quarantined", "damaged_file_left", "spool_file_not_removed")
_KIND_FIELDS = (
    "destination", "source", "host", "role", "link", "name", "kind", "code", "status", "result", "reason", "text",
    "calling", "called", "peer_host", "state", "breaker", "error", "error_text", "error_place", "library", "place",
    "file", "revision", "rules", "child",
)  # fmt: skip
_OWN_FIELDS = ("reason", "code", "status", "result", "kind", "state")  # which no peer writes, or has few words for
_OTHERS = "others"

Kind = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line to be written."""

    level: str
    event: str
    fields: Mapping[str, object]


@dataclass(slots=True)
class _Seen:
    """What is known of one kind: how many lines were written in this minute and hour, and what was left out."""

    minute_s: float
    hour_s: float
    last_s: float
    in_minute: int = 0
    in_hour: int = 0
    until_s: float = 0.0  # lines are left out until then; 0.0: they are written
    wait_s: float = MINUTE_S
    suppressed: int = 0
    newest: Line | None = None

    def may_be_written(self, now_s: float) -> bool:
        """Whether one more line may be, and count it."""
        if now_s - self.minute_s >= MINUTE_S:
            self.minute_s, self.in_minute = now_s, 0
        if now_s - self.hour_s >= HOUR_S:
            self.hour_s, self.in_hour = now_s, 0
        if self.in_minute >= BURST or self.in_hour >= HOURLY:
            return False
        self.in_minute += 1
        self.in_hour += 1
        return True

    def begin_anew(self) -> None:
        """Forget that lines were left out."""
        self.until_s, self.wait_s = 0.0, MINUTE_S

    def summary(self) -> Line:
        """The line that tells of what was left out, which is told then."""
        newest = self.newest
        assert newest is not None  # noqa: S101 - there is one where something was left out
        told = Line(newest.level, newest.event, {**newest.fields, SUPPRESSED: self.suppressed})
        self.suppressed, self.newest = 0, None
        return told


class Sampler:
    """See the module's docstring. Used by one thread at a time."""

    def __init__(self) -> None:
        self._seen: dict[Kind, _Seen] = {}
        self._kinds_of: Counter[tuple[str, bool]] = Counter()  # of an event, and of those that are counted together
        self._forgot_s = 0.0
        self.due_s = _NEVER_S
        """When `due` has something to tell."""

    def take(self, line: Line, now_s: float) -> list[Line]:
        """The lines to be written now that this one came: itself or not, and before it what is due of others."""
        due = self.due(now_s) if now_s >= self.due_s else []
        if not is_sampled(line.level, line.event):
            return [*due, line]
        seen = self._of(line, now_s)
        if seen.until_s and not seen.suppressed and now_s - seen.last_s >= QUIET_S:
            seen.begin_anew()
        seen.last_s = now_s
        if not seen.until_s and seen.may_be_written(now_s):
            return [*due, line]
        if not seen.until_s:
            seen.until_s = now_s + seen.wait_s
        seen.suppressed += 1
        seen.newest = line
        self.due_s = min(self.due_s, seen.until_s)
        return due

    def due(self, now_s: float) -> list[Line]:
        """What was left out and is to be told by now."""
        lines: list[Line] = []
        for seen in self._seen.values():
            if not seen.until_s or seen.until_s > now_s:
                continue
            if not seen.suppressed:
                seen.begin_anew()
                continue
            lines.append(seen.summary())
            seen.wait_s = min(seen.wait_s * 2, HOUR_S)
            seen.until_s = now_s + seen.wait_s
        self.due_s = min((seen.until_s for seen in self._seen.values() if seen.until_s), default=_NEVER_S)
        return lines

    def rest(self) -> Iterator[Line]:
        """What was left out and is not told yet: for the end of a process."""
        return iter([seen.summary() for seen in self._seen.values() if seen.suppressed])

    def _of(self, line: Line, now_s: float) -> _Seen:
        kind = _kind((line.event,), line, _KIND_FIELDS)
        if kind not in self._seen:
            self._forget(now_s)
            of_event, together = self._kinds_of[line.event, False], self._kinds_of[line.event, True]
            if len(self._seen) >= KINDS_MAX or of_event >= KINDS_OF_EVENT_MAX:
                kind = _kind((line.event, _OTHERS), line, _OWN_FIELDS)
                if kind not in self._seen and together >= REASONS_OF_EVENT_MAX:
                    kind = (line.event, _OTHERS)
        seen = self._seen.get(kind)
        if seen is None:
            seen = self._seen[kind] = _Seen(now_s, now_s, now_s)
            self._kinds_of[_group(kind)] += 1
        return seen

    def _forget(self, now_s: float) -> None:
        """Forget kinds that were not seen for an hour, and of which all is told."""
        if now_s - self._forgot_s < MINUTE_S:
            return
        self._forgot_s = now_s
        for kind in [
            kind for kind, seen in self._seen.items() if not seen.suppressed and now_s - seen.last_s >= HOUR_S
        ]:
            del self._seen[kind]
            self._kinds_of[_group(kind)] -= 1


def _kind(begin: Kind, line: Line, names: Sequence[str]) -> Kind:
    return (*begin, *(f"{name}={line.fields[name]}" for name in names if name in line.fields))


def _group(kind: Kind) -> tuple[str, bool]:
    return kind[0], kind[1:2] == (_OTHERS,)


def is_sampled(level: str, event: str) -> bool:
    """Whether lines like this may be left out."""
    return (level in _TROUBLE or event in _INFO) and not event.startswith(_NEVER)
