"""One scrape of /metrics with 10^6 deliveries waiting, beside one with none, in turn.

    python -m bench scrape --waiting 1000000

Goal: 20 ms. Two gateways run at once; the ledger of one was filled beforehand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import cpu_s
from bench.report import goal, in_turn, percentile, save, show, spread
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.tools import free_port
from tests.load.backlog import fill

DESTINATIONS = ("archive", "reading")
ROUNDS = 100
GOAL_MS = 20.0


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(prog="bench scrape")
    arguments.add_argument("--waiting", type=int, default=1_000_000, help="deliveries that wait")
    waiting = arguments.parse_args(options).waiting
    with tempfile.TemporaryDirectory() as folder:
        ports = dict.fromkeys(DESTINATIONS, free_port())  # nobody listens there
        full, empty = (GatewayProcess(GatewayConfig(Path(folder) / name, ports)) for name in ("full", "empty"))
        full.config.state_dir.mkdir(parents=True)
        began = time.monotonic()
        fill(full.config.ledger_path, DESTINATIONS, waiting)
        print(f"filled in {time.monotonic() - began:.0f} s, {full.config.ledger_path.stat().st_size / 1e6:.0f} MB")
        with empty:
            try:
                compare(waiting, full.start(timeout_s=300), empty)
            finally:
                full.close()


def compare(waiting: int, full: GatewayProcess, empty: GatewayProcess) -> None:
    """Scrape both in turn, and print what a scrape took and what it cost."""
    sides = {f"{waiting:,} waiting": full, "none waiting": empty}
    times = in_turn({name: lambda one=one: scrape_ms(one) for name, one in sides.items()}, ROUNDS)
    cpu = {name: scrapes_cpu_ms(one) for name, one in sides.items()}
    rows = [(name, spread(each, 2), f"{percentile(each, 99):.2f}", f"{cpu[name]:.2f}") for name, each in times.items()]
    show("one scrape, ms", ("ledger", "median (least - greatest)", "p99", "CPU of all processes"), rows)
    print(goal(percentile(next(iter(times.values())), 50), GOAL_MS, "ms (median)"))
    save("scrape", {"waiting": waiting, "times_ms": times, "cpu_ms": cpu})


def scrape_ms(gateway: GatewayProcess) -> float:
    """How long one scrape took; the first byte of the request to the last of the answer, connection included."""
    began = time.perf_counter()
    status, _ = gateway.page("/metrics", gateway.config.metrics_port)
    assert status == 200
    return (time.perf_counter() - began) * 1000


def scrapes_cpu_ms(gateway: GatewayProcess) -> float:
    """CPU of all the gateway's processes for a scrape, over many, without what they use when nobody asks."""
    pid = gateway.supervisor_pid()
    before, began = cpu_s(pid), time.monotonic()
    for _ in range(ROUNDS):
        scrape_ms(gateway)
    after, ended = cpu_s(pid), time.monotonic()
    time.sleep(ended - began)  # the same time again, unasked
    return ((after - before) - (cpu_s(pid) - after)) / ROUNDS * 1000
