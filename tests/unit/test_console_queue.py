"""Destinations as people see them: when what waits will be through is said only where it goes there at all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.console.services.queue import destinations
from gateway.ledger.look import DestinationQueue
from gateway.model import Breaker, DeliveryState, DestinationState, Owner


def through_in_s(rate: float | None = 5.0, ready: int = 50, **state: Any) -> float | None:
    """Of a destination with so much that waits, and a rate of late."""
    destination = DestinationState("pacs", **{"owner": Owner(7, "gw1"), **state})
    found = [DestinationQueue(destination, {DeliveryState.READY: ready}, 1 if ready else None, ())]

    async def queue(*_: object) -> list[DestinationQueue]:
        return found

    context: Any = SimpleNamespace(
        look=SimpleNamespace(queue=queue),
        live=SimpleNamespace(delivered_per_s=lambda *_: rate),
        config=lambda: SimpleNamespace(destinations={}),
        clock_ms=lambda: 0,
    )
    (view,) = asyncio.run(destinations(context))
    return view.through_in_s


def test_what_goes_will_be_through_at_the_rate_of_late() -> None:
    assert through_in_s() == 10.0
    assert through_in_s(ready=0) == 0.0
    assert through_in_s(rate=None) is through_in_s(rate=0.0) is None


@pytest.mark.parametrize(
    "state",
    [
        {"breaker": Breaker.DOWN},
        {"breaker": Breaker.HALF_OPEN},
        {"paused": True},
        {"configured": False},
        {"owner": None},
    ],
    ids=str,
)
def test_what_does_not_go_is_never_through_however_fast_it_went_before(state: dict[str, Any]) -> None:
    assert through_in_s(**state) is None
    assert through_in_s(ready=0, **state) is None
