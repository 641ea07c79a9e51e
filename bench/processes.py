"""CPU and memory of running processes, from /proc."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.harness.evidence import descendants
from tests.harness.gatewayprocess import GatewayProcess

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU used by a process and all its descendants, the dead included."""
    ticks = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError):  # it has just ended: counted with its parent the next time
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc(5)
    return ticks / _TICKS_A_SECOND


def forget_peak(pid: int) -> None:
    """Let the peaks of a process and all its descendants begin anew (proc(5), clear_refs)."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/{one}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The sum of the largest resident sizes that a process and its descendants have had since `forget_peak`."""
    total = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
    return total


def pss_bytes(pid: int) -> int:
    """Proportional set size: what the process's memory costs, shared pages divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no Pss")


def gateway_pids(gateway: GatewayProcess) -> dict[str, int]:
    """Role (or `supervisor`) and index → pid of each process of a gateway."""
    found = {"supervisor": gateway.supervisor_pid()}
    for role, pids in gateway.roles().items():
        found |= {f"{role}-{index}": pid for index, pid in enumerate(pids)}
    return found
