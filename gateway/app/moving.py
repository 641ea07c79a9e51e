"""`gateway ledger copy`: the ledger of a host that grew, from its SQLite file into a PostgreSQL database.

The gateway is stopped. What its last run left in hand is given back in the SQLite ledger, as each start does; then all
of it is copied in one transaction (`gateway.ledger.postgres.copying`), and the file is renamed, so that no gateway goes
on with it (`gateway.app.moved`). A copy that was cut short left nothing, or a mark by which the next call ends it.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.app.common import clock_ms, ledger_path, needed_packages, shares_ledger
from gateway.app.homes import void_earlier
from gateway.app.moved import Mark, holds_log, keep_as_copied, read_mark, refuse_moved, remove_mark, write_mark
from gateway.config import Config
from gateway.errors import LedgerDamaged, LedgerError, LedgerUnsure, UsageError
from gateway.ledger.sqlite import SqliteLedger
from gateway.supervisor import StateLock

_CLIENT = "gateway ledger copy"


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done: into which database, how many rows there are by table, and where the old ledger is kept.

    `earlier`: an earlier call had copied it, and this one ended what that began.
    """

    place: str
    rows: dict[str, int]
    kept_as: str
    earlier: bool = False


def move_ledger(config: Config, url: str, progress: Callable[[int, int], None]) -> Moved:
    """Move the ledger of a host that is stopped into the database at `url`.

    :raises AlreadyRunning: the gateway runs. UsageError: the configuration names PostgreSQL already.
    :raises LedgerError: nothing was moved. LedgerUnsure: call it again.
    """
    if shares_ledger(config):
        raise UsageError(
            "ledger.url names PostgreSQL already: call this with the configuration that the SQLite ledger is in use "
            "by, and change ledger.url when the copy is done"
        )
    with needed_packages("--to"):
        from gateway.ledger.postgres import copying  # noqa: F401 - says what is missing before anything is touched
    path = ledger_path(config)
    lock = StateLock(config.state_dir)
    try:
        with _disk_errors_told(path):
            return _ended(path, url) or _move(config, path, url, progress)
    finally:
        lock.release()


def _ended(path: Path, url: str) -> Moved | None:
    """End what an earlier call has begun; None where there is nothing to end. :raises LedgerError: it is elsewhere."""
    from gateway.ledger.postgres.copying import token_in

    mark = read_mark(path)
    if mark is None:
        return None
    token, place = token_in(url, _CLIENT)
    if token == mark.token:
        kept_as = keep_as_copied(path, clock_ms())
        remove_mark(path)
        return Moved(place, {}, kept_as, earlier=True)
    if place != mark.place:
        raise LedgerError(
            f"an earlier call was copying to {mark.place}, and that copy may be complete: name that database, not "
            f"{place}. If it is gone for good, remove {path}.moving"
        )
    remove_mark(path)  # the commit did not hold, and cannot come any more: the lock on the schema was waited for
    return None


def _move(config: Config, path: Path, url: str, progress: Callable[[int, int], None]) -> Moved:
    from gateway.ledger.postgres.copying import copy_ledger

    refuse_moved(path)
    _settle(config, path)
    token = secrets.token_hex(16)

    def last(place: str) -> None:
        if holds_log(path):
            raise LedgerError(f"the ledger {path} was written to meanwhile: stop whatever uses it. Nothing was moved")
        write_mark(path, Mark(place, token))

    try:
        copied = copy_ledger(path, url, token, name=_CLIENT, progress=progress, last=last)
    except LedgerUnsure:
        raise
    except LedgerError:
        remove_mark(path)  # nothing holds; of whatever else ends this while the commit is on its way nobody knows that
        raise
    kept_as = keep_as_copied(path, clock_ms())
    remove_mark(path)
    return Moved(copied.place, dict(copied.rows), kept_as)


def _settle(config: Config, path: Path) -> None:
    """Give back what the last run left in hand, move the log into the database, and examine it."""
    if not path.exists():
        raise LedgerDamaged(f"there is no ledger at {path}: nothing was moved")
    with contextlib.closing(SqliteLedger.open(path, create=False)) as ledger:
        if problems := ledger.check():
            raise LedgerDamaged(f"the ledger {path} is not whole: {'; '.join(problems[:3])}; nothing was moved")
        void_earlier(ledger, config)
        ledger.checkpoint()


@contextlib.contextmanager
def _disk_errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"{path.parent}: {error.strerror}; look at its disk, and call this again") from error
