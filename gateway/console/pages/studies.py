"""Studies: the search, a study's page, an instance's page. Patient data."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.filters import dicom_date
from gateway.console.pages.searches import Searches
from gateway.console.pages.site import LIMIT, Site, asked, href, person_of, sent, viewer_of, whole
from gateway.console.services import seen
from gateway.console.services import studies as service
from gateway.errors import LookRefused, LookTooWide
from gateway.ledger.look import StudyFilter, StudyPage
from gateway.model import DeliveryState, InstanceState

TYPED_MAX = 256
STATES = tuple(
    dict.fromkeys(
        [
            *map(str, (InstanceState.QUARANTINED, DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.DEFERRED)),
            *map(str, (InstanceState.RECEIVED, DeliveryState.READY, DeliveryState.LEASED, DeliveryState.DELIVERED)),
            *map(str, (InstanceState.SETTLED, DeliveryState.CANCELLED, InstanceState.PURGED)),
        ]
    )
)
_OPEN_FIELDS = ("source", "modality", "date_from", "date_to", "state")  # of no patient: they may stand in an address
_FIELDS = ("patient_id", "patient_name", "accession_number", "uid", *_OPEN_FIELDS)


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a search found nothing, for who made it."""

    title: str
    text: str


class _Wrong(ValueError):
    """A field of the form that cannot be."""


def routes(site: Site) -> list[Route]:
    """Search, study, instance."""
    searches = Searches[StudyFilter]()
    return [
        Route("/studies", needs(Right.PATIENTS)(partial(_search, site, searches)), methods=["GET", "POST"]),
        Route("/studies/{key}", needs(Right.PATIENTS)(partial(_study, site))),
        Route("/instances/{id}", needs(Right.PATIENTS)(partial(_instance, site))),
    ]


# ── the search ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _search(site: Site, searches: Searches[StudyFilter], request: Request) -> Response:
    if request.method == "POST":
        return await _keep(site, searches, request)
    word, after = asked(request, "q"), asked(request, "after")
    mistake = None
    if word:
        kept = searches.find(person_of(request).name, word)
        which = kept or StudyFilter()
        if kept is None:
            mistake = Mistake("This search is over", "The console was restarted since. Type it again.")
    else:
        try:
            which = _filter({name: asked(request, name) for name in _OPEN_FIELDS})
        except _Wrong as error:
            which, mistake = StudyFilter(), Mistake("This cannot be searched for", str(error))
    return await _found(site, request, which, after, word, mistake)


async def _keep(site: Site, searches: Searches[StudyFilter], request: Request) -> Response:
    typed = {name: sent(request, name, TYPED_MAX) for name in _FIELDS}
    try:
        which = _filter(typed)
    except _Wrong as error:
        return await _show(
            site, request, typed, StudyPage((), ""), "", Mistake("This cannot be searched for", str(error))
        )
    if which == StudyFilter():
        return RedirectResponse("/studies", 303)
    if all(not typed[name] for name in _FIELDS if name not in _OPEN_FIELDS):
        return RedirectResponse(href("/studies", **typed), 303)
    return RedirectResponse(href("/studies", q=searches.keep(person_of(request).name, which)), 303)


async def _found(
    site: Site, request: Request, which: StudyFilter, after: str, word: str, mistake: Mistake | None
) -> Response:
    page = StudyPage((), "")
    if mistake is None:
        try:
            page = await service.studies(site.context, which, LIMIT, after)
            seen.searched(site.context, viewer_of(request), which)
        except LookTooWide:
            mistake = Mistake("This search takes too long", "Give more of the name or number, a date, or a source.")
        except LookRefused as error:
            if after:
                raise
            mistake = Mistake("This cannot be searched for", str(error))
    typed = _typed(which)
    open_fields = {name: typed[name] for name in _OPEN_FIELDS}
    next_href = ""
    if page.next:
        next_href = (
            href("/studies", q=word, after=page.next) if word else href("/studies", **open_fields, after=page.next)
        )
    return await _show(site, request, typed, page, next_href, mistake)


async def _show(
    site: Site, request: Request, typed: Mapping[str, str], page: StudyPage, next_href: str, mistake: Mistake | None
) -> Response:
    return await site.renderer.page(
        request,
        "studies.html",
        status=400 if mistake and request.method == "POST" else 200,
        typed=typed,
        searched=any(typed.values()),
        rows=page.rows,
        next_href=next_href,
        sources=sorted(site.context.config().sources),
        states=STATES,
        mistake=mistake,
    )


def _filter(typed: Mapping[str, str]) -> StudyFilter:
    """The search that a form means. :raises _Wrong: a field cannot be."""
    fields = {name: value for name, value in typed.items() if name not in ("state", "date_from", "date_to")}
    dates = {name: _date(name, typed.get(name, "")) for name in ("date_from", "date_to")}
    state = typed.get("state", "")
    if state and state not in STATES:
        raise _Wrong(f"there is no state of this name; there are {', '.join(STATES)}")
    return StudyFilter(**fields, **dates, states=(state,) if state else ())


def _date(name: str, text: str) -> str:
    if not text:
        return ""
    found = re.fullmatch(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", text)
    if found is None:
        raise _Wrong(f"{name.replace('_', ' ')}: write a date as 2026-11-26")
    return "".join(found.groups())


def _typed(which: StudyFilter) -> dict[str, str]:
    """A search as the form shows it."""
    fields = {name: value for name, value in asdict(which).items() if name in _FIELDS}
    return fields | {
        "date_from": dicom_date(which.date_from),
        "date_to": dicom_date(which.date_to),
        "state": which.states[0] if which.states else "",
    }


# ── a study, an instance ──────────────────────────────────────────────────────────────────────────────────────────────


async def _study(site: Site, request: Request) -> Response:
    key = whole(request.path_params["key"])
    detail, matrix, moments = await asyncio.gather(
        service.study(site.context, key),
        service.matrix(site.context, key, LIMIT, asked(request, "after")),
        service.timeline(site.context, key),
    )
    if detail is None:
        raise HTTPException(404, "there is no such study in the ledger")
    seen.viewed(site.context, viewer_of(request), key, detail.study.instances)
    return await site.renderer.page(
        request,
        "study.html",
        detail=detail,
        instances=matrix.page.rows,
        destinations=matrix.destinations,
        matrix=matrix.cells,
        series_numbers={series.series_key: series.series_number for series in detail.series},
        moments=moments,
        next_href=href(f"/studies/{key}", after=matrix.page.next) + "#instances" if matrix.page.next else "",
        order_href=_orders(study=str(key)),
        download_href=f"/studies/{key}/download",
    )


async def _instance(site: Site, request: Request) -> Response:
    detail = await service.instance(site.context, request.path_params["id"])
    if detail is None:
        raise HTTPException(404, "there is no such instance in the ledger")
    instance_id = detail.row.instance_id
    seen.viewed(site.context, viewer_of(request), detail.study_key, 1)
    return await site.renderer.page(
        request,
        "instance.html",
        detail=detail,
        moments=await service.timeline(site.context, instance_id),
        order_href=_orders(instance=instance_id),
        download_href=f"/instances/{instance_id}/download" if _is_there(detail.row.state) else "",
    )


def _is_there(state: InstanceState) -> bool:
    return state not in (InstanceState.PURGING, InstanceState.PURGED)


def _orders(**target: str) -> Callable[[str], str]:
    def to(kind: str) -> str:
        return href(f"/orders/{kind}", **target)

    return to
