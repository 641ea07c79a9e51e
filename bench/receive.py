"""Receiving alone: the gateway, whose one rule discards, beside DCMTK's storescp. See `bench.peers`.

The gateway's instances are flushed before they are acknowledged, storescp's are not. `through/s` is `acknowledged/s`
here. CPU is of all processes: the gateway's has routed and discarded everything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.comparison import Workload, compare
from bench.peers import GatewaySide, StorescpSide

LOADS = (
    Workload("CT 512 KiB, 1 sender", 512 * 1024, 200, 1),
    Workload("CT 512 KiB, 4 senders", 512 * 1024, 300, 4),
    Workload("small 9 KB, 1 sender", 8_500, 800, 1),
    Workload("small 9 KB, 4 senders", 8_500, 1_200, 4),
)


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        storescp = StorescpSide(folder / "storescp")
        sides = {"gateway": stack.enter_context(GatewaySide(folder, None)), "storescp": stack.enter_context(storescp)}

        def arrived(count: int) -> float:
            storescp.clear()
            return 0.0  # acknowledged is all there is

        compare("receive", "receiving alone: median (least - greatest)", sides, LOADS, arrived)
