"""Answers of the API: JSON from a model, with an ETag, and 304 to who has it already; pages of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import xxhash
from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.console.access.roles import Person
from gateway.console.context import Context
from gateway.console.services.seen import Viewer

LIMIT_MAX, LIMIT_DEFAULT = 200, 50

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="most items to answer with")]
After = Annotated[
    str, Query(max_length=300, description="`next` of the page before; without it the list begins at its first item")
]
PRINTED = r"^[^\x00-\x1f\x7f]*$"  # no control characters
Text = Annotated[str, Query(max_length=200, pattern=PRINTED)]
InstanceId = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z-]+$", description="the gateway's instance id")]
Name = Annotated[str, Path(max_length=64, pattern=r"^[0-9A-Za-z._-]+$")]
StudyKey = Annotated[int, Path(ge=1, le=(1 << 63) - 1, description="`study_key` of a study in a list")]


class Model(BaseModel):
    """What the API says: made from the attributes of a value, or of values."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Asked(BaseModel):
    """What the API is told: nothing that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Item = TypeVar("Item")


class Page(Model, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(description="where the next page begins (`after`); null: this is the last")


def context_of(request: Request) -> Context:
    """What the services are given."""
    context: Context = request.app.state.context
    return context


def actor_of(request: Request) -> str:
    """Who asks, for the audit trail. The guard has seen to it that somebody does."""
    person: Person = request.state.person
    return person.actor


def viewer_of(request: Request) -> Viewer:
    """Who asks, and from where, for the audit trail."""
    return Viewer(actor_of(request), str(request.state.address))


def answer(request: Request, model: BaseModel, status: int = 200) -> Response:
    """A model as JSON, or 304 where the caller says that it has just this."""
    body = model.model_dump_json().encode()
    if request.method not in ("GET", "HEAD"):
        return Response(body, status, media_type="application/json")
    etag = f'"{xxhash.xxh3_128_hexdigest(body)}"'
    headers = {"etag": etag, "vary": "Authorization, Cookie"}
    if _has(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, status, headers=headers, media_type="application/json")


def _has(request: Request, etag: str) -> bool:
    """RFC 9110 13.1.2: compared weakly."""
    given = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return etag in given or given == ["*"]


def listed(items: Sequence[Item], next_page: str = "") -> dict[str, object]:
    """What a `Page` is made of."""
    return {"items": list(items), "next": next_page or None}
