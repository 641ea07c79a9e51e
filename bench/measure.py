"""What every workload does: so much of it as asked for, wall time, CPU and memory of a side, its table and verdicts.

Wall time is from dcmsend's request for its association to the last file that the archive has closed, or to the end of
dcmsend where a workload is received only. CPU and memory are those of all processes of the side. Times are told an
instance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.dcmsend import Closings, Files, send
from bench.goals import Figures, Found, Goal, Verdict, judge
from bench.peers import Side, StorescpSide
from bench.processes import forget_peak, peaks_bytes
from bench.report import save, show, spread

CT_BYTES, SMALL_BYTES = 512 * 1024, 8_500
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of each workload: all of it, or a part and one round, enough to see that it runs."""

    rounds: int = 5
    divisor: int = 1
    waiting: int = 1_000_000  # deliveries of `backlog`

    def __call__(self, count: int) -> int:
        """So many of `count`."""
        return max(2, count // self.divisor)


SMOKE = Scale(rounds=1, divisor=20, waiting=500)


def scale_of(options: Sequence[str]) -> Scale:
    """How much is asked for: `--smoke`, or `--rounds=N` and `--part=N`, the N-th part. :raises ValueError: else."""
    if "--smoke" in options:
        return SMOKE
    given = {"--rounds": Scale().rounds, "--part": Scale().divisor}
    for option in options:
        name, _, number = option.partition("=")
        if name not in given or not number.isdecimal() or not int(number):
            raise ValueError(f"no option {option}")
        given[name] = int(number)
    return Scale(rounds=given["--rounds"], divisor=given["--part"])


class Meter:
    """What a side uses from now on, once it has nothing left to do."""

    def __init__(self, side: Side) -> None:
        side.idle()
        forget_peak(side.pid)
        self._side = side
        self._resident = peaks_bytes(side.pid)
        self._cpu_s = side.cpu_s()

    def read(self, count: int, wall_s: float) -> dict[str, float]:
        """Figures of `count` instances that took so long, once the side is through with them."""
        self._side.idle()
        cpu = {"CPU ms": (self._side.cpu_s() - self._cpu_s) / count * 1000} if self._side.counts_cpu else {}
        return {"wall ms": wall_s / count * 1000, **cpu, **self.memory()}

    def memory(self) -> dict[str, float]:
        """`peak` is the sum over the side's processes, `rise` how far that one rose that rose most."""
        peaks = peaks_bytes(self._side.pid)
        rises = [peak - self._resident[pid] for pid, peak in peaks.items() if pid in self._resident]
        return {"peak MiB": sum(peaks.values()) / MIB, "rise MiB": max(rises) / MIB}


def forwarded(side: Side, archives: Sequence[StorescpSide], files: Files, count: int = 0) -> Figures:
    """Send `count` files (0: all) through a side, to each of the archives."""
    files.renew()
    paths = files.paths[: count or None]
    with Closings([archive.directory for archive in archives]) as closings:
        meter = Meter(side)
        run = send(paths, side.port)
        ended_s = closings.wait(len(paths) * len(archives))
    found = meter.read(len(paths), ended_s - run.began_s)
    for archive in archives:
        archive.clear()
    return found


def folder_of(stack: ExitStack) -> Path:
    """A temporary folder that goes with the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


def tell(name: str, found: Found, goals: Sequence[Goal]) -> list[Verdict]:
    """Print the table of the sides and keep the figures; the verdicts."""
    names = list(dict.fromkeys(name for rounds in found.values() for name in rounds[0]))
    rows = [
        (side, *(spread([one[name] for one in rounds]) if name in rounds[0] else "" for name in names))
        for side, rounds in found.items()
    ]
    show(f"{name}: median (least - greatest)", ("side", *names), rows)
    verdicts = judge(name, found, goals)
    save(name.replace(" ", "-"), {"sides": found, "goals": [verdict.as_json() for verdict in verdicts]})
    return verdicts
