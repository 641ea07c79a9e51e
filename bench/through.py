"""Sender to archive: the gateway beside Orthanc and a plain relay, into the same storescp. See `bench.peers`.

All sides are up at once, and are loaded in turn. `through/s` counts from the sender's first byte until the archive has
the last file. storescp's own CPU is not counted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.comparison import Workload, compare
from bench.peers import GatewaySide, OrthancSide, SocatSide, StorescpSide

LOADS = (
    Workload("CT 512 KiB, 1 sender", 512 * 1024, 100, 1),
    Workload("CT 512 KiB, 4 senders", 512 * 1024, 100, 4),
    Workload("small 9 KB, 1 sender", 8_500, 150, 1),
    Workload("small 9 KB, 4 senders", 8_500, 150, 4),
)


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        sides = {
            "gateway": GatewaySide(folder, archive.port),
            "orthanc": OrthancSide(folder, archive.port),
            "socat": SocatSide(folder, archive.port),
        }
        for side in sides.values():
            stack.enter_context(side)

        def arrived(count: int) -> float:
            archive.wait_for(count)
            at = time.monotonic()
            archive.clear()
            return at

        compare("through", "through, into storescp: median (least - greatest)", sides, LOADS, arrived)
