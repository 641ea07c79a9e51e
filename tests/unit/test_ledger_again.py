"""A database may run the work of a transaction again from its beginning: nothing of it is used up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.sqlite import SqliteLedger
from tests.contract.ledger_scene import arrival

T = TypeVar("T")


def test_known_instances_of_an_iterator_are_found_when_the_read_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    ledger.record_arrivals([arrival("a"), arrival("b")], 1)
    once = ledger._database.read

    def again(work: Callable[[Transaction], T]) -> T:
        once(work)
        return once(work)

    monkeypatch.setattr(ledger._database, "read", again)
    assert ledger.known_instances(iter(["a", "b", "x"])) == {"a", "b"}
    ledger.close()
