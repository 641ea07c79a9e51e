"""Two hosts with Redis and PostgreSQL, under load: restarted one after the other behind a balancer, which nobody
notices; and kill -9 of anything: any role's process, a whole host, Redis (which is emptied, too) and PostgreSQL.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.crash_kit import LONG, READY_WITHIN_S, Door, Load, scaled
from tests.faults.scale_kit import RECONCILED_WITHIN_S, Host, Site, frozen
from tests.harness.gatewayprocess import ROLES, GatewayProcess
from tests.harness.ledgerrows import rows
from tests.harness.ledgers import opened
from tests.harness.postgres import PostgresServer
from tests.harness.proxy import TcpProxy
from tests.harness.redis import RedisServer
from tests.harness.tools import wait_until

SEED = int(os.environ.get("GATEWAY_CHAOS_SEED", "20240229"))
# Two receivers, three workers, two forwarders.
HOSTS = {"a": Host(processes={"worker": 2}), "b": Host()}
INSTANCES = 10_000  # of the long campaign
SILENT_S = 45.0
MOST_ARRIVALS = 40  # between two kills


@dataclass(frozen=True, slots=True)
class Victim:
    """Who is killed: a role's process of a host, a whole host (role ""), or a server (host "")."""

    host: str = ""
    role: str = ""
    server: str = ""

    def __str__(self) -> str:
        return self.server or f"{self.host} {self.role or 'whole'}"


SERVERS = tuple(Victim(server=name) for name in ("redis", "redis emptied", "postgres", "postgres silent"))
PROCESSES = tuple(Victim(host, role) for host in HOSTS for role in ROLES)
WHOLE = tuple(Victim(host) for host in HOSTS)
A_FEW = (
    Victim("a", "forwarder"),
    Victim(server="postgres"),
    Victim("a", "worker"),
    Victim(server="redis emptied"),
    Victim("b", "receiver"),
    Victim(server="redis"),
    Victim(server="postgres silent"),
    Victim("b", "forwarder"),
    Victim("a", "console"),
)


class Killer:
    """Kills one victim after the other while everyone is at work, and sees to it that each comes back.

    `acknowledged`: how many instances were taken so far.
    """

    def __init__(self, site: Site, acknowledged: Callable[[], int], seed: int) -> None:
        self.site = site
        self.acknowledged = acknowledged
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.refused_starts = 0  # a host does not start while the ledger is away
        self.in_flight = 0  # deliveries that were on their way when their forwarder, or the ledger, was killed

    def wait_at_work(self, count: int) -> None:
        """Wait until so many more copies have come to the archives."""
        before = self._copies()
        wait_until(
            lambda: self.keep_running() and self._copies() >= before + count,
            READY_WITHIN_S,
            lambda: f"{count} copies to arrive after {dict(self.kills)}\n{self.site.logs(3000)}",
        )

    def wait_ready(self) -> None:
        """Wait until every host is, after as many starts as that takes."""
        hosts = self.site.hosts.values()
        wait_until(
            lambda: self.keep_running() and all(gateway.readiness()[0] == 200 for gateway in hosts),
            READY_WITHIN_S,
            lambda: f"every host to be ready after {dict(self.kills)}\n{self.site.logs(3000)}",
        )

    def keep_running(self) -> bool:
        """What a service manager does: start a host again that could not start. Always True."""
        for gateway in self.site.hosts.values():
            process = gateway.process
            assert process is not None
            if not process.running:
                said = gateway.log(this_start=True)
                assert "PostgreSQL cannot be reached" in said, f"exit {process.returncode}: {said[-3000:]}"
                self.refused_starts += 1
                gateway.start(ready=False)
        return True

    def go_on(self, count: int) -> None:
        """Wait until so many more instances were taken."""
        before = self.acknowledged()
        wait_until(
            lambda: self.keep_running() and self.acknowledged() >= before + count,
            RECONCILED_WITHIN_S,
            lambda: f"{count} more to be taken after {dict(self.kills)}\n{self.site.logs(3000)}",
        )

    def _copies(self) -> int:
        return sum(archive.count for archive in self.site.archives.values())

    def kill(self, victim: Victim) -> None:
        """SIGKILL, and start again what nobody else does."""
        if victim.server:
            self._kill_server(victim.server)
        else:
            self._kill_process(self.site.hosts[victim.host], victim.role)
        self.kills[str(victim)] += 1

    def _kill_server(self, name: str) -> None:
        assert self.site.redis is not None and self.site.postgres is not None
        if name == "redis emptied":
            self.site.redis.flush_all()
        elif name == "redis":
            self.site.redis.kill()
            self.site.redis.start()
        elif name == "postgres silent":
            self.wait_ready()  # a receiver that starts needs the ledger; one that runs does not
            with self.site.postgres.frozen():
                self.go_on(20)
        else:
            forwarders = [pid for host in self.site.hosts.values() for pid in host.roles().get("forwarder", [])]
            with self._counted(forwarders):
                self.site.postgres.kill()
            self.site.postgres.start()

    def _kill_process(self, gateway: GatewayProcess, role: str) -> None:
        pids = gateway.roles().get(role or "forwarder", [])
        with self._counted(pids if role in ("", "forwarder") else []):
            if not role:
                gateway.kill_all()
            elif pids:
                os.kill(self.random.choice(pids), signal.SIGKILL)
        if not role:
            gateway.start(ready=False)

    @contextmanager
    def _counted(self, forwarders: list[int]) -> Iterator[None]:
        """These stand still, and what they have on its way is counted: none takes more between our look and the end."""
        with ExitStack() as stack:
            if forwarders:
                stack.enter_context(frozen(forwarders))
                self.in_flight += leased_by(self.site, forwarders)
            yield


def leased_by(site: Site, pids: list[int]) -> int:
    """How many deliveries these processes have on their way."""
    query = "SELECT s.pid FROM delivery d JOIN session s USING (session_id) WHERE d.state = 'leased'"
    return sum(pid in pids for (pid,) in rows(site.source, query))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both hosts, for all tests: they are as well after each as before. A verdict is on all that was sent so far."""
    with (
        PostgresServer() as postgres,
        RedisServer() as redis,
        Site(tmp_path_factory.mktemp("site"), HOSTS, redis=redis, postgres=postgres) as found,
    ):
        yield found.start()
        found.stop()
        assert ledger_problems(postgres.url(found.database)) == []


@pytest.mark.chaos
@pytest.mark.timeout(scaled(300, 1800))
def test_a_rolling_restart_refuses_nobody(site: Site) -> None:
    """Every role of every host, stopped in order and started again: each association is served, each instance is
    taken at its first try, nothing is lost, and no more than one instance is sent twice a restart."""
    first, *others = [site.door(name) for name in HOSTS]
    with TcpProxy(first.port, also=[(door.host, door.port) for door in others]) as balancer:
        restarts = 0
        door = Door("127.0.0.1", balancer.port, site.journal)
        with Load(door, round_size=8, associations=2, per_association=4, seed=3) as load:
            for name in tuple(HOSTS) * scaled(1, 10):
                load.wait_acknowledged(load.acknowledged + 16)
                assert site.hosts[name].stop() == 0
                load.wait_acknowledged(load.acknowledged + 16)
                site.start(name)
                restarts += 1
            load.wait_acknowledged(load.acknowledged + 16)
    site.settle(RECONCILED_WITHIN_S)
    report = site.judge().assert_clean(delivered=True)
    print(f"{restarts} restarts, {load.acknowledged} instances; {report}")
    assert balancer.unserved == 0
    assert not load.problems, load.problems
    assert (load.refused, load.unanswered) == (0, 0)
    assert report.duplicates.total() <= restarts


@pytest.mark.chaos
@pytest.mark.timeout(scaled(300, 7200))
def test_kills_of_anything_lose_nothing(site: Site) -> None:
    """Both hosts take instances. Whatever was acknowledged is everywhere within a minute, unaltered; no more was sent
    twice than was on its way at the kills; nothing names a patient, neither Redis nor PostgreSQL's log."""
    before = site.judge()
    size = scaled(8, 20)
    with Load(site.door("a"), round_size=size, seed=1) as one, Load(site.door("b"), round_size=size, seed=2) as two:
        killer = Killer(site, lambda: one.acknowledged + two.acknowledged, SEED)
        one.wait_acknowledged(20)
        two.wait_acknowledged(20)
        campaign(killer)
        killer.wait_ready()
        one.wait_acknowledged(one.acknowledged + 20)
        two.wait_acknowledged(two.acknowledged + 20)
    site.settle(RECONCILED_WITHIN_S)
    report = site.judge().assert_clean(delivered=True)
    by_forwarder = report.forwarder_duplicates.total() - before.forwarder_duplicates.total()
    duplicates = report.duplicates.total() - before.duplicates.total()
    unanswered = one.unanswered + two.unanswered
    print(
        f"{killer.acknowledged()} instances, {killer.kills.total()} kills {dict(killer.kills)}, "
        f"{killer.refused_starts} starts refused; in flight at the kills {killer.in_flight}; "
        f"sent twice {duplicates}; {unanswered} stores unanswered, {one.refused + two.refused} refused; {report}"
    )
    assert by_forwarder <= killer.in_flight
    assert duplicates <= killer.in_flight + unanswered * len(site.archives)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.skipif(not LONG, reason="PostgreSQL stands still for 45 s")
def test_a_ledger_that_stands_still_makes_nobody_take_another_for_dead(site: Site) -> None:
    """For longer than a host may be silent. All take instances meanwhile, and go on after. Nobody begins anew but
    workers, which their supervisor takes for hung while they wait for an answer."""
    assert site.postgres is not None
    earlier, taken_for_dead = site.judge(), site.log_lines(event="taken_for_dead")
    slowly: dict[str, Any] = {"round_size": 8, "pause_s": 1.0}
    with Load(site.door("a"), seed=4, **slowly) as one, Load(site.door("b"), seed=5, **slowly) as two:
        for load in (one, two):
            load.wait_acknowledged(30)
        before = who_serves(site)
        with site.postgres.frozen():
            for load in (one, two):
                load.wait_acknowledged(load.acknowledged + 16)
            threading.Event().wait(SILENT_S)
        for load in (one, two):
            load.wait_acknowledged(load.acknowledged + 16)
    site.settle(RECONCILED_WITHIN_S)
    report = site.judge().assert_clean(delivered=True)
    print(f"{one.acknowledged + two.acknowledged} instances, {one.refused + two.refused} refused; {report}")
    assert site.log_lines(event="taken_for_dead") == taken_for_dead
    assert who_serves(site) == before
    assert report.duplicates.total() == earlier.duplicates.total()


def who_serves(site: Site) -> dict[tuple[str, str], list[int]]:
    """(host, role) → pids, but for workers."""
    return {
        (name, role): pids
        for name, gateway in site.hosts.items()
        for role, pids in gateway.roles().items()
        if role != "worker"
    }


def campaign(killer: Killer) -> None:
    """A few victims one after the other; or, in the long campaign, anyone at random until so many were received."""
    if not LONG:
        for victim in A_FEW:
            killer.wait_at_work(MOST_ARRIVALS // 2)
            killer.kill(victim)
        killer.wait_at_work(MOST_ARRIVALS)
        return
    while killer.acknowledged() < INSTANCES:
        killer.wait_at_work(killer.random.randint(1, MOST_ARRIVALS))
        killer.kill(killer.random.choice((*PROCESSES, *WHOLE, *SERVERS, *SERVERS)))


def ledger_problems(url: str) -> list[str]:
    """What the ledger's own check finds."""
    with opened(url) as ledger:
        return ledger.check()
