"""The ledger's SQL text, read from the files beside this module.

`sql/<dialect>/<group>.sql` holds named statements, each under a line `-- name: <intent>`;
`sql/<dialect>/migrations/<number>_<what>.sql` holds the schema's steps, applied in order. Only the implementations
of the ledger call this, once at import.
"""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


def load(dialect: str, group: str) -> dict[str, str]:
    """The statements of a group: name → text. Raises `ValueError` for text before the first name or a name twice."""
    text = (resources.files(__package__) / "sql" / dialect / f"{group}.sql").read_text("utf-8")
    before, *rest = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{group}.sql: a statement stands before the first name")
    statements: dict[str, str] = {}
    for name, statement in zip(rest[::2], rest[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{group}.sql: {name} is defined twice")
        statements[name] = statement.strip().rstrip(";")
    return statements


def migrations(dialect: str) -> tuple[str, ...]:
    """The schema's steps in order: the first brings an empty database to version 1. Raises `ValueError` for a gap."""
    folder = resources.files(__package__) / "sql" / dialect / "migrations"
    found = sorted((int(match[1]), entry) for entry in folder.iterdir() if (match := _MIGRATION.match(entry.name)))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{dialect} migrations are not numbered from 1 without a gap")
    return tuple(entry.read_text("utf-8") for _, entry in found)
