"""The system: checks, hosts and processes, versions; the configuration for administrators, with its secrets masked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import yaml
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.highlight import highlighted
from gateway.console.pages.site import Site, person_of
from gateway.console.services.system import Finding, Level, System, checks_for, configuration, system

_LEVELS = {Level.GOOD: ("good", "well"), Level.WARNING: ("warn", "look"), Level.ERROR: ("bad", "wrong")}


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A finding as it is shown."""

    name: str
    tone: str
    word: str
    text: str


def routes(site: Site) -> list[Route]:
    """The system page, and the checks made anew."""
    return [
        Route("/system", needs(Right.STATE)(partial(_page, site))),
        Route("/system/check", needs(Right.OPERATE)(partial(_check, site)), methods=["POST"]),
    ]


async def _page(site: Site, request: Request) -> Response:
    seen = await system(site.context)
    checked = checks_for(await site.context.checker.result(echo=False), person_of(request))
    shows_configuration = person_of(request).may(Right.ADMINISTER)
    return await site.renderer.page(
        request,
        "system.html",
        hosts=seen.hosts,
        versions=_versions(seen),
        checks=[_line(finding) for finding in checked.findings],
        checked_at_ms=checked.at_ms,
        echoed=checked.echoed,
        configuration=_configuration(site) if shows_configuration else None,
    )


async def _check(site: Site, request: Request) -> Response:
    await site.context.checker.result(echo=True, again=True)
    return RedirectResponse("/system", 303)


def _line(finding: Finding) -> CheckLine:
    tone, word = _LEVELS[finding.level]
    name = f"{finding.about}: {finding.name}" if finding.name else finding.about
    return CheckLine(name, tone, word, f"{finding.place}: {finding.text}" if finding.place else finding.text)


def _versions(seen: System) -> list[tuple[str, str]]:
    return [
        ("gateway", seen.version),
        ("Python", seen.python),
        ("this host", seen.host),
        ("ledger", "SQLite" if seen.ledger == "sqlite" else "PostgreSQL"),
        ("work queue", "local" if seen.queue == "local" else "Redis"),
        ("spool", "shared by hosts" if seen.spool_shared else "of this host"),
    ]


def _configuration(site: Site) -> Markup:
    text = yaml.safe_dump(configuration(site.context), sort_keys=False, allow_unicode=True, width=100)
    return highlighted("gateway.yaml", text)
