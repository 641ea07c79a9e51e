"""Records of the trail for people: the newest first, filtered, a page at a time.

A page is short in time too: it looks at no more than SCAN_BYTES of the files, and says where the next one goes on. What
it reads is shown as it stands; whether the files were changed is `verify`'s to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.audit.chain import LINE_MAX, read_line
from gateway.audit.files import files_in, first_seq_of
from gateway.audit.xml import timestamp
from gateway.errors import TrailError

SCAN_BYTES = 64 << 20
_BLOCK = 1 << 18
_ORDER_MS = 7 * 86_400_000  # records stand in the order of their times, but for what the ledger kept for so long
_OLDER_MAX = 1000  # and but for a clock that was wrong: after so many that are older, all before them are


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which records are wanted; empty fields do not restrict, and all that is given must hold."""

    kinds: tuple[str, ...] = ()  # words of `codes.KINDS`
    who: str = ""  # a part of who did it, in any letters: a person, a source, a destination
    patient_id: str = ""  # as a whole, as are the next two
    study_instance_uid: str = ""
    accession_number: str = ""
    from_ms: int = 0
    to_ms: int = 0  # 0: no end
    failed: bool = False  # only what did not succeed


@dataclass(frozen=True, slots=True)
class TrailRecord:
    """A record as people look at it. Patient data: never log it."""

    seq: int
    at_ms: int
    kind: str
    who: str  # who did it
    address: str  # where from, "" where that is not known
    about: str  # the other side: a destination, a host, a user
    what: str  # the order, or what the alert is about
    text: str
    outcome: int  # 0, 4, 8, 12, as PS3.15 has it
    patient_id: str
    patient_name: str
    study_instance_uid: str
    accession_number: str
    instances: int
    xml: str


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Records, and where the next page begins ("" where there is none). One that is not the last may be short."""

    rows: tuple[TrailRecord, ...]
    next: str


def page(folder: Path, which: TrailFilter, limit: int, after: str = "", scan_bytes: int = SCAN_BYTES) -> TrailPage:
    """A page of records. Blocks: not for an event loop.

    :param after: `next` of the page before. :raises TrailError: it is none, or the files cannot be read.
    """
    if after and not (after.isascii() and after.isdigit()):
        raise TrailError(f"audit trail: {after[:40]!r} is not where a page ends")
    below = int(after) if after else 1 << 62
    rows: list[TrailRecord] = []
    scanned, last_seq, older = 0, below, 0
    try:
        for path in reversed(files_in(folder)):
            if first_seq_of(path) >= below:
                continue
            for raw in _lines_backwards(path):
                scanned += len(raw)
                record = read_line(raw)
                if record is None or record.seq >= below:
                    continue
                last_seq = record.seq
                row = _row(record.fields)
                older = older + 1 if row.at_ms < which.from_ms - _ORDER_MS else 0
                if older == _OLDER_MAX:
                    return TrailPage(tuple(rows), "")
                if _fits(row, which):
                    rows.append(row)
                if len(rows) == limit or scanned >= scan_bytes:
                    return TrailPage(tuple(rows), str(last_seq) if last_seq > 1 else "")
    except OSError as error:
        raise TrailError(f"audit trail {folder}: cannot be read: {error.strerror}") from error
    return TrailPage(tuple(rows), "")


def _fits(row: TrailRecord, which: TrailFilter) -> bool:
    return (
        (not which.kinds or row.kind in which.kinds)
        and (not which.who or which.who.lower() in f"{row.who}\n{row.about}".lower())
        and (not which.patient_id or row.patient_id == which.patient_id)
        and (not which.study_instance_uid or row.study_instance_uid == which.study_instance_uid)
        and (not which.accession_number or row.accession_number == which.accession_number)
        and row.at_ms >= which.from_ms
        and (not which.to_ms or row.at_ms < which.to_ms)
        and (not which.failed or row.outcome > 0)
    )


def _row(fields: Mapping[str, Any]) -> TrailRecord:
    def said(name: str) -> str:
        return str(fields.get(name, ""))

    def number(name: str) -> int:
        value = fields.get(name, 0)
        return value if isinstance(value, int) else 0

    return TrailRecord(
        seq=fields["seq"],
        at_ms=milliseconds(fields["time"]),
        kind=fields["kind"],
        who=said("who"),
        address=said("address"),
        about=said("about"),
        what=said("what"),
        text=said("text"),
        outcome=number("outcome"),
        patient_id=said("patient"),
        patient_name=said("patient_name"),
        study_instance_uid=said("study"),
        accession_number=said("accession"),
        instances=number("instances"),
        xml=said("xml"),
    )


def milliseconds(text: str) -> int:
    """A time of a record; 0 where it is none, or none that can be said in UTC."""
    try:
        at_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
        timestamp(at_ms)
    except (ValueError, OverflowError, OSError):
        return 0
    return at_ms


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file, the last first, with their ends."""
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest = b""
        while at > 0:
            size = min(_BLOCK, at)
            at -= size
            file.seek(at)
            block = file.read(size) + rest
            first, *whole = block.splitlines(keepends=True)
            yield from reversed(whole)
            rest = first if len(first) <= LINE_MAX else b""
        if rest:
            yield rest
