"""`/audit`: what people ordered, and this host's audit trail. Both name patients, so they are for who may see them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.audit.read import TrailFilter
from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api.answers import (
    LIMIT_DEFAULT,
    After,
    Limit,
    Model,
    Page,
    Text,
    answer,
    context_of,
    listed,
    viewer_of,
)
from gateway.console.api.problems import COMMON
from gateway.console.services import audit as service
from gateway.console.services import seen
from gateway.ledger.look import AuditFilter

router = api_router(tags=["audit"], responses=COMMON)

When = Annotated[int, Query(ge=0, le=1 << 52, description="milliseconds since 1970 UTC; 0 does not restrict")]


class Ordered(Model):
    """An order: who, when, what for which rows, why, and how many there were."""

    at_ms: int
    actor: str
    action: str
    which: dict[str, Any] = Field(description="the filter of the order")
    reason: str
    count: int


@router.get("/audit", response_model=Page[Ordered])
@needs(Right.PATIENTS)
async def audit(
    request: Request,
    actor: Text = "",
    action: Text = "",
    about: Annotated[Text, Query(description="an instance id, a UID, the name of a destination")] = "",
    since_ms: When = 0,
    until_ms: When = 0,
    limit: Limit = LIMIT_DEFAULT,
    after: After = "",
) -> Response:
    """Orders, the newest first. That somebody looked is a record of the audit trail."""
    context = context_of(request)
    which = AuditFilter(actor, action, about, since_ms, until_ms)
    page = await service.orders(context, which, limit, after)
    seen.trail_read(context, viewer_of(request))
    return answer(request, Page[Ordered].model_validate(listed(page.rows, page.next)))


class TrailKind(StrEnum):
    """What a record is of (PS3.15 A.5.3)."""

    APPLICATION = "application"
    TRAIL_READ = "trail-read"
    BEGIN = "begin"
    ACCESSED = "accessed"
    TRANSFERRED = "transferred"
    EXPORTED = "exported"
    QUERY = "query"
    ALERT = "alert"
    AUTHENTICATION = "authentication"


class Record(Model):
    """A record of the audit trail."""

    seq: int
    at_ms: int
    kind: TrailKind
    who: str
    address: str
    about: str = Field(description="the other side: a destination, a host, a user")
    what: str
    text: str
    outcome: int = Field(description="0 success, 4 minor, 8 serious, 12 major failure")
    patient_id: str
    patient_name: str
    study_instance_uid: str
    accession_number: str
    instances: int
    xml: str = Field(description="the message of PS3.15 A.5")


class Fault(Model):
    """The first record that is not as it was written."""

    file: str
    line: int
    seq: int
    text: str


class Verification(Model):
    """Whether the trail is as it was written."""

    whole: bool
    records: int
    first_seq: int
    last_seq: int
    keyed: int = Field(description="records that nobody can make who has not got the key")
    fault: Fault | None
    notes: list[str]


@router.get("/audit/trail", response_model=Page[Record])
@needs(Right.PATIENTS)
async def audit_trail(
    request: Request,
    kind: Annotated[list[TrailKind], Query(max_length=20)] = [],  # noqa: B006 - as FastAPI wants it
    who: Text = "",
    patient_id: Text = "",
    study_instance_uid: Text = "",
    accession_number: Text = "",
    from_ms: When = 0,
    to_ms: When = 0,
    failed: Annotated[bool, Query(description="only what did not succeed")] = False,
    limit: Limit = LIMIT_DEFAULT,
    after: Annotated[str, Query(max_length=20, pattern=r"^[0-9]*$", description="`next` of the page before")] = "",
) -> Response:
    """Records of this host's audit trail, the newest first. That somebody looked is a record of its own."""
    context = context_of(request)
    kinds = tuple(str(each) for each in kind)
    which = TrailFilter(kinds, who, patient_id, study_instance_uid, accession_number, from_ms, to_ms, failed)
    page = await service.trail(context, which, limit, after)
    seen.trail_read(context, viewer_of(request))
    return answer(request, Page[Record].model_validate(listed(page.rows, page.next)))


@router.get("/audit/verification", response_model=Verification)
@needs(Right.ADMINISTER)
async def verification(request: Request) -> Response:
    """Whether this host's audit trail is as it was written, as `gateway audit verify` says it. Reads all of it."""
    found = await service.verified(context_of(request))
    model = Verification(
        whole=found.fault is None,
        records=found.records,
        first_seq=found.first_seq,
        last_seq=found.last.seq,
        keyed=found.keyed,
        fault=None if found.fault is None else Fault.model_validate(found.fault),
        notes=list(found.notes),
    )
    return answer(request, model)
