"""The rule files of the folder become the current rules of the ledger; a broken set changes nothing.

The CSV files that tables of the rules name belong to the set; others beside them do not.

One process a host watches (the console). A change is taken only when two looks in a row see the same files (name, size,
time of change), so that a half-saved folder is never used; the set must be valid for the configured destinations, and
its own tests must pass. Workers load by revision from the ledger, so each instance is routed by exactly one.

Of several hosts on one ledger each has a folder. Whichever changes while its console runs is taken. One that has not
changed since a start or since it was taken, and holds what was in force before, is not (`is_behind`): the others got
new rules since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from gateway import telemetry
from gateway.errors import ConfigurationError, LedgerError, Problem
from gateway.flow.in_force import turn_waiting
from gateway.ledger.base import Ledger, RuleSet
from gateway.ledger.thread import LedgerThread
from gateway.rules.csvtext import MAX_BYTES
from gateway.rules.plan import Plan, parse
from gateway.rules.tables import SUFFIX as CSV
from gateway.rules.tables import files_named
from gateway.transform import NO_KEYS, Keys, Rulebook, load
from gateway.transform.testing import run_tests

LOOK_S = 1.0
EVER_MS = 1 << 62
SUFFIXES = (".yaml", ".yml")

Signature = tuple[tuple[str, int, int], ...]


def read_rules(folder: Path) -> dict[str, str]:
    """The rule files of a folder, in name order, and behind them the CSV files that their tables name: name → text.

    :raises ConfigurationError: the folder or a file cannot be read, or holds no rule file.
    """
    files: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES and _is_read(path))
    except OSError as error:
        raise ConfigurationError([Problem(str(folder), 0, 0, f"cannot be read: {error.strerror}")]) from None
    for name in names:
        _read(folder / name, files, problems)
    if not names:
        problems.append(Problem(str(folder), 0, 0, "no rule file (*.yaml): every instance would be held"))
    for name in tables_named(files):
        if (folder / name).is_file():  # else whoever loads the set says where it is named
            _read(folder / name, files, problems)
    if problems:
        raise ConfigurationError(problems)
    return files


def tables_named(files: Mapping[str, str]) -> list[str]:
    """The CSV files that tables of rule files name, in name order; of a file that is no YAML none."""
    with_tables = {name: text for name, text in files.items() if "tables" in text}
    return sorted({name for root in parse(with_tables, []) for name in files_named(root)})


def _read(path: Path, files: dict[str, str], problems: list[Problem]) -> None:
    try:
        if path.suffix == CSV and path.stat().st_size > MAX_BYTES:
            problems.append(Problem(str(path), 0, 0, f"more than {MAX_BYTES >> 20} MiB"))
            return
        files[path.name] = path.read_text(encoding="utf-8")
    except OSError as error:
        problems.append(Problem(str(path), 0, 0, f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:  # its text has the byte, which may be of a patient's name
        problems.append(Problem(str(path), 0, 0, f"cannot be read as UTF-8 text: {error.reason} at byte {error.start}"))


def validate_rules(files: Mapping[str, str], destinations: Collection[str] | None, keys: Keys = NO_KEYS) -> Rulebook:
    """Load a set and run its own tests.

    :param destinations: the names that rules may send to; None does not check them.
    :param keys: those that pseudonyms can be made with.
    :raises ConfigurationError: with everything that is wrong.
    """
    book = load(files, destinations, keys)
    problems = [
        result.place.problem(f"the test {result.name!r} fails: expected {result.expected}, got {result.got}")
        for result in run_tests(book)
        if not result.passed
    ]
    if problems:
        raise ConfigurationError(problems)
    return book


def is_behind(ledger: Ledger, revision: str, home: str) -> bool:
    """Whether a folder's rules are some that the hosts which run have left behind.

    Where no other host runs, old rules in the folder are what its administrator wants.
    """
    if revision == ledger.current_revision() or revision not in ledger.superseded_rules(EVER_MS):
        return False
    return any(each.home not in ("", home) and each.has_role for each in ledger.sessions())


def tell_behind(folder: Path, host: str, revision: str, in_force: str) -> None:
    """Log that a folder's rules were not taken, and what to do."""
    telemetry.problem(
        "rules_folder_behind",
        host=host,
        revision=revision,
        in_force=in_force,
        reason=f"other hosts run by rules that came later, and these stay in force: bring {folder} up to date; or, "
        "where the old ones are wanted again, save one of its files again while the gateway runs",
    )


def _is_read(path: Path) -> bool:
    return path.suffix in (*SUFFIXES, CSV) and not path.name.startswith(".")


def signature(folder: Path) -> Signature:
    """What two looks are compared by; empty when the folder cannot be read.

    A file that cannot be looked at, such as a link to nothing, keeps nobody from seeing the others: whoever reads the
    set says so, if it belongs to it.
    """
    try:
        paths = [path for path in folder.iterdir() if _is_read(path)]
    except OSError:
        return ()
    return tuple(sorted(_look(path) for path in paths))


def _look(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return path.name, -1, -1
    return path.name, stat.st_size, stat.st_mtime_ns


class RuleWatcher:
    """Keeps the ledger's current rules equal to the folder's last good state.

    :param loaded: called after each successful load, with the plan.
    :param home: of this host, which is called `host`.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        folder: Path,
        destinations: Collection[str],
        clock_ms: Callable[[], int],
        loaded: Callable[[Plan], None],
        keys: Keys = NO_KEYS,
        home: str = "",
        host: str = "",
    ) -> None:
        self.destinations = destinations
        self._ledger = ledger
        self._folder = folder
        self._clock_ms = clock_ms
        self._loaded = loaded
        self._keys = keys
        self._home = home
        self._host = host
        self._known: Signature | None = None  # what this process found at its start, or took last
        self._taken: Signature | None = None

    def look_again(self) -> None:
        """Take the files anew at the next look: asked for by a person, or the destinations changed."""
        self._taken = None

    async def run(self) -> None:
        """Serve until cancelled."""
        before: Signature | None = None
        while True:
            seen = await asyncio.to_thread(signature, self._folder)
            if self._known is None:
                self._known = seen
            if seen != self._taken and seen == before and await self._take(seen):
                self._taken = seen
            before = seen
            await asyncio.sleep(LOOK_S)

    async def _in_force(self) -> str:
        """The revision of the rules in force; "" where the ledger does not say: a refusal is told all the same."""
        try:
            return await self._ledger.call(lambda ledger: ledger.current_revision())
        except LedgerError:
            return ""

    async def _take(self, seen: Signature) -> bool:
        """Try the files once; True when they were taken or refused, False to try again."""
        as_found = seen == self._known
        try:
            files = await asyncio.to_thread(read_rules, self._folder)
            book = await asyncio.to_thread(validate_rules, files, self.destinations, self._keys)
        except ConfigurationError as error:
            telemetry.rules_reloaded(result="refused", revision=await self._in_force(), problems=error.problems)
            return True
        rules = RuleSet(book.revision, files)

        def store(ledger: Ledger) -> bool | None:
            if as_found and is_behind(ledger, book.revision, self._home):
                tell_behind(self._folder, self._host, book.revision, ledger.current_revision())
                return None
            changed = ledger.store_rules(rules, self._clock_ms())
            turn_waiting(ledger, book, self._clock_ms)
            return changed

        try:
            changed = await self._ledger.call(store)
        except LedgerError as error:
            telemetry.problem("rules_not_stored", reason=str(error))
            return False
        if changed is None:
            telemetry.rules_reloaded(result="unchanged")  # there is nothing wrong with the files any more
            return True
        self._known = seen  # whatever comes from another host is newer from now on
        telemetry.rules_reloaded(result="loaded" if changed else "unchanged", revision=book.revision)
        self._loaded(book.plan)
        return True
