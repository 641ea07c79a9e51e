"""The forwarder role: one `DestinationQueue` for each destination that is the process's own, side by side.

A wake-up of the work queue goes to all of them; each also looks at the ledger once a second, so that a lost wake-up
costs a second and no more. Destinations come, go and change with the configuration, without a restart: one that goes
finishes what it is sending, and one that comes back waits for that. Once a second the ledger is asked whom a person has
paused, or whom the configuration no longer has.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

from gateway import telemetry
from gateway.config.values import Destination
from gateway.errors import LedgerError
from gateway.flow.destination import DestinationQueue, Tools
from gateway.ledger.base import Ledger
from gateway.model import DestinationState
from gateway.work.base import WorkQueue

STOP_GRACE_S = 8.0
DRAIN_S = 5.0
LOOK_S = 1.0

Running = tuple[DestinationQueue, asyncio.Task[None]]


def assigned(destinations: Mapping[str, Destination], *, index: int, processes: int) -> dict[str, Destination]:
    """Those that forwarder `index` of so many serves: each destination has exactly one, by a checksum of its name.

    So its bounds (associations, one delivery while half open, one lone instance) hold for the host; and no process
    needs to be told when destinations come and go.
    """
    return {name: one for name, one in destinations.items() if zlib.crc32(name.encode()) % processes == index}


class Forwarder:
    """All destinations of a forwarder process."""

    def __init__(self, tools: Tools, queue: WorkQueue) -> None:
        self._tools = tools
        self._queue = queue
        self._queues: dict[str, Running] = {}
        self._leaving: dict[str, Running] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, destinations: Mapping[str, Destination]) -> None:
        """Serve until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._tools.outcomes.run(), name="record outcomes")
            await self.configure(destinations)
            tasks.create_task(self._watch(), name="look for pauses")
            while True:
                if await self._queue.wait(60.0):
                    for queue, _ in self._queues.values():
                        queue.wake()

    async def configure(self, destinations: Mapping[str, Destination]) -> None:
        """Start, change and end destinations as the configuration now says."""
        assert self._tasks is not None  # noqa: S101 - called from within run
        saved = {state.name: state for state in await self._look()}
        for name in [name for name in self._queues if name not in destinations]:
            self._leaving[name] = self._queues.pop(name)
            self._leaving[name][0].end()
        for name, destination in destinations.items():
            known = self._queues.get(name)
            if known is not None:
                known[0].reconfigure(destination)
                continue
            queue = DestinationQueue(destination, self._tools, saved.get(name))
            # Not popped: `stop` has to know of it, for as long as it still sends.
            before = self._leaving.get(name)
            task = self._tasks.create_task(self._serve(queue, before), name=f"destination {name}")
            self._queues[name] = (queue, task)

    async def stop(self) -> None:
        """Finish what is being sent, give back the rest, and have every outcome recorded."""
        running = [*self._queues.values(), *self._leaving.values()]
        await asyncio.gather(*(queue.stop(STOP_GRACE_S) for queue, _ in running))
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        await self._tools.outcomes.drain(DRAIN_S)

    async def _serve(self, queue: DestinationQueue, before: Running | None) -> None:
        """Run a queue, after one of the same name that is leaving: two would not keep the order of an instance's
        versions, and may send one delivery at the same time. It has STOP_GRACE_S to finish what it is sending."""
        if before is not None:
            _, late = await asyncio.wait([before[1]], timeout=STOP_GRACE_S)
            if late:
                before[1].cancel()
                await asyncio.wait(late)
        await queue.run()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._leaving = {name: running for name, running in self._leaving.items() if not running[1].done()}
            for state in await self._look():
                running = self._queues.get(state.name)
                if running is not None:
                    running[0].pause(state.paused or not state.configured)

    async def _look(self) -> list[DestinationState]:
        """What the ledger says of the destinations; nothing while it cannot be asked."""
        try:
            return await self._tools.ledger.call(_destinations)
        except LedgerError as error:
            telemetry.problem("destinations_not_read", reason=str(error))
            return []


def _destinations(ledger: Ledger) -> list[DestinationState]:
    return ledger.destinations()
