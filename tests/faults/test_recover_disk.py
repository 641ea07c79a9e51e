"""`gateway recover` on a disk that runs full: a ledger that is not whole never takes the ledger's name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from gateway.app import recover as recovery
from gateway.config import Config, load
from gateway.errors import LedgerError, LedgerFull
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Arrival
from tests.harness.backends import about_sqlite
from tests.harness.gatewayprocess import GatewayConfig
from tests.harness.machine import Tmpfs
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store

pytestmark = about_sqlite

COUNT = 300


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Config]:
    """The state folder is on a disk of 8 MiB; the spool, elsewhere, holds 300 instances."""
    with Tmpfs(tmp_path / "disk", 8 << 20) as disk:
        written = GatewayConfig(
            tmp_path, {"pacs": 1}, state_dir=str(disk.path / "state"), spool={"dir": str(tmp_path / "spool")}
        )
        intake = make_intake(make_spool(tmp_path / "spool"), pool_size=COUNT)
        for number in range(COUNT):
            store(intake, b"data set", make_meta(sop_instance_uid=f"1.2.{number}"))
        yield load(written.write(), os.environ)


def ledger_of(config: Config) -> Path:
    return config.state_dir / "ledger.db"


def fill(folder: Path) -> Path:
    """Use up the room with a file of someone else."""
    path = folder / "someone-else"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def recovers(config: Config) -> None:
    assert recovery.recover(config)["recovered"] == COUNT
    with closing(SqliteLedger.open(ledger_of(config), create=False)) as ledger:
        assert ledger.check() == []


def test_a_disk_that_is_full_when_the_log_is_moved_leaves_no_ledger(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SqliteLedger.record_recovered
    filled: list[Path] = []

    def record_then_fill(ledger: SqliteLedger, arrivals: Sequence[Arrival], now_ms: int) -> int:
        recorded = record(ledger, arrivals, now_ms)
        filled.append(fill(config.state_dir))
        return recorded

    monkeypatch.setattr(SqliteLedger, "record_recovered", record_then_fill)
    with pytest.raises(LedgerFull):
        recovery.recover(config)
    assert not ledger_of(config).exists()
    monkeypatch.undo()
    filled[0].unlink()
    recovers(config)


def test_a_log_that_is_left_when_the_ledger_is_closed_leaves_no_ledger(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = SqliteLedger.close

    def fill_then_close(ledger: SqliteLedger) -> None:
        fill(config.state_dir)
        close(ledger)

    monkeypatch.setattr(SqliteLedger, "checkpoint", lambda ledger: None)
    monkeypatch.setattr(SqliteLedger, "close", fill_then_close)
    with pytest.raises(LedgerError, match="make room"):
        recovery.recover(config)
    assert not ledger_of(config).exists()
    monkeypatch.undo()
    (config.state_dir / "someone-else").unlink()
    recovers(config)


def test_the_log_of_a_long_recovery_stays_short(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "BATCH", 5)
    record = SqliteLedger.record_recovered
    sizes: list[int] = []

    def record_and_look(ledger: SqliteLedger, arrivals: Sequence[Arrival], now_ms: int) -> int:
        recorded = record(ledger, arrivals, now_ms)
        sizes.append(ledger.wal_bytes)
        return recorded

    monkeypatch.setattr(SqliteLedger, "record_recovered", record_and_look)
    recovers(config)
    assert len(sizes) == COUNT // 5
    first = sizes[recovery.CHECKPOINT_BATCHES - 1]
    assert max(sizes) < 2 * first, f"after {recovery.CHECKPOINT_BATCHES} batches {first}, then up to {max(sizes)} bytes"
