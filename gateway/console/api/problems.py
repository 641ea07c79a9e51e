"""Errors of the API: problem details (RFC 9457), `application/problem+json`.

`type` is `about:blank`, or says which of several things of one status it is; `detail` says what, where and what to do.
No error repeats a value that was sent or that is stored: what is not valid is told by its place (`errors`), never by
what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from gateway import telemetry
from gateway.console.services.trial import UploadTooLarge
from gateway.errors import (
    GatewayError,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    LookRefused,
    LookTooWide,
    NotThere,
    SpoolError,
    SpoolMissing,
    TrailBusy,
    TrailError,
    UsageError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5


class Invalid(BaseModel):
    """One thing in a request that is not valid: where it is, and what is wrong with it."""

    at: str = Field(description="`query.limit`, `body.which.states.0`")
    message: str


class Problem(BaseModel):
    """Problem details, RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    instance: str = Field(default="", description="what was asked for: the path as the description of the API has it")
    errors: list[Invalid] = Field(default_factory=list, description="of a request that is not valid: each thing")


_TEXTS = {
    400: "the request cannot be carried out as it is",
    401: "nobody is logged in, and no API token was shown",
    403: "the right that this needs is missing, or the request did not come from here",
    404: "there is no such thing",
    405: "this cannot be done with it",
    408: "the body did not come in time",
    409: "it is not so that this could be done",
    410: "it is no longer there",
    413: "too much was sent",
    415: "the body is of another type than can be read",
    422: "something in the request is not valid",
    429: "too many requests: later",
    500: "an error of the gateway: its log says which",
    503: "it cannot be done now: later",
}

# What any route may answer, by the rights that it needs; for the OpenAPI description.
COMMON: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": _TEXTS[status], "content": {MEDIA_TYPE: {}}}
    for status in (400, 401, 403, 408, 413, 422, 429, 500, 503)
}


def also(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same, and these."""
    return {
        status: {"model": Problem, "description": _TEXTS[status], "content": {MEDIA_TYPE: {}}} for status in statuses
    }


def problem(
    request: Request,
    status: int,
    detail: str = "",
    *,
    kind: str = "about:blank",
    errors: list[Invalid] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An answer that says what is wrong."""
    body = Problem(
        type=kind,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail or _TEXTS.get(status, ""),
        instance=_asked_for(request),
        errors=errors or [],
    )
    return JSONResponse(body.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _asked_for(request: Request) -> str:
    """The route, not what stands in its path: that may be anything."""
    return str(getattr(request.scope.get("route"), "path", ""))


def not_there(request: Request, what: str) -> JSONResponse:
    """404, with what was looked for in our own words."""
    return problem(request, 404, f"there is no such {what}")


def add_handlers(app: FastAPI) -> None:
    """Have every error of the application answered so."""

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
        return problem(request, error.status_code, detail, headers=error.headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        return problem(request, 422, errors=[_without_values(each) for each in error.errors()])

    async def gateway(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GatewayError)  # noqa: S101 - registered for it
        return _of_gateway(request, error)

    async def other(request: Request, error: Exception) -> JSONResponse:
        return problem(request, 500)  # its text could say anything; who serves the application has it logged

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(GatewayError, gateway)
    app.add_exception_handler(Exception, other)


def _of_gateway(request: Request, error: GatewayError) -> JSONResponse:
    later = {"retry-after": str(RETRY_AFTER_S)}
    match error:
        case UploadTooLarge():
            return problem(request, 413, str(error))
        case LookTooWide():
            return problem(request, 400, str(error), kind="urn:dicom-gateway:too-wide")
        case NotThere():
            return problem(request, 404, f"there is no {error.what} of this name")
        case UsageError() | LookRefused():
            return problem(request, 400, str(error))
        case LedgerBusy() | LedgerFull():
            return problem(request, 503, "the ledger cannot be reached, is busy, or has no room: later", headers=later)
        case LedgerError():
            telemetry.problem("console_ledger_failed", reason=str(error))
            return problem(request, 409, str(error))
        case TrailBusy():
            return problem(request, 503, str(error), headers=later)
        case TrailError():
            telemetry.problem("console_trail_failed", error)
            return problem(request, 503, "the audit trail cannot be read: see the log", headers=later)
        case SpoolMissing():
            return problem(request, 410, "the file is no longer in the spool")
        case SpoolError():
            telemetry.problem("console_spool_failed", reason=str(error))
            return problem(request, 503, "the spool does not give the file: see the log", headers=later)
    telemetry.problem("console_error", error=error, path=request.url.path)
    return problem(request, 500)


def _without_values(error: Mapping[str, Any]) -> Invalid:
    """A validation error's place and kind. Pydantic's own message may repeat what was sent; ours are by its type."""
    kind, place = str(error.get("type")), [str(part) for part in error.get("loc", ())]
    if kind == "extra_forbidden":  # a name that the sender made up is not repeated
        place[-1:] = ["…"]
    if kind == "json_invalid":
        place = ["body"]
    return Invalid(at=".".join(place), message=_MESSAGES.get(kind, "is not valid"))


_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "json_invalid": "is no JSON",
    "enum": "is none of the words that can stand here",
    "literal_error": "is none of the words that can stand here",
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "string_type": "is no text",
    "string_too_long": "is too long",
    "string_too_short": "is too short",
    "string_pattern_mismatch": "has not the form that is needed here",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "list_type": "is no list",
    "too_long": "has too many entries",
    "too_short": "has too few entries",
    "model_attributes_type": "is no object",
    "dict_type": "is no object",
}
