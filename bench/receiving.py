"""Workloads that are received only: `stock`, `receive`, `churn` (see `bench.workloads`), beside DCMTK's storescp
and pynetdicom's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.dcmsend import Run, make_files, send, send_with_every_context
from bench.goals import Figures, Goal, Verdict
from bench.measure import CT_BYTES, SMALL_BYTES, Meter, Scale, folder_of, tell
from bench.peers import GatewaySide, PynetdicomSide, Side, StorescpSide
from bench.report import in_turn

SLOW_DIVISOR = 8

Sending = Callable[[Sequence[Path], int], Run]
Sides = Mapping[str, tuple[Side, int]]  # name → side, and the divisor of what it gets


def stock(scale: Scale) -> list[Verdict]:
    """DCMTK as Debian ships it: Nagle's algorithm on at dcmsend, and at storescp too.

    DCMTK writes the head of a PDU and the rest of it one after the other, so that the rest waits for the peer's delayed
    ACK (40 ms): storescp's answer always, and a data set's last bytes wherever the receiver owes no ACK before. Beside
    it is shown a storescp with TCP_NODELAY, which waits for the sender's bytes only. Both get a part of the instances.
    """

    def sides(folder: Path) -> Sides:
        return {
            "gateway": (GatewaySide(folder / "gateway", []), 1),
            "storescp": (StorescpSide(folder / "storescp", nagle=True), SLOW_DIVISOR),
            "storescp, no delay": (StorescpSide(folder / "no-delay"), SLOW_DIVISOR),
        }

    sending = partial(send, nagle=True)
    return [
        *_received(scale, "stock ct", 400, CT_BYTES, 1 / 25, sides, sending),
        *_received(scale, "stock small", 1000, SMALL_BYTES, 1 / 80, sides, sending),
    ]


def receive(scale: Scale) -> list[Verdict]:
    """CTs and small instances over one association; pynetdicom gets a part."""

    def sides(folder: Path) -> Sides:
        pynetdicom = PynetdicomSide(folder / "pynetdicom")
        return {**_gateway_and_storescp(folder), "pynetdicom": (pynetdicom, SLOW_DIVISOR)}

    return [
        *_received(scale, "receive ct", 400, CT_BYTES, 1.1, sides, send),
        *_received(scale, "receive small", 1000, SMALL_BYTES, 1.1, sides, send),
    ]


def churn(scale: Scale) -> list[Verdict]:
    """Small instances, an association each, and on each of them all the contexts that storescu knows."""

    def each_alone(paths: Sequence[Path], port: int) -> Run:
        runs = [send_with_every_context(path, port) for path in paths]
        return Run(runs[0].began_s, runs[0].began_s + sum(run.ended_s - run.began_s for run in runs))

    return _received(scale, "churn", 200, SMALL_BYTES, 1.1, _gateway_and_storescp, each_alone)


def _gateway_and_storescp(folder: Path) -> Sides:
    return {"gateway": (GatewaySide(folder / "gateway", []), 1), "storescp": (StorescpSide(folder / "storescp"), 1)}


def _received(
    scale: Scale,
    name: str,
    count: int,
    pixel_bytes: int,
    most: float,
    sides_in: Callable[[Path], Sides],
    sending: Sending,
) -> list[Verdict]:
    with ExitStack() as stack:
        folder = folder_of(stack)
        sides = sides_in(folder)
        for side, _ in sides.values():
            stack.enter_context(side)
        files = make_files(folder / "files", scale(count), pixel_bytes, seed=2)

        def measure(side: Side, divisor: int) -> Figures:
            files.renew()
            paths = files.paths[: max(2, len(files.paths) // divisor)]
            meter = Meter(side)
            run = sending(paths, side.port)
            found = meter.read(len(paths), run.ended_s - run.began_s)
            side.clear()
            return found

        found = in_turn({side: partial(measure, *each) for side, each in sides.items()}, scale.rounds)
    return tell(name, found, [Goal("gateway", "wall ms", most, "storescp")])
