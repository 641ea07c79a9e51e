"""The rules in force: their files, how often each matched, and the sets before them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.notices import NoticeKind
from gateway.console.pages.highlight import highlighted
from gateway.console.pages.site import Site, asked, person_of
from gateway.console.services import rules as service
from gateway.console.services.advice import of_notice

REVISIONS = 20


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file as it is shown. `source` None: it is not for who asks."""

    name: str
    source: Markup | None
    lines: int


@dataclass(frozen=True, slots=True)
class Match:
    """A rule, and how many instances of the last day it matched. `share` is that of the most frequent one."""

    rule: str
    count: int
    share: float


def routes(site: Site) -> list[Route]:
    """The rules."""
    return [Route("/rules", needs(Right.STATE)(partial(_page, site)))]


async def _page(site: Site, request: Request) -> Response:
    wanted = asked(request, "revision")
    found = await service.rule_set(site.context, wanted, texts=person_of(request).may(Right.PATIENTS))
    if found is None and wanted:
        raise HTTPException(404, "there is no such set of rules in the ledger any more")
    health = await site.context.host.health()
    return await site.renderer.page(
        request,
        "rules.html",
        refused=next((of_notice(each) for each in health.notices if each.kind is NoticeKind.RULES_REFUSED), None),
        rules=found,
        files=[
            RuleFile(each.name, None if each.text is None else highlighted(each.name, each.text), each.lines)
            for each in (found.files if found else ())
        ],
        matches=_matches(await service.matches(site.context)),
        revisions=await service.revisions(site.context, REVISIONS),
    )


def _matches(found: service.Matches) -> list[Match]:
    counts = {**found.by_rule, **({"": found.unmatched} if found.unmatched else {})}
    most = max(counts.values(), default=1) or 1
    return [Match(rule, count, count / most) for rule, count in sorted(counts.items(), key=lambda each: -each[1])]
