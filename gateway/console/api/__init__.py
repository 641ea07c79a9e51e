"""The JSON API under /api/v1: one module a subject, each with an `api_router`; the application is made here.

Each answer is a model (`answers.Model`) made of what a service gives, with an ETag; each error a problem
(`gateway.console.api.problems`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from gateway import __version__
from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api import attention, audit, events, orders, overview, queue, rules, studies, system
from gateway.console.api.problems import MEDIA_TYPE, add_handlers

if TYPE_CHECKING:
    from gateway.console.context import Context

SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "an API token: `gateway token add`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "gateway-8080",
        "description": "a browser's session, by the port that it asks (over TLS `__Host-gateway-…`); what changes "
        "something needs X-CSRF-Token too",
    },
}
DESCRIPTION = """\
What the console shows and orders, for programs. Times are milliseconds since 1970 UTC, sizes bytes. Lists come in
pages: `next` is handed back as `after`. Errors are problem details (RFC 9457). See docs/api.md.
"""


class Api(FastAPI):
    """The application; its description says how one shows who one is."""

    def openapi(self) -> dict[str, Any]:
        """As FastAPI's, and what it does not know."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema.setdefault("components", {})["securitySchemes"] = SECURITY
            schema["security"] = [{name: []} for name in SECURITY]
            schema["servers"] = [{"url": "/api/v1"}]
            _say_problems(schema)
            self.openapi_schema = schema
        return self.openapi_schema


def _say_problems(schema: dict[str, Any]) -> None:
    """FastAPI puts a model under `application/json`, whatever an answer's type is."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                if MEDIA_TYPE in content:
                    content[MEDIA_TYPE] = content.pop("application/json")


def api_app(context: Context | None) -> FastAPI:
    """The API's application; without a context only to be described. Its description is a route like others: FastAPI's
    own ask for nothing."""
    app = Api(
        title="DICOM gateway",
        description=DESCRIPTION,
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    app.state.listeners = events.Listeners()
    add_handlers(app)
    for part in (overview, queue, attention, studies, orders, rules, system, audit, events):
        app.include_router(part.router)
    app.include_router(description)
    return app


description = api_router()


@description.get("/openapi.json", include_in_schema=False)
@needs(Right.STATE)
async def openapi(request: Request) -> JSONResponse:
    """What the API can do, as OpenAPI."""
    return JSONResponse(await asyncio.to_thread(request.app.openapi))  # made once, which takes a moment
