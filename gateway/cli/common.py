"""What the commands share: arguments, the configuration, the ledger, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.config import Config, load
from gateway.errors import ConfigurationError, Problem
from gateway.ledger.base import Ledger
from gateway.telemetry import escape

Command = Callable[[argparse.Namespace], int]
Commands = Any  # argparse's sub-parser collection has no public type


def add_command(
    commands: Commands, name: str, run: Command, help: str, example: str, description: str = ""
) -> argparse.ArgumentParser:
    """A sub-command with an example in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=description or help,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config`."""
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("GATEWAY_CONFIG", "gateway.yaml")),
        metavar="FILE",
        help="the configuration (default: $GATEWAY_CONFIG, else ./gateway.yaml)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON for a script to read")


def read_config(arguments: argparse.Namespace) -> Config:
    """The configuration that the arguments name. :raises ConfigurationError: with every problem."""
    path: Path = arguments.config
    if not path.exists():
        text = "there is no such file: name one with --config (deploy/gateway.yaml is an example)"
        raise ConfigurationError([Problem(str(path), 0, 0, text)])
    return load(path, os.environ)


@contextmanager
def open_ledger(config: Config) -> Iterator[Ledger]:
    """The gateway's ledger, whether it runs or not. :raises LedgerError: there is none, or it is damaged."""
    from gateway.app import open_ledger_of

    ledger = open_ledger_of(config, create=False)
    try:
        yield ledger
    finally:
        ledger.close()


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def when(at_ms: int) -> str:
    """A wall-clock time for people, local, to the second; "" for 0."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """A duration for people: two places at most."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = max(0, int(seconds))
    parts: list[str] = []
    for name, size in units:
        if left >= size or (name == "s" and not parts):
            parts.append(f"{left // size} {name}")
            left %= size
        if len(parts) == 2:
            break
    return " ".join(parts)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_json(value: object) -> None:
    """Print JSON, one document."""
    print(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print a table; cells are escaped, so that nothing a peer sent can move the cursor or colour the screen."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not rows:
        console.print(Text(empty))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape(str(cell), 200)) for cell in row))
    console.print(table)


def without_empty(value: Mapping[str, object]) -> dict[str, object]:
    """A mapping without what is empty, for JSON and lists."""
    return {key: item for key, item in value.items() if item not in ("", None, (), [])}
