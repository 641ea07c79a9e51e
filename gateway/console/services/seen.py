"""What people are shown of patients, for the audit trail (PS3.15 A.5): a search, a study, the trail itself.

Nobody waits for it. A page that asks again and again for the same is told of once in AGAIN_MS: of a person, a study.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gateway.ledger.look import StudyFilter, TroubleItem
from gateway.ledger.trail import Note, NoteKind

if TYPE_CHECKING:
    from gateway.console.context import Context
    from gateway.flow.notes import Notes

AGAIN_MS = 300_000
_REMEMBERED = 1000
_told: WeakKeyDictionary[Notes, OrderedDict[object, int]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is shown something: his name in the audit trail, and the address that he asks from."""

    actor: str
    address: str = ""


def searched(context: Context, viewer: Viewer, which: StudyFilter) -> None:
    """Somebody searched for studies."""
    given: Mapping[str, object] = {name: value for name, value in asdict(which).items() if value}
    _tell(context, (viewer, which), NoteKind.QUERY, viewer, given, ())


def viewed(context: Context, viewer: Viewer, study_key: int | None, instances: int) -> None:
    """Somebody was shown a study, or an instance of it. None: of an instance that is of none yet."""
    if study_key is not None:
        _tell(context, (viewer, study_key), NoteKind.VIEWED, viewer, {}, ((study_key, instances),))


def listed(context: Context, viewer: Viewer, rows: Sequence[TroubleItem]) -> None:
    """Somebody was shown a list of instances, each with its patient."""
    counts = Counter(row.study_key for row in rows if row.study_key is not None)
    if counts:
        studies = tuple(sorted(counts.items()))
        _tell(context, (viewer, studies), NoteKind.VIEWED, viewer, {}, studies)


def trail_read(context: Context, viewer: Viewer) -> None:
    """Somebody was shown the audit trail."""
    _tell(context, (viewer, "trail"), NoteKind.TRAIL_READ, viewer, {}, ())


def _tell(
    context: Context,
    key: object,
    kind: NoteKind,
    viewer: Viewer,
    which: Mapping[str, object],
    studies: tuple[tuple[int, int], ...],
) -> None:
    now_ms = context.clock_ms()
    told = _told.setdefault(context.notes, OrderedDict())
    if 0 <= now_ms - told.get(key, now_ms - AGAIN_MS) < AGAIN_MS:
        return
    told[key] = now_ms
    if len(told) > _REMEMBERED:
        told.popitem(last=False)
    context.notes.put(Note(kind, now_ms, viewer.actor, viewer.address, which=which, studies=studies))
