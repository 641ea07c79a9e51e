"""A PgBouncer of a test's own, in front of a PostgreSQL server of a test's own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from tests.harness import server
from tests.harness.postgres import PASSWORD, USER, PostgresServer
from tests.harness.server import ServerFolder
from tests.harness.tools import Process, free_port, program, require, wait_until


class PgBouncer:
    """Lets anybody in, as `USER`. A context manager. `pool_mode`: `transaction` or `session`."""

    def __init__(self, postgres: PostgresServer, pool_mode: str) -> None:
        require("pgbouncer", "psycopg")
        self.port = free_port()
        self._folder = ServerFolder("gateway-pgbouncer-", user="postgres")
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
        file = self._folder.write("pgbouncer.ini", "\n".join(lines) + "\n")
        argv = [*self._folder.wrapper, program("pgbouncer"), file]
        self.process = Process(argv, self._folder.path / "log", "pgbouncer", cwd=self._folder.path)
        wait_until(self._answers, 30, self.process.output)

    def url(self, database: str) -> str:
        """The URL of a database through it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def close(self) -> None:
        """End it, and remove its folder."""
        server.kill(self.process)
        self._folder.remove()

    def _answers(self) -> bool:
        import psycopg

        assert self.process.running, self.process.output()
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
