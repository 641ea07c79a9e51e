"""CPU and memory of running processes, from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.harness.evidence import descendants
from tests.harness.gatewayprocess import GatewayProcess
from tests.harness.tools import peak_resident_bytes

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def own_cpu_s(pid: int) -> float:
    """Seconds of CPU used by a process and its threads, without its children. OSError when it has ended."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python lacks


def cpu_s(pid: int) -> float:
    """Seconds of CPU used by a process and all its descendants, the dead included."""
    total = 0.0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):  # it has just ended: counted with its parent the next time
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            of_the_dead = sum(map(int, fields[13:15]))  # cutime, cstime: proc(5)
            total += own_cpu_s(one) + of_the_dead / _TICKS_A_SECOND
    return total


def forget_peak(pid: int) -> None:
    """Let the peaks of a process and all its descendants begin anew (proc(5), clear_refs)."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError):
            Path(f"/proc/{one}/clear_refs").write_text("5")


def peaks_bytes(pid: int) -> dict[int, int]:
    """pid → the largest resident size that it has had since `forget_peak`; of a process and all its descendants."""
    found = {}
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(FileNotFoundError, AssertionError):  # it has just ended
            found[one] = peak_resident_bytes(one)
    return found


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
