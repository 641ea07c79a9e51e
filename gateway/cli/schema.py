"""`gateway schema`: what editors need to complete and check rule files and gateway.yaml."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gateway.cli.common import Commands, add_command
from gateway.errors import UsageError
from gateway.schemas import SCHEMAS, text_of

API = "api"


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    schema = add_command(
        commands,
        "schema",
        _schema,
        "write the JSON Schema of rule files or of gateway.yaml, or the OpenAPI description of the API",
        "gateway schema rules --output rules.schema.json",
        "Prints a JSON Schema (draft 2020-12), by which editors complete, explain and check what is written; or, of "
        "`api`, the OpenAPI description of the console's API.",
    )
    names = (*SCHEMAS, API)
    schema.add_argument("name", choices=names, metavar="|".join(names), help="of which files, or of the console's API")
    schema.add_argument("--output", type=Path, metavar="FILE", help="write it to this file")


def _of_the_api() -> str:
    """The OpenAPI description of /api/v1."""
    from gateway.console.api import api_app

    return json.dumps(api_app(None).openapi(), indent=2, sort_keys=True) + "\n"


def _schema(arguments: argparse.Namespace) -> int:
    text = _of_the_api() if arguments.name == API else text_of(arguments.name)
    if arguments.output is None:
        print(text, end="")
        return 0
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.output}: cannot be written: {error.strerror}") from None
    return 0
