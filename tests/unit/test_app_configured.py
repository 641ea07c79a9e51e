"""What a host's configuration names is configured in the ledger for as long as the host runs, whatever others did."""

from __future__ import annotations

from pathlib import Path

from gateway.app.configured import lacks, sync_destinations
from gateway.app.home import home_of
from gateway.config import load
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Role
from tests.harness.gatewayconfig import GatewayConfig


def test_a_host_that_others_had_forgotten_says_again_what_it_names(tmp_path: Path) -> None:
    written = GatewayConfig(tmp_path, {"pacs": 1, "dr": 1})
    written.write()
    config = load(written.path, {})
    config.state_dir.mkdir(parents=True, exist_ok=True)
    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    sync_destinations(ledger, config)
    assert not lacks(ledger, config.destinations)
    ledger.sync_destinations({"other": False}, 1, "another home")  # no process of ours has registered
    assert lacks(ledger, config.destinations)
    ledger.open_session(Role.CONSOLE, config.host, 1, 1, "", home_of(config.state_dir))
    sync_destinations(ledger, config)
    assert not lacks(ledger, config.destinations)
    ledger.sync_destinations({"other": False}, 2, "another home")
    assert not lacks(ledger, config.destinations)
    ledger.close()
