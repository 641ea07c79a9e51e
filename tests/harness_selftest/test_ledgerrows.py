"""One look at a ledger, whether a file or a server holds it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.harness.ledgerrows import Unreadable, look, rows

MAKE = ("CREATE TABLE kept (number int)", "INSERT INTO kept VALUES (7)")


def test_rows_of_a_file_and_of_a_server(tmp_path: Path, postgres_url: str) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as file, psycopg.connect(postgres_url) as server:
        for statement in MAKE:
            file.execute(statement)
            server.execute(statement)
        file.commit()
        server.commit()
    for source in (path, postgres_url):
        assert rows(source, "SELECT number FROM kept") == [(7,)]
        with pytest.raises(Unreadable, match=r"readonly|read-only"), look(source) as ask:
            ask("INSERT INTO kept VALUES (8)")


def test_a_look_is_of_one_moment(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as writer:
        writer.execute(MAKE[0])
        with look(postgres_url) as ask:
            assert ask("SELECT count(*) FROM kept") == [(0,)]
            writer.execute(MAKE[1])
            assert ask("SELECT count(*) FROM kept") == [(0,)]


def test_one_that_is_away_has_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path / "no-such.db", "SELECT 1") == []
    assert rows("postgresql://nobody@127.0.0.1:1/none", "SELECT 1") == []
