"""A PostgreSQL server of a test's own: a cluster in a temporary folder, on a port of its own, with a database a test.

It is as durable as a real one (fsync is on), takes passwords only (scram-sha-256), and with `tls` encrypted
connections only. PostgreSQL refuses to be root, so there it runs as the user `postgres`. `kill` is SIGKILL for all of
its processes; `start` afterwards recovers. One server serves many tests: `create_database` copies a template, made
once by `template`, for each.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.harness.certificates import LOOPBACK, CertificateAuthority
from tests.harness.server import Server, ServerFolder
from tests.harness.tools import free_port, program, require, run, wait_until

USER, PASSWORD = "gateway", "p@ss/word"  # must be quoted in a URL
_ADMINISTRATOR, _ADMINISTRATOR_PASSWORD = "postgres", "administrator"
_SETTINGS = {
    "shared_buffers": "16MB",
    "max_connections": "100",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_wal_size": "256MB",
    "jit": "off",
    "log_checkpoints": "off",
    "log_connections": "off",
}


class PostgresServer(Server):
    """See the module's docstring. Starts at once; a context manager, or ended by `close`.

    `settings` are laid over those of postgresql.conf. `host` may be an address that network namespaces reach.
    """

    def __init__(self, *, host: str = "127.0.0.1", tls: bool = False, **settings: str) -> None:
        require("initdb", "postgres", "psycopg")
        self.host = host
        self.port = free_port(host)
        self.authority: CertificateAuthority | None = None
        super().__init__("postgres", ServerFolder("gateway-postgres-", user="postgres"))
        self._numbers = itertools.count(1)
        self._data = self._folder.path / "data"
        try:
            self._initialise({**_SETTINGS, **settings}, tls)
            self.start()
            self._execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
        except BaseException:
            self.close()
            raise

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Stop it in order, its clients cut off (SIGINT: fast shutdown)."""
        process = self._running()
        self.thaw()
        process.send_signal(signal.SIGINT)
        process.wait(60)

    def copied(self) -> Path:
        """Its files as they are now, as a standby has them that has followed so far: for `fail_over`. It is killed for
        that, and started again."""
        copy = self._folder.path / "copy"
        self.kill()
        run(["cp", "--archive", self._data, copy]).check()
        self.start()
        return copy

    def fail_over(self, standby: Path) -> None:
        """It dies, and the standby is made primary in its place: what was committed since is not there."""
        self.kill()
        run(["rm", "--recursive", self._data]).check()
        standby.rename(self._data)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("restore_command = '/bin/false'\n")
        self._folder.give(self._folder.write("data/recovery.signal", ""))
        self.start()
        wait_until(lambda: self.rows("SELECT pg_is_in_recovery()") == [(False,)], 60, "the standby to be primary")

    # ── databases ─────────────────────────────────────────────────────────────────────────────────────────────────

    def create_database(self, template: str = "template0") -> str:
        """A new database, owned by `USER`, copied from a template; its name."""
        name = f"{'t' if template == 'template0' else template}_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE {template}")
        return name

    def template(self, name: str, make: Callable[[str], None]) -> str:
        """A database to copy others from. `make` fills it, given its URL, the first time it is asked for."""
        if not self.rows("SELECT 1 FROM pg_database WHERE datname = %s", (name,)):
            self._execute(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE template0")
            make(self.url(name))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str, *, user: str = USER, password: str | None = PASSWORD) -> str:
        """The URL of a database; with TLS the server's certificate is to be verified. None: without a password."""
        who = user if password is None else f"{user}:{quote(password, safe='')}"
        tls = f"?sslmode=verify-full&sslrootcert={self.authority.path}" if self.authority else ""
        return f"postgresql://{who}@{self.host}:{self.port}/{database}{tls}"

    def rows(self, query: str, values: tuple[Any, ...] = (), database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a query, asked as the administrator."""
        with self._connect(database) as connection:
            found: list[tuple[Any, ...]] = connection.execute(query, values).fetchall()
            return found

    def disconnect(self, database: str) -> int:
        """Cut off every client of a database, as an administrator may; how many there were."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        return len(self.rows(query, (database,)))

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _argv(self) -> list[str | Path]:
        return [program("postgres"), "-D", self._data]

    def _connect(self, database: str = "postgres") -> Any:
        import psycopg

        url = self.url(database, user=_ADMINISTRATOR, password=_ADMINISTRATOR_PASSWORD)
        return psycopg.connect(url, autocommit=True, connect_timeout=10)

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        import psycopg

        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self, settings: dict[str, str], tls: bool) -> None:
        password = self._folder.write("password", _ADMINISTRATOR_PASSWORD)
        words: list[str | Path] = [
            "-U",
            _ADMINISTRATOR,
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "scram-sha-256",
            "--pwfile",
            password,
        ]
        quick = ["--no-sync", "--no-instructions", "--wal-segsize=4"]
        run([*self._folder.wrapper, program("initdb"), "-D", self._data, *words, *quick], cwd=self._folder.path).check()
        settings |= {"listen_addresses": self.host, "port": str(self.port)}
        if tls:
            self.authority = CertificateAuthority(self._folder.path / "tls")
            issued = self.authority.issue("postgres", [*LOOPBACK, self.host])
            self._folder.give(self.authority.folder, issued.certificate, issued.key)
            settings |= {"ssl": "on", "ssl_cert_file": str(issued.certificate), "ssl_key_file": str(issued.key)}
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(lines)
        kind = "hostssl" if tls else "host"
        (self._data / "pg_hba.conf").write_text(f"{kind} all all all scram-sha-256\n")
