"""Unknown senders raise alerts, and nobody can fill the audit trail with them."""

from __future__ import annotations

import pytest

from gateway.flow.strangers import AGAIN_S, EACH_HOUR, HOUR_S, Strangers
from gateway.ledger.trail import Note


class Kept:
    """What is noted, and a clock in the test's hand."""

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.now_s = 10_000.0
        self.strangers = Strangers(self, lambda: int(self.now_s * 1000), lambda: self.now_s)  # type: ignore[arg-type]

    def put(self, note: Note) -> None:
        self.notes.append(note)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_stranger_is_told_of_at_once_and_again_with_how_often_it_was(kept: Kept) -> None:
    for _ in range(5):
        kept.strangers.refused("NOBODY", "10.0.0.66")
    (first,) = kept.notes
    assert (first.actor, first.address, first.what, first.failed) == ("ae:NOBODY", "10.0.0.66", "unknown sender", True)
    kept.now_s += AGAIN_S
    kept.strangers.refused("NOBODY", "10.0.0.66")
    assert [note.count for note in kept.notes] == [1, 5]
    assert "5 times" in kept.notes[1].text


def test_a_scan_from_many_hosts_is_told_of_in_part(kept: Kept) -> None:
    for number in range(5_000):
        kept.strangers.refused("NOBODY", f"10.1.{number // 250}.{number % 250}")
    assert len(kept.notes) == EACH_HOUR
    assert len(kept.strangers._hosts) <= EACH_HOUR
    kept.now_s += HOUR_S
    kept.strangers.refused("NOBODY", "10.9.9.9")
    assert len(kept.notes) == EACH_HOUR + 1
