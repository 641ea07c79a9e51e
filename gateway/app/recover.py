"""`gateway recover`: a new ledger from what lies in the spool.

The old ledger, if there is one, is put aside under another name and never deleted. Everything whole in the spool is
recorded as held (recovered): what of it was delivered already is no longer known, so a person decides. What is damaged
is named, and left by every later start too; what was never acknowledged is left to the next start, which removes it.

The new ledger takes its name only when it is complete. A recovery that was cut short leaves none: a start that found
half of one would take the other half for new arrivals, and send it.
"""

from __future__ import annotations

from itertools import count, islice
from pathlib import Path
from typing import TypedDict

from gateway.app.common import clock_ms, ledger_path, open_spool
from gateway.config import Config
from gateway.errors import LedgerError
from gateway.ledger.sqlite import SqliteLedger
from gateway.spool import FoundState, Spool, scan
from gateway.spool.directory import fsync_folder
from gateway.supervisor import StateLock

BATCH = 500
CHECKPOINT_BATCHES = 8  # some MiB of log
LEDGER_SUFFIXES = ("", "-wal", "-shm")
LOCK_SUFFIX = ".lock"


class Recovered(TypedDict):
    """What was done: where the old ledger is, how many instances are held now, what was left alone and why."""

    put_aside: str
    recovered: int
    damaged: list[str]


def recover(config: Config) -> Recovered:
    """See the module's docstring.

    :raises AlreadyRunning: the gateway runs; it must be stopped first.
    :raises SpoolError, LedgerError: nothing was lost; it can be called again.
    """
    lock = StateLock(config.state_dir)
    try:
        return _recover(config)
    finally:
        lock.release()


def _recover(config: Config) -> Recovered:
    spool = open_spool(config)
    spool.prepare(join=True)
    path = ledger_path(config)
    unfinished = path.with_name(path.name + ".recovering")
    for part in unfinished.parent.glob(unfinished.name + "*"):
        part.unlink()  # of a recovery that was cut short
    found = _record_all(spool, unfinished)
    found["put_aside"] = _put_aside(path)
    unfinished.rename(path)
    fsync_folder(str(path.parent))
    unfinished.with_name(unfinished.name + LOCK_SUFFIX).unlink(missing_ok=True)
    return found


def _record_all(spool: Spool, path: Path) -> Recovered:
    """Make a ledger at `path` that holds everything whole in the spool; when this returns, it is on the disk, whole.

    :raises LedgerError: also where its log could not be moved into it, on a disk that is full or fails.
    """
    ledger = SqliteLedger.open(path)
    recovered = 0
    damaged: list[str] = []
    try:
        entries = scan(spool, verify=True)
        for number in count(1):
            batch = list(islice(entries, BATCH))
            if not batch:
                break
            arrivals = [found.arrival for found in batch if found.arrival is not None]
            recovered += ledger.record_recovered(arrivals, clock_ms())
            damaged += [
                f"{found.relative}: {found.reason}"
                for found in batch
                if found.state in (FoundState.DAMAGED, FoundState.UNREADABLE)
            ]
            if number % CHECKPOINT_BATCHES == 0:
                ledger.checkpoint()
        ledger.checkpoint()  # closing would say nothing of what keeps it from this
    finally:
        ledger.close()
    _require_no_log(path)
    return {"put_aside": "", "recovered": recovered, "damaged": damaged}


def _require_no_log(path: Path) -> None:
    """A database without its log is malformed, or lacks the newest; and the rename that follows leaves the log behind.

    :raises LedgerError: the log of the closed database at `path` still holds something.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise LedgerError(
            f"ledger {path}: its log was not moved into it when it was closed; look at the disk of {path.parent}, make "
            "room, and call `gateway recover` again: the old ledger is where it was"
        )


def _put_aside(path: Path) -> str:
    """Rename the ledger, its log last: a database without its log must not be taken for the ledger, a log without its
    database is not."""
    parts = [path.with_name(path.name + suffix) for suffix in LEDGER_SUFFIXES]
    aside = path.with_name(f"{path.name}.aside-{clock_ms()}")
    there = [part for part in parts if part.exists()]
    for part in there:
        part.rename(aside.with_name(aside.name + part.name.removeprefix(path.name)))
    fsync_folder(str(path.parent))
    return str(aside) if there else ""
