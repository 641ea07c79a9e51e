"""Downloads: an instance, or one of its copies, as a DICOM file; a study as a ZIP archive of them.

A person says why first: each instance that leaves the gateway so has a row in the audit trail before its first byte.
Names in an archive are ours, of a series' place and an instance's id: no text of a sender becomes a path.
"""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.console.access.asks import needs
from gateway.console.access.roles import Right
from gateway.console.pages.site import Site, sent, viewer_of, whole
from gateway.console.services import studies as service
from gateway.console.services.orders import REASON_MAX
from gateway.console.services.seen import Viewer, viewed
from gateway.errors import LedgerError, SpoolError
from gateway.ledger.look import InstanceDetail, StudyDetail

PAGE = 200


def routes(site: Site) -> list[Route]:
    """Downloads of instances and studies."""
    methods = ["GET", "POST"]
    return [
        Route("/instances/{id}/download", needs(Right.PATIENTS)(partial(_instance, site)), methods=methods),
        Route("/studies/{key}/download", needs(Right.PATIENTS)(partial(_study, site)), methods=methods),
    ]


async def _instance(site: Site, request: Request) -> Response:
    detail = await service.instance(site.context, request.path_params["id"])
    if detail is None:
        raise HTTPException(404, "there is no such instance in the ledger")
    chains = [each.chain for each in detail.payloads if each.file.path]
    if request.method != "POST":  # HEAD, too
        return await _ask_instance(site, request, detail, chains, "")
    reason, chain = sent(request, "reason", REASON_MAX), sent(request, "chain")
    if not reason:
        return await _ask_instance(site, request, detail, chains, "Say why: it stands in the audit trail.")
    if chain and chain not in chains:
        raise HTTPException(404, "there is no such copy of this instance")
    found = await service.download(site.context, detail.row.instance_id, chain, viewer_of(request), reason)
    if found is None:
        return await _ask_instance(site, request, detail, chains, "Its file is not in the spool any more.")
    headers = {
        "content-disposition": f'attachment; filename="{found.name}"',
        "content-length": str(found.length),
    }
    return StreamingResponse(_checked(found.pieces), headers=headers, media_type="application/dicom")


async def _ask_instance(
    site: Site, request: Request, detail: InstanceDetail, chains: list[str], mistake: str
) -> Response:
    viewed(site.context, viewer_of(request), detail.study_key, 1)
    row = detail.row
    about = f"One instance of {row.patient_name or 'a patient without a name'} ({row.patient_id or 'no patient ID'})"
    choices = [(chain, chain or "the original") for chain in chains] if len(chains) > 1 else []
    back = f"/instances/{row.instance_id}"
    return await _ask(site, request, about, [("size", row.length)], choices, back, mistake)


async def _study(site: Site, request: Request) -> Response:
    key = whole(request.path_params["key"])
    detail = await service.study(site.context, key)
    if detail is None:
        raise HTTPException(404, "there is no such study in the ledger")
    if request.method != "POST":  # HEAD, too
        return await _ask_study(site, request, detail, "")
    reason = sent(request, "reason", REASON_MAX)
    if not reason:
        return await _ask_study(site, request, detail, "Say why: it stands in the audit trail.")
    headers = {"content-disposition": f'attachment; filename="study-{key}.zip"'}
    pieces = _archive(site, detail, viewer_of(request), reason)
    return StreamingResponse(pieces, headers=headers, media_type="application/zip")


async def _ask_study(site: Site, request: Request, detail: StudyDetail, mistake: str) -> Response:
    row = detail.study
    viewed(site.context, viewer_of(request), row.study_key, row.instances)
    about = f"The originals of the study of {row.patient_name or 'a patient without a name'}"
    about += f" ({row.patient_id or 'no patient ID'}), as a ZIP archive of DICOM files"
    counts = [("instances", row.instances), ("size", detail.length)]
    return await _ask(site, request, about, counts, [], f"/studies/{row.study_key}", mistake)


async def _ask(
    site: Site,
    request: Request,
    about: str,
    counts: list[tuple[str, int]],
    choices: list[tuple[str, str]],
    back: str,
    mistake: str,
) -> Response:
    return await site.renderer.page(
        request,
        "download.html",
        status=400 if mistake else 200,
        about=about,
        counts=counts,
        choices=choices,
        action=request.url.path,
        back=back,
        mistake=mistake,
    )


# ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _checked(pieces: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(pieces) as checked:
        async for piece in checked:
            yield piece


class _Sink:
    """What a ZIP archive is written to: it gives out what it got, and cannot go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        return len(part)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open here."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def _archive(site: Site, detail: StudyDetail, viewer: Viewer, reason: str) -> AsyncIterator[bytes]:
    """All instances of a study that can be had; those that can not are named in a list beside them, and why."""
    sink, missing = _Sink(), []
    places = {series.series_key: number for number, series in enumerate(detail.series, 1)}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        async for instance_id, series_key in _instances(site, detail.study.study_key):
            try:
                found = await service.download(site.context, instance_id, "", viewer, reason)
            except LedgerError:
                missing.append(f"{instance_id}: the ledger did not answer; download it again\n")
                continue
            except SpoolError:
                missing.append(f"{instance_id}: its file in the spool cannot be read\n")
                continue
            if found is None:
                missing.append(f"{instance_id}: it is no longer in the spool\n")
                continue
            name = f"series-{places.get(series_key, 0):03d}/{found.name}"
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=found.length >= zipfile.ZIP64_LIMIT) as entry:
                async with aclosing(found.pieces) as pieces:
                    async for piece in pieces:
                        entry.write(piece)
                        yield sink.take()
        if missing:
            archive.writestr("not-in-this-archive.txt", "".join(missing))
    yield sink.take()


async def _instances(site: Site, study_key: int) -> AsyncIterator[tuple[str, int]]:
    after = ""
    while True:
        page = await site.context.look.study_instances(study_key, PAGE, after)
        for row in page.rows:
            yield row.instance_id, row.series_key
        after = page.next
        if not after:
            return
