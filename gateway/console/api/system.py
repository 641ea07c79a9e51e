"""`/hosts` and `/system`: who takes part, versions, the configuration in force, what `gateway check` finds."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import Field

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api.answers import Asked, Model, Page, answer, context_of, listed
from gateway.console.api.problems import COMMON
from gateway.console.services import system as service
from gateway.console.services.system import CheckResult, Level
from gateway.model import Role

router = api_router(tags=["system"], responses=COMMON)


class Process(Model):
    """A process, and what it holds."""

    role: Role
    pid: int
    opened_at_ms: int
    beat_at_ms: int = Field(description="by its own host's clock")
    instances: int
    deliveries: int
    destinations: list[str]
    draining: bool
    is_drained: bool


class Draining(Model):
    """A role that is to take no more work: since when, and who ordered it."""

    role: Role
    actor: str
    since_ms: int


class Host(Model):
    """A host that takes part."""

    host: str
    processes: list[Process]
    draining: list[Draining]


class System(Model):
    """This host, and all that take part."""

    host: str
    version: str
    python: str
    ledger: str = Field(description="sqlite or postgresql")
    queue: str = Field(description="local or redis")
    spool_shared: bool
    hosts: list[Host]


class Configuration(Model):
    """The configuration in force, defaults filled in, secrets masked."""

    configuration: dict[str, Any]


class Finding(Model):
    """One thing that `gateway check` says."""

    about: str
    name: str
    level: Level
    text: str
    place: str = Field(description="file:line:column; the text is for those who may see patient data, then")


class Check(Model):
    """What `gateway check` found, and when."""

    at_ms: int
    echoed: bool = Field(description="destinations were sent a C-ECHO")
    level: Level = Field(description="the worst of them")
    findings: list[Finding]


class CheckWish(Asked):
    """Whether destinations are to be sent a C-ECHO."""

    echo: bool = True


@router.get("/hosts", response_model=Page[Host])
@needs(Right.STATE)
async def hosts(request: Request) -> Response:
    """The hosts by name, and their processes."""
    found = await service.hosts(context_of(request))
    return answer(request, Page[Host].model_validate(listed(found)))


@router.get("/system", response_model=System)
@needs(Right.STATE)
async def system(request: Request) -> Response:
    """This host, and all that take part."""
    return answer(request, System.model_validate(await service.system(context_of(request))))


@router.get("/system/configuration", response_model=Configuration)
@needs(Right.ADMINISTER)
async def configuration(request: Request) -> Response:
    """The configuration in force."""
    return answer(request, Configuration(configuration=service.configuration(context_of(request))))


@router.get("/system/check", response_model=Check)
@needs(Right.STATE)
async def check(request: Request) -> Response:
    """What `gateway check --no-echo` finds, or found within the last minute."""
    return answer(request, _check(request, await context_of(request).checker.result(echo=False)))


@router.post("/system/check", response_model=Check)
@needs(Right.OPERATE)
async def check_again(request: Request, body: CheckWish | None = None) -> Response:
    """What `gateway check` finds now. Destinations are sent a C-ECHO, unless that is not wished."""
    echo = True if body is None else body.echo
    return answer(request, _check(request, await context_of(request).checker.result(echo=echo, again=True)))


def _check(request: Request, found: CheckResult) -> Check:
    return Check.model_validate(service.checks_for(found, request.state.person))
