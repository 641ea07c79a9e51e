"""Two machines made from one image, which are one host to the ledger, start in the same seconds: one of them runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.crash_kit import scaled
from tests.faults.scale_kit import Host, Site
from tests.harness.gatewayprocess import GatewayProcess
from tests.harness.postgres import PostgresServer
from tests.harness.tools import wait_until

ROUNDS = scaled(2, 10)


def one_that_ends(gateways: list[GatewayProcess]) -> GatewayProcess | None:
    """The first of them whose process is over."""
    return next((each for each in gateways if each.process is not None and not each.process.running), None)


@pytest.mark.chaos
@pytest.mark.timeout(scaled(120, 600))
def test_of_two_copies_that_start_at_once_one_runs_and_the_other_says_why(tmp_path: Path) -> None:
    with PostgresServer() as postgres, Site(tmp_path, {"a": Host(), "b": Host()}, postgres=postgres) as site:
        for gateway in site.hosts.values():
            gateway.config.state_dir.mkdir(mode=0o700, parents=True)
            (gateway.config.state_dir / "home").write_text("0123456789abcdef" * 2 + "\n")
        for number in range(ROUNDS):
            both = list(site.hosts.values())
            for gateway in both[:: 1 if number % 2 else -1]:
                gateway.start(ready=False)
            refused = wait_until(lambda both=both: one_that_ends(both), 60, lambda: f"one to refuse\n{site.logs()}")
            (running,) = [each for each in both if each is not refused]
            assert "copy of this state folder" in refused.log(this_start=True)
            running.wait_ready()
            assert running.stop() == 0
            assert site.log_lines(event="session_voided") == [], "nobody was taken for dead"
