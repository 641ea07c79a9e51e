"""`/overview`, `/live`, `/me`: how all of it is; the figures of the last hour; who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import How, Person, Right, Role
from gateway.console.api.answers import Model, answer, context_of
from gateway.console.api.attention import Trouble, trouble_model
from gateway.console.api.problems import COMMON
from gateway.console.api.queue import Destination, destination_model
from gateway.console.live import SAMPLE_S
from gateway.console.notices import NoticeKind
from gateway.console.services import overview as service
from gateway.model import InstanceState
from gateway.model import Role as ProcessRole

router = api_router(tags=["overview"], responses=COMMON)


class Notice(Model):
    """Something that is wrong without keeping the host from being ready."""

    kind: NoticeKind
    name: str = Field(description="of the source or the certificate; empty where there is but one")
    seconds: float = Field(
        description="silent for so long; expires in so long (below 0: it has); so far behind; waits for so long"
    )
    text: str = Field(description="in a sentence")


class ProcessCount(Model):
    """How many processes of a role a host runs."""

    host: str
    role: ProcessRole
    number: int
    draining: bool = Field(description="they are to take no more work")


class Overview(Model):
    """How all of it is, now."""

    at_ms: int
    host: str
    version: str
    not_ready: list[str] = Field(description="why this host should get no work; empty where it is ready")
    notices: list[Notice]
    instances: dict[InstanceState, int]
    waiting: int = Field(description="deliveries that are open")
    routing_since_ms: int | None = Field(
        description="when the oldest instance arrived that is not routed yet; null where none waits for that"
    )
    destinations: list[Destination]
    trouble: list[Trouble]
    spool_bytes: int
    spool_free_bytes: int | None
    spool_low: bool
    rules_revision: str
    processes: list[ProcessCount]


class Sample(Model):
    """Totals at a moment: rates are their differences."""

    at_ms: int
    received: int = Field(description="instances, ever; of all hosts on this ledger")
    delivered: dict[str, int] = Field(description="deliveries by destination, ever")
    waiting: dict[str, int]
    stopped: dict[str, int] = Field(description="held or dead")
    unrouted: int
    held: int = Field(description="instances without a route")
    quarantined: int
    received_bytes: float = Field(description="by this host, since its console started")
    delivered_bytes: dict[str, float]
    spool_bytes: int
    spool_free_bytes: int | None


class Live(Model):
    """The last hour, a sample each `every_s`, the oldest first."""

    every_s: float
    samples: list[Sample]


class Me(Model):
    """Who asks."""

    name: str
    role: Role
    rights: list[Right]
    how: How


@router.get("/overview", response_model=Overview)
@needs(Right.STATE)
async def overview(request: Request) -> Response:
    """Host, destinations, what waits, and what somebody has to look after."""
    found = await service.overview(context_of(request), request.state.person)
    model = Overview(
        at_ms=found.at_ms,
        host=found.host,
        version=found.version,
        not_ready=list(found.not_ready),
        notices=[Notice.model_validate(each) for each in found.notices],
        instances=dict(found.instances),
        waiting=found.waiting,
        routing_since_ms=found.routing_since_ms,
        destinations=[destination_model(each) for each in found.destinations],
        trouble=[trouble_model(each) for each in found.trouble],
        spool_bytes=found.spool_bytes,
        spool_free_bytes=found.spool_free_bytes,
        spool_low=found.spool_low,
        rules_revision=found.rules_revision,
        processes=[ProcessCount.model_validate(each) for each in found.processes],
    )
    return answer(request, model)


@router.get("/live", response_model=Live)
@needs(Right.STATE)
async def live(
    request: Request, since_ms: Annotated[int, Query(ge=0, le=1 << 52, description="no earlier ones")] = 0
) -> Response:
    """Figures of the last hour. `/events` has those of now."""
    samples = [each for each in context_of(request).live.samples if each.at_ms >= since_ms]
    return answer(request, Live.model_validate({"every_s": SAMPLE_S, "samples": samples}))


@router.get("/me", response_model=Me)
@needs(Right.STATE)
async def me(request: Request) -> Response:
    """Who asks, and what that person may."""
    person: Person = request.state.person
    rights = [right for right in Right if person.may(right)]
    return answer(request, Me(name=person.name, role=person.role, rights=rights, how=person.how))
