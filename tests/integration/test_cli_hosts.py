"""`gateway hosts`, `gateway drain`, and `gateway queue` where several hosts serve."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from gateway.ledger.sqlite import SqliteLedger
from gateway.model import STARTED_ROLES, Role
from tests.integration.cli_site import Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway with two archives."""
    with running_site(tmp_path_factory.mktemp("hosts")) as running:
        yield running


@contextlib.contextmanager
def ledger_of(site: Site) -> Iterator[SqliteLedger]:
    """Its ledger."""
    with contextlib.closing(SqliteLedger.open(site.gateway.config.ledger_path, create=False)) as ledger:
        yield ledger


def test_hosts_lists_every_process_and_what_it_serves(site: Site) -> None:
    rows = site.json("hosts")["processes"]
    assert sorted(row["role"] for row in rows) == sorted(map(str, STARTED_ROLES))
    assert {row["pid"] for row in rows} == {pid for pids in site.gateway.roles().values() for pid in pids}
    assert {row["is"] for row in rows} == {"working"}
    assert all(0 <= row["last_beat_age_s"] < 60 for row in rows)
    (forwarder,) = [row for row in rows if row["role"] == "forwarder"]
    assert forwarder["destinations"] == ["dr", "pacs"]
    lines = site.run("hosts").check().stdout.splitlines()
    (line,) = [line for line in lines if " forwarder " in line]
    assert "dr, pacs" in line
    assert line.endswith("working")
    assert len(lines) == 2 + len(rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "there is no host 'nowhere' (there are: "),
        (("nowhere", "--roles", "console"), "it cannot be drained"),
        (("nowhere", "--roles", "sweeper"), "choose from receiver, worker, forwarder"),
        (("nowhere", "--roles", "supervisor"), "choose from receiver, worker, forwarder"),
        (("nowhere", "--undo", "--wait"), "--wait is for draining"),
    ],
)
def test_an_order_that_cannot_be_meant_does_nothing(site: Site, words: tuple[str, ...], said: str) -> None:
    done = site.run("drain", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert site.json("hosts")["draining"] == []


def test_a_host_is_drained_and_undone_by_name_and_who_did_it_is_told(site: Site) -> None:
    host = site.json("hosts")["processes"][0]["host"]
    told = site.json("drain", host, "--roles", "worker", "--wait")
    assert told == {"host": host, "roles": ["worker"], "draining": True, "changed": 1, "not_done": []}
    (row,) = site.json("hosts")["draining"]
    assert (row["host"], row["role"]) == (host, "worker")
    assert row["actor"].startswith("cli")
    assert site.run("drain", host, "--roles", "worker").check().stdout == f"{host}: worker: drained\n"
    assert site.run("drain", host, "--undo").check().stdout.endswith("taking work again\n")
    assert site.json("hosts")["draining"] == []


def test_the_queue_says_which_host_serves_a_destination_where_there_are_several(site: Site) -> None:
    queue = site.json("queue")
    host = site.json("hosts")["processes"][0]["host"]
    assert {each["served_by"] for each in queue["destinations"].values()} == {host}
    assert " by" not in site.run("queue").check().stdout.splitlines()[1]
    with ledger_of(site) as ledger:
        other = ledger.open_session(Role.FORWARDER, "host-b", os.getpid(), 1)
        head, *rows = [line.split() for line in site.run("queue").check().stdout.splitlines()[1:]]
        assert head[-1] == "by"
        assert [row[-1] for row in rows if row[0] in ("pacs", "dr")] == [host, host]
        ledger.void_session(other.session_id, 2)
