"""A reload of the configuration: what roles are to read is what the file says, and the audit trail is told of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

from gateway.app.claim import HomeClaim
from gateway.app.common import open_ledger_of, open_spool, run_dir, snapshot_path
from gateway.app.host import HostHooks
from gateway.config import Config, load
from gateway.ledger.trail import NoteTold
from gateway.model import Role
from tests.harness.gatewayconfig import GatewayConfig


def written(folder: Path, destinations: dict[str, int]) -> Config:
    config = GatewayConfig(folder, destinations)
    config.write()
    return load(config.path, {})


def notes(config: Config) -> list[str]:
    """What the audit trail is to be told."""
    with closing(open_ledger_of(config, create=False)) as ledger:
        session = ledger.open_session(Role.CONSOLE, "host", 1, 1, home="home")
        untold = ledger.take_untold(session, 1 << 60, quiet_ms=0, late_ms=0, limit=100)
        if untold is None:
            return []
        return [each.note.what for each in untold.told if isinstance(each, NoteTold)]


def test_a_changed_configuration_is_kept_as_it_is_written_and_told_of(tmp_path: Path) -> None:
    config = written(tmp_path, {"pacs": 11113})
    run_dir(config).mkdir(parents=True)
    open_ledger_of(config, create=True).close()
    hooks = HostHooks(config, tmp_path / "gateway.yaml", open_spool(config), cast("HomeClaim", None))
    assert hooks.reload()
    written(tmp_path, {"pacs": 11113, "dr": 11114})
    assert hooks.reload()
    assert snapshot_path(config).read_text() == (tmp_path / "gateway.yaml").read_text()
    assert notes(config) == ["configuration changed"], "what is the same is no change"
