"""1, 4 and 20 senders at once: rate, latency, fairness, and what a commit is shared by.

Fairness is the slowest sender's rate over the fastest's, each with instances of its own. Flushes and commits are those
that the metrics listener counts for the receiver. The senders are threads of one process beside the gateway.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import cpu_s
from bench.report import in_turn, percentile, save, show, spread
from bench.scu import Load, Sent
from tests.harness.archive import OurArchive
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.load.load_kit import Batching, batching

SENDERS = (1, 4, 20)
SIZES = {"small 9 KB": (8_500, 1_200), "CT 512 KiB": (512 * 1024, 240)}  # pixel bytes, instances


@dataclass(frozen=True, slots=True)
class Figures:
    """One load of some senders."""

    sent: Sent
    counted: Batching
    cpu_ms: float  # of all processes of the gateway, an instance

    @property
    def fairness(self) -> float:
        """The slowest sender's rate over the fastest's."""
        rates = [
            len(each) / (ended - self.sent.began_s)
            for each, ended in zip(self.sent.latencies_s, self.sent.ended_s, strict=True)
        ]
        return min(rates) / max(rates)


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    rows = []
    saved = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        OurArchive() as archive,
        GatewayProcess(
            GatewayConfig(Path(folder) / "gateway", {"archive": archive.port}, log={"level": "info"})
        ) as gateway,
    ):
        for size, (pixel_bytes, count) in SIZES.items():
            sides = {
                f"{size}, {senders}": lambda senders=senders, pixel_bytes=pixel_bytes, count=count: measure(
                    gateway, senders, pixel_bytes, count
                )
                for senders in SENDERS
            }
            for side, found in in_turn(sides).items():
                saved[side] = [describe(one) for one in found]
                latencies = [latency for one in found for latency in one.sent.all_latencies_ms]
                rows.append(
                    (
                        side,
                        spread([each["instances_a_second"] for each in saved[side]], 0),
                        f"{percentile(latencies, 50):.1f} / {percentile(latencies, 99):.1f}",
                        spread([one.fairness for one in found], 2),
                        spread([one.counted.commits_an_instance for one in found], 2),
                        spread([one.cpu_ms for one in found], 2),
                    )
                )
    columns = ("senders", "instances/s", "ms p50 / p99", "slowest/fastest", "commits", "CPU ms")
    show(
        "senders at once; commits and CPU (whole gateway, until everything is delivered) an instance",
        columns,
        rows,
    )
    save("senders", saved)


def measure(gateway: GatewayProcess, senders: int, pixel_bytes: int, count: int) -> Figures:
    """Send, and wait until everything is at the archive."""
    pid = gateway.supervisor_pid()
    with Load(gateway.config.port, count, pixel_bytes, senders) as load:
        gateway.wait_idle()
        before, cpu = batching(gateway), cpu_s(pid)
        sent = load.run()
        gateway.wait_idle(120)
    return Figures(sent, batching(gateway) - before, (cpu_s(pid) - cpu) / count * 1000)


def describe(one: Figures) -> dict[str, float]:
    """For the JSON file."""
    count = len(one.sent.all_latencies_ms)
    return {
        "instances_a_second": count / one.sent.seconds,
        "latency_p50_ms": percentile(one.sent.all_latencies_ms, 50),
        "latency_p99_ms": percentile(one.sent.all_latencies_ms, 99),
        "fairness": one.fairness,
        "commits_an_instance": one.counted.commits_an_instance,
        "cpu_ms_an_instance": one.cpu_ms,
    }
