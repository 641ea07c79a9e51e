"""`gateway ledger`: what is done with the ledger as a whole. Here is `copy`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from gateway.cli.common import Commands, add_command, add_config, add_json, read_config, show_json
from gateway.config import Config
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.app.moving import Moved

SCHEME = "postgresql"


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    group = commands.add_parser("ledger", help="move the ledger to PostgreSQL")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    copy = add_command(
        actions,
        "copy",
        _copy,
        "move this host's SQLite ledger into an empty PostgreSQL database",
        "gateway ledger copy --to-file /etc/gateway/ledger-url",
        "While the gateway is stopped, and ledger.url is `sqlite`. All of it comes there in one transaction, counted "
        "and examined, or nothing does. The SQLite file is kept under another name, and no gateway goes on with it. "
        "Then change ledger.url.",
    )
    add_config(copy)
    add_json(copy)
    to = copy.add_mutually_exclusive_group(required=True)
    to.add_argument(
        "--to",
        metavar="URL",
        help="the database, postgresql://USER@HOST/DATABASE; no password: everyone sees arguments (see --to-file)",
    )
    to.add_argument("--to-file", type=Path, metavar="FILE", help="a file that holds the URL, with a password in it")


def _copy(arguments: argparse.Namespace) -> int:
    moved = _move_with_progress(read_config(arguments), _url(arguments))
    if arguments.json:
        show_json(
            {"database": moved.place, "rows": moved.rows, "kept_as": moved.kept_as, "was_complete": moved.earlier}
        )
        return 0
    if moved.earlier:
        print(f"an earlier call had copied the ledger to the database {moved.place}, whole")
    else:
        rows = sum(moved.rows.values())
        print(f"{moved.rows.get('instance', 0)} instances, {rows} rows in all, are in the database {moved.place}")
    if moved.kept_as:
        print(f"the old ledger is kept as {moved.kept_as}; no gateway uses it")
    print("next: let ledger.url name that database (a URL with a password: GATEWAY__LEDGER__URL_FILE names its file),")
    print("then `gateway check` and `gateway run`")
    return 0


def _url(arguments: argparse.Namespace) -> str:
    """The URL of the database. :raises UsageError: it is none, or its password stands among the arguments."""
    if arguments.to_file is not None:
        path: Path = arguments.to_file
        try:
            url = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--to-file: {path} cannot be read: {type(error).__name__}") from None
    else:
        url = arguments.to
    if urlsplit(url).scheme != SCHEME:
        raise UsageError("--to: not a URL of PostgreSQL: postgresql://USER@HOST/DATABASE")
    if arguments.to_file is None and _has_password(url):
        raise UsageError(
            "--to: everyone on this machine sees the arguments of a process. Put the URL into a file that only the "
            "gateway's user can read, and name that with --to-file"
        )
    return url


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query)


def _move_with_progress(config: Config, url: str) -> Moved:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gateway.app.moving import move_ledger

    columns = (TextColumn("copying rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("copy", total=None)
        return move_ledger(config, url, lambda done, of: progress.update(task, completed=done, total=of))
