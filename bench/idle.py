"""Memory of a gateway that does nothing: PSS of each process. PSS divides shared pages among those who share them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.processes import gateway_pids, pss_bytes
from bench.report import save, show
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.tools import free_port, resident_bytes

MIB = 1 << 20


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    with (
        tempfile.TemporaryDirectory() as folder,
        GatewayProcess(GatewayConfig(Path(folder) / "gateway", {"pacs": free_port(), "dr": free_port()})) as gateway,
    ):
        gateway.wait_idle()
        gateway.metrics()
        figures = {
            name: {"pss_bytes": pss_bytes(pid), "rss_bytes": resident_bytes(pid)}
            for name, pid in gateway_pids(gateway).items()
        }
    total = sum(one["pss_bytes"] for one in figures.values())
    rows = [(name, f"{one['pss_bytes'] / MIB:.1f}", f"{one['rss_bytes'] / MIB:.1f}") for name, one in figures.items()]
    show("an idle gateway, MiB", ("process", "PSS", "RSS"), [*rows, ("all", f"{total / MIB:.1f}", "")])
    save("idle", {"processes": figures, "pss_bytes": total})
