"""What the commands share: arguments, the configuration, the ledger, tables and JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from gateway.config import Config, load
from gateway.errors import ConfigurationError, Problem, UsageError
from gateway.ledger.base import Ledger
from gateway.words import age, counted, plain, size, when

__all__ = [
    "Command",
    "Commands",
    "Given",
    "GivenToo",
    "Unspoken",
    "add_command",
    "add_config",
    "add_json",
    "age",
    "ask",
    "can_ask",
    "config_path",
    "counted",
    "named_in",
    "now_ms",
    "open_ledger",
    "plain",
    "read_config",
    "read_line",
    "read_unspoken",
    "show_facts",
    "show_json",
    "show_table",
    "size",
    "when",
    "without_empty",
]

Command = Callable[[argparse.Namespace], int]
Commands = Any  # argparse's sub-parser collection has no public type
HELP_WIDTH = 79


def add_command(
    commands: Commands, name: str, run: Command, help: str, example: str, description: str = ""
) -> argparse.ArgumentParser:
    """A sub-command with an example in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description or help, HELP_WIDTH),
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
    return load(config_path(arguments), os.environ)


def config_path(arguments: argparse.Namespace) -> Path:
    """Where it is. :raises ConfigurationError: nowhere."""
    path: Path = arguments.config
    if not path.exists():
        text = "there is no such file: name one with --config (deploy/gateway.yaml is an example)"
        raise ConfigurationError([Problem(str(path), 0, 0, text)])
    return path


@contextmanager
def named_in(folder: Path) -> Iterator[None]:
    """Let problems of rule files, which are known by their names alone, say in which folder the files are."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError([problem.under(folder) for problem in error.problems]) from None


@contextmanager
def open_ledger(config: Config) -> Iterator[Ledger]:
    """The gateway's ledger, whether it runs or not.

    :raises LedgerError: there is none, it is damaged, or it is of another version of the gateway.
    """
    from gateway.app import open_ledger_of

    ledger = open_ledger_of(config, create=False)
    try:
        yield ledger
    finally:
        ledger.close()


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def can_ask() -> bool:
    """Whether a person sits at standard input, who can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_line() -> str:
    """The next line of standard input, with its end; "" when there is none. :raises UsageError: it is no text."""
    try:
        return sys.stdin.readline() if sys.stdin is not None else ""
    except UnicodeDecodeError:
        raise UsageError(f"what came on standard input is no text in {sys.stdin.encoding}") from None


def ask(question: str) -> str:
    """What a person answers, without the line's end; "" for Ctrl-D.

    Asked on standard error: standard output may be a pipe.

    :raises UsageError: the answer is no text.
    """
    print(question, end="", file=sys.stderr, flush=True)
    answer = read_line()
    if not answer:  # Ctrl-D leaves the cursor behind the question
        print(file=sys.stderr)
    return answer.rstrip("\r\n")


class Given(argparse.Action):
    """An option that restricts: an empty value, of a variable that nobody has set, would mean everything."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value."""
        if not values:
            parser.error(f"argument {option_string}: is empty; leave it out to mean any")
        setattr(namespace, self.dest, values)


class GivenToo(Given):
    """The same, of an option that may be given several times."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value beside those before it."""
        before = list(getattr(namespace, self.dest))
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, [*before, values])


class Unspoken(Given):
    """An option whose value is nobody else's business: `-` has `read_unspoken` read it from standard input.

    Everyone on the machine sees the arguments of a process, and a shell keeps them.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep the value, or the wish to be asked for it, in the order of the command line."""
        super().__call__(parser, namespace, values, option_string)
        left = [action for action in getattr(namespace, "unspoken", []) if action is not self]
        namespace.unspoken = [*left, self] if values == "-" else left


def read_unspoken(arguments: argparse.Namespace) -> None:
    """Put a line of standard input in the place of each `-`, in the order of the command line; ask a person for it.

    :raises UsageError: there is no line, or an empty one: it must not come to mean any value.
    """
    for action in getattr(arguments, "unspoken", []):
        value = ask(f"{action.help.partition(';')[0]}: ") if can_ask() else read_line().rstrip("\r\n")
        if not value.strip():
            raise UsageError(f"{action.option_strings[0]} -: standard input had no line for it")
        setattr(arguments, action.dest, value)


def show_json(value: object) -> None:
    """Print JSON, one document."""
    print(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str, *, gap: int = 2
) -> None:
    """Print a table, or `empty` when there are no rows. Cells go through `plain`.

    Into a file or a pipe each row is one line, however long. A terminal that is too narrow for that gets a line a cell
    instead, so that nothing is cut or folded into slivers.
    """
    if not rows:
        print(empty)
        return
    if title:
        print(title)
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    needed = sum(widths) + gap * (len(columns) - 1)
    if sys.stdout.isatty() and needed > shutil.get_terminal_size().columns:
        _show_records(columns, cells)
        return
    right = [all(isinstance(row[at], int) or row[at] == "" for row in rows) for at in range(len(columns))]
    for line in (columns, ["─" * width for width in widths], *cells):
        padded = [
            " " * (width - cell_len(cell)) + cell if is_right else cell + " " * (width - cell_len(cell))
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        print((" " * gap).join(padded).rstrip())


def _show_records(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A line a cell: for what is too wide for the screen."""
    width = max(map(len, columns))
    for row in rows:
        print()
        for column, cell in zip(columns, row, strict=True):
            if cell:
                print(f"{column:<{width}}  {cell}".rstrip())


def show_facts(title: str, facts: Mapping[str, object]) -> None:
    """Print names and values, a line each."""
    width = max((len(name) for name in facts), default=0)
    print(title)
    for name, value in facts.items():
        print(f"  {name:<{width}}  {plain(value)}")


def without_empty(value: Mapping[str, object]) -> dict[str, object]:
    """A mapping without what is empty, for JSON and lists."""
    return {key: item for key, item in value.items() if item not in ("", None, (), [])}
