"""What this machine gives to so many processes that have nothing in common: the peer of `scale`.

Each de-identifies its share of the files and writes and flushes the copies, as a worker does, without queue, ledger or
other processes around it. Where two of these are less than twice as fast as one, no gateway can be.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from bench.deidentify import Ours
from bench.goals import Figures

_SPAWNED = multiprocessing.get_context("spawn")


def alone(folder: Path, count: int, paths: list[Path]) -> Figures:
    """`count` processes share the files; from the moment that all are ready to the end of the last."""
    folder.mkdir(exist_ok=True)
    ready = _SPAWNED.Barrier(count + 1)
    ends: Any = _SPAWNED.SimpleQueue()
    shares = [paths[number::count] for number in range(count)]
    processes = [_SPAWNED.Process(target=_work, args=(folder, share, ready, ends)) for share in shares]
    for process in processes:
        process.start()
    ready.wait()
    began_s = time.monotonic()
    found = [ends.get() for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    wall_ms = (max(ended_s for ended_s, _ in found) - began_s) / len(paths) * 1000
    cpu_ms = sum(cpu_s for _, cpu_s in found) / len(paths) * 1000
    return {"wall ms": wall_ms, "instances/s": 1000 / wall_ms, "CPU ms": cpu_ms}


def _work(folder: Path, share: list[Path], ready: Barrier, ends: Any) -> None:
    ours = Ours({str(path): path for path in share})
    ready.wait()
    before_s = time.process_time()
    for path in share:
        copy = folder / f"{os.getpid()}-{path.name}"
        with copy.open("wb", buffering=0) as out:
            ours(path, out)
            os.fdatasync(out.fileno())
        copy.unlink()
    ends.put((time.monotonic(), time.process_time() - before_s))
