"""`gateway export`: instances out of the spool as DICOM files, each one audited before its first byte."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

from gateway.app.common import open_spool
from gateway.cli.ask import MOST, add_filter, filter_of
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    counted,
    now_ms,
    open_ledger,
    plain,
    read_config,
    read_unspoken,
    show_json,
)
from gateway.cli.operate import actor
from gateway.console.services.orders import require_destinations
from gateway.console.services.studies import head_of
from gateway.errors import SpoolError, UsageError
from gateway.ledger.base import InstanceFilter
from gateway.model import PayloadFile
from gateway.spool import Spool, SpoolFile

_PIECE_BYTES = 1 << 20


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    export = add_command(
        commands,
        "export",
        _export,
        "instances out of the spool as DICOM files",
        "gateway export --study 1.2.3 --to images --reason 'second opinion'",
        "Writes each instance into a new file <instance id>.dcm, its data set unchanged, for its owner alone. Each is "
        "written into the audit trail first. What is no longer in the spool is told.",
    )
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="made where it is not there")
    export.add_argument("--reason", required=True, help="why; for the audit trail")
    export.add_argument("--chain", default="", metavar="CHAIN", help="a copy that transforms made, as `show` has it")
    add_filter(export)
    add_config(export)
    add_json(export)


def _export(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    read_unspoken(arguments)
    which = filter_of(arguments)
    if which == InstanceFilter():
        raise UsageError("say which instances are meant (see --help)")
    spool = open_spool(config)
    _make(arguments.to)
    done: list[str] = []
    missing: list[str] = []
    with open_ledger(config) as ledger:
        if which.destination:
            require_destinations(ledger, [which.destination])
        rows = ledger.list_instances(which, MOST)
        for row in rows:
            payload = ledger.payload_for(row.instance_id, arguments.chain, actor(), arguments.reason, now_ms())
            why = "no longer in the spool" if payload is None else _write(spool, payload, arguments.to, row.instance_id)
            if why:
                missing.append(row.instance_id)
                print(f"not exported: {row.instance_id}: {plain(why)}", file=sys.stderr)
            else:
                done.append(row.instance_id)
    if not rows:
        raise UsageError("no instance matches")
    if arguments.json:
        show_json({"exported": done, "not_exported": missing})
    else:
        print(f"{counted(len(done), 'instance')} exported into {arguments.to}; they hold patient data")
    return 1 if missing else 0


def _make(folder: Path) -> None:
    """:raises UsageError: it cannot be."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--to {folder}: cannot be made: {error.strerror}") from None


def _write(spool: Spool, payload: PayloadFile, folder: Path, instance_id: str) -> str:
    """Write a file that is not there yet; "" where it is whole, else why there is none.

    :raises UsageError: the folder takes none.
    """
    path = folder / f"{instance_id}.dcm"
    try:
        with closing(SpoolFile.open(spool, payload)) as data:
            data.verify(payload.checksum)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(handle, "wb") as file:
                    file.write(head_of(payload))
                    for offset in range(0, payload.length, _PIECE_BYTES):
                        file.write(data.pread(offset, _PIECE_BYTES))
            except BaseException:  # no half of an image stays behind
                path.unlink()
                raise
    except SpoolError as error:
        return str(error)
    except FileExistsError:
        raise UsageError(f"{path}: is there already: name another folder") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return ""
