"""A 1 GiB multi-frame instance through the gateway, and small ones beside it.

    python -m bench large --mib 1024

Goals: the resident memory of receiver and forwarder rises by less than 32 MiB each; small instances beside the large
one are acknowledged with p99 <= 100 ms. The latency of the same small load with nothing beside it is shown with it, in
turn. The large one is made while it is sent, and hashed at an archive of ours, in this process; the sender of the small
ones is a process of its own, with two associations that send one instance after the other.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count as counter
from pathlib import Path

from bench.report import goal, in_turn, percentile, save, show, spread
from bench.scu import Load
from tests.harness.archive import OurArchive
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.large import LargeStream
from tests.harness.rawpeer import RawScu
from tests.load.load_kit import MIB, Growth

SMALL_PIXEL_BYTES = 8_500
SMALL = 20_000  # more than can be sent beside the large one
ASSOCIATIONS = 2
ALONE_S = 5.0
GOAL_P99_MS, GOAL_GROWTH_MIB = 100.0, 32.0

_seeds = counter(1)


@dataclass(frozen=True, slots=True)
class Figures:
    """Small instances for a while, with or without the large one."""

    latencies_ms: list[float]
    large_s: float = 0.0
    delivered_s: float = 0.0
    growth_mib: dict[str, float] | None = None


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(prog="bench large")
    arguments.add_argument("--mib", type=int, default=1024, help="size of the large instance")
    mib = arguments.parse_args(options).mib
    with tempfile.TemporaryDirectory() as folder, OurArchive() as archive:
        config = GatewayConfig(Path(folder) / "gateway", {"archive": archive.port}, log={"level": "info"})
        with GatewayProcess(config) as gateway:
            sides = {
                "small ones alone": lambda: alone(gateway),
                f"beside {mib} MiB": lambda: beside(gateway, archive, mib * MIB),
            }
            report(in_turn(sides), mib)


def alone(gateway: GatewayProcess) -> Figures:
    """Small instances for a few seconds."""
    with Load(gateway.config.port, SMALL, SMALL_PIXEL_BYTES, ASSOCIATIONS) as small:
        gateway.wait_idle(120)
        small.go()
        return Figures(small.stop(ALONE_S).all_latencies_ms)


def beside(gateway: GatewayProcess, archive: OurArchive, large_bytes: int) -> Figures:
    """Small instances for as long as the large one takes to its acknowledgement."""
    large = LargeStream(large_bytes, seed=next(_seeds))
    with Load(gateway.config.port, SMALL, SMALL_PIXEL_BYTES, ASSOCIATIONS) as small:
        gateway.wait_idle(120)
        growth = Growth(gateway)
        small.go()
        began = time.monotonic()
        with RawScu(gateway.config.port, timeout_s=300) as scu:
            scu.associate([large.context], calling="LARGE")
            pieces = large.pieces(scu.max_pdu - 6)
            number = scu.send_store_stream(1, large.sop_class_uid, large.sop_instance_uid, pieces)
            assert scu.recv_store_status(number) == 0
            took = time.monotonic() - began
            scu.release()
        latencies_ms = small.stop().all_latencies_ms
    gateway.wait_idle(300)
    delivered = time.monotonic() - began
    assert archive.contents()[large.sop_instance_uid] == [large.sha256]
    risen = {role: size / MIB for role, size in growth.bytes_of().items()}
    return Figures(latencies_ms, took, delivered, risen)


def report(found: dict[str, list[Figures]], mib: int) -> None:
    """Print and keep the figures."""
    rows = []
    for name, each in found.items():
        latencies = [latency for one in each for latency in one.latencies_ms]
        rows.append((name, len(latencies), *(f"{percentile(latencies, at):.1f}" for at in (50, 99, 100))))
    show("acknowledgement of small instances, ms", ("", "instances", "p50", "p99", "worst"), rows)
    large = list(found.values())[-1]
    p99_ms = percentile([latency for one in large for latency in one.latencies_ms], 99)
    print(f"p99 beside the large one: {p99_ms:.1f} ms; {goal(p99_ms, GOAL_P99_MS, 'ms')}")
    growths = [one.growth_mib for one in large if one.growth_mib is not None]
    for role in growths[0]:
        risen = [one[role] for one in growths]
        print(f"{role} rose by {spread(risen)} MiB (VmHWM); {goal(max(risen), GOAL_GROWTH_MIB, 'MiB')}")
    print(f"large one acknowledged after {spread([one.large_s for one in large])} s, all delivered after ", end="")
    print(f"{spread([one.delivered_s for one in large])} s")
    figures = {
        name: [
            {
                "p50_ms": percentile(one.latencies_ms, 50),
                "p99_ms": percentile(one.latencies_ms, 99),
                "instances": len(one.latencies_ms),
                "large_s": one.large_s,
                "delivered_s": one.delivered_s,
                "growth_mib": one.growth_mib,
            }
            for one in each
        ]
        for name, each in found.items()
    }
    save("large", {"mib": mib, "sides": figures})
