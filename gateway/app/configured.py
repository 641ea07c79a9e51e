"""The destinations of this host's configuration, made known to the ledger: at a start, at a reload, and whenever they
are found not to be.

What a host names counts while it runs (`Ledger.sync_destinations`). One that was taken for dead, or began before its
first process had registered, may find that another has made its destinations unconfigured meanwhile: whoever sees that
says it again, so that nothing stays held for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway import telemetry
from gateway.app.common import Process, clock_ms
from gateway.app.home import home_of
from gateway.config import Config, Duplicates
from gateway.config.values import Destination
from gateway.errors import LedgerError
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger
from gateway.ledger.thread import LedgerThread

LOOK_S = 5.0


def sync_destinations(ledger: Ledger, config: Config) -> None:
    """Tell the ledger which destinations this host names, and the log what that changed."""
    skipping = {name: item.duplicates is Duplicates.SKIP for name, item in config.destinations.items()}
    held, returned = ledger.sync_destinations(skipping, clock_ms(), home_of(config.state_dir))
    if held:
        telemetry.problem("deliveries_held", reason="their destination was removed from the configuration", count=held)
    if returned:
        telemetry.event("deliveries_returned", reason="their destination is configured again", count=returned)


def lacks(ledger: Ledger, destinations: Mapping[str, Destination]) -> bool:
    """Whether the ledger takes one of these for not configured."""
    known = {state.name for state in ledger.destinations() if state.configured}
    return not destinations.keys() <= known


async def keep_configured(process: Process, ledger: LedgerThread) -> None:
    """Look every LOOK_S, until cancelled."""
    trouble = Trouble("destinations_not_synced")

    def look(opened: Ledger) -> None:
        if lacks(opened, process.config.destinations):
            sync_destinations(opened, process.config)

    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await ledger.call(look)
            trouble.over()
        except LedgerError as error:
            trouble.tell(reason=str(error))
