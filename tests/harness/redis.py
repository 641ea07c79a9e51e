"""A Redis of a test's own, as bare or as locked up as wanted, and a master with its replica under Sentinels.

By default it wants a password and keeps an append-only file, as a queue's Redis should. `kill` is SIGKILL; what
`start` finds afterwards is what it had on disk. `flush_all` is the operator's mistake, `freeze` the network's.
`set` changes a setting while it runs (`maxmemory`, `maxmemory-policy`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.harness.certificates import LOOPBACK, CertificateAuthority
from tests.harness.server import Server, ServerFolder
from tests.harness.tools import Process, free_port, program, require, wait_until

USER, PASSWORD = "gateway", "p@ss/word"  # must be quoted in a URL
_SERVICE = "gateway"


class RedisServer(Server):
    """See the module's docstring. Starts at once; a context manager, or ended by `close`.

    `password` "": none is asked for. `user`: an ACL user who alone may enter, with `rules` as his rights; the default
    user is off. `tls`: encrypted connections only. `settings` are redis.conf's: `maxmemory_policy="allkeys-lru"`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        password: str = PASSWORD,
        user: str = "",
        rules: str = "~* &* +@all",
        tls: bool = False,
        appendonly: bool = True,
        **settings: str,
    ) -> None:
        require("redis-server", "redis")
        self.host = host
        self.port = free_port(host)
        self.user, self.password = user, password
        self.authority: CertificateAuthority | None = None
        super().__init__("redis", ServerFolder("gateway-redis-"))
        try:
            lines = self._lines(rules, tls, appendonly) + [
                f"{name.replace('_', '-')} {value}" for name, value in settings.items()
            ]
            self._config = self._folder.write("redis.conf", "\n".join(lines) + "\n")
            self.start()
        except BaseException:
            self.close()
            raise

    def _lines(self, rules: str, tls: bool, appendonly: bool) -> list[str]:
        lines = [f"bind {self.host}", f"dir {self._folder.path}", "save ''", "loglevel notice"]
        lines += [f"appendonly {'yes' if appendonly else 'no'}", "appendfsync everysec", "maxmemory-policy noeviction"]
        if tls:
            self.authority = CertificateAuthority(self._folder.path / "tls")
            issued = self.authority.issue("redis", [*LOOPBACK, self.host])
            lines += ["port 0", f"tls-port {self.port}", f"tls-ca-cert-file {self.authority.path}"]
            lines += [f"tls-cert-file {issued.certificate}", f"tls-key-file {issued.key}", "tls-auth-clients no"]
        else:
            lines.append(f"port {self.port}")
        if self.user:
            lines += ["user default off", f"user {self.user} on >{self.password} {rules}"]
        elif self.password:
            lines.append(f"requirepass {self.password}")
        else:
            lines.append("protected-mode no")
        return lines

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Stop it in order (SIGTERM)."""
        self.thaw()
        self._running().stop()

    # ── use ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def url(self, database: int = 0, *, user: str | None = None, password: str | None = None) -> str:
        """Its URL with user and password (or others, which are wrong); with TLS, and the authority to trust."""
        named = quote(self.user if user is None else user, safe="")
        secret = quote(self.password if password is None else password, safe="")
        who = f"{named}:{secret}@" if named or secret else ""
        if self.authority:
            return f"rediss://{who}{self.host}:{self.port}/{database}?ssl_ca_certs={self.authority.path}"
        return f"redis://{who}{self.host}:{self.port}/{database}"

    def client(self, database: int = 0, **options: Any) -> Any:
        """A redis-py client of it, for the test itself. It tries once."""
        return client_of(self.url(database), **options)

    def flush_all(self) -> None:
        """FLUSHALL: whatever stood in it is gone."""
        with self.client() as client:
            client.flushall()

    def set(self, name: str, value: str) -> None:
        """CONFIG SET."""
        with self.client() as client:
            client.config_set(name, value)

    def info(self, name: str) -> Any:
        """One value of INFO, `used_memory`."""
        with self.client() as client:
            return client.info()[name]

    def _argv(self) -> list[str | Path]:
        return [program("redis-server"), self._config]

    def _answers(self) -> bool:
        import redis

        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:  # nobody listens, or it is loading its file
            return False


class RedisSentinel:
    """A master, a replica and Sentinels (one is enough for a quorum of one), which agree who is master.

    `fail_over` kills the master and waits until the replica has been made master; the dead one is not started again.
    """

    def __init__(self, *, sentinels: int = 1, down_after_ms: int = 500, password: str = PASSWORD) -> None:
        require("redis-sentinel")
        self.password = password
        self._folder = ServerFolder("gateway-sentinel-")
        self._sentinels: list[Process] = []
        self.ports = [free_port() for _ in range(sentinels)]
        self.servers: list[RedisServer] = []
        try:
            self.servers.append(RedisServer(password=password, masterauth=password))
            followed: dict[str, Any] = {"replicaof": f"127.0.0.1 {self.master.port}", "repl_diskless_sync_delay": "0"}
            self.master.set("repl-diskless-sync-delay", "0")
            self.servers.append(RedisServer(password=password, masterauth=password, **followed))
            wait_until(lambda: self.servers[1].info("master_link_status") == "up", 30, "the replica to follow")
            for index, port in enumerate(self.ports):
                self._sentinels.append(self._start_sentinel(index, port, down_after_ms))
            wait_until(self._sees_replica, 30, "the Sentinels to see the replica")
        except BaseException:
            self.close()
            raise

    @property
    def master(self) -> RedisServer:
        """The one that was started as master."""
        return self.servers[0]

    def url(self, database: int = 0) -> str:
        """redis+sentinel://:password@host:port,host:port/service/database"""
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://:{quote(self.password, safe='')}@{places}/{_SERVICE}/{database}"

    def fail_over(self, timeout_s: float = 30.0) -> RedisServer:
        """Kill the master; the server that is master instead."""
        self.master.kill()
        wait_until(lambda: self._master_port() == self.servers[1].port, timeout_s, "the Sentinels to fail over")
        wait_until(lambda: self.servers[1].info("role") == "master", timeout_s, "the replica to be master")
        return self.servers[1]

    def close(self) -> None:
        """End all of them."""
        for process in self._sentinels:
            process.kill()
        for one in self.servers:
            one.close()
        self._folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_sentinel(self, index: int, port: int, down_after_ms: int) -> Process:
        name = f"sentinel-{index}"
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {self._folder.path}", "protected-mode no"]
        lines += [f"sentinel monitor {_SERVICE} 127.0.0.1 {self.master.port} 1"]
        lines += [f"sentinel auth-pass {_SERVICE} {self.password}"]
        lines += [f"sentinel down-after-milliseconds {_SERVICE} {down_after_ms}"]
        lines += [f"sentinel failover-timeout {_SERVICE} 5000"]
        config = self._folder.write(f"{name}.conf", "\n".join(lines) + "\n")  # rewritten by the Sentinel itself
        process = Process([program("redis-sentinel"), config], self._folder.path / "log", name, cwd=self._folder.path)
        process.wait_for_port(port)
        return process

    def _ask(self, index: int, *words: str) -> Any:
        import redis

        with client_of(f"redis://127.0.0.1:{self.ports[index]}") as client, contextlib.suppress(redis.RedisError):
            return client.execute_command("SENTINEL", *words)
        return None

    def _sees_replica(self) -> bool:
        return all(self._ask(index, "REPLICAS", _SERVICE) for index in range(len(self.ports)))

    def _master_port(self) -> int:
        places = [self._ask(index, "GET-MASTER-ADDR-BY-NAME", _SERVICE) for index in range(len(self.ports))]
        ports = {int(place[1]) for place in places if place}
        return ports.pop() if len(ports) == 1 else 0


def client_of(url: str, **options: Any) -> Any:
    """A redis-py client that tries once."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(url, **{"socket_timeout": 10, "retry": Retry(NoBackoff(), 0), **options})
