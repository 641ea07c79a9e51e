"""`/destinations`: how each destination is, and what waits for it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api.answers import Model, Page, answer, context_of, listed
from gateway.console.api.problems import COMMON, also, not_there
from gateway.console.services import queue
from gateway.console.services.queue import Condition, DestinationView
from gateway.model import DeliveryState

router = api_router(tags=["destinations"], responses=COMMON)

DestinationName = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z._-]+$", description="its name")]


class AgeCount(Model):
    """How many deliveries are at most `up_to_s` old, and older than the entry before says."""

    up_to_s: int = Field(description="0: any older")
    count: int
    more: bool = Field(description="there are more than `count`")


class Destination(Model):
    """A destination, and what waits for it."""

    name: str
    condition: Condition
    ae_title: str = Field(description='"" where this host\'s configuration has it no longer; as are host and port')
    host: str
    port: int
    max_associations: int
    window: float = Field(description="how many deliveries may be in flight at once now")
    last_error: str
    next_probe_at_ms: int = Field(description="0: no probe is due; milliseconds since 1970 UTC")
    served_by: str = Field(description="the host whose forwarder has it")
    states: dict[DeliveryState, int] = Field(description="deliveries by state, of all that were ever made")
    waiting: int
    stopped: int = Field(description="held or dead")
    oldest_ms: int | None = Field(description="since when the oldest of what waits does")
    by_age: list[AgeCount]
    delivered_per_s: float | None = Field(description="over the last five minutes; null while that is not known")
    through_in_s: float | None = Field(
        description="when nothing will wait any more at that rate; null where it is not up or nobody serves it"
    )


def destination_model(view: DestinationView) -> Destination:
    """A destination as the API says it."""
    configured, state = view.configured, view.state
    return Destination(
        name=view.name,
        condition=view.condition,
        ae_title="" if configured is None else configured.ae_title,
        host="" if configured is None else configured.host,
        port=0 if configured is None else configured.port,
        max_associations=0 if configured is None else configured.max_associations,
        window=state.window,
        last_error=state.last_error,
        next_probe_at_ms=state.next_probe_at_ms,
        served_by=view.served_by,
        states=dict(view.states),
        waiting=view.waiting,
        stopped=view.stopped,
        oldest_ms=view.oldest_ms,
        by_age=[AgeCount.model_validate(cell) for cell in view.cells],
        delivered_per_s=view.delivered_per_s,
        through_in_s=view.through_in_s,
    )


@router.get("/destinations", response_model=Page[Destination])
@needs(Right.STATE)
async def destinations(request: Request) -> Response:
    """All destinations by name."""
    views = await queue.destinations(context_of(request))
    page = Page[Destination].model_validate(listed([destination_model(view) for view in views]))
    return answer(request, page)


@router.get("/destinations/{name}", response_model=Destination, responses=also(404))
@needs(Right.STATE)
async def destination(request: Request, name: DestinationName) -> Response:
    """One destination."""
    view = await queue.destination(context_of(request), name)
    return not_there(request, "destination") if view is None else answer(request, destination_model(view))
