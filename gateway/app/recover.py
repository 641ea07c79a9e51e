"""`gateway recover`: a new ledger from what lies in the spool.

The old ledger, if there is one, is put aside under another name and never deleted. Everything whole in the spool is
recorded as held (recovered): what of it was delivered already is no longer known, so a person decides.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TypedDict

from gateway.app.common import clock_ms, ledger_path, open_ledger_of, open_spool
from gateway.config import Config
from gateway.spool import FoundState, scan
from gateway.supervisor import StateLock

BATCH = 500
LEDGER_SUFFIXES = ("", "-wal", "-shm")


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
    spool.prepare()
    aside = _put_aside(ledger_path(config))
    ledger = open_ledger_of(config, create=True)
    recovered = 0
    damaged: list[str] = []
    try:
        entries = scan(spool, verify=True)
        while batch := list(islice(entries, BATCH)):
            arrivals = [found.arrival for found in batch if found.arrival is not None]
            recovered += ledger.record_recovered(arrivals, clock_ms())
            damaged += [
                f"{found.relative}: {found.reason}"
                for found in batch
                if found.state not in (FoundState.COMPLETE, FoundState.EMPTY)
            ]
    finally:
        ledger.close()
    return {"put_aside": aside, "recovered": recovered, "damaged": damaged}


def _put_aside(path: Path) -> str:
    if not path.exists():
        return ""
    aside = path.with_name(f"{path.name}.aside-{clock_ms()}")
    for suffix in LEDGER_SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return str(aside)
