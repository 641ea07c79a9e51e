"""A PgBouncer of a test's own, in front of a PostgreSQL server of a test's own."""

from __future__ import annotations

from pathlib import Path

from tests.harness.postgres import PASSWORD, USER, PostgresServer
from tests.harness.server import Server, ServerFolder
from tests.harness.tools import free_port, program, require


class PgBouncer(Server):
    """Lets anybody in, as `USER`. A context manager. `pool_mode`: `transaction` or `session`."""

    def __init__(self, postgres: PostgresServer, pool_mode: str) -> None:
        require("pgbouncer", "psycopg")
        self.port = free_port()
        super().__init__("pgbouncer", ServerFolder("gateway-pgbouncer-", user="postgres"))
        behind = f"host={postgres.host} port={postgres.port} user={USER} password={PASSWORD}"
        lines = [
            "[databases]",
            f"* = {behind}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            f"pool_mode = {pool_mode}",
        ]
        self._file = self._folder.write("pgbouncer.ini", "\n".join(lines) + "\n")
        self.start()

    def _argv(self) -> list[str | Path]:
        return [program("pgbouncer"), self._file]

    def url(self, database: str) -> str:
        """The URL of a database through it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
