"""`/audit`: what people ordered, and took out. An order may name a patient, so this is for who may see patients."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field

from gateway.console.access.guard import api_router, needs
from gateway.console.access.roles import Right
from gateway.console.api.answers import LIMIT_DEFAULT, After, Limit, Model, Page, Text, answer, context_of, listed
from gateway.console.api.problems import COMMON
from gateway.console.services import audit as service
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
    """Orders, the newest first."""
    which = AuditFilter(actor, action, about, since_ms, until_ms)
    page = await service.orders(context_of(request), which, limit, after)
    return answer(request, Page[Ordered].model_validate(listed(page.rows, page.next)))
