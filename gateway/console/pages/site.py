"""What each module of pages is given, and what several of them need: the frame, and how an address is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.console.access.roles import Person
from gateway.console.services.seen import Viewer

if TYPE_CHECKING:
    from gateway.console.context import Context
    from gateway.console.pages.render import Renderer

LIMIT = 50
FIELD_MAX = 512
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Site:
    """What each module of pages is given."""

    context: Context
    renderer: Renderer


def person_of(request: Request) -> Person:
    """Who asks: the guard has let nobody else through."""
    person: Person = request.state.person
    return person


def viewer_of(request: Request) -> Viewer:
    """Who asks, and from where, for the audit trail."""
    return Viewer(person_of(request).actor, str(request.state.address))


def asked(request: Request, name: str) -> str:
    """A field of the address, "" where it is not there. :raises HTTPException: it is longer than any honest one."""
    value = request.query_params.get(name, "")
    if len(value) > FIELD_MAX:
        raise HTTPException(400, f"the field {name} of the address is too long")
    return value


def sent(request: Request, name: str, longest: int = FIELD_MAX) -> str:
    """A field of the form that was sent, "" where it is not there; the guard has read it. It is one line: a reason goes
    to lists, logs and the trail."""
    value = request.state.form.get(name, "")
    return _CONTROLS.sub(" ", value).strip()[:longest] if isinstance(value, str) else ""


def whole(text: str) -> int:
    """A key in an address. :raises HTTPException: it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HTTPException(404, "there is no such page")
    return int(text)


def href(path: str, **fields: str) -> str:
    """An address with the fields that are not empty."""
    words = urlencode({name: value for name, value in fields.items() if value})
    return f"{path}?{words}" if words else path
