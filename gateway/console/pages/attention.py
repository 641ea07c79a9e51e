"""What is held, dead and quarantined: by reason, with what to do about it, and the orders for all of it.

An observer sees how many and why; which instances they are is patient data.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.site import LIMIT, Site, asked, href, person_of, viewer_of
from gateway.console.services import seen
from gateway.console.services.advice import Advice, group_fields, of_trouble
from gateway.console.services.attention import attention, attention_items, group
from gateway.ledger.look import Trouble, TroubleKind

_GROUPS = (
    (TroubleKind.QUARANTINED, "Quarantined", "bad", "Nothing is quarantined"),
    (TroubleKind.DEAD, "Dead", "bad", "Nothing was given up"),
    (TroubleKind.HELD, "Held", "warn", "Nothing is held"),
)


@dataclass(frozen=True, slots=True)
class OrderLink:
    """A button that leads to an order for all of a group."""

    label: str
    href: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a group."""

    trouble: Trouble
    advice: Advice
    orders: tuple[OrderLink, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One kind of trouble."""

    kind: TroubleKind
    title: str
    tone: str
    empty: str
    items: tuple[Item, ...]
    total: int


def routes(site: Site) -> list[Route]:
    """What to look after, and which instances that is."""

    @needs(Right.STATE)
    async def page(request: Request) -> Response:
        troubles = [view.trouble for view in await attention(site.context, person_of(request))]
        return await site.renderer.page(request, "attention.html", groups=[_group(troubles, *each) for each in _GROUPS])

    @needs(Right.PATIENTS)
    async def items(request: Request) -> Response:
        trouble = await trouble_of(site, request)
        after = asked(request, "after")
        found = await attention_items(site.context, trouble, LIMIT, after)
        seen.listed(site.context, viewer_of(request), found.rows)
        return await site.renderer.page(
            request,
            "items.html",
            advice=of_trouble(trouble),
            orders=orders_for(trouble),
            rows=found.rows,
            next_href=href("/attention/items", **group_fields(trouble), after=found.next) if found.next else "",
        )

    return [Route("/attention", page), Route("/attention/items", items)]


async def trouble_of(site: Site, request: Request) -> Trouble:
    """The group that an address names. :raises HTTPException: there is none; half an address never means more."""
    named = {name: asked(request, name) for name in ("kind", "destination", "code", "group")}
    found = await group(site.context, {name: value for name, value in named.items() if value})
    if found is None:
        raise HTTPException(404, "nothing is stopped for this reason, or not any more")
    return found


def orders_for(trouble: Trouble) -> tuple[OrderLink, ...]:
    """What can be ordered for all of a group. What is quarantined is released one by one: each is to be looked at.

    Nothing where there is no reason: no filter says that, and one that says nothing of reasons means them all.
    """
    if not trouble.reason:
        return ()

    def to(kind: str) -> str:
        return href(f"/orders/{kind}", **group_fields(trouble))

    give_up = OrderLink("Discard all", to("cancel"), "danger")
    if trouble.kind is TroubleKind.QUARANTINED:
        return (give_up,)
    retry = "Retry all" if trouble.kind is TroubleKind.DEAD else "Release all"
    return (OrderLink(retry, to("release")), give_up)


def _group(troubles: list[Trouble], kind: TroubleKind, title: str, tone: str, empty: str) -> Group:
    of_kind = [each for each in troubles if each.kind is kind]
    items = tuple(Item(each, of_trouble(each), orders_for(each)) for each in of_kind)
    return Group(kind, title, tone if items else "", empty, items, sum(each.count for each in of_kind))
