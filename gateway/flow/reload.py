"""The rule files of the folder become the current rules of the ledger; a broken set changes nothing.

One process a host watches (the console). A change is taken only when two looks in a row see the same files (name, size,
time of change), so that a half-saved folder is never used; the set must be valid for the configured destinations, and
its own tests must pass. Workers load by revision from the ledger, so each instance is routed by exactly one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from gateway import telemetry
from gateway.errors import ConfigurationError, LedgerError, Problem
from gateway.ledger.base import RuleSet
from gateway.ledger.thread import LedgerThread
from gateway.rules.plan import Plan
from gateway.transform import load
from gateway.transform.testing import run_tests

LOOK_S = 1.0
SUFFIXES = (".yaml", ".yml")

Signature = tuple[tuple[str, int, int], ...]


def read_rules(folder: Path) -> dict[str, str]:
    """The rule files of a folder, in name order: name → text.

    :raises ConfigurationError: the folder or a file cannot be read, or holds no rule file.
    """
    files: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        names = sorted(path.name for path in folder.iterdir() if _is_rule_file(path))
    except OSError as error:
        raise ConfigurationError([Problem(str(folder), 0, 0, f"cannot be read: {error.strerror}")]) from None
    for name in names:
        try:
            files[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(folder / name), 0, 0, f"cannot be read as UTF-8 text: {error}"))
    if problems:
        raise ConfigurationError(problems)
    if not files:
        raise ConfigurationError([Problem(str(folder), 0, 0, "no rule file (*.yaml): every instance would be held")])
    return files


def validate_rules(files: Mapping[str, str], destinations: Collection[str] | None) -> Plan:
    """Load a set and run its own tests.

    :param destinations: the names that rules may send to; None does not check them.
    :raises ConfigurationError: with everything that is wrong.
    """
    book = load(files, destinations)
    problems = [
        result.place.problem(f"the test {result.name!r} fails: expected {result.expected}, got {result.got}")
        for result in run_tests(book)
        if not result.passed
    ]
    if problems:
        raise ConfigurationError(problems)
    return book.plan


def _is_rule_file(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.startswith(".")


def signature(folder: Path) -> Signature:
    """What two looks are compared by; empty when the folder cannot be read."""
    found = []
    try:
        for path in folder.iterdir():
            if _is_rule_file(path):
                stat = path.stat()
                found.append((path.name, stat.st_size, stat.st_mtime_ns))
    except OSError:
        return ()
    return tuple(sorted(found))


class RuleWatcher:
    """Keeps the ledger's current rules equal to the folder's last good state.

    :param loaded: called after each successful load, with the plan.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        folder: Path,
        destinations: Collection[str],
        clock_ms: Callable[[], int],
        loaded: Callable[[Plan], None],
    ) -> None:
        self.destinations = destinations
        self._ledger = ledger
        self._folder = folder
        self._clock_ms = clock_ms
        self._loaded = loaded
        self._taken: Signature | None = None

    def look_again(self) -> None:
        """Take the files anew at the next look: asked for by a person, or the destinations changed."""
        self._taken = None

    async def run(self) -> None:
        """Serve until cancelled."""
        before: Signature | None = None
        while True:
            seen = await asyncio.to_thread(signature, self._folder)
            if seen != self._taken and seen == before and await self._take():
                self._taken = seen
            before = seen
            await asyncio.sleep(LOOK_S)

    async def _take(self) -> bool:
        """Try the files once; True when they were taken or refused, False to try again."""
        try:
            files = await asyncio.to_thread(read_rules, self._folder)
            plan = await asyncio.to_thread(validate_rules, files, self.destinations)
        except ConfigurationError as error:
            telemetry.rules_reloaded(result="refused", problems=error.problems)
            return True
        rules = RuleSet(plan.revision, files)
        try:
            changed = await self._ledger.call(lambda ledger: ledger.store_rules(rules, self._clock_ms()))
        except LedgerError as error:
            telemetry.problem("rules_not_stored", reason=str(error))
            return False
        telemetry.rules_reloaded(result="loaded" if changed else "unchanged", revision=plan.revision)
        self._loaded(plan)
        return True
