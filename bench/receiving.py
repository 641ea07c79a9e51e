"""Workloads that are received only: `stock`, `receive`, `churn` (see `bench.workloads`), beside DCMTK's storescp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.dcmsend import Run, make_files, send
from bench.goals import Figures, Goal, Verdict
from bench.measure import CT_BYTES, SMALL_BYTES, Meter, Scale, folder_of, tell
from bench.peers import GatewaySide, Side, StorescpSide
from bench.report import in_turn

Sending = Callable[[Sequence[Path], int], Run]


def stock(scale: Scale) -> list[Verdict]:
    """CTs and small instances from a sender as Debian ships it."""
    sending = partial(send, nagle=True)
    return [
        *_received(scale, "stock ct", 100, CT_BYTES, 1 / 25, sending),
        *_received(scale, "stock small", 250, SMALL_BYTES, 1 / 80, sending),
    ]


def receive(scale: Scale) -> list[Verdict]:
    """CTs and small instances over one association."""
    return [
        *_received(scale, "receive ct", 400, CT_BYTES, 1.1, send),
        *_received(scale, "receive small", 1000, SMALL_BYTES, 1.1, send),
    ]


def churn(scale: Scale) -> list[Verdict]:
    """Small instances, an association each."""

    def each_alone(paths: Sequence[Path], port: int) -> Run:
        runs = [send([path], port) for path in paths]
        return Run(runs[0].began_s, runs[0].began_s + sum(run.ended_s - run.began_s for run in runs))

    return _received(scale, "churn", 200, SMALL_BYTES, 1.1, each_alone)


def _received(scale: Scale, name: str, count: int, pixel_bytes: int, most: float, sending: Sending) -> list[Verdict]:
    with ExitStack() as stack:
        folder = folder_of(stack)
        sides: dict[str, Side] = {
            "gateway": GatewaySide(folder / "gateway", []),
            "storescp": StorescpSide(folder / "storescp"),
        }
        for side in sides.values():
            stack.enter_context(side)
        files = make_files(folder / "files", scale(count), pixel_bytes, seed=2)

        def measure(side: Side) -> Figures:
            files.renew()
            meter = Meter(side)
            run = sending(files.paths, side.port)
            found = meter.read(len(files.paths), run.ended_s - run.began_s)
            side.clear()
            return found

        found = in_turn({side: partial(measure, each) for side, each in sides.items()}, scale.rounds)
    return tell(name, found, [Goal("gateway", "wall ms", most, "storescp")])
