"""`/attention`: what is held, dead and quarantined, by reason; and, for who may see patients, what that is of."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

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
from gateway.console.services import attention as service
from gateway.console.services import seen
from gateway.console.services.advice import group_fields
from gateway.console.services.attention import TroubleView
from gateway.ledger.look import TroubleKind, TroubleOf, TroublePage

router = api_router(tags=["attention"], responses=COMMON)

Group = Annotated[str, Query(max_length=16, pattern=r"^[0-9a-f]*$", description="`group` of the group")]


class Trouble(Model):
    """What stopped for one reason."""

    kind: TroubleKind
    of: TroubleOf
    destination: str = Field(description='"" of instances')
    code: str = Field(description='the outcome in a word; "" of instances')
    reason: str = Field(description="what an operator wrote is told to who may see patients")
    group: str = Field(description="stands for the reason in addresses")
    count: int
    more: bool = Field(description="there are more than `count`")
    oldest_ms: int
    newest_ms: int
    what_to_do: str
    runbook: str = Field(description="the section of docs/operations.md, as its anchor")


class TroubleItem(Model):
    """One instance or delivery of a group."""

    instance_id: str
    delivery_id: int | None
    at_ms: int
    reason: str
    attempts: int
    status: int | None = Field(description="the DIMSE status that was answered")
    sop_class_uid: str
    study_key: int | None
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    modality: str


def trouble_model(view: TroubleView) -> Trouble:
    """A group as the API says it."""
    each = view.trouble
    return Trouble(
        kind=each.kind,
        of=each.of,
        destination=each.destination,
        code=each.code,
        reason=each.reason,
        group=group_fields(each)["group"],
        count=each.count,
        more=each.more,
        oldest_ms=each.oldest_ms,
        newest_ms=each.newest_ms,
        what_to_do=view.what_to_do,
        runbook=view.runbook,
    )


@router.get("/attention", response_model=Page[Trouble])
@needs(Right.STATE)
async def attention(request: Request) -> Response:
    """What somebody has to look after, grouped by reason, the newest first."""
    views = await service.attention(context_of(request), request.state.person)
    return answer(request, Page[Trouble].model_validate(listed([trouble_model(view) for view in views])))


@router.get("/attention/items", response_model=Page[TroubleItem])
@needs(Right.PATIENTS)
async def attention_items(
    request: Request,
    kind: TroubleKind,
    destination: Text = "",
    code: Text = "",
    group: Group = "",
    limit: Limit = LIMIT_DEFAULT,
    after: After = "",
) -> Response:
    """What one group is of, the newest first: name it as it stands in the list of groups."""
    context = context_of(request)
    named = {"kind": str(kind), "destination": destination, "code": code, "group": group}
    trouble = await service.group(context, {name: value for name, value in named.items() if value})
    page = TroublePage((), "")
    if trouble is not None:
        page = await service.attention_items(context, trouble, limit, after)
    seen.listed(context, viewer_of(request), page.rows)
    return answer(request, Page[TroubleItem].model_validate(listed(page.rows, page.next)))
