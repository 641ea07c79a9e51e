"""What the load tests and `bench` share: how far a process's memory rose, counters between two moments."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.gatewayprocess import GatewayProcess
from tests.harness.tools import peak_resident_bytes, reset_peak, resident_bytes

MIB = 1 << 20


class Growth:
    """How far the resident memory of a gateway's roles rose above what it was when this was made.

    Resident is all that VmRSS counts: anonymous, file-backed and shared pages. The peak is the kernel's own (VmHWM),
    so that nothing between two looks is missed.
    """

    def __init__(self, gateway: GatewayProcess, roles: Iterable[str] = ("receiver", "forwarder")) -> None:
        self._pids = {role: gateway.pid_of(role) for role in roles}
        for pid in self._pids.values():
            reset_peak(pid)
        self._before = {role: resident_bytes(pid) for role, pid in self._pids.items()}

    def bytes_of(self) -> dict[str, int]:
        """Role → bytes, at the worst moment so far."""
        return {role: peak_resident_bytes(pid) - self._before[role] for role, pid in self._pids.items()}


@dataclass(frozen=True, slots=True)
class Batching:
    """The receiver's counters."""

    flushed: float
    commits: float

    def __sub__(self, other: Batching) -> Batching:
        return Batching(self.flushed - other.flushed, self.commits - other.commits)

    @property
    def commits_an_instance(self) -> float:
        return self.commits / self.flushed


def batching(gateway: GatewayProcess, process: str = "receiver-0") -> Batching:
    """What the metrics listener says of one receiver's flushes and commits now."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(gateway.metrics()):
        for sample in family.samples:
            if sample.labels.get("process") == process:
                found[sample.name] = sample.value
    return Batching(found.get("gateway_spool_flush_seconds_count", 0.0), found.get("gateway_ledger_commits_total", 0.0))


def device_flushes(path: Path) -> int:
    """How often the device below `path` was told to flush its cache, by the kernel's count (iostats, field 15)."""
    device = os.stat(path).st_dev
    return int(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[15])
