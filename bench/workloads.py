"""The gateway beside its peers, under the loads that hospitals have: dcmsend → side → storescp, the sides in turn.

===========  =====================================================================  ===================================
workload     what                                                                   beside
===========  =====================================================================  ===================================
`ct`         400 CTs of 512 KiB over one association, to one archive                socat, Orthanc
`small`      1,000 instances of 9 KB over one association, to one archive           socat, Orthanc
`stock`      a quarter of each, received only, the sender with Nagle's algorithm on storescp
`receive`    the same two, received only                                            storescp
`churn`      200 small instances, an association each, received only                storescp
`fanout`     the CTs to three archives                                              the gateway, to one
`parallel`   20 senders with 50 CTs each, at once                                   the gateway, one sender with 400
===========  =====================================================================  ===================================

Wall time is from dcmsend's request for its association to the last file that the archive has closed; where a workload
is received only, to the end of dcmsend; CPU and memory are those of all processes of the side; both times are told an
instance. The gateway flushes what it acknowledges, storescp and socat flush nothing. Orthanc gets an eighth of the
instances, since it takes tens of milliseconds for each. The first round is a warm-up and does not count: fresh page
cache costs many times a used one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.dcmsend import Closings, Files, Run, send, send_at_once
from bench.peers import GatewaySide, OrthancSide, Side, SocatSide, StorescpSide
from bench.plot import Bar, plot
from bench.processes import forget_peak, peak_bytes
from bench.report import in_turn, save, show, spread

CT_BYTES, SMALL_BYTES = 512 * 1024, 8_500
MIB = 1 << 20
ORTHANC_DIVISOR = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of each workload: all of it, or (`smoke`) enough to see that it runs."""

    rounds: int = 5
    divisor: int = 1

    def __call__(self, count: int) -> int:
        return max(2, count // self.divisor)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run on one side."""

    wall_ms: float  # an instance
    cpu_ms: float  # an instance
    peak_mib: float
    fairness: float = 1.0  # the slowest sender's time over the fastest's


@dataclass(frozen=True, slots=True)
class Goal:
    """`ours` over `theirs` is at most `most`, both medians of `figure`."""

    ours: str
    theirs: str
    most: float
    figure: str = "wall_ms"


Measure = Callable[[], Figures]


def main(options: Sequence[str]) -> None:
    """Run the named workloads, or all."""
    arguments = argparse.ArgumentParser(prog="bench workloads")
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(WORKLOADS)}")
    arguments.add_argument("--smoke", action="store_true", help="one small round of each, no goals")
    given = arguments.parse_args(options)
    scale = Scale(rounds=1, divisor=20) if given.smoke else Scale()
    bars: list[Bar] = []
    for name in given.names or WORKLOADS:
        bars += WORKLOADS[name](scale)
    if given.smoke:
        return  # too little of everything to say anything of goals
    for bar in bars:
        print(f"{bar.label}: {bar.ratio:.3f}, goal <= {bar.goal:.3f}: {'met' if bar.met else 'NOT MET'}")
    print(f"plot in {plot('workloads', bars)}")


# ── workloads ─────────────────────────────────────────────────────────────────────────────────────────────────


def ct(scale: Scale) -> list[Bar]:
    """CTs, store and forward."""
    goals = (Goal("gateway", "socat", 1.25), Goal("gateway", "orthanc", 1 / 3))
    return _through(scale, "ct", 400, CT_BYTES, (*goals, Goal("gateway", "orthanc", 1 / 4, "cpu_ms")))


def small(scale: Scale) -> list[Bar]:
    """Small instances, store and forward."""
    goals = (Goal("gateway", "socat", 1.6), Goal("gateway", "orthanc", 1 / 20))
    return _through(scale, "small", 1000, SMALL_BYTES, (*goals, Goal("gateway", "orthanc", 1 / 8, "cpu_ms")))


def stock(scale: Scale) -> list[Bar]:
    """Receiving from a sender as Debian ships it."""
    return [
        *_received(scale, "stock ct", 100, CT_BYTES, 1 / 25, nagle=True),
        *_received(scale, "stock small", 250, SMALL_BYTES, 1 / 80, nagle=True),
    ]


def receive(scale: Scale) -> list[Bar]:
    """Receiving alone."""
    return [
        *_received(scale, "receive ct", 400, CT_BYTES, 1.1),
        *_received(scale, "receive small", 1000, SMALL_BYTES, 1.1),
    ]


def churn(scale: Scale) -> list[Bar]:
    """An association an instance."""

    def each_alone(paths: Sequence[Path], port: int) -> Run:
        runs = [send([path], port) for path in paths]
        return Run(runs[0].began_s, runs[0].began_s + sum(run.ended_s - run.began_s for run in runs))

    return _received(scale, "churn", 200, SMALL_BYTES, 1.1, sending=each_alone)


def fanout(scale: Scale) -> list[Bar]:
    """One archive, and three."""
    with ExitStack() as stack:
        folder = _folder(stack)
        archives = [stack.enter_context(StorescpSide(folder / f"archive-{number}")) for number in range(3)]
        one = stack.enter_context(GatewaySide(folder / "one", [archives[0].port]))
        three = stack.enter_context(GatewaySide(folder / "three", [archive.port for archive in archives]))
        files = Files(folder / "files", scale(400), CT_BYTES, seed=3)
        found = in_turn(
            {
                "three archives": lambda: _forwarded(three, archives, files),
                "one archive": lambda: _forwarded(one, archives[:1], files),
            },
            scale.rounds,
        )
        goals = (Goal("three archives", "one archive", 2.0), Goal("three archives", "one archive", 2.2, "cpu_ms"))
        return _tell("fanout", len(files.paths), found, goals)


def parallel(scale: Scale) -> list[Bar]:
    """One sender, and twenty at once."""
    with ExitStack() as stack:
        folder = _folder(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        side = stack.enter_context(GatewaySide(folder / "gateway", [archive.port]))
        files = Files(folder / "files", 20 * scale(50), CT_BYTES, seed=4)
        shares = [files.paths[number::20] for number in range(20)]

        def many() -> Figures:
            files.renew()
            with Closings([archive.directory]) as closings:
                before = _before(side)
                runs = send_at_once(shares, side.port)
                began, ended = min(run.began_s for run in runs), closings.wait(len(files.paths))
            times = [run.ended_s - began for run in runs]
            found = _after(side, before, len(files.paths), ended - began, fairness=max(times) / min(times))
            archive.clear()
            return found

        found = in_turn({"20 senders": many, "one sender": lambda: _forwarded(side, [archive], files)}, scale.rounds)
        goals = (Goal("20 senders", "one sender", 1.0), Goal("20 senders", "one sender", 1.5, "fairness"))
        return _tell("parallel", len(files.paths), found, goals)


WORKLOADS: Mapping[str, Callable[[Scale], list[Bar]]] = {
    each.__name__: each for each in (ct, small, stock, receive, churn, fanout, parallel)
}


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


def _through(scale: Scale, name: str, count: int, pixel_bytes: int, goals: Sequence[Goal]) -> list[Bar]:
    with ExitStack() as stack:
        folder = _folder(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        sides: dict[str, Side] = {
            "gateway": GatewaySide(folder / "gateway", [archive.port]),
            "socat": SocatSide(folder, archive.port),
            "orthanc": OrthancSide(folder, archive.port),
        }
        for side in sides.values():
            stack.enter_context(side)
        files = Files(folder / "files", scale(count), pixel_bytes, seed=1)
        part = dict.fromkeys(sides, len(files.paths)) | {"orthanc": max(2, len(files.paths) // ORTHANC_DIVISOR)}
        measures = {
            each: lambda side=side, count=part[each]: _forwarded(side, [archive], files, count)
            for each, side in sides.items()
        }
        return _tell(name, len(files.paths), in_turn(measures, scale.rounds), goals)


def _received(
    scale: Scale,
    name: str,
    count: int,
    pixel_bytes: int,
    most: float,
    *,
    nagle: bool = False,
    sending: Callable[[Sequence[Path], int], Run] | None = None,
) -> list[Bar]:
    with ExitStack() as stack:
        folder = _folder(stack)
        storescp = StorescpSide(folder / "storescp")
        sides: dict[str, Side] = {"gateway": GatewaySide(folder / "gateway", []), "storescp": storescp}
        for side in sides.values():
            stack.enter_context(side)
        files = Files(folder / "files", scale(count), pixel_bytes, seed=2)

        def measure(side: Side) -> Figures:
            files.renew()
            before = _before(side)
            run = sending(files.paths, side.port) if sending else send(files.paths, side.port, nagle=nagle)
            found = _after(side, before, len(files.paths), run.ended_s - run.began_s)
            storescp.clear()
            return found

        found = in_turn({name: lambda side=side: measure(side) for name, side in sides.items()}, scale.rounds)
        return _tell(name, len(files.paths), found, [Goal("gateway", "storescp", most)])


def _forwarded(side: Side, archives: Sequence[StorescpSide], files: Files, count: int = 0) -> Figures:
    """Send `count` files (0: all) through a side."""
    files.renew()
    paths = files.paths[: count or None]
    count = len(paths)
    with Closings([archive.directory for archive in archives]) as closings:
        before = _before(side)
        run = send(paths, side.port)
        ended = closings.wait(count * len(archives))
    found = _after(side, before, count, ended - run.began_s)
    for archive in archives:
        archive.clear()
    return found


def _before(side: Side) -> float:
    side.idle()
    forget_peak(side.pid)
    return side.cpu_s()


def _after(side: Side, cpu_s: float, count: int, wall_s: float, fairness: float = 1.0) -> Figures:
    side.idle()
    return Figures(wall_s / count * 1000, (side.cpu_s() - cpu_s) / count * 1000, peak_bytes(side.pid) / MIB, fairness)


def _tell(name: str, count: int, found: Mapping[str, Sequence[Figures]], goals: Sequence[Goal]) -> list[Bar]:
    """Print the table, keep the figures; the goals as bars of the plot."""
    rows = [
        (
            side,
            spread([one.wall_ms for one in each], 2),
            f"{1000 / statistics.median(one.wall_ms for one in each):,.0f}",
            spread([one.cpu_ms for one in each], 2),
            spread([one.peak_mib for one in each], 0),
        )
        for side, each in found.items()
    ]
    show(f"{name}: median (least - greatest)", ("side", "wall ms", "instances/s", "CPU ms", "peak MiB"), rows)
    bars = [_judge(name, found, goal) for goal in goals]
    save(
        name.replace(" ", "-"),
        {
            "instances": count,
            "sides": {side: [asdict(one) for one in each] for side, each in found.items()},
            "goals": [asdict(bar) for bar in bars],
        },
    )
    return bars


def _judge(name: str, found: Mapping[str, Sequence[Figures]], goal: Goal) -> Bar:
    def values(side: str) -> list[float]:
        return [float(getattr(one, goal.figure)) for one in found[side]]

    ratios = [
        ours / theirs if theirs else float("nan")
        for ours, theirs in zip(values(goal.ours), values(goal.theirs), strict=True)
    ]
    what = {"wall_ms": "wall", "cpu_ms": "CPU", "fairness": "slowest / fastest"}[goal.figure]
    return Bar(
        f"{name}: {what}, {goal.ours} / {goal.theirs}", statistics.median(ratios), min(ratios), max(ratios), goal.most
    )
