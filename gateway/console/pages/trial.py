"""What the rules do with a file that somebody uploads: the explanation of `gateway rules explain`, as a page.

The file is read by a child process (`gateway.console.services.trial`), told about, and forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.site import Site, sent
from gateway.console.services.explained import Explained, known_as, sent_as, sentence, verdict
from gateway.console.services.trial import Supposed, Upload, explain
from gateway.errors import UsageError

UPLOAD_MAX_BYTES = 64 << 20  # a form is held in memory, lest a file of a patient stands in a folder
MARGIN_BYTES = 64 << 10  # of the form around the file
PIECE_BYTES = 1 << 20
CHANGES_MAX = 2000
_PRIORITIES = {1: "high", 0: "normal", -1: "low"}
_FIELDS = ("source", "calling", "called")


@dataclass(frozen=True, slots=True)
class Copy:
    """What a chain of transforms changes; `why`: it cannot be made."""

    chain: str
    why: str
    changes: tuple[tuple[str, str, str], ...]
    left: int


@dataclass(frozen=True, slots=True)
class Told:
    """An explanation as it is shown. Patient data."""

    tone: str
    sentence: str
    rules: tuple[tuple[str, str, str], ...]
    came: Mapping[str, str]
    sent: tuple[tuple[str, str], ...]
    copies: tuple[Copy, ...]


def routes(site: Site) -> list[Route]:
    """The form, and the explanation below it."""
    return [
        Route(
            "/rules/try",
            needs(Right.PATIENTS, UPLOAD_MAX_BYTES + MARGIN_BYTES)(partial(_page, site)),
            methods=["GET", "POST"],
        )
    ]


async def _page(site: Site, request: Request) -> Response:
    typed, told, mistake = dict.fromkeys(_FIELDS, ""), None, ""
    if request.method == "POST":
        typed = {name: sent(request, name) for name in _FIELDS}
        uploaded = request.state.form.get("file")
        if not isinstance(uploaded, UploadFile) or not uploaded.size:
            mistake = "Choose a DICOM file."
        else:
            try:
                told = _told(await _explain(site, uploaded, Supposed(**typed)))
            except UsageError as error:
                mistake = str(error)
    return await site.renderer.page(
        request,
        "try.html",
        status=400 if mistake else 200,
        typed=typed,
        sources=sorted(site.context.config().sources),
        limit_bytes=UPLOAD_MAX_BYTES,
        mistake=mistake,
        explained=told,
    )


async def _explain(site: Site, uploaded: UploadFile, supposed: Supposed) -> Explained:
    """:raises UsageError: it cannot be explained."""
    with closing(Upload(site.context)) as upload:
        while piece := await uploaded.read(PIECE_BYTES):
            await upload.write(piece)
        return await explain(site.context, upload, supposed)


def _told(explained: Explained) -> Told:
    part10, facts, decision = explained.file.part10, explained.facts, explained.decision
    came = {
        "SOP class": known_as(part10.sop_class_uid),
        "SOP instance": part10.sop_instance_uid,
        "transfer syntax": known_as(part10.transfer_syntax_uid),
        "source": facts.source,
        "calling AE title": facts.calling_ae_title,
        "called AE title": facts.called_ae_title,
        "revision of the rules": decision.revision[:12],
        "priority": _PRIORITIES[explained.priority],
    }
    stopped = decision.hold is not None or decision.discard is not None
    return Told(
        tone="warn" if stopped else "good",
        sentence=sentence(explained),
        rules=tuple((rule.rule, verdict(rule), rule.failing) for rule in explained.rules),
        came={name: value for name, value in came.items() if value},
        sent=tuple(sent_as(decision)),
        copies=tuple(_copy(chain, changed) for chain, changed in explained.copies.items()),
    )


def _copy(chain: str, changed: list[tuple[str, str, str]] | str) -> Copy:
    if isinstance(changed, str):
        return Copy(chain, changed, (), 0)
    return Copy(chain, "", tuple(changed[:CHANGES_MAX]), max(0, len(changed) - CHANGES_MAX))
