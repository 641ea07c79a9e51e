"""What `gateway check` finds out about the ledger's server, where it is on one."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app.common import needed_packages, process_counts, shares_ledger
from gateway.config import Config

BESIDES = 5  # the supervisor's, those that the console looks by (`gateway.ledger.looking`), a command's


@dataclass(frozen=True, slots=True)
class ExaminedLedger:
    """What is wrong with the server, in words: `errors` lose instances or keep a start from succeeding. `server` is ""
    where there is none, or where it does not answer."""

    server: str = ""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def examine_ledger(config: Config) -> ExaminedLedger:
    """Ask the ledger's PostgreSQL; nothing where the ledger is SQLite's. :raises UsageError: a package is missing."""
    if not shares_ledger(config):
        return ExaminedLedger()
    with needed_packages("ledger.url"):
        from gateway.ledger.postgres.examine import examine
    found = examine(config.ledger.url, config.host, sum(process_counts(config).values()) + BESIDES)
    return ExaminedLedger(found.server, tuple(found.errors), tuple(found.warnings))
