"""`gateway recover`: a new ledger from what lies in the spool.

The old ledger, if there is one, is put aside under another name and never deleted. Everything whole in the spool is
recorded as held (recovered): what of it was delivered already is no longer known, so a person decides. What is damaged
is named, and left by every later start too; what was never acknowledged is left to the next start, which removes it.

The new ledger takes its name only when it is complete. A recovery that was cut short leaves none: a start that found
half of one would take the other half for new arrivals, and send it. Where the ledger is on a PostgreSQL server, it is
made in a file first, beside the state, and comes there in one transaction. On a server nothing is put aside: one that
knows instances is refused, and so is one that hosts work with.
"""

from __future__ import annotations

from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import TypedDict

from gateway.app.common import clock_ms, ledger_path, open_ledger_of, open_spool, shares_ledger
from gateway.app.home import home_of
from gateway.app.moved import holds_log, put_aside, refuse_moved
from gateway.config import Config
from gateway.errors import LedgerError
from gateway.ledger.sqlite import SqliteLedger
from gateway.spool import FoundState, Spool, scan
from gateway.spool.directory import fsync_folder
from gateway.supervisor import StateLock

BATCH = 500
CHECKPOINT_BATCHES = 8  # some MiB of log
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
        if shares_ledger(config):
            return _recover_to_server(config)
        return _recover(config)
    finally:
        lock.release()


def _recover(config: Config) -> Recovered:
    path = ledger_path(config)
    refuse_moved(path)
    unfinished = _unfinished(path)
    found = _record_all(_spool(config), unfinished)
    found["put_aside"] = put_aside(path, f"{path.name}.aside-{clock_ms()}")
    unfinished.rename(path)
    fsync_folder(str(path.parent))
    unfinished.with_name(unfinished.name + LOCK_SUFFIX).unlink(missing_ok=True)
    return found


def _recover_to_server(config: Config) -> Recovered:
    _require_new(config)
    from gateway.ledger.postgres.copying import copy_ledger

    unfinished = _unfinished(ledger_path(config))
    found = _record_all(_spool(config), unfinished)
    copy_ledger(unfinished, config.ledger.url, f"recovered {clock_ms()}", name="gateway recover", partly=True)
    _unfinished(ledger_path(config))
    return found


def _require_new(config: Config) -> None:
    """See that the server's ledger knows no instance, and that nobody uses it: before the spool is read for hours.

    :raises LedgerError: it does; or somebody does.
    """
    with closing(open_ledger_of(config, create=True)) as ledger:
        ledger.void_all(clock_ms(), {}, home_of(config.state_dir))  # this host is stopped
        if hosts := sorted({each.session.host for each in ledger.sessions()}):
            raise LedgerError(f"the ledger is in use by {', '.join(hosts)}: stop the gateway on all hosts first")
        if not ledger.is_empty():
            raise LedgerError(
                "the ledger that ledger.url names knows instances already. On a server nothing is put aside: make a "
                "new database (CREATE DATABASE), let ledger.url of all hosts name that, and call `gateway recover` "
                "again. The old one stays as it is"
            )


def _spool(config: Config) -> Spool:
    spool = open_spool(config)
    spool.prepare(join=True)
    return spool


def _unfinished(path: Path) -> Path:
    """Where a ledger is until it is complete, without what was cut short there."""
    unfinished = path.with_name(path.name + ".recovering")
    for part in unfinished.parent.glob(unfinished.name + "*"):
        part.unlink()
    return unfinished


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
    if holds_log(path):
        raise LedgerError(
            f"ledger {path}: its log was not moved into it when it was closed; look at the disk of {path.parent}, make "
            "room, and call `gateway recover` again: the old ledger is where it was"
        )
