"""Workload `idle`: CPU and memory of a gateway with two destinations that does nothing, process by process.

PSS is the proportional set size: shared pages are divided among the processes that share them. CPU is of one core.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.goals import Figures, Goal, Verdict
from bench.measure import Scale, folder_of, tell
from bench.peers import GatewaySide
from bench.processes import gateway_pids, own_cpu_s, pss_bytes
from tests.harness.tools import free_port

LOOK_S = 12.0
MB = 1_000_000


def idle(scale: Scale) -> list[Verdict]:
    """As many looks as rounds, after one that does not count."""
    look_s = LOOK_S / scale.divisor
    with ExitStack() as stack:
        side = stack.enter_context(GatewaySide(folder_of(stack) / "gateway", [free_port(), free_port()]))
        side.idle()
        side.gateway.metrics()  # somebody looked at it once
        pids = gateway_pids(side.gateway)
        looks = [_look(pids, look_s) for _ in range(scale.rounds + 1)][1:]
    found = {name: [look[name] for look in looks] for name in looks[0]}
    return tell("idle", found, [Goal("all", "CPU %", 0.5), Goal("all", "PSS MB", 200)])


def _look(pids: dict[str, int], look_s: float) -> dict[str, Figures]:
    before, began_s = {name: own_cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(look_s)  # the load: nothing
    took_s = time.monotonic() - began_s
    found: dict[str, Figures] = {
        name: {
            "CPU %": (own_cpu_s(pid) - before[name]) / took_s * 100,
            "PSS MB": pss_bytes(pid) / MB,
        }
        for name, pid in pids.items()
    }
    return found | {"all": {figure: sum(one[figure] for one in found.values()) for figure in ("CPU %", "PSS MB")}}
