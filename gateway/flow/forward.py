"""The forwarder role: one `DestinationQueue` for each configured destination, side by side.

A wake-up of the work queue goes to all of them; each also looks at the ledger once a second, so that a lost wake-up
costs a second and no more. Destinations come, go and change with the configuration, without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.config.values import Destination
from gateway.flow.destination import DestinationQueue, Tools
from gateway.ledger.base import Ledger
from gateway.model import DestinationState
from gateway.work.base import WorkQueue

STOP_GRACE_S = 10.0


class Forwarder:
    """All destinations of a forwarder process."""

    def __init__(self, tools: Tools, queue: WorkQueue) -> None:
        self._tools = tools
        self._queue = queue
        self._queues: dict[str, tuple[DestinationQueue, asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, destinations: Mapping[str, Destination]) -> None:
        """Serve until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._tools.outcomes.run(), name="record outcomes")
            await self.configure(destinations)
            while True:
                if await self._queue.wait(60.0):
                    for queue, _ in self._queues.values():
                        queue.wake()

    async def configure(self, destinations: Mapping[str, Destination]) -> None:
        """Start, change and stop destinations as the configuration now says."""
        assert self._tasks is not None  # noqa: S101 - called from within run
        saved = {state.name: state for state in await self._tools.ledger.call(_saved)}
        for name in [name for name in self._queues if name not in destinations]:
            queue, task = self._queues.pop(name)
            await queue.stop(STOP_GRACE_S)
            task.cancel()
        for name, destination in destinations.items():
            known = self._queues.get(name)
            if known is not None:
                known[0].reconfigure(destination)
                continue
            queue = DestinationQueue(destination, self._tools, saved.get(name))
            task = self._tasks.create_task(queue.run(), name=f"destination {name}")
            self._queues[name] = (queue, task)

    async def stop(self) -> None:
        """Finish what is being sent, give back the rest, and have every outcome recorded."""
        await asyncio.gather(*(queue.stop(STOP_GRACE_S) for queue, _ in self._queues.values()))
        for _, task in self._queues.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._queues.values()), return_exceptions=True)
        await self._tools.outcomes.drain(5.0)


def _saved(ledger: Ledger) -> list[DestinationState]:
    return ledger.destinations()
