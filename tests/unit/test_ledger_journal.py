"""The journal of outcomes: what a process wrote is read after its death, and nothing else is."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import journal
from gateway.ledger.journal import BEHIND, SLOTS, OutcomeJournal
from gateway.model import DeliveryState, Outcome, Role, Session


def session(number: int) -> Session:
    return Session(number, Role.FORWARDER, "host", 1, 1000 + number)


def delivered(folder: Path, number: int) -> list[Outcome]:
    left = journal.left_behind(folder, number)
    assert left is None or left.opened_at_ms == 1000 + number
    return [] if left is None else list(left.delivered)


def outcome(number: int, token: int = 1, code: str = "success", status: int | None = 0) -> Outcome:
    return Outcome(number, token, DeliveryState.DELIVERED, code, status=status)


def test_what_was_written_is_read_by_others_while_it_is_not_closed(tmp_path: Path) -> None:
    written = OutcomeJournal(tmp_path, session(7))
    warned = Outcome(
        5, 3, DeliveryState.DELIVERED, "warning", "0xB000 warning: coercion of data elements", status=0xB000
    )
    for each in (outcome(4, token=2), warned, outcome(6, code="accepted", status=None)):
        written.write(each)
    assert delivered(tmp_path, 7) == [outcome(4, token=2), warned, outcome(6, code="accepted", status=None)]
    assert delivered(tmp_path, 8) == []
    assert journal.sessions(tmp_path) == [7]
    written.close()
    assert journal.sessions(tmp_path) == [] and delivered(tmp_path, 7) == []


def test_the_newest_are_there_however_many_were_written_and_the_file_does_not_grow(tmp_path: Path) -> None:
    written = OutcomeJournal(tmp_path, session(1))
    size = (tmp_path / "outcomes-1").stat().st_size
    count = 3 * SLOTS + 5
    for number in range(1, count + 1):
        written.write(outcome(number))
    assert (tmp_path / "outcomes-1").stat().st_size == size
    there = {each.delivery_id for each in delivered(tmp_path, 1)}
    assert there == set(range(count - SLOTS + 1, count + 1)) and SLOTS > BEHIND


def test_a_new_session_of_the_same_number_begins_with_nothing(tmp_path: Path) -> None:
    OutcomeJournal(tmp_path, session(1)).write(outcome(9))
    OutcomeJournal(tmp_path, session(1))
    assert delivered(tmp_path, 1) == []
    journal.forget(tmp_path, 1)
    journal.forget(tmp_path, 1)
    assert journal.sessions(tmp_path) == []


@given(st.binary(max_size=300), st.integers(0, 400))
def test_damage_makes_no_outcome(tmp_path_factory: object, noise: bytes, at: int) -> None:
    folder = Path(tmp_path_factory.mktemp("journal"))  # type: ignore[attr-defined]
    written = OutcomeJournal(folder, session(1))
    for number in range(1, 5):
        written.write(outcome(number))
    path = folder / "outcomes-1"
    content = path.read_bytes()
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    assert _ids(folder) <= {1, 2, 3, 4}
    path.write_bytes(content[:at])
    assert _ids(folder) <= {1, 2, 3, 4}


def _ids(folder: Path) -> set[int]:
    left = journal.left_behind(folder, 1)
    return set() if left is None else {each.delivery_id for each in left.delivered}
