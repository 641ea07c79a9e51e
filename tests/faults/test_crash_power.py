"""The plug is pulled: what was not flushed is gone, what was acknowledged is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.crash_kit import READY_WITHIN_S, Load, Scene, scaled
from tests.harness.machine import LoopExt4
from tests.harness.tools import require


@pytest.mark.chaos
@pytest.mark.timeout(scaled(600, 7200))
def test_after_a_power_cut_under_load_everything_acknowledged_is_there(tmp_path: Path) -> None:
    """State and spool are on a disk that stops in one instant, its unwritten pages lost. What is left of it holds, or
    the archives have, every instance that was acknowledged, before anything repairs it; the ledger is whole; and a
    gateway started on it delivers the rest."""
    require("loop")
    source = random.Random(7)
    with LoopExt4(tmp_path / "disk", 512 << 20) as disk, Scene(tmp_path, state_dir=disk.path / "state") as scene:
        gateway = scene.gateway
        # Refusals in the moment between the cut and the death of the processes are asked for again at once.
        with Load(scene, pause_s=0.0, pixel_bytes=9_000) as load:
            for cycle in range(scaled(3, 40)):
                gateway.start(timeout_s=READY_WITHIN_S)
                load.wait_acknowledged(load.acknowledged + source.randint(5, 150))
                disk.power_cut()
                gateway.kill_all()
                disk.replug()
                left = scene.judge().assert_clean()
                print(f"cut {cycle}: {left}")
                assert scene.ledger_problems() == []
            gateway.start(timeout_s=READY_WITHIN_S)
        scene.settle()
        report = scene.judge().assert_clean(delivered=True)
        print(f"{load.unanswered} stores unanswered, {load.refused} refused; {report}")
        assert gateway.stop() == 0
        assert scene.ledger_problems() == []
