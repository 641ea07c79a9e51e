"""`gateway ledger copy` and `gateway recover` killed anywhere: the ledger is in one place, and no other is used."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from gateway.app import moving
from gateway.app.common import open_ledger_of
from gateway.app.moved import Mark, write_mark
from gateway.app.moving import move_ledger
from gateway.app.recover import recover
from gateway.config import load
from gateway.errors import LedgerAway, LedgerError, LedgerUnsure
from gateway.ledger.base import InstanceFilter
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import InstanceState, Role
from tests.contract.ledger_scene import Scene
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.ledgers import postgres_server
from tests.harness.postgres import PostgresServer
from tests.harness.tools import Completed, run
from tests.integration.cli_site import command
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store

ROOT = Path(__file__).resolve().parents[2]
COUNT = 40


def killed(what: str, point: str, *words: str | Path) -> None:
    """Run it until it kills itself."""
    argv = [sys.executable, "-m", "tests.faults.ledger_move_child", what, point, *words]
    done: Completed = run(argv, 60, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL, done.stderr


def new_database() -> str:
    server = postgres_server()
    return server.url(server.create_database())


def tables(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert row is not None
        return int(row[0])


# ── copy ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    """A host that is stopped, with a ledger of 40 instances."""
    config = GatewayConfig(tmp_path, {"pacs": 1}, ledger={"url": "sqlite"})
    config.write()
    config.state_dir.mkdir()
    scene = Scene(lambda: SqliteLedger.open(config.ledger_path))
    scene.arrive(*(f"i{number}" for number in range(COUNT)))
    scene.route()
    scene.claim(limit=5)  # killed with these in hand
    scene.ledger.close()
    return config


def moved(config: GatewayConfig, url: str) -> None:
    """Call it again: all of it is there, and only there."""
    move_ledger(load(config.path, os.environ), url, lambda done, of: None)
    assert not config.ledger_path.exists()
    assert len(list(config.state_dir.glob("ledger.db.copied-*[0-9]"))) == 1
    assert not list(config.state_dir.glob("*.moving"))
    with closing(PostgresLedger.open(url, create=False)) as ledger:
        assert len(ledger.list_instances(InstanceFilter(), 1000)) == COUNT
        assert ledger.sessions() == []
        assert ledger.check() == []


@pytest.mark.parametrize("point", ["rows", "checked"])
def test_a_copy_killed_before_its_commit_has_not_happened(config: GatewayConfig, point: str) -> None:
    url = new_database()
    killed("copy", point, config.path, url)
    with closing(open_ledger_of(load(config.path, os.environ), create=False)) as ledger:
        assert len(ledger.list_instances(InstanceFilter(), 1000)) == COUNT
        assert ledger.check() == []
    assert tables(url) == 0
    moved(config, url)


@pytest.mark.parametrize("point", ["marked", "committed", "renamed"])
def test_a_copy_killed_about_its_commit_keeps_both_from_being_used(config: GatewayConfig, point: str) -> None:
    url = new_database()
    killed("copy", point, config.path, url)
    with pytest.raises(LedgerError, match=r"the copy may be complete\. Call `gateway ledger copy`"):
        open_ledger_of(load(config.path, os.environ), create=False)
    refused = command("run", "--config", config.path, cwd=config.folder)
    assert refused.returncode == 2
    assert "the copy may be complete" in refused.stderr
    with pytest.raises(LedgerError, match="name that database, not"):
        move_ledger(load(config.path, os.environ), new_database(), lambda done, of: None)
    moved(config, url)
    with pytest.raises(LedgerError, match="was moved to PostgreSQL"):
        open_ledger_of(load(config.path, os.environ), create=True)


def test_a_server_that_is_lost_with_the_commit_is_asked_by_the_next_call(
    config: GatewayConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresServer() as server:
        url = server.url(server.create_database())

        def mark_and_lose(ledger: Path, mark: Mark) -> None:
            write_mark(ledger, mark)
            server.kill()

        monkeypatch.setattr(moving, "write_mark", mark_and_lose)
        with pytest.raises(LedgerUnsure, match=r"Call this again when the server is back"):
            moving.move_ledger(load(config.path, os.environ), url, lambda done, of: None)
        monkeypatch.undo()
        with pytest.raises(LedgerError, match="the copy may be complete"):
            open_ledger_of(load(config.path, os.environ), create=False)
        with pytest.raises(LedgerAway):
            moving.move_ledger(load(config.path, os.environ), url, lambda done, of: None)
        server.start()
        moved(config, url)


# ── recover ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def lost(tmp_path: Path) -> GatewayConfig:
    """A host on PostgreSQL with a spool of 40 instances and one that is damaged, whose database is new."""
    config = GatewayConfig(tmp_path, {"pacs": 1}, ledger={"url": new_database()})
    config.write()
    spool = make_spool(config.spool_dir)
    intake = make_intake(spool, pool_size=COUNT + 1)
    for number in range(COUNT):
        store(intake, b"data set", make_meta(sop_instance_uid=f"1.2.{number}"))
    damaged = spool.path(store(intake, b"data set").path)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    return config


def url_of(config: GatewayConfig) -> str:
    return str(config.document["ledger"]["url"])


def recovered(config: GatewayConfig) -> None:
    found = recover(load(config.path, os.environ))
    assert (found["recovered"], len(found["damaged"]), found["put_aside"]) == (COUNT, 1, "")
    with closing(PostgresLedger.open(url_of(config), create=False)) as ledger:
        rows = ledger.list_instances(InstanceFilter(), 1000)
        assert len(rows) == COUNT
        assert {(row.state, row.reason) for row in rows} == {(InstanceState.HELD, "recovered")}
        assert ledger.gauges().instances["held"] == COUNT
        assert ledger.check() == []
    assert not list(config.state_dir.glob("ledger.db*"))


def test_recover_holds_everything_in_a_new_database(lost: GatewayConfig) -> None:
    refused = command("run", "--config", lost.path, cwd=lost.folder)
    assert refused.returncode == 2
    assert "or run `gateway recover`: it makes a new one" in refused.stderr
    recovered(lost)
    with pytest.raises(LedgerError, match=r"knows instances already\. On a server nothing is put aside: make a new"):
        recover(load(lost.path, os.environ))


@pytest.mark.parametrize("point", ["rows", "checked"])
def test_a_recovery_that_was_killed_leaves_no_part_of_a_ledger(lost: GatewayConfig, point: str) -> None:
    killed("recover", point, lost.path)
    with closing(PostgresLedger.open(url_of(lost), create=False)) as ledger:
        assert ledger.is_empty()
    refused = command("run", "--config", lost.path, cwd=lost.folder)
    assert refused.returncode == 2
    assert "gateway recover" in refused.stderr
    recovered(lost)


def test_a_host_starts_after_a_recovery_that_found_nothing_whole(lost: GatewayConfig) -> None:
    for path in lost.spool_dir.rglob("*.dcm"):
        if path.stat().st_size:
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    found = recover(load(lost.path, os.environ))
    assert (found["recovered"], len(found["damaged"])) == (0, COUNT + 1)
    with GatewayProcess(lost) as gateway:
        assert len({said["file"] for said in gateway.log_lines(event="damaged_file_left")}) == COUNT + 1


def test_a_ledger_that_another_host_uses_is_not_recovered(lost: GatewayConfig) -> None:
    with closing(PostgresLedger.open(url_of(lost))) as ledger:
        other = ledger.open_session(Role.RECEIVER, "host-b", 1, 1, "", "f" * 32)
        with pytest.raises(LedgerError, match="in use by host-b: stop the gateway on all hosts"):
            recover(load(lost.path, os.environ))
        ledger.void_session(other.session_id, 1)
        ledger.sync_destinations({"pacs": False}, 1, "f" * 32)  # of a host that began with an empty spool
    recovered(lost)
