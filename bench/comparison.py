"""One load on several sides in turn, and the table of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.peers import Side
from bench.report import in_turn, save, show, spread
from bench.scu import Load


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent."""

    name: str
    pixel_bytes: int
    count: int
    associations: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One load on one side."""

    acknowledged_a_second: float
    delivered_a_second: float
    cpu_ms_an_instance: float


Arrived = Callable[[int], float]
"""Waits until so many instances are where they should be; time.monotonic() then."""


def measure(side: Side, load: Workload, arrived: Arrived) -> Measured:
    """Send one load to a side, and wait until it is through with it."""
    with Load(side.port, load.count, load.pixel_bytes, load.associations) as sender:
        side.idle()
        cpu = side.cpu_s()
        sent = sender.run()
        ended = max(arrived(load.count), max(sent.ended_s))
    side.idle()
    used = side.cpu_s() - cpu
    took = ended - sent.began_s
    return Measured(load.count / sent.seconds, load.count / took, used / load.count * 1000)


def compare(name: str, title: str, sides: Mapping[str, Side], loads: Sequence[Workload], arrived: Arrived) -> None:
    """Every load on every side in turn; the first side is the one that the others are set beside."""
    rows, saved = [], {}
    for load in loads:
        calls = {key: lambda side=side, load=load: measure(side, load, arrived) for key, side in sides.items()}
        found = in_turn(calls)
        saved[load.name] = {key: [asdict(one) for one in each] for key, each in found.items()}
        ours = [one.delivered_a_second for one in next(iter(found.values()))]
        for key, each in found.items():
            theirs = [one.delivered_a_second for one in each]
            ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
            rows.append(
                (
                    f"{load.name}: {key}",
                    spread([one.acknowledged_a_second for one in each], 0),
                    spread(theirs, 0),
                    spread(ratios, 2),
                    spread([one.cpu_ms_an_instance for one in each], 2) if sides[key].counts_cpu else "-",
                )
            )
    columns = ("", "acknowledged/s", "through/s", f"{next(iter(sides))} / this one", "CPU ms an instance")
    show(title, columns, rows)
    save(name, saved)
