"""The ledger's SQL text, read from the files beside this module.

`sql/common/<group>.sql` holds named statements, each under a line `-- name: <intent>`, as SQLite takes them and as
nearly any database would. `sql/<dialect>/<group>.sql` has those that a dialect wants to say in another way, under the
same names; one that begins with AS_COMMON is the common one with something behind it.
`sql/<dialect>/migrations/<number>_<what>.sql` holds the schema's steps, applied in order. Only the ledger calls this,
once at import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_MIGRATION = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
AS_COMMON = "..."
_ROOT = resources.files(__package__) / "sql"


def load(group: str, dialect: str = "common") -> dict[str, str]:
    """The statements of a group: name → text. Raises `ValueError` for text before the first name or a name twice."""
    text = (_ROOT / dialect / f"{group}.sql").read_text("utf-8")
    before, *rest = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{group}.sql: a statement stands before the first name")
    statements: dict[str, str] = {}
    for name, statement in zip(rest[::2], rest[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{group}.sql: {name} is defined twice")
        statements[name] = _without_what_follows(statement)
    return statements


def _without_what_follows(text: str) -> str:
    """A statement without the comment on the next one, and without its semicolon."""
    lines = text.strip().splitlines()
    while lines and (not lines[-1].strip() or lines[-1].startswith("--")):
        lines.pop()
    return "\n".join(lines).rstrip(";")


def overrides(dialect: str) -> Iterator[tuple[str, str]]:
    """What a dialect says in another way: (common text, its text). Raises `ValueError` for a name that is not common.

    A name that several statements share a text with is overridden for all of them.
    """
    for entry in sorted((_ROOT / dialect).iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".sql"):
            group = entry.name.removesuffix(".sql")
            common = load(group)
            for name, text in load(group, dialect).items():
                if name not in common:
                    raise ValueError(f"{dialect}/{group}.sql: there is no common {name}")
                as_common = text.startswith(AS_COMMON)
                yield common[name], text.replace(AS_COMMON, common[name], 1) if as_common else text


def migrations(dialect: str) -> tuple[str, ...]:
    """The schema's steps in order: the first brings an empty database to version 1. Raises `ValueError` for a gap."""
    folder = _ROOT / dialect / "migrations"
    found = sorted((int(match[1]), entry) for entry in folder.iterdir() if (match := _MIGRATION.match(entry.name)))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{dialect} migrations are not numbered from 1 without a gap")
    return tuple(entry.read_text("utf-8") for _, entry in found)
