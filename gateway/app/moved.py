"""A SQLite ledger that was moved into PostgreSQL: nobody works with what it was any more.

::

    ledger.db                        the ledger, until the copy is there
    ledger.db.moving                 the copy's commit was sent: which database, and the token it carries there
    ledger.db.copied-<milliseconds>  what the ledger was, kept; never read again

Two ledgers that both go on are two that each think the other's instances settled or lost. So from before the commit on
nothing opens the SQLite ledger (`refuse_moved`) until it is known not to hold; and once it is known to hold, the file
has another name. What `gateway.app.moving` writes, everyone looks at who opens a ledger.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import LedgerError
from gateway.spool.directory import fsync_folder

LOG_SUFFIX = "-wal"
_SUFFIXES = ("", LOG_SUFFIX, "-shm")
_MARK, _COPIED = ".moving", ".copied-"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a ledger was being moved to when the command ended: the database in words, and the copy's token."""

    place: str
    token: str


def refuse_moved(ledger: Path) -> None:
    """:raises LedgerError: the SQLite ledger of this name was moved to PostgreSQL, or may have been."""
    mark = read_mark(ledger)
    if mark is not None:
        raise LedgerError(
            f"the ledger {ledger} was being moved to the database {mark.place} when that was cut short, and the copy "
            "may be complete. Call `gateway ledger copy` to that database again: it finds out, and ends it"
        )
    kept = [] if ledger.exists() else sorted(ledger.parent.glob(f"{ledger.name}{_COPIED}*[0-9]"))
    if kept:
        raise LedgerError(
            f"the ledger was moved to PostgreSQL, and what it was is kept as {kept[-1]}: set `ledger.url` to that "
            "database. See docs/scaling.md"
        )


def read_mark(ledger: Path) -> Mark | None:
    """The mark beside a ledger; None where there is none. :raises LedgerError: it cannot be read."""
    path = _mark(ledger)
    try:
        said = json.loads(path.read_text("utf-8"))
        return Mark(said["place"], said["token"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerError(f"{path} cannot be read: {type(error).__name__}; see docs/scaling.md") from error


def write_mark(ledger: Path, mark: Mark) -> None:
    """Put the mark there, durable when this returns. Raises OSError."""
    fresh = _mark(ledger).with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"place": mark.place, "token": mark.token}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(_mark(ledger))
    fsync_folder(str(ledger.parent))


def remove_mark(ledger: Path) -> None:
    """The move is ended, or has not happened. Raises OSError."""
    _mark(ledger).unlink(missing_ok=True)
    fsync_folder(str(ledger.parent))


def keep_as_copied(ledger: Path, now_ms: int) -> str:
    """Give the ledger that was moved the name under which it is kept; "" where it has it already. Raises OSError."""
    return put_aside(ledger, f"{ledger.name}{_COPIED}{now_ms}")


def put_aside(ledger: Path, name: str) -> str:
    """Rename a ledger, its log last: a database without its log must not be taken for the ledger, a log without its
    database is not. Returns its new path, "" where there was none. Raises OSError."""
    parts = [ledger.with_name(ledger.name + suffix) for suffix in _SUFFIXES]
    aside = ledger.with_name(name)
    there = [part for part in parts if part.exists()]
    for part in there:
        part.rename(aside.with_name(aside.name + part.name.removeprefix(ledger.name)))
    fsync_folder(str(ledger.parent))
    return str(aside) if there else ""


def holds_log(ledger: Path) -> bool:
    """Whether the log beside a database that is closed, or was not written to, still holds something of it."""
    log = ledger.with_name(ledger.name + LOG_SUFFIX)
    return log.exists() and log.stat().st_size > 0


def _mark(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + _MARK)
