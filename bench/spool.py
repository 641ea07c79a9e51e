"""What one acknowledgement costs the spool: begin + write + finish + flush + close.

`python -m bench spool [FOLDER]` prints medians for 9 KB and 525 KB: the event loop's part, the flush, and groups of 20
flushed together. FOLDER must lie on the disk that is meant; a folder is made in it and removed again.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.model import AssociationFacts
from gateway.spool import ArrivalMeta, Flusher, Intake, Spool, SpoolWriter

FRAGMENT_BYTES = 16_372  # the data of one P-DATA-TF PDU of 16 KiB
POOL_SIZE = 256

META = ArrivalMeta(
    AssociationFacts("0123456789abcdef", "main", "ct1", "CT1", "GATEWAY", "10.0.0.1"),
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345678",
    "1.2.840.10008.1.2.1",
    1_760_000_000_000,
)


def receive(intake: Intake, data: memoryview) -> SpoolWriter:
    """One instance up to its record."""
    writer = intake.begin(META)
    for at in range(0, len(data), FRAGMENT_BYTES):
        writer.write(data[at : at + FRAGMENT_BYTES])
    writer.finish()
    return writer


def measure(intake: Intake, flusher: Flusher, size: int, group: int, rounds: int) -> tuple[float, float]:
    """Medians in µs: the work per instance without its flush, and the flush of one group."""
    data = memoryview(os.urandom(size))
    working: list[float] = []
    flushing: list[float] = []
    for _ in range(rounds):
        if intake.available < group:
            intake.fill()
        started = time.perf_counter()
        writers = [receive(intake, data) for _ in range(group)]
        written = time.perf_counter()
        if any(flusher.flush(writers)):
            raise SystemExit("a flush failed")
        flushed = time.perf_counter()
        for writer in writers:
            writer.close()
        working.append((written - started + time.perf_counter() - flushed) / group * 1e6)
        flushing.append((flushed - written) * 1e6)
        intake.spool.unlink([writer.relative for writer in writers])
    return statistics.median(working), statistics.median(flushing)


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory(dir=options[0] if options else None) as folder:
        spool = Spool(Path(folder) / "spool", 0, 0)
        spool.prepare()
        flusher = Flusher()
        intake = Intake(spool, "00000000-0001", POOL_SIZE)
        print(f"{'size':>8} {'group':>6} {'work µs/instance':>17} {'flush µs/group':>15} {'ms/instance':>12}")
        for size in (9_000, 525_000):
            for group, rounds in ((1, 400), (20, 60)):
                work, flush = measure(intake, flusher, size, group, rounds)
                print(f"{size:>8} {group:>6} {work:>17.1f} {flush:>15.0f} {(work + flush / group) / 1000:>12.3f}")
        intake.close()
        flusher.close()
