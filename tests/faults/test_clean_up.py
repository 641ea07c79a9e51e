"""A process dies while nobody can write to the ledger: what it left is cleaned up as soon as somebody can."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.delivering_kit import Delivering
from tests.harness.data import make_instances
from tests.harness.ledgers import opened
from tests.harness.tools import wait_until


@contextmanager
def busy(scene: Delivering) -> Iterator[None]:
    """Somebody has the writers' lock of the ledger, and does not let go of it."""
    path = scene.config.ledger_path
    with path.with_name(path.name + ".lock").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.timeout(200)
def test_what_dies_while_the_ledger_is_busy_is_cleaned_up_when_it_is_not(tmp_path: Path) -> None:
    """The clean-up fails, says so, and is tried again; so does a reload, of which the next is done."""
    with Delivering(tmp_path, ["pacs", "dr"]) as scene:
        if not isinstance(scene.config.ledger_source, Path):
            pytest.skip("it is about the lock of SQLite's file")
        scene.start()
        pid = scene.gateway.pid_of("forwarder")
        with busy(scene):
            scene.gateway.kill_role("forwarder")
            scene.reload()
            for event in ("clean_up_failed", "reload_failed"):
                wait_until(lambda event=event: scene.gateway.log_lines(event=event), 60, event)
        (failed,) = scene.gateway.log_lines(event="reload_failed")
        assert failed["error"] == "LedgerBusy"
        scene.gateway.wait_replaced("forwarder", pid)
        scene.send(make_instances(3, seed=1))
        for name in ("pacs", "dr"):
            scene.gateway.wait_delivered(3, name, 60)
        with opened(scene.config.ledger_source) as ledger:
            assert {row.pid for row in ledger.processes() if row.destinations} == {scene.gateway.pid_of("forwarder")}
        scene.config.document["destinations"]["late"] = dict(scene.config.document["destinations"]["dr"])
        scene.reload()
        wait_until(lambda: "late" in known(scene), 30, "the reload")
        assert not scene.gateway.log_lines(event="thread_crashed")


def known(scene: Delivering) -> set[str]:
    """The destinations that the ledger knows."""
    with opened(scene.config.ledger_source) as ledger:
        return {state.name for state in ledger.destinations()}
