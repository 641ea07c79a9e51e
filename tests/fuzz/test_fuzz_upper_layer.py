"""A moment of every fuzz target; `python -m tests.fuzz.fuzz_upper_layer` runs for long."""

from __future__ import annotations

from gateway.dicom.association import State
from tests.fuzz.fuzz_upper_layer import run


def test_twenty_thousand_damaged_conversations() -> None:
    totals = run(20_000, seed=1)
    assert totals.cases == 20_000
    # It went deep: every state in which a chunk can leave an association was met.
    assert totals.states == set(State) - {State.STA4}
