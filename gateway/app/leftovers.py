"""The console's look at what receivers of other hosts have left, on a ledger that several hosts share.

See `gateway.flow.adopt.Leftovers`. A look goes through the names of all files of dead generations: at most a share of
1 / LOAD of the time is spent so, however many there are.
"""

from __future__ import annotations

import asyncio
from contextlib import closing

from gateway import telemetry
from gateway.app.common import clock_ms, open_ledger_of
from gateway.config import Config
from gateway.errors import LedgerError, SpoolError
from gateway.flow.adopt import Leftovers, tell
from gateway.spool import Spool

LOOK_S = 15.0
LOAD = 50


async def adopt_leftovers(config: Config, spool: Spool) -> None:
    """Serve until cancelled."""
    leftovers = Leftovers(spool)
    loop = asyncio.get_running_loop()

    def turn() -> None:
        with closing(open_ledger_of(config, create=False)) as ledger:
            tell(leftovers.adopt(ledger, clock_ms()))

    while True:
        began = loop.time()
        try:
            await asyncio.to_thread(turn)
        except (LedgerError, SpoolError) as error:
            telemetry.problem("leftovers_not_adopted", reason=str(error))
        await asyncio.sleep(max(LOOK_S, LOAD * (loop.time() - began)))
