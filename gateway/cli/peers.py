"""`gateway echo` and `gateway send`: speak to a peer."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from gateway.cli.common import Commands, add_command, add_config, add_json, plain, read_config, show_json, size
from gateway.config import Destination
from gateway.config.dicom_kinds import parse_ae_title
from gateway.errors import UsageError
from gateway.flow.reach import DEFAULT_CALLING, echo
from gateway.flow.scu import FileToSend, Sent, find_files, send_files

DEFAULT_CALLED = "ANY-SCP"
_PORT = re.compile(r"[0-9]{1,5}")
MOST_NAMED = 20  # files with the same trouble that are named one by one


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    echo = add_command(
        commands, "echo", _echo, "C-ECHO to a destination or an address", "gateway echo pacs\n  gateway echo ct1:104"
    )
    echo.add_argument("peer", metavar="DESTINATION|HOST:PORT", help="a destination of the configuration, or an address")
    _add_titles(echo)
    add_config(echo)

    send = add_command(
        commands,
        "send",
        _send,
        "send DICOM files by C-STORE",
        "gateway send images/ --to 127.0.0.1:11112 --called GATEWAY",
        "Sends DICOM Part 10 files, and all below folders, as they are: what the peer accepts no presentation context "
        "for is reported, not converted.",
    )
    send.add_argument("files", nargs="+", type=Path, metavar="FILE|FOLDER", help="a folder means every file below it")
    send.add_argument("--to", required=True, metavar="HOST:PORT", help="whom to send to")
    _add_titles(send)
    add_json(send)


def _add_titles(parser: argparse.ArgumentParser) -> None:
    for name, default in (("called", DEFAULT_CALLED), ("calling", DEFAULT_CALLING)):
        parser.add_argument(
            f"--{name}", type=_ae_title, default=default, metavar="AET", help=f"{name} AE title (default: {default})"
        )


def _ae_title(text: str) -> str:
    """An AE title, as the configuration takes it."""
    try:
        return parse_ae_title(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def address(text: str) -> tuple[str, int]:
    """HOST:PORT or [IPv6]:PORT. :raises UsageError: it is neither."""
    host, _, port = text.rpartition(":")
    # Not isdigit: it takes digits of every script, and superscripts that are no number to int.
    if not host or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is no address: write HOST:PORT, for example 127.0.0.1:11112")
    return host.strip("[]"), int(port)


def peer_at(text: str, called: str, calling: str) -> Destination:
    """A destination made from the command line."""
    host, port = address(text)
    return Destination(name="peer", ae_title=called, host=host, port=port, calling_ae_title=calling)


def _echo(arguments: argparse.Namespace) -> int:
    if ":" in arguments.peer:
        destination = peer_at(arguments.peer, arguments.called, arguments.calling)
    else:
        config = read_config(arguments)
        if arguments.peer not in config.destinations:
            known = ", ".join(config.destinations) or "none"
            raise UsageError(f"there is no destination {arguments.peer!r} (there are: {known}); or give HOST:PORT")
        destination = config.destinations[arguments.peer]
    reachable, text = asyncio.run(echo(destination))
    print(text if reachable else f"no echo: {text}")
    return 0 if reachable else 1


def _send(arguments: argparse.Namespace) -> int:
    peer = peer_at(arguments.to, arguments.called, arguments.calling)
    refused: list[tuple[Path, str]] = []
    files = find_files(arguments.files, lambda path, why: refused.append((path, why)))
    results: list[Sent] = []
    began = time.monotonic()
    if arguments.json:
        asyncio.run(send_files(files, peer, results.append))
    else:
        _send_with_progress(files, peer, results)
    seconds = time.monotonic() - began
    failed = [result for result in results if not result.stored]
    if arguments.json:
        show_json(
            {
                "sent": [
                    {"file": str(item.file.path), "status": item.status, "text": item.text, "stored": item.stored}
                    for item in results
                ],
                "refused": [{"file": str(path), "text": why} for path, why in refused],
            }
        )
    else:
        _tell_failures("not sent", refused)
        _tell_failures("not stored", [(result.file.path, result.text) for result in failed])
        total = sum(item.file.size_bytes for item in results if item.stored)
        stored = len(results) - len(failed)
        rate = stored / seconds if seconds else 0.0
        print(f"{stored} of {len(files) + len(refused)} stored, {size(total)} in {seconds:.1f} s ({rate:.0f}/s)")
    return 1 if failed or refused or not files else 0


def _tell_failures(what: str, failures: Sequence[tuple[Path, str]]) -> None:
    """One line a file; of those with the same trouble the first few, and how many more there are."""
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for path, why in failures:
        by_reason[why].append(path)
    for why, paths in by_reason.items():
        for path in paths[:MOST_NAMED]:
            print(f"{what}: {plain(path)}: {plain(why)}", file=sys.stderr)
        if len(paths) > MOST_NAMED:
            print(f"{what}: {len(paths) - MOST_NAMED} more files: {plain(why)}", file=sys.stderr)


def _send_with_progress(files: Sequence[FileToSend], peer: Destination, results: list[Sent]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("send", total=len(files))

        def told(result: Sent) -> None:
            results.append(result)
            progress.advance(task)

        asyncio.run(send_files(files, peer, told))
