"""`/orders`, and orders for destinations and hosts. Each is written into the audit trail, with who gave it and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Path, Request
from fastapi.responses import Response
from pydantic import Field, model_validator

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api.answers import PRINTED, Asked, Model, actor_of, answer, context_of
from gateway.console.api.problems import COMMON, also
from gateway.console.api.queue import DestinationName
from gateway.console.services import orders as service
from gateway.console.services.orders import (
    DRAINED_ROLES,
    REASON_MAX,
    DestinationKind,
    Kind,
)
from gateway.ledger.base import InstanceFilter, Left
from gateway.model import DeliveryState, InstanceState, Role

router = api_router(tags=["orders"], responses=COMMON)

IDS_MAX = 1000
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTED)]
Reason = Annotated[str, Field(max_length=REASON_MAX, pattern=PRINTED)]
Host = Annotated[str, Path(max_length=253, pattern=r"^[0-9A-Za-z._:-]+$", description="its name, as in /hosts")]


class DrainedRole(StrEnum):
    """A role that can be told to take no more work."""

    RECEIVER = Role.RECEIVER.value
    WORKER = Role.WORKER.value
    FORWARDER = Role.FORWARDER.value


class Which(Asked):
    """Which instances are meant: all that is given must hold, but that `states` and `delivery_states` together mean
    either. What is given is not empty: an empty value would restrict nothing. That nothing restricts has to be said by
    `all`."""

    all: bool = False
    instance_ids: list[Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTED)]] = Field(
        default=[], min_length=1, max_length=IDS_MAX
    )
    states: list[InstanceState] = Field(default=[], min_length=1, max_length=20)
    delivery_states: list[DeliveryState] = Field(default=[], min_length=1, max_length=20)
    destination: Word = Field(default="", description="those with a delivery to it; only these deliveries move")
    source: Word = ""
    patient_id: Word = ""
    accession_number: Word = ""
    study_instance_uid: Word = ""
    sop_instance_uid: Word = ""
    code: Word = Field(default="", description="the outcome of a delivery in a word")
    because: Word = Field(
        default="",
        description="the reason of a delivery, or of an instance, word for word, up to 200 characters of it",
    )

    def as_filter(self) -> InstanceFilter:
        """As the ledger takes it."""
        return InstanceFilter(
            instance_ids=tuple(self.instance_ids),
            states=tuple(self.states),
            delivery_states=tuple(self.delivery_states),
            destination=self.destination,
            source=self.source,
            patient_id=self.patient_id,
            accession_number=self.accession_number,
            study_instance_uid=self.study_instance_uid,
            sop_instance_uid=self.sop_instance_uid,
            code=self.code,
            because=self.because,
        )


class Order(Asked):
    """An order for instances and their deliveries."""

    order: Kind
    which: Which
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX, pattern=PRINTED)]
    to: list[Word] = Field(default=[], max_length=100, description="of a resend: [] is where each was delivered")
    dry_run: bool = Field(default=False, description="say what it would do, and do nothing")

    @model_validator(mode="after")
    def _only_a_resend_goes_somewhere(self) -> Order:
        if self.to and self.order is not Kind.RESEND:
            raise ValueError("`to` is of a resend")
        return self


class Done(Model):
    """What an order did, or would do."""

    kind: Kind
    moved: int = Field(description="deliveries, and instances without a route")
    left: int = Field(description="of those that it means: how many stay as they are")
    left_because: Left | None = Field(description="why most of them do")
    dry_run: bool
    instances: int | None = Field(description="how many it means: of a dry run, unless deliveries are named")
    at_least: bool = Field(description="of a dry run that means very many: there are more")


class DestinationOrder(Asked):
    """Why; for the audit trail."""

    reason: Reason = ""


class DestinationDone(Model):
    """What an order for a destination did: how many deliveries are tried now, or 1 where it changed anything."""

    kind: DestinationKind
    destination: str
    moved: int


class Drain(Asked):
    """Which roles of a host take no more work, or take it again; and why."""

    draining: bool
    roles: list[DrainedRole] = Field(default=[DrainedRole(role.value) for role in DRAINED_ROLES], min_length=1)
    reason: Reason = ""


class Drained(Model):
    """For how many of the roles that was not so already."""

    host: str
    roles: list[Role]
    draining: bool
    changed: int


@router.post("/orders", response_model=Done, responses=also(404))
@needs(Right.OPERATE)
async def order(request: Request, body: Order) -> Response:
    """Hold, release, resend or cancel. What waits is held; what is held or dead is released, or cancelled for good;
    what is still in the spool is sent again."""
    given = service.Order(body.order, body.which.as_filter(), body.reason, tuple(body.to), body.which.all)
    done = await service.give(context_of(request), given, actor_of(request), dry_run=body.dry_run)
    return answer(request, Done.model_validate(done))


@router.post("/destinations/{name}/{order}", response_model=DestinationDone, tags=["destinations"], responses=also(404))
@needs(Right.OPERATE)
async def destination_order(
    request: Request, name: DestinationName, order: DestinationKind, body: DestinationOrder | None = None
) -> Response:
    """Pause or resume a destination; probe one that is down; retry: try now what is deferred, to drain it."""
    reason = "" if body is None else body.reason
    done = await service.give_destination(context_of(request), order, name, actor_of(request), reason)
    return answer(request, DestinationDone.model_validate(done))


@router.post("/hosts/{host}/drain", response_model=Drained, tags=["system"], responses=also(404))
@needs(Right.OPERATE)
async def drain(request: Request, host: Host, body: Drain) -> Response:
    """Have roles of a host finish what they have and take no more work, or take it again."""
    roles = [Role(role.value) for role in dict.fromkeys(body.roles)]
    done = await service.give_drain(context_of(request), host, roles, body.draining, actor_of(request), body.reason)
    return answer(request, Drained.model_validate(done))
