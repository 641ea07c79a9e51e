"""docs/architecture.md draws the files and the ledger as they are."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.ledger import queries
from gateway.ledger.sqlite.database import apply_migrations
from gateway.model import STARTED_ROLES, DeliveryState, InstanceState
from gateway.spool import record

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[set[str]]:
    """For each table below a heading: the words in backticks of its first column."""
    found = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, heading
    tables = re.findall(r"(?:^\|.*\n)+", found[1], re.MULTILINE)
    return [
        {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line.split("|")[1])} for table in tables
    ]


def test_the_record_is_laid_out_as_drawn() -> None:
    table = re.search(r"<!-- record -->\n(.*?)<!-- end -->", DOCUMENT, re.DOTALL)
    assert table
    drawn = [(int(offset), int(size)) for offset, size in re.findall(r"^\| (\d+) \| (\d+) \|", table[1], re.MULTILINE)]
    assert [offset for offset, _ in drawn] == [sum(size for _, size in drawn[:n]) for n in range(len(drawn))]
    assert sum(drawn[-1]) == record.RECORD_BYTES
    sizes = [8, 2, 16, 8, 8, 16, 7 * (1 + record.TEXT_MAX_BYTES), 3 * (1 + record.UID_MAX_BYTES)]
    assert [size for _, size in drawn][:8] == sizes
    assert record._RECORD.size == sum(sizes)
    assert drawn[-1][1] == record.CHECKSUM_BYTES
    assert f"version: {record.VERSION} |" in table[1]


def test_every_table_of_the_ledger_is_told_of_and_no_other() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        apply_migrations(connection, queries.migrations("sqlite"))
        real = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert first_cells("The ledger")[0] == {name for name in real if not name.startswith("sqlite_")}


def test_every_state_and_role_is_told_of_and_no_other() -> None:
    instance, delivery = first_cells("States")
    assert instance == set(map(str, InstanceState))
    assert delivery == set(map(str, DeliveryState))
    assert first_cells("Roles")[0] == set(map(str, STARTED_ROLES))
