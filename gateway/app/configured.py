"""The destinations of this host's configuration, made known to the ledger at a start and at a reload; and, while a
console runs, those of all hosts that run.

What a host names counts while it runs (`Ledger.sync_destinations`). One that was taken for dead, or whose first process
had not registered yet, may find that another has made its destinations unconfigured meanwhile: they are configured
again, so that nothing stays held for it.
"""

from __future__ import annotations

import asyncio

from gateway import telemetry
from gateway.app.common import clock_ms
from gateway.app.home import home_of
from gateway.config import Config, Duplicates
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


async def keep_configured(ledger: LedgerThread) -> None:
    """Look every LOOK_S, until cancelled."""
    trouble = Trouble("destinations_not_synced")
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            returned = await ledger.call(lambda opened: opened.restore_destinations(clock_ms()))
            trouble.over()
        except LedgerError as error:
            trouble.tell(reason=str(error))
            continue
        if returned:
            telemetry.event("deliveries_returned", reason="their destination is configured again", count=returned)
