"""How a page is made: a template, the values it shows, and the frame that all pages share.

Whatever is put into a template goes through `plain` (control characters and those that turn the direction of text
become escapes such as `\\x1b`) and is then escaped for HTML, without exception: what a sender wrote is text. What a
person typed comes back into its field by `as_typed`, escaped and else unchanged. There is no inline script or style in
any template: the Content-Security-Policy forbids both.

    renderer.page(request, "queue.html", queue=…)      the whole page; for htmx in a dialog, its content alone
    renderer.problem(request, 404, "No such study", …) an error page in the same words as the API's problems
    told(response, "hold", 12)                         what the next page says about an order that was done
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gateway import __version__
from gateway.console.access.roles import How, Person, Right
from gateway.console.pages.filters import FILTERS, of_deliveries, short, shown
from gateway.ledger.base import Left

STATIC = Path(__file__).parents[1] / "static"
THEMES = ("light", "dark")
NOTICE = "notice"
NOTICE_S = 30
FRAME_S = 3.0

# label, address, and the right without which it is not shown
_NAV = (
    ("Overview", "/", Right.STATE),
    ("Studies", "/studies", Right.PATIENTS),
    ("Queue", "/queue", Right.STATE),
    ("Attention", "/attention", Right.STATE),
    ("Rules", "/rules", Right.STATE),
    ("System", "/system", Right.STATE),
    ("Audit", "/audit", Right.PATIENTS),
)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A state: `tone` is good, warn, bad or idle; `word` says it."""

    tone: str
    word: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What a page says about the order before it."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class NavItem:
    """A page's entry in the head of all pages."""

    label: str
    href: str
    here: bool
    count: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the host stands, for the head of each page; no patient data."""

    reasons: Sequence[str]  # why it is not ready
    stopped: int  # held, dead and quarantined: what somebody has to look after
    host: str


class Renderer:
    """See the module's docstring. `standing` is asked once in FRAME_S at most."""

    def __init__(self, standing: Callable[[], Awaitable[Standing]], clock_ms: Callable[[], int]) -> None:
        self._ask_standing = standing
        self._clock_ms = clock_ms
        self._standing: tuple[int, Standing] | None = None
        self._environment = environment()
        self._environment.globals["stamp"] = _stamp()

    async def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page."""
        bare = request.headers.get("hx-target") == "dialog-content"
        frame = await self._frame(request)
        text = self._environment.get_template(template).render(
            {**frame, "layout": "bare.html" if bare else "base.html", "bare": bare, "status": status, **values}
        )
        response = HTMLResponse(text, status)
        response.headers["vary"] = "HX-Target, Cookie"
        if NOTICE in request.cookies:
            response.delete_cookie(NOTICE, path="/")
        return response

    async def problem(
        self, request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        """An error page: what happened, and what to do."""
        response = await self.page(request, "error.html", status, problem_title=title, detail=detail)
        response.headers.update(headers or {})
        return response

    async def _frame(self, request: Request) -> dict[str, Any]:
        person: Person | None = getattr(request.state, "person", None)
        standing = await self._stands() if person is not None else None
        theme = request.cookies.get("theme", "")
        return {
            "person": person,
            "may": {str(right) for right in person.rights} if person else set(),
            "csrf_token": getattr(request.state, "csrf_token", ""),
            "can_log_out": person is not None and person.how is not How.TOKEN,
            "theme": theme if theme in THEMES else "",
            "nav": _nav(person, request.url.path, standing) if person else (),
            "host_name": standing.host if standing else "",
            "host_state": _host_lamp(standing) if standing else None,
            "notice": _notice(request.cookies.get(NOTICE, "")),
            "now_ms": self._clock_ms(),
            "version": __version__ if person is not None else "",
            "refresh_s": 0,
            "path": request.url.path,
        }

    async def _stands(self) -> Standing:
        now_ms = self._clock_ms()
        if self._standing is None or not 0 <= now_ms - self._standing[0] < FRAME_S * 1000:
            self._standing = (now_ms, await self._ask_standing())
        return self._standing[1]


def environment() -> Environment:
    """The templates' environment."""
    made = Environment(
        loader=PackageLoader("gateway.console", "templates"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    return made


# ── the frame ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _nav(person: Person, path: str, standing: Standing | None) -> list[NavItem]:
    items = []
    for label, href, right in _NAV:
        if not person.may(right):
            continue
        here = path == href or (href != "/" and path.startswith(f"{href}/"))
        count = standing.stopped if standing and href == "/attention" else 0
        items.append(NavItem(label, href, here, short(count) if count else "", "warn" if count else ""))
    return items


def _host_lamp(standing: Standing) -> Lamp:
    reasons = list(standing.reasons)
    if not reasons:
        return Lamp("good", "ready")
    first = reasons[0].replace("_", " ")
    return Lamp("bad", first if len(reasons) == 1 else f"{first} and {len(reasons) - 1} more")


def _stamp() -> str:
    """Of all static files, so that a browser keeps none of an older version."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# ── what an order did ─────────────────────────────────────────────────────────────────────────────────────────────────

# A notice crosses the redirect after an order as words of these tables and two numbers, so that nobody can have the
# console say anything else, whatever stands in a cookie.
_NOTICES: Mapping[str, str] = {
    "resend": "{moved} will be sent again.",
    "hold": "{moved} held: nothing of it is sent until somebody releases it.",
    "release": "{moved} released.",
    "cancel": "{moved} cancelled.",
    "pause": "Paused: nothing more is sent there until somebody resumes it.",
    "resume": "Resumed.",
    "retry": "{moved} tried now.",
    "probe": "The destination is asked now; its lamp shows the answer in a few seconds.",
    "password": "Your password is changed, and your other sessions have ended.",
    "drain": "The host is drained: it takes no more work, and finishes what it has.",
    "undrain": "The host takes work again.",
    "nothing": "Nothing was changed: it was so already, or is not as it was any more.",
}
_LEFT: Mapping[Left, str] = {
    Left.CLAIMED: " {left} are being sent already and were not touched: pause the destination to reach those not "
    "begun.",
    Left.OVERTAKEN: " {left} stay as they are: a later version was delivered there. Release one on its own page to "
    "send it all the same.",
    Left.UNCONFIGURED: " {left} stay as they are: the destination is not configured.",
    Left.QUARANTINED: " {left} stay as they are: what is quarantined is released one by one, on its own page.",
}


def told(
    response: Response,
    word: str,
    moved: int = 0,
    left: int = 0,
    left_because: Left | None = None,
    secure: bool = False,
) -> Response:
    """Have the next page say what an order did. `word` is one of the table above."""
    notice = f"{word}.{moved}.{left}.{left_because or ''}"
    response.set_cookie(NOTICE, notice, NOTICE_S, path="/", httponly=True, samesite="strict", secure=secure)
    return response


def _notice(cookie: str) -> Notice | None:
    found = re.fullmatch(r"([a-z]+)\.([0-9]{1,9})\.([0-9]{1,9})\.([a-z]*)", cookie)
    if found is None or found[1] not in _NOTICES:
        return None
    word, moved, left = found[1], int(found[2]), int(found[3])
    text = _NOTICES[word].format(moved=of_deliveries(moved))
    if left and found[4] in _LEFT:
        return Notice("warn", text + _LEFT[Left(found[4])].format(left=left))
    return Notice("warn" if word == "nothing" else "good", text)
