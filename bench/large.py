"""Workload `large`: one multi-frame instance of 1 GiB through the gateway, beside socat; and small ones beside it.

The small ones come from a process of their own, over two associations that send one instance after the other; how long
their acknowledgements take is shown with and without the large one on its way. The archive behind them is one of ours,
which writes nothing: they are to wait for the gateway's flushes, not for what an archive does to the same disk.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.dcmsend import Files, send
from bench.goals import Figures, Goal, Verdict
from bench.measure import MIB, SMALL_BYTES, Scale, folder_of, forwarded, tell
from bench.peers import GatewaySide, Side, SocatSide, StorescpSide
from bench.report import in_turn, percentile
from bench.scu import Load, Sent
from tests.harness.archive import OurArchive
from tests.harness.data import write_large_part10

SMALL = 20_000  # more than can be sent beside the large one
ASSOCIATIONS = 2
ALONE_S = 2.0


def large(scale: Scale) -> list[Verdict]:
    """The large one alone through gateway and socat; small ones alone, and beside the large one."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        archive = stack.enter_context(StorescpSide(folder / "archive"))
        gateway = stack.enter_context(GatewaySide(folder / "gateway", [archive.port]))
        socat = stack.enter_context(SocatSide(folder, archive.port))
        other = stack.enter_context(GatewaySide(folder / "other", [stack.enter_context(OurArchive()).port]))
        files = Files([write_large_part10(folder / "large.dcm", scale(1024) * MIB).path])

        def small_alone() -> Figures:
            with Load(other.port, SMALL, SMALL_BYTES, ASSOCIATIONS) as load:
                load.go()
                return _waited(other, load.stop(ALONE_S / scale.divisor))

        def small_beside() -> Figures:
            files.renew()
            with Load(other.port, SMALL, SMALL_BYTES, ASSOCIATIONS) as load:
                load.go()
                send(files.paths, other.port)
                return _waited(other, load.stop())

        found = in_turn(
            {
                "gateway": lambda: forwarded(gateway, [archive], files),
                "socat": lambda: forwarded(socat, [archive], files),
                "small ones alone": small_alone,
                "small ones beside it": small_beside,
            },
            scale.rounds,
        )
    goals = [
        Goal("gateway", "wall ms", 1.3, "socat"),
        Goal("gateway", "rise MiB", 32),
        Goal("small ones beside it", "p99 ms", 100),
    ]
    return tell("large", found, goals)


def _waited(side: Side, sent: Sent) -> Figures:
    side.idle()
    return {f"p{at} ms": percentile(sent.all_latencies_ms, at) for at in (50, 99)}
