"""Destinations and what waits for them: how each is, by age how much, since when, and when it will be through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.config.values import Destination
from gateway.ledger.look import AgeCell, DestinationQueue
from gateway.model import Breaker, DeliveryState, DestinationState

if TYPE_CHECKING:
    from gateway.console.context import Context

# As Postfix's qshape: each bucket twice as old as the one before, in minutes.
AGE_BOUNDS_S = tuple(minutes * 60 for minutes in (5, 10, 20, 40, 80, 160, 320, 640, 1280))
RATE_OVER_S = 300.0


class Condition(StrEnum):
    """How a destination is, in one word."""

    UP = "up"
    DOWN = "down"
    HALF_OPEN = "half-open"  # a probe was answered, one delivery shows whether it is up
    PAUSED = "paused"  # by a person
    REMOVED = "removed"  # from the configuration


@dataclass(frozen=True, slots=True)
class DestinationView:
    """A destination as people see it. Holds no patient data.

    :ivar configured: what gateway.yaml of this host says of it; None where that has it no longer.
    :ivar states: how many deliveries are in each state, of all that were ever made.
    :ivar oldest_ms: since when the oldest of what waits does.
    :ivar cells: what waits by age.
    :ivar delivered_per_s: over the last RATE_OVER_S; None while that is not known.
    :ivar through_in_s: when nothing will wait any more at that rate; None where that cannot be said: always where it is
        not up, or nobody serves it.
    """

    name: str
    condition: Condition
    configured: Destination | None
    state: DestinationState
    states: Mapping[DeliveryState, int]
    waiting: int
    oldest_ms: int | None
    cells: tuple[AgeCell, ...]
    delivered_per_s: float | None
    through_in_s: float | None

    @property
    def served_by(self) -> str:
        """The host whose forwarder has it, "" where none has."""
        return "" if self.state.owner is None else self.state.owner.host

    @property
    def stopped(self) -> int:
        """How many are held or dead."""
        return self.states.get(DeliveryState.HELD, 0) + self.states.get(DeliveryState.DEAD, 0)


def condition_of(state: DestinationState) -> Condition:
    """How it is, in one word: what a person did comes first."""
    if not state.configured:
        return Condition.REMOVED
    if state.paused:
        return Condition.PAUSED
    return {Breaker.UP: Condition.UP, Breaker.DOWN: Condition.DOWN, Breaker.HALF_OPEN: Condition.HALF_OPEN}[
        state.breaker
    ]


async def destinations(context: Context) -> list[DestinationView]:
    """All destinations by name. :raises LedgerError."""
    queues = await context.look.queue(AGE_BOUNDS_S, context.clock_ms())
    return [_view(context, queue) for queue in queues]


async def destination(context: Context, name: str) -> DestinationView | None:
    """One of them; None where there is none of that name. :raises LedgerError."""
    return next((view for view in await destinations(context) if view.name == name), None)


def _view(context: Context, queue: DestinationQueue) -> DestinationView:
    state = queue.destination
    condition = condition_of(state)
    rate = context.live.delivered_per_s(state.name, RATE_OVER_S)
    goes = condition is Condition.UP and state.owner is not None
    return DestinationView(
        name=state.name,
        condition=condition,
        configured=context.config().destinations.get(state.name),
        state=state,
        states=queue.states,
        waiting=queue.waiting,
        oldest_ms=queue.oldest_ms,
        cells=queue.cells,
        delivered_per_s=rate,
        through_in_s=_through_in_s(queue.waiting, rate) if goes else None,
    )


def _through_in_s(waiting: int, rate: float | None) -> float | None:
    if not waiting:
        return 0.0
    return waiting / rate if rate else None
