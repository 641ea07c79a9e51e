"""Orders: a page that asks for the reason and says what would be touched, then the order itself.

    GET  /orders/<kind>?study=KEY | instance=ID | kind=…&destination=…&code=…&group=…    hold, release, resend, cancel
    GET  /orders/<kind>?destination=NAME                                                  pause, resume, retry, probe
    GET  /orders/<kind>?host=NAME                                                         drain, undrain
    POST the same, with the reason

With scripts the page opens as a dialog over the one it was asked from. What it counts is a rehearsal of the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.attention import trouble_of
from gateway.console.pages.filters import of_deliveries
from gateway.console.pages.render import told
from gateway.console.pages.site import Site, asked, href, person_of, sent, viewer_of, whole
from gateway.console.services import orders as service
from gateway.console.services import studies
from gateway.console.services.advice import group_fields
from gateway.console.services.attention import which_of
from gateway.console.services.orders import DestinationKind, Done, Kind, Order
from gateway.console.services.queue import destination
from gateway.console.services.seen import viewed
from gateway.console.services.system import hosts
from gateway.errors import UsageError
from gateway.ledger.base import InstanceFilter, Left
from gateway.words import counted


@dataclass(frozen=True, slots=True)
class Words:
    """How an order is said."""

    head: str
    button: str
    tone: str = ""
    warning: str = ""


_WORDS = {
    Kind.HOLD: Words("Hold", "Hold"),
    Kind.RELEASE: Words("Release", "Release"),
    Kind.RESEND: Words("Send again", "Send again"),
    Kind.CANCEL: Words(
        "Cancel",
        "Cancel for good",
        "danger",
        "What is cancelled is not sent any more, and leaves the spool when nothing else needs it.",
    ),
}
_DESTINATION_WORDS = {
    DestinationKind.PAUSE: Words("Pause", "Pause"),
    DestinationKind.RESUME: Words("Resume", "Resume"),
    DestinationKind.RETRY: Words("Drain now", "Try everything now"),
    DestinationKind.PROBE: Words("Probe", "Probe now"),
}
_DESTINATION_ABOUT = {
    DestinationKind.PAUSE: "Nothing more is sent to {name} until somebody resumes it. {waiting} wait there now.",
    DestinationKind.RESUME: "What waits for {name} is sent again: {waiting}.",
    DestinationKind.RETRY: "What was put off for {name} is tried at once, and {name} is asked whether it is up.",
    DestinationKind.PROBE: "{name} is asked at once whether it is up (C-ECHO). It matters only while it is down.",
}
_HOST_WORDS = {"drain": Words("Drain the host", "Drain"), "undrain": Words("Take the host back", "Take back")}
_HOST_ABOUT = {
    "drain": "{host} takes no more associations and no more work, finishes what it has, and stays so over restarts: "
    "for an upgrade, or to take it away. Others serve meanwhile, where there are any.",
    "undrain": "{host} takes associations and work again.",
}
_LEFT = {
    Left.CLAIMED: "are being sent already, and are left",
    Left.OVERTAKEN: "are left: a later version was delivered there",
    Left.UNCONFIGURED: "are left: the destination is not configured",
    Left.QUARANTINED: "are left: what is quarantined is released one by one, on its own page",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What an order is about.

    :ivar about: said to the person; it may hold patient data.
    :ivar fields: of the address, to come back to the same.
    """

    which: InstanceFilter
    about: str
    fields: dict[str, str]
    back: str
    warning: str = ""


def routes(site: Site) -> list[Route]:
    """Orders for instances, and for destinations."""
    made = [
        Route(f"/orders/{kind}", needs(Right.OPERATE)(partial(_order, site, kind)), methods=["GET", "POST"])
        for kind in Kind
    ]
    made += [
        Route(f"/orders/{kind}", needs(Right.OPERATE)(partial(_destination, site, kind)), methods=["GET", "POST"])
        for kind in DestinationKind
    ]
    made += [
        Route(f"/orders/{kind}", needs(Right.OPERATE)(partial(_host, site, kind == "drain")), methods=["GET", "POST"])
        for kind in _HOST_WORDS
    ]
    return made


# ── for instances ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _order(site: Site, kind: Kind, request: Request) -> Response:
    target = await _target(site, request)
    if request.method != "POST":  # HEAD, too
        return await _ask(site, request, kind, target, (), "", "")
    reason = sent(request, "reason", service.REASON_MAX)
    to = tuple(dict.fromkeys(str(name) for name in request.state.form.getlist("to")))
    if not reason:
        return await _ask(site, request, kind, target, to, "", "Say why: it stands in the audit trail.")
    try:
        done = await service.give(site.context, Order(kind, target.which, reason, to), person_of(request).actor)
    except UsageError as error:
        return await _ask(site, request, kind, target, to, reason, str(error))
    word = str(kind) if done.moved or done.left else "nothing"
    return _told(request, target.back, word, done.moved, done.left, done.left_because)


async def _ask(
    site: Site, request: Request, kind: Kind, target: Target, to: Sequence[str], reason: str, mistake: str
) -> Response:
    words = _WORDS[kind]
    names = site.context.config().destinations
    ticked = tuple(name for name in to if name in names)
    rehearsed = await service.give(site.context, Order(kind, target.which, reason, ticked), "", dry_run=True)
    warning = " ".join(text for text in (target.warning, words.warning) if text)
    values: dict[str, Any] = {
        "about": target.about,
        "counts": _counts(rehearsed, ticked),
        "warning": warning,
        "choices": [],
        "choices_hint": "Nothing ticked: where each was delivered before.",
        "nothing": not rehearsed.moved and kind is not Kind.RESEND,
    }
    if kind is Kind.RESEND:
        values["choices"] = [{"name": name, "chosen": name in to} for name in names]
    action = href(f"/orders/{kind}", **target.fields)
    return await _form(site, request, words, action, target.back, values, reason, mistake)


async def _form(
    site: Site,
    request: Request,
    words: Words,
    action: str,
    back: str,
    values: dict[str, Any],
    reason: str,
    mistake: str,
) -> Response:
    return await site.renderer.page(
        request,
        "order.html",
        status=400 if mistake else 200,
        **{
            "head": words.head,
            "button": words.button,
            "tone": words.tone,
            "hidden": (),
            "asks_reason": True,
            "reason_required": True,
            "choices": (),
            "counts": (),
            "warning": "",
            "nothing": False,
            "action": action,
            "back": back,
            "reason": reason,
            "mistake": mistake,
            **values,
        },
    )


def _counts(rehearsed: Done, ticked: Sequence[str]) -> list[tuple[str, str]]:
    least = "more than " if rehearsed.at_least else ""
    counts = []
    if rehearsed.instances is not None:
        counts.append(("it means", least + counted(rehearsed.instances, "instance")))
    if rehearsed.kind is not Kind.RESEND:
        counts.append(("it touches", least + of_deliveries(rehearsed.moved)))
    elif rehearsed.moved:
        counts.append(("as ticked" if ticked else "with nothing ticked", least + of_deliveries(rehearsed.moved)))
    counts += [("it leaves", f"{of_deliveries(left)}, which {_LEFT[why]}") for why, left in rehearsed.left_for.items()]
    return counts


async def _target(site: Site, request: Request) -> Target:
    """What the address names. :raises HTTPException: nothing, or what is not there."""
    if key := asked(request, "study"):
        return await _study(site, request, key)
    if instance_id := asked(request, "instance"):
        return await _instance(site, request, instance_id)
    if asked(request, "kind"):
        trouble = await trouble_of(site, request)
        if not trouble.reason:
            raise HTTPException(400, "these have no reason to name them by: order them one by one")
        where = f" for {trouble.destination}" if trouble.destination else ""
        about = f"All that is {trouble.kind}{where}: {trouble.reason}"
        return Target(which_of(trouble), about, group_fields(trouble), "/attention")
    raise HTTPException(404, "an order is about a study, an instance, or a group of Attention")


async def _study(site: Site, request: Request, key: str) -> Target:
    detail = await studies.study(site.context, whole(key))
    if detail is None:
        raise HTTPException(404, "there is no such study in the ledger")
    viewed(site.context, viewer_of(request), whole(key), detail.study.instances)
    row = detail.study
    if not row.study_instance_uid:
        raise HTTPException(400, "this study has no Study Instance UID to name it by: order its instances one by one")
    about = f"The study of {row.patient_name or 'a patient without a name'} ({row.patient_id or 'no patient ID'})"
    about += f", {row.study_description}" if row.study_description else ""
    warning = ""
    if detail.same_uid:
        warning = (
            "There are instances of the same study UID with another patient or accession number: it means them too."
        )
    which = InstanceFilter(study_instance_uid=row.study_instance_uid)
    return Target(which, about, {"study": key}, f"/studies/{key}", warning)


async def _instance(site: Site, request: Request, instance_id: str) -> Target:
    detail = await studies.instance(site.context, instance_id)
    if detail is None:
        raise HTTPException(404, "there is no such instance in the ledger")
    viewed(site.context, viewer_of(request), detail.study_key, 1)
    row = detail.row
    about = f"One instance of {row.patient_name or 'a patient without a name'} ({row.patient_id or 'no patient ID'})"
    which = InstanceFilter(instance_ids=(row.instance_id,))
    return Target(which, about, {"instance": row.instance_id}, f"/instances/{row.instance_id}")


# ── for destinations ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _destination(site: Site, kind: DestinationKind, request: Request) -> Response:
    name = asked(request, "destination")
    if name not in site.context.config().destinations:
        raise HTTPException(404, "there is no destination of this name in the configuration")
    back, mistake = "/queue", ""
    if request.method == "POST":
        reason = sent(request, "reason", service.REASON_MAX)
        try:
            done = await service.give_destination(site.context, kind, name, person_of(request).actor, reason)
        except UsageError as error:
            mistake = str(error)
        else:
            return _told(request, back, str(kind) if done.moved else "nothing", done.moved)
    seen = await destination(site.context, name)
    waiting = of_deliveries(seen.waiting if seen is not None else 0)
    about = _DESTINATION_ABOUT[kind].format(name=name, waiting=waiting)
    action = href(f"/orders/{kind}", destination=name)
    values = {"about": about, "reason_required": False}
    return await _form(site, request, _DESTINATION_WORDS[kind], action, back, values, "", mistake)


# ── for hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _host(site: Site, draining: bool, request: Request) -> Response:
    host, kind, mistake = asked(request, "host"), "drain" if draining else "undrain", ""
    if request.method == "POST":
        reason = sent(request, "reason", service.REASON_MAX)
        if not reason:
            mistake = "Say why: it stands in the audit trail."
        else:
            actor = person_of(request).actor
            try:
                done = await service.give_drain(site.context, host, service.DRAINED_ROLES, draining, actor, reason)
            except UsageError as error:
                raise HTTPException(404, str(error)) from None
            return _told(request, "/system", kind if done.changed else "nothing", done.changed)
    if host not in {row.host for row in await hosts(site.context)}:
        raise HTTPException(404, "there is no host of this name")
    values = {"about": _HOST_ABOUT[kind].format(host=host)}
    return await _form(
        site, request, _HOST_WORDS[kind], href(f"/orders/{kind}", host=host), "/system", values, "", mistake
    )


def _told(
    request: Request, back: str, word: str, moved: int, left: int = 0, left_because: Left | None = None
) -> Response:
    return told(RedirectResponse(back, 303), word, moved, left, left_because, request.url.scheme == "https")
