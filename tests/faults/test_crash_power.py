"""The plug is pulled: what was not flushed is gone, what was acknowledged is not.

What the gateway says between the cut and the death of its processes does not count. Nobody outlives a real power cut;
but here a flush that meets the cut can return without an error: jbd2 forgets a transaction that was aborted while it
was committed, and an fsync that comes for it then finds nothing left to wait for.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.crash_kit import READY_WITHIN_S, Load, Scene, scaled
from tests.harness.machine import LoopExt4
from tests.harness.tools import require

Afterlife = tuple[float, float]  # time.monotonic(): the cut, and the death of the last process


def without(journal: Path, afterlives: Sequence[Afterlife]) -> Path:
    """The journal, in which whoever was told something by the dead was told nothing."""
    lines = []
    for line in journal.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["event"] == "told" and any(began <= entry["at_s"] <= ended for began, ended in afterlives):
            entry["status"] = None
        lines.append(json.dumps(entry))
    told = journal.with_name("told.jsonl")
    told.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return told


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 7200))
def test_after_a_power_cut_under_load_everything_acknowledged_is_there(tmp_path: Path) -> None:
    """State and spool are on a disk that stops in one instant, its unwritten pages lost. What is left of it holds, or
    the archives have, every instance that was acknowledged, before anything repairs it; the ledger is whole; and a
    gateway started on it delivers the rest."""
    require("loop")
    source = random.Random(7)
    afterlives: list[Afterlife] = []
    with LoopExt4(tmp_path / "disk", 512 << 20) as disk, Scene(tmp_path, state_dir=disk.path / "state") as scene:
        gateway = scene.gateway
        # Refusals in the moment between the cut and the death of the processes are asked for again at once.
        with Load(scene, pause_s=0.0, pixel_bytes=9_000) as load:
            for cycle in range(scaled(3, 40)):
                gateway.start(timeout_s=READY_WITHIN_S)
                load.wait_acknowledged(load.acknowledged + source.randint(5, 150))
                cut_s = time.monotonic()
                disk.power_cut()
                gateway.kill_all()
                afterlives.append((cut_s, time.monotonic()))
                disk.replug()
                left = scene.judge(journals=[without(scene.journal.path, afterlives)]).assert_clean()
                print(f"cut {cycle}: {left}")
                assert scene.ledger_problems() == []
            gateway.start(timeout_s=READY_WITHIN_S)
        scene.settle()
        report = scene.judge(journals=[without(scene.journal.path, afterlives)]).assert_clean(delivered=True)
        print(f"{load.unanswered} stores unanswered, {load.refused} refused; {report}")
        assert gateway.stop() == 0
        assert scene.ledger_problems() == []
