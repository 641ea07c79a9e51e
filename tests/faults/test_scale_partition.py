"""Three hosts with addresses of their own, and one of them parted from Redis, then from PostgreSQL, then dead."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.crash_kit import LONG, Load, scaled
from tests.faults.scale_kit import RECONCILED_WITHIN_S, Host, Site, frozen
from tests.harness.lan import Lan
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisServer
from tests.harness.tools import require, wait_until

HOSTS = ("a", "b", "c")
PARTED_S = 75.0  # in the long test: for long enough that the others take a host for dead


@pytest.fixture
def lan() -> Iterator[Lan]:
    require("netns")
    with Lan(HOSTS, ["redis", "postgres"]) as made:
        yield made


@pytest.mark.chaos
@pytest.mark.timeout(scaled(300, 900))
def test_a_host_parted_from_redis_then_from_the_ledger_then_killed_loses_nothing(tmp_path: Path, lan: Lan) -> None:
    """The others go on meanwhile. Whatever the host acknowledged before it was parted, or in between, is everywhere
    within a minute of the heal; no more was sent twice than was on its way."""
    with (
        PostgresServer(host=lan.address("postgres")) as postgres,
        RedisServer(host=lan.address("redis")) as redis,
        Site(tmp_path, dict.fromkeys(HOSTS, Host()), redis=redis, postgres=postgres, lan=lan) as site,
    ):
        site.start()
        with ExitStack() as stack:
            loads = {
                name: stack.enter_context(Load(site.door(name), round_size=8, associations=2, timeout_s=5, seed=number))
                for number, name in enumerate(HOSTS)
            }
            go_on(site, loads, *HOSTS)
            with lan.parted("a", "redis"):
                go_on(site, loads, *HOSTS)
            go_on(site, loads, *HOSTS)
            in_flight = site.leased()
            with lan.parted("a", "postgres"):
                go_on(site, loads, "b", "c")
                in_flight = max(in_flight, site.leased())
                threading.Event().wait(PARTED_S if LONG else 0.0)
            loads["a"].wait_acknowledged(loads["a"].acknowledged + 10, RECONCILED_WITHIN_S)
            go_on(site, loads, *HOSTS)
            with frozen(site.hosts["a"].roles()["forwarder"]):
                in_flight += site.leased()
                site.hosts["a"].kill_all()
            go_on(site, loads, "b", "c")
            if LONG:  # it stays dead, and the others do without it
                loads.pop("a").stop()
            else:
                for name in ("b", "c"):
                    loads.pop(name).stop()
                site.start("a")
                go_on(site, loads, "a")
        site.settle()
        report = site.judge().assert_clean(delivered=True)
        taken = Counter(line["role"] for line in site.log_lines(event="taken_for_dead", host="a"))
        print(f"{in_flight} in flight; taken for dead on a: {dict(taken)}; {report}")
        if LONG:
            assert taken["receiver"] and taken["forwarder"]
        assert report.forwarder_duplicates.total() <= in_flight


def go_on(site: Site, loads: dict[str, Load], *names: str) -> None:
    """These hosts go on taking instances."""
    wanted = {name: loads[name].acknowledged + 10 for name in names}
    for name, count in wanted.items():
        wait_until(
            lambda name=name, count=count: loads[name].acknowledged >= count,
            RECONCILED_WITHIN_S,
            lambda name=name: f"host {name} to take more\n{site.logs(3000)}",
        )
