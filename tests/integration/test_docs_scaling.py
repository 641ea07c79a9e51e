"""The PostgreSQL of docs/scaling.md, walked: every statement, line and command in it is run against a server."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import load
from gateway.ledger.postgres.examine import examine
from tests.harness.archive import OurArchive
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.postgres import PostgresServer
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import Completed, free_port, program, run, wait_until
from tests.integration.cli_site import command

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("\n## PostgreSQL\n")[2].partition("\n## ")[0]
URL_FILE = "/etc/gateway/ledger-url"


def blocks(title: str, language: str) -> list[str]:
    """The lines of a part's blocks."""
    part = SECTION.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", part, re.MULTILINE | re.DOTALL)
    return [line.strip() for block in found for line in block.splitlines()]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that knows nobody but its administrator."""
    with PostgresServer() as server:
        make_database(server)
        yield server


def make_database(server: PostgresServer) -> None:
    """What the document has an administrator do; the harness has made a role of that name already."""
    with server._connect() as connection:
        connection.execute("DROP ROLE gateway")
        statements = blocks("The database", "sql")
        assert len(statements) == 2
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def url(server: PostgresServer) -> str:
    """The document's URL, on this server, which has no TLS; the database is empty."""
    with server._connect() as connection:
        connection.execute("DROP DATABASE gateway WITH (FORCE)")
        connection.execute(blocks("The database", "sql")[1])
    return url_of(server)


def url_of(server: PostgresServer) -> str:
    (line,) = [line for line in blocks("The database", "text") if line.startswith("postgresql://")]
    return line.partition("?")[0].replace("db.example", f"127.0.0.1:{server.port}")


def test_the_database_of_the_document_fits(url: str) -> None:
    found = examine(url, "host-a", 7)
    assert (found.errors, found.warnings) == ([], [])


def test_a_server_reads_the_line_that_lets_the_hosts_in() -> None:
    (line,) = [line for line in blocks("The database", "text") if line.startswith("hostssl")]
    query = "SELECT database, user_name, address, error FROM pg_hba_file_rules WHERE address = '10.1.0.0'"
    with PostgresServer(tls=True) as server:
        with (server._data / "pg_hba.conf").open("a") as file:
            file.write(f"{line}\n")
        assert server.rows(query) == [(["gateway"], ["gateway"], "10.1.0.0", None)]


def test_of_several_servers_the_one_that_takes_writes_is_found(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    (line,) = blocks("When it is away", "text")
    who, password = "gateway@", f"{url.rpartition('@')[0].removeprefix('postgresql://')}@"
    here = line.replace("db-a.example", f"127.0.0.1:{free_port()}").replace("db-b.example", f"127.0.0.1:{server.port}")
    here = here.replace("&sslmode=verify-full", "").replace(who, password)
    assert examine(here, "host-a", 7).errors == []
    config = GatewayConfig(tmp_path, {"pacs": 1}, ledger={"url": line})
    assert load(config.write(), os.environ).ledger.url == line


@pytest.fixture
def archives() -> Iterator[tuple[OurArchive, OurArchive]]:
    with OurArchive() as pacs, OurArchive() as dr:
        yield pacs, dr


def send(config: GatewayConfig, name: str, seed: int) -> None:
    with Journal(config.folder / name) as journal:
        JournalSender(config.port, journal, list(make_instances(3, seed=seed)), associations=1).run()


def test_a_host_is_moved_step_by_step(url: str, archives: tuple[OurArchive, OurArchive], tmp_path: Path) -> None:
    pacs, dr = archives
    config = GatewayConfig(tmp_path, {"pacs": pacs.port, "dr": dr.port}, ledger={"url": "sqlite"})
    with GatewayProcess(config) as gateway:
        send(config, "first", 1)
        assert gateway.stop() == 0
    file = tmp_path / "ledger-url"
    file.write_text(f"{url}\n")
    file.chmod(stat.S_IRUSR)
    copy, check, start = blocks("Moving a running host to PostgreSQL", "sh")
    env = {"GATEWAY_CONFIG": str(config.path)}
    command(*words(copy, file), cwd=tmp_path, env=env).check()
    env["GATEWAY__LEDGER__URL_FILE"] = str(file)
    said = command(*words(check, file), cwd=tmp_path, env=env).check()
    assert re.search(r"^ledger +PostgreSQL .*, gateway: answers$", said.stdout, re.MULTILINE)
    assert start == "gateway run"
    with GatewayProcess(config, env=env):
        send(config, "second", 2)
        wait_until(lambda: (pacs.count, dr.count) == (6, 6), 60, "both to have all, once")


def words(line: str, file: Path) -> list[str]:
    return shlex.split(line.replace(URL_FILE, str(file)))[1:]


def test_what_was_received_since_a_backup_is_adopted_and_sent(
    server: PostgresServer, url: str, archives: tuple[OurArchive, OurArchive], tmp_path: Path
) -> None:
    pacs, dr = archives
    config = GatewayConfig(
        tmp_path, {"pacs": pacs.port, "dr": dr.port}, ledger={"url": url}, spool={"keep": "1 h", "shared": True}
    )
    dump, restore = blocks("Backups", "sh")
    with GatewayProcess(config) as gateway:
        send(config, "first", 1)
        wait_until(lambda: (pacs.count, dr.count) == (3, 3), 60, "both to have the first")
        assert gateway.stop() == 0
        administer(server, dump, tmp_path).check()
        gateway.start()
        send(config, "second", 2)
        wait_until(lambda: (pacs.count, dr.count) == (6, 6), 60, "both to have the second")
        assert gateway.stop() == 0
        with server._connect() as connection:
            connection.execute("DROP DATABASE gateway WITH (FORCE)")
            connection.execute(blocks("The database", "sql")[1])
        administer(server, restore, tmp_path).check()
        gateway.start()
        wait_until(lambda: (pacs.count, dr.count) == (9, 9), 60, "what came after the backup is sent again")
        assert len(pacs.contents()) == 6


def administer(server: PostgresServer, line: str, folder: Path) -> Completed:
    """A command of PostgreSQL's, as its administrator."""
    name, *rest = shlex.split(line)
    env = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": "administrator"}
    return run([program(name), *rest], 60, cwd=folder, env=env)


def test_the_document_tells_of_no_other_command() -> None:
    every = re.findall(r"^ *```sh\n(.*?)^ *```", SECTION, re.MULTILINE | re.DOTALL)
    run_above = blocks("Backups", "sh") + blocks("Moving a running host to PostgreSQL", "sh")
    assert [line.strip() for block in every for line in block.splitlines()] == run_above
