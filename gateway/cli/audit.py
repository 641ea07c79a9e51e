"""`gateway audit verify` and `show`: whether the audit trail is as it was written, and what stands in it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from gateway.app.audit_trail import known_head, trail_key
from gateway.audit.chain import Head
from gateway.audit.codes import KINDS
from gateway.audit.files import files_in
from gateway.audit.read import TrailFilter, TrailRecord, page
from gateway.audit.verify import Verdict, verify
from gateway.cli.common import (
    Commands,
    Unspoken,
    add_command,
    add_config,
    add_json,
    now_ms,
    open_ledger,
    read_config,
    read_unspoken,
    show_json,
    show_table,
    when,
)
from gateway.cli.operate import actor
from gateway.config import Config
from gateway.errors import GatewayError, UsageError
from gateway.ledger.trail import Note, NoteKind

_OUTCOMES = {0: "", 4: "minor failure", 8: "failure", 12: "major failure"}
_PAGE = 500
_MOST = 100_000


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    group = commands.add_parser("audit", help="the audit trail: verify it, or look at it")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    verifying = add_command(
        actions,
        "verify",
        _verify,
        "whether the audit trail's files are as they were written",
        "gateway audit verify",
        "Follows the chain of hashes over all files, and says which record is the first that was changed, left out or "
        "put in. For this host's own trail it also asks the ledger how far that had got, so that records that were cut "
        "off at the end are missed.",
    )
    verifying.add_argument("files", type=Path, nargs="*", metavar="FILE", help="files, in their order; by default all")
    verifying.add_argument("--key", type=Path, metavar="FILE", help="the chain's key, instead of `audit.key`")
    showing = add_command(
        actions,
        "show",
        _show,
        "who did what with whose images: the newest records first",
        "gateway audit show --who anna --from 2026-01-01",
        "Shows patient data. That somebody looked is a record of its own.",
    )
    kinds = list(KINDS.values())
    text = f"repeatable; one of {', '.join(kinds)}"
    showing.add_argument("--kind", action="append", default=[], choices=kinds, metavar="KIND", help=text)
    showing.add_argument(
        "--who", default="", metavar="TEXT", help="a part of the name of a person, source, destination"
    )
    for option, metavar, name in (("--patient-id", "ID", "Patient ID"), ("--accession", "NUMBER", "Accession Number")):
        told = f"{name}; `-` reads it from standard input, so that it is no argument for others to see"
        showing.add_argument(option, action=Unspoken, default="", metavar=metavar, help=told)
    showing.add_argument("--study", default="", metavar="UID", help="Study Instance UID")
    showing.add_argument(
        "--from", dest="since", default="", metavar="TIME", help="2026-01-31 or 2026-01-31T15:04, local"
    )
    showing.add_argument("--to", dest="until", default="", metavar="TIME", help="the same; records before it")
    showing.add_argument("--failed", action="store_true", help="only what did not succeed")
    showing.add_argument("--limit", type=int, default=50, help="most records (50)")
    showing.add_argument("--xml", action="store_true", help="the messages of PS3.15 instead of a table")
    showing.add_argument("--dir", type=Path, metavar="FOLDER", help="a copy of a trail, instead of this host's own")
    for parser in (verifying, showing):
        add_config(parser)
        add_json(parser)


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _verify(arguments: argparse.Namespace) -> int:
    files, known = list(arguments.files), None
    key = trail_key(arguments.key)
    if not files:
        config = read_config(arguments)
        key = key or trail_key(config.audit.key)
        known = _known(config)
        files = files_in(config.audit.dir)
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise UsageError(f"there is no file {missing[0]}")
    verdict = verify(files, key, known)
    if arguments.json:
        show_json(_as_json(verdict))
    else:
        _say(verdict, len(files))
    return 0 if verdict.fault is None else 1


def _known(config: Config) -> Head | None:
    """What the ledger knows of this host's trail; nothing where it cannot be asked, which is said."""
    try:
        found = known_head(config)
    except GatewayError as error:
        print(f"gateway: the ledger was not asked how far the trail had got: {error}", file=sys.stderr)
        return None
    return None if found is None else Head(found.seq, found.hash)


def _say(verdict: Verdict, files: int) -> None:
    for note in verdict.notes:
        print(f"note: {note}")
    if verdict.fault is not None:
        print(f"BROKEN: {verdict.fault}")
        print(f"{verdict.records} records before it are as they were written")
    else:
        last = f", the last is number {verdict.last.seq}" if verdict.records else ""
        print(f"{verdict.records} records in {files} file{'s' if files != 1 else ''} are as they were written{last}")


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "whole": verdict.fault is None,
        "records": verdict.records,
        "first": verdict.first_seq,
        "last": verdict.last.seq,
        "keyed": verdict.keyed,
        "fault": None if verdict.fault is None else asdict(verdict.fault),
        "notes": verdict.notes,
    }


# ── show ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show(arguments: argparse.Namespace) -> int:
    read_unspoken(arguments)
    which = TrailFilter(
        kinds=tuple(arguments.kind),
        who=arguments.who,
        patient_id=arguments.patient_id,
        study_instance_uid=arguments.study,
        accession_number=arguments.accession,
        from_ms=_time(arguments.since, "--from"),
        to_ms=_time(arguments.until, "--to"),
        failed=arguments.failed,
    )
    limit = max(1, min(int(arguments.limit), _MOST))
    folder = arguments.dir
    if folder is None:
        config = read_config(arguments)
        folder = config.audit.dir
        with open_ledger(config) as ledger:  # before anything is shown
            ledger.tell([Note(NoteKind.TRAIL_READ, now_ms(), actor())])
    elif not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    rows = _rows(folder, which, limit)
    if arguments.json:
        show_json([asdict(row) for row in rows])
    elif arguments.xml:
        for row in rows:
            print(row.xml)
    else:
        columns = ("number", "when", "what", "who", "about", "patient", "study", "instances", "outcome")
        show_table("", columns, [_cells(row) for row in rows], "nothing is in the trail that fits")
    return 0


def _rows(folder: Path, which: TrailFilter, limit: int) -> list[TrailRecord]:
    rows: list[TrailRecord] = []
    after = ""
    while len(rows) < limit:
        found = page(folder, which, min(_PAGE, limit - len(rows)), after)
        rows += found.rows
        after = found.next
        if not after:
            break
    return rows


def _cells(row: TrailRecord) -> list[str]:
    what = f"{row.kind}: {row.what}" if row.what else row.kind
    outcome = _OUTCOMES.get(row.outcome, str(row.outcome))
    said = f"{outcome}: {row.text}" if outcome and row.text else outcome or row.text
    return [
        str(row.seq),
        when(row.at_ms),
        what,
        row.who,
        row.about,
        row.patient_id,
        row.study_instance_uid,
        str(row.instances) if row.instances else "",
        said,
    ]


def _time(text: str, option: str) -> int:
    """Milliseconds; 0 for nothing. :raises UsageError: it is no time."""
    if not text:
        return 0
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(f"{option} {text}: write a day or a time, as 2026-01-31 or 2026-01-31T15:04") from None
