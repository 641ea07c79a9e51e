"""`gateway ledger copy`: a host that ran on SQLite goes on with PostgreSQL and the same spool, and nothing is lost."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.archive import OurArchive
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.ledgerrows import look
from tests.harness.ledgers import postgres_server
from tests.harness.postgres import PASSWORD
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import Completed, free_port, wait_until
from tests.integration.cli_site import command

SENT = 6


@dataclass
class Host:
    """A host whose SQLite ledger knows what `pacs` has, and `dr` waits for."""

    config: GatewayConfig
    pacs: OurArchive
    dr_port: int
    database: str

    @property
    def url(self) -> str:
        return postgres_server().url(self.database)

    @property
    def url_file(self) -> Path:
        path = self.config.folder / "ledger-url"
        path.write_text(f"{self.url}\n")
        path.chmod(stat.S_IRUSR)
        return path

    def run(self, *words: str | Path) -> Completed:
        return command(*words, "--config", self.config.path, cwd=self.config.folder)

    def copy(self, *words: str | Path) -> Completed:
        return self.run("ledger", "copy", *(words or ("--to-file", self.url_file)))

    def listed(self) -> dict[str, dict[str, str]]:
        """instance → destination → state, by `gateway list`."""
        rows = json.loads(self.run("list", "--json").check().stdout)
        return {row["instance_id"]: {each["destination"]: each["state"] for each in row["deliveries"]} for row in rows}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A stopped host: six instances are in `pacs`, and `dr` does not answer."""
    with OurArchive() as pacs:
        dr_port = free_port()
        config = GatewayConfig(tmp_path, {"pacs": pacs.port, "dr": dr_port}, ledger={"url": "sqlite"})
        found = Host(config, pacs, dr_port, postgres_server().create_database())
        gateway = GatewayProcess(config)
        try:
            gateway.start(timeout_s=60)
            with Journal(tmp_path / "journal") as journal:
                JournalSender(config.port, journal, list(make_instances(SENT, seed=7)), associations=2).run()
            wait_until(lambda: pacs.count == SENT, 30, "pacs to have all")
            assert gateway.stop() == 0
        finally:
            gateway.close()
        yield found


def test_a_host_moves_and_delivers_what_waited(host: Host) -> None:
    before = host.listed()
    assert len(before) == SENT
    done = host.copy().check()
    assert f"{SENT} instances, " in done.stdout
    assert f"are in the database {host.database} on 127.0.0.1:" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    (kept,) = host.config.state_dir.glob("ledger.db.copied-*")
    assert str(kept) in done.stdout
    with look(kept) as ask:
        assert ask("SELECT count(*) FROM instance") == [(SENT,)]
    for words in (
        ("run",),
        ("list",),
        ("release", "--all", "--yes"),
        ("recover",),
        ("ledger", "copy", "--to", "postgresql:///x"),
    ):
        refused = host.run(*words)
        assert refused.returncode == 2
        assert "the ledger was moved to PostgreSQL, and what it was is kept as" in refused.stderr
    host.config.document["ledger"] = {"url": host.url}
    host.config.write()
    assert host.listed() == before
    with OurArchive(port=host.dr_port) as dr, GatewayProcess(host.config):
        wait_until(lambda: dr.count == SENT, 60, "dr to get what waited")
        assert host.pacs.count == SENT, "what pacs had was not sent again"
        wait_until(lambda: all(set(each.values()) == {"delivered"} for each in host.listed().values()), 30, "it told")


def test_a_gateway_that_runs_is_not_copied(host: Host) -> None:
    with GatewayProcess(host.config):
        refused = host.copy()
        assert refused.returncode == 2
        assert "another gateway, process" in refused.stderr
    assert host.config.ledger_path.exists()


def test_a_copy_to_a_database_that_is_not_empty_changes_nothing(host: Host) -> None:
    host.copy().check()
    (kept,) = host.config.state_dir.glob("ledger.db.copied-*")
    kept.rename(host.config.ledger_path)
    refused = host.copy()
    assert refused.returncode == 2
    assert "is not empty: it holds " in refused.stderr
    assert "instance" in refused.stderr
    assert host.config.ledger_path.exists()
    assert len(host.listed()) == SENT


def test_json_says_what_was_copied(host: Host) -> None:
    said = json.loads(host.copy("--to-file", host.url_file, "--json").check().stdout)
    assert said["rows"]["instance"] == SENT
    assert said["rows"]["delivery"] == 2 * SENT
    assert Path(said["kept_as"]).exists()
    assert said["was_complete"] is False


@pytest.mark.parametrize(
    "to", ["postgresql://gateway:secret-word@localhost/x", "postgresql://localhost/x?user=a&password=secret-word"]
)
def test_a_password_among_the_arguments_is_refused(host: Host, to: str) -> None:
    refused = host.copy("--to", to)
    assert refused.returncode == 2
    assert "name that with --to-file" in refused.stderr
    assert "secret-word" not in refused.stderr


def test_what_is_no_url_is_not_shown(host: Host) -> None:
    refused = host.copy("--to", "host=localhost password=secret-word")
    assert refused.returncode == 2
    assert "not a URL of PostgreSQL" in refused.stderr
    assert "secret-word" not in refused.stderr


def test_the_password_may_come_from_the_environment(host: Host) -> None:
    url = postgres_server().url(host.database, password=None)
    refused = host.copy("--to", url)
    assert refused.returncode == 2
    assert "password" in refused.stderr
    assert host.config.ledger_path.exists()
    words = ("ledger", "copy", "--to", url, "--config", host.config.path)
    command(*words, cwd=host.config.folder, env={"PGPASSWORD": PASSWORD}).check()


def test_a_configuration_that_names_postgresql_already_is_told_the_order(host: Host) -> None:
    host.config.document["ledger"] = {"url": host.url}
    host.config.write()
    refused = host.copy()
    assert refused.returncode == 2
    assert "change ledger.url when the copy is done" in refused.stderr


def test_a_start_on_a_new_ledger_does_not_forget_the_old_one(host: Host) -> None:
    """Whoever changes ledger.url and forgets the copy is told."""
    host.config.document["ledger"] = {"url": host.url}
    host.config.write()
    refused = host.run("run")
    assert refused.returncode == 2
    assert f"this host has one at {host.config.ledger_path}. Move that there by `gateway ledger copy`" in refused.stderr
