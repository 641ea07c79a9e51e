"""Rules: the files in force, earlier revisions, and how much each rule matched of late.

What stands in the files is patient data: tables are keyed by Patient IDs, and rules may name patients. Who may see none
is told their names and how long they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.ledger.look import NO_RULE, RevisionRow

if TYPE_CHECKING:
    from gateway.console.context import Context

REVISIONS_MAX = 200
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file of a set: YAML, or the CSV of a table. `text` None: it is not for who asks."""

    name: str
    lines: int
    text: str | None


@dataclass(frozen=True, slots=True)
class RuleSetView:
    """A stored set of rules. `stored_at_ms` None: longer ago than is listed."""

    revision: str
    current: bool
    stored_at_ms: int | None
    files: tuple[RuleFile, ...]


@dataclass(frozen=True, slots=True)
class Matches:
    """How many instances each rule matched since then; `unmatched`: how many no rule matched."""

    since_ms: int
    by_rule: Mapping[str, int]
    unmatched: int


async def revisions(context: Context, limit: int = REVISIONS_MAX) -> Sequence[RevisionRow]:
    """The stored sets, the newest first. :raises LedgerError."""
    return await context.look.revisions(limit)


async def rule_set(context: Context, revision: str = "", *, texts: bool) -> RuleSetView | None:
    """A stored set, or the current one; None where there is none. `texts`: who asks may see patients.

    :raises LedgerError.
    """
    found, rows = await asyncio.gather(context.look.rule_files(revision), context.look.revisions(REVISIONS_MAX))
    if found is None:
        return None
    row = next((each for each in rows if each.revision == found.revision), None)
    files = tuple(RuleFile(name, len(text.splitlines()), text if texts else None) for name, text in found.files.items())
    return RuleSetView(
        found.revision, row is not None and row.current, None if row is None else row.stored_at_ms, files
    )


async def matches(context: Context, since_ms: int | None = None) -> Matches:
    """How much each rule matched, of the last day unless told otherwise. :raises LedgerError."""
    since = context.clock_ms() - DAY_MS if since_ms is None else since_ms
    found = await context.look.rule_matches(since)
    return Matches(since, {name: n for name, n in found.items() if name != NO_RULE}, found.get(NO_RULE, 0))
