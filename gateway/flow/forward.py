"""The forwarder role: one `DestinationQueue` for each destination that this process owns, side by side.

Once a second the ledger is asked who owns which destination, who could, and whom a person has paused or the
configuration no longer has; what follows from it stands in `gateway.flow.owners`. A destination that is given up, or
that leaves the configuration, finishes what it is sending first; one that comes back waits for that. They come, go and
change with the configuration, without a restart.

A wake-up of the work queue goes to all of them; each also looks at the ledger once a second, so that a lost wake-up
costs a second and no more.

Whoever was not heard of for half a minute may be taken for dead, and another has its destinations: a process that was
frozen, or that could not ask the ledger for FENCE_S, begins nothing until it has asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from gateway import telemetry
from gateway.config.values import Destination
from gateway.errors import LedgerError
from gateway.flow.destination import DestinationQueue, Tools
from gateway.flow.owners import Step, next_step
from gateway.flow.trouble import Trouble
from gateway.flow.uptime import uptime_s
from gateway.ledger.base import Forwarding, Ledger
from gateway.model import DestinationState
from gateway.work.base import WorkQueue

STOP_GRACE_S = 8.0
DRAIN_S = 5.0
LOOK_S = 1.0
FENCE_S = 20.0

Running = tuple[DestinationQueue, asyncio.Task[None]]


class Forwarder:
    """All destinations of a forwarder process.

    `begun` is set when it has looked for the first time, and serves what it then found to be its own.
    """

    def __init__(self, tools: Tools, queue: WorkQueue, clock_s: Callable[[], float] = uptime_s) -> None:
        self._tools = tools
        self._queue = queue
        self._clock_s = clock_s
        self._destinations: Mapping[str, Destination] = {}
        self._queues: dict[str, Running] = {}
        self._leaving: dict[str, Running] = {}
        self._free_since_s: dict[str, float] = {}
        self._looked_at_s = clock_s()
        self._look_now = asyncio.Event()
        self._looking = asyncio.Lock()
        self._stopping = False
        self._trouble = Trouble("destinations_not_read")
        self._tasks: asyncio.TaskGroup | None = None
        self.begun = asyncio.Event()

    @property
    def in_hand(self) -> int:
        """How many destinations are served, or still being sent to."""
        return len(self._queues) + sum(not task.done() for _, task in self._leaving.values())

    def drain(self, draining: bool) -> None:
        """Look at once: the ledger says that this process drains, or that it does no longer."""
        self._look_now.set()

    async def run(self, destinations: Mapping[str, Destination]) -> None:
        """Serve until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._tools.outcomes.run(), name="record outcomes")
            await self.configure(destinations)
            self.begun.set()
            tasks.create_task(self._watch(), name="look at destinations")
            while True:
                if await self._queue.wait(60.0):
                    for queue, _ in self._queues.values():
                        queue.wake()

    async def configure(self, destinations: Mapping[str, Destination]) -> None:
        """Change and end destinations as the configuration now says, and begin those that are to be this process's."""
        self._destinations = destinations
        for name in list(self._queues):
            if name in destinations:
                self._queues[name][0].reconfigure(destinations[name])
            else:
                self._end(name)
        await self._look()

    async def stop(self) -> None:
        """Finish what is being sent, give back the rest, and have every outcome recorded."""
        self._stopping = True
        running = [*self._queues.values(), *self._leaving.values()]
        await asyncio.gather(*(queue.stop(STOP_GRACE_S) for queue, _ in running))
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        await self._tools.outcomes.drain(DRAIN_S)

    # ── looks ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            await self._look()

    async def _look(self) -> None:
        """Look, and do what follows. Nothing changes while the ledger cannot be asked."""
        async with self._looking:
            looked_at_s = self._clock_s()
            try:
                seen = await self._tools.ledger.call(_forwarding)
            except LedgerError as error:
                self._trouble.tell(reason=str(error))
                return
            self._trouble.over()
            me = self._tools.session.session_id
            step = next_step(me, seen, self._destinations, self._free_for_s(seen, looked_at_s))
            owned = {each.name for each in seen.destinations if each.owner is not None and each.owner.session_id == me}
            for name in [name for name in self._queues if name not in owned or name in step.give_up]:
                self._end(name)
            self._leaving = {name: running for name, running in self._leaving.items() if not running[1].done()}
            done_with = (owned & step.give_up).difference(self._leaving)
            owned = await self._tell(step, done_with, owned)
            self._looked_at_s = looked_at_s
            if self._stopping:
                return
            self._serve_owned(owned - step.give_up, seen.destinations)

    def _free_for_s(self, seen: Forwarding, now_s: float) -> dict[str, float]:
        free = [state.name for state in seen.destinations if state.owner is None]
        self._free_since_s = {name: self._free_since_s.get(name, now_s) for name in free}
        return {name: now_s - since_s for name, since_s in self._free_since_s.items()}

    async def _tell(self, step: Step, done_with: Collection[str], owned: set[str]) -> set[str]:
        """Have the ledger know what is given up, asked for and taken: mostly nothing. Returns what is owned."""
        if not (step.take or step.ask or done_with):
            return owned
        session = self._tools.session

        pending, now_ms = self._tools.outcomes.pending, self._tools.clock_ms()

        def tell(ledger: Ledger) -> frozenset[str] | None:
            if done_with:
                # What a queue could not give back, or was cut off from while it sent it, nobody else could claim.
                ledger.free_leases(session, done_with, pending, now_ms)
                ledger.disown_destinations(session, done_with)
            if step.ask:
                ledger.ask_for_destinations(session, step.ask)
            return ledger.own_destinations(session, step.take) if step.take else None

        try:
            now_owned = await self._tools.ledger.call(tell)
        except LedgerError as error:
            telemetry.problem("destinations_not_owned", reason=str(error))
            return owned
        for name in done_with:
            telemetry.destination_given_up(name=name)
        return owned.difference(done_with) if now_owned is None else set(now_owned)

    # ── destinations ──────────────────────────────────────────────────────────────────────────────────────────

    def _may_begin(self) -> bool:
        """Whether it is still certain that nobody else has taken over what this process owns."""
        return self._clock_s() - self._looked_at_s < FENCE_S

    def _serve_owned(self, owned: Collection[str], states: Collection[DestinationState]) -> None:
        assert self._tasks is not None  # noqa: S101 - called from within run
        saved = {state.name: state for state in states}
        for name in owned:
            if name in self._queues or name not in self._destinations:
                continue
            queue = DestinationQueue(self._destinations[name], self._tools, saved.get(name), self._may_begin)
            # Not popped: `stop` has to know of it, for as long as it still sends.
            before = self._leaving.get(name)
            task = self._tasks.create_task(self._serve(queue, before), name=f"destination {name}")
            task.add_done_callback(lambda _: self._look_now.set())
            self._queues[name] = (queue, task)
        for name, (queue, _) in self._queues.items():
            if name in saved:
                queue.look(saved[name])

    def _end(self, name: str) -> None:
        """Have a destination finish what it is sending, and begin nothing more."""
        self._leaving[name] = self._queues.pop(name)
        self._leaving[name][0].end()

    async def _serve(self, queue: DestinationQueue, before: Running | None) -> None:
        """Run a queue, after one of the same name that is leaving: two would not keep the order of an instance's
        versions, and may send one delivery at the same time. It has STOP_GRACE_S to finish what it is sending."""
        if before is not None:
            _, late = await asyncio.wait([before[1]], timeout=STOP_GRACE_S)
            if late:
                before[1].cancel()
                await asyncio.wait(late)
            await self._free_leases(queue.name)
        await queue.run()

    async def _free_leases(self, name: str) -> None:
        """What a queue that has ended may still have leased is there for the next."""
        session, clock_ms = self._tools.session, self._tools.clock_ms

        def free(ledger: Ledger) -> int:
            return ledger.free_leases(session, [name], self._tools.outcomes.pending, clock_ms())

        while True:
            try:
                await self._tools.ledger.call(free)
            except LedgerError as error:
                self._trouble.tell(reason=str(error))
                await asyncio.sleep(LOOK_S)
            else:
                return


def _forwarding(ledger: Ledger) -> Forwarding:
    return ledger.forwarding()
