"""A standby of PostgreSQL that replicates asynchronously is made primary, and lacks the newest commits.

What had been recorded since of instances, deliveries and leases is gone, while the processes that did it live on.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.crash_kit import Load, known_instances, open_work
from tests.faults.scale_kit import RECONCILED_WITHIN_S, Host, Site
from tests.harness.postgres import PostgresServer
from tests.harness.tools import wait_until

HOSTS = {"a": Host(), "b": Host()}


def is_quiet(site: Site) -> bool:
    """Nothing has a way to go any more but to its purge. Files first: what is recorded between both looks is work."""
    return not site.unknown_files() and not set(+Counter(open_work(site.source))) - {"settled"}


@pytest.mark.timeout(300)
def test_what_the_new_primary_lacks_is_recorded_and_sent_again(tmp_path: Path) -> None:
    spool = {"dir": str(tmp_path / "spool"), "keep": "1h"}
    with PostgresServer() as postgres, Site(tmp_path, HOSTS, postgres=postgres, spool=spool) as site:
        site.start()
        with Load(site.door("a")) as one, Load(site.door("b"), seed=2) as two:
            one.wait_acknowledged(20)
            standby = postgres.copied()
            for load in (one, two):
                load.wait_acknowledged(load.acknowledged + 60)
            known = known_instances(site.source)
            assert len(known) >= 100
            postgres.fail_over(standby)
            for load in (one, two):
                load.wait_acknowledged(load.acknowledged + 30)
        wait_until(lambda: is_quiet(site), RECONCILED_WITHIN_S, lambda: f"nothing to move\n{site.logs()}")
        assert known <= known_instances(site.source)
        site.judge().assert_clean(delivered=True)
        for gateway in site.hosts.values():
            assert gateway.log_lines(event="ledger_replaced", process="receiver-0"), "it ends for nothing else"
