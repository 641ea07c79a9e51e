"""Hosts restarted one after the other behind a balancer, under constant load: nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crash_kit import Door, Load, scaled
from tests.faults.scale_kit import Host, Site
from tests.harness.postgres import PostgresServer
from tests.harness.proxy import TcpProxy
from tests.harness.redis import RedisServer

HOSTS = ("a", "b")
ROUNDS = scaled(1, 10)


@pytest.fixture
def servers() -> Iterator[tuple[PostgresServer, RedisServer]]:
    with PostgresServer() as postgres, RedisServer() as redis:
        yield postgres, redis


@pytest.mark.chaos
@pytest.mark.timeout(scaled(300, 1800))
def test_a_rolling_restart_refuses_nobody(tmp_path: Path, servers: tuple[PostgresServer, RedisServer]) -> None:
    """Every role of every host, stopped in order and started again: each association is served, each instance is
    taken at its first try, nothing is lost, and no more than one instance is sent twice a restart."""
    postgres, redis = servers
    with Site(tmp_path, dict.fromkeys(HOSTS, Host()), redis=redis, postgres=postgres) as site:
        site.start()
        doors = [site.door(name) for name in HOSTS]
        with TcpProxy(doors[0].port, also=[(door.host, door.port) for door in doors[1:]]) as balancer:
            restarts = 0
            load = Load(
                Door("127.0.0.1", balancer.port, site.journal), round_size=12, associations=3, per_association=4
            )
            with load:
                for name in HOSTS * ROUNDS:
                    load.wait_acknowledged(load.acknowledged + 30)
                    assert site.hosts[name].stop() == 0
                    load.wait_acknowledged(load.acknowledged + 30)
                    site.start(name)
                    restarts += 1
                load.wait_acknowledged(load.acknowledged + 30)
        site.settle()
        report = site.judge().assert_clean(delivered=True)
        print(f"{restarts} restarts, {load.acknowledged} instances, {dict(load.problems)}; {report}")
        assert balancer.unserved == 0
        assert not load.problems, load.problems
        assert (load.refused, load.unanswered) == (0, 0)
        assert report.duplicates.total() <= restarts
        site.stop()
