"""`gateway schema`: what editors need to complete and check rule files and gateway.yaml."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.cli.common import Commands, add_command
from gateway.errors import UsageError
from gateway.schemas import SCHEMAS, text_of


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    schema = add_command(
        commands,
        "schema",
        _schema,
        "write the JSON Schema of rule files or of gateway.yaml, for editors",
        "gateway schema rules --output rules.schema.json",
        "Prints a JSON Schema (draft 2020-12), by which editors complete, explain and check what is written.",
    )
    schema.add_argument("name", choices=tuple(SCHEMAS), metavar="|".join(SCHEMAS), help="of which files")
    schema.add_argument("--output", type=Path, metavar="FILE", help="write it to this file")


def _schema(arguments: argparse.Namespace) -> int:
    text = text_of(arguments.name)
    if arguments.output is None:
        print(text, end="")
        return 0
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.output}: cannot be written: {error.strerror}") from None
    return 0
