"""`python -m bench` knows what it can run, and what it shares with the tests still fits together."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from bench.__main__ import BENCHES
from bench.scu import Load
from tests.harness.archive import OurArchive
from tests.harness.tools import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_can_be_run_by_its_name(name: str) -> None:
    """It loads, and has a `main` that takes options."""
    assert callable(importlib.import_module(f"bench.{name}").main)


def test_unknown_benchmark_is_refused_and_the_known_ones_are_named() -> None:
    done = run([sys.executable, "-m", "bench", "nonsense"], cwd=ROOT)
    assert done.returncode == 2
    assert all(name in done.stderr for name in BENCHES)


def test_a_load_sends_everything_and_knows_how_long_it_took() -> None:
    """Three associations share ten instances; each acknowledgement was timed."""
    with OurArchive() as archive, Load(archive.port, 10, 2_000, 3) as load:
        sent = load.run()
        assert archive.count == 10
    assert [len(each) for each in sent.latencies_s] == [4, 3, 3]
    assert 0 < max(sent.all_latencies_ms) / 1000 <= sent.seconds


def test_a_load_can_be_stopped_in_its_middle() -> None:
    """It ends by itself, in order, with what it has sent by then."""
    with OurArchive() as archive, Load(archive.port, 20_000, 2_000, 2) as load:
        load.go()
        sent = load.stop()
    assert len(sent.all_latencies_ms) < 20_000
