"""The JSON API under /api/v1: one module a subject, each with an `api_router`; the application is made here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gateway import __version__
from gateway.console.access.guard import api_router, needs
from gateway.console.access.roles import Right

if TYPE_CHECKING:
    from gateway.console.context import Context


def api_app(context: Context) -> FastAPI:
    """The API's application. Its description is a route like others: FastAPI's own ask for nothing."""
    app = FastAPI(title="DICOM gateway", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    app.include_router(description)
    return app


description = api_router()


@description.get("/openapi.json", include_in_schema=False)
@needs(Right.STATE)
async def openapi(request: Request) -> JSONResponse:
    """What the API can do, as OpenAPI."""
    return JSONResponse(request.app.openapi())
