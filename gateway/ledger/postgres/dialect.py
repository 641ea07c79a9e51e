"""Statements as PostgreSQL takes them: those of `sql/common`, or of `sql/postgres` where that has its own, with
psycopg's placeholders.

What is put together from parts (filters) is translated as it comes, word by word:

    ?  :name                                    %s  %(name)s
    SELECT value FROM json_each(X)              SELECT jsonb_array_elements_text(X::jsonb)
    SELECT CAST(value AS BIGINT) FROM …         SELECT jsonb_array_elements_text(X::jsonb)::bigint
    x''                                         ''::bytea
    INDEXED BY name                             (the planner decides)
    CROSS JOIN … ON                             JOIN … ON: the planner decides in which order
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.ledger import queries

_WORDS = re.compile(
    r"(?P<skipped>'(?:[^']|'')*'|--[^\n]*|::)"
    r"|SELECT (?:value|(?P<number>CAST\(value AS BIGINT\))) FROM json_each\((?P<json>\?|:\w+)\)"
    r"|(?P<index> INDEXED BY \w+|CROSS (?=JOIN \w+ \w+ ON))"
    r"|(?P<mark>\?|:(?P<name>[a-z_]+))"
)
_EMPTY_BLOB = "x''"
_OVERRIDES = dict(queries.overrides("postgres"))


@lru_cache(maxsize=2048)
def translated(statement: str) -> str:
    """A statement of the ledger's logic, for psycopg."""
    text = _OVERRIDES.get(statement, statement).replace("%", "%%").replace(_EMPTY_BLOB, "''::bytea")
    return _WORDS.sub(_word, text)


def _word(match: re.Match[str]) -> str:
    if match["index"]:
        return ""
    if match["json"]:
        number = "::bigint" if match["number"] else ""
        return f"SELECT jsonb_array_elements_text({_placeholder(match['json'])}::jsonb){number}"
    if match["mark"]:
        return _placeholder(match["mark"])
    return match["skipped"]


def _placeholder(mark: str) -> str:
    return "%s" if mark == "?" else f"%({mark[1:]})s"
