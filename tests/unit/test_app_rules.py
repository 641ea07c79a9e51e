"""The rules that a start finds in force: what is wrong with them is told where nothing better is there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.app.common import clock_ms
from gateway.app.host import _store_rules
from gateway.config import Config, load
from gateway.flow.reload import RuleWatcher, signature
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Role
from gateway.telemetry import registry

CONFIG = """\
state_dir: ./state
spool: {dir: ./spool}
rules: {dir: ./rules}
listeners: {main: {host: 127.0.0.1, port: 11112}}
sources: {ct1: {ae_titles: [CT1]}}
destinations: {pacs: {host: 10.0.0.2, port: 104, ae_title: PACS}}
"""
GOOD = (
    "transforms: {t: [{deidentify: {key: site}}]}\nrules: [{name: a, send_to: [{destination: pacs, transform: t}]}]\n"
)
OTHER_VERSION = "rules: [{name: a, sent_to: [pacs]}]\n"


@pytest.mark.parametrize(("in_force", "is_told"), [(OTHER_VERSION, True), (GOOD, False)])
def test_a_start_names_what_is_wrong_with_the_set_in_force_when_that_of_the_folder_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], in_force: str, is_told: bool
) -> None:
    """A key that is not there any more is nothing wrong with it: workers hold what needs that."""
    telemetry.configure("supervisor-0", format="json")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "10.yaml").write_text("rules: [{name: folder, sends_to: [pacs]}]\n")
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    ledger = SqliteLedger.open(tmp_path / "ledger.db")
    ledger.store_rules(RuleSet("of-then", {"20.yaml": in_force}), 1)
    _store_rules(ledger, load(tmp_path / "gateway.yaml", {}), {})
    told = capfd.readouterr().err
    assert "10.yaml:1:24" in told and "sends_to" in told
    assert ("rules_in_force_not_loaded" in told) is is_told
    assert ("20.yaml:1:" in told) is is_told
    assert ledger.current_revision() == "of-then"
    ledger.close()


def test_a_change_that_is_refused_is_told_with_the_revision_that_stays_in_force(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("console-0", format="json")
    config = host_with(tmp_path, OTHER_VERSION)

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(tmp_path / "ledger.db"))
        await thread.call(lambda ledger: ledger.store_rules(RuleSet("of-then", {"10.yaml": OLD}), 1))
        watcher = RuleWatcher(thread, config.rules.dir, ("pacs",), clock_ms, lambda plan: None)
        assert await watcher._take(signature(config.rules.dir))
        await thread.close()
        assert await watcher._take(signature(config.rules.dir)), "it is refused, whether or not the ledger answers"

    asyncio.run(main())
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(each["event"], each["revision_in_force"]) for each in told] == [
        ("rules_refused", "of-then"),
        ("rules_refused", ""),
    ]


# ── several hosts, of which each has a folder ─────────────────────────────────────────────────────────────────────

OLD = "rules: [{name: old, send_to: [pacs]}]\n"
NEW = "rules: [{name: new, send_to: [pacs]}]\n"
NEWEST = "rules: [{name: newest, send_to: [pacs]}]\n"
HOME, OTHER_HOME = "a" * 32, "b" * 32


def host_with(folder: Path, rules: str) -> Config:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "10.yaml").write_text(rules)
    (folder / "gateway.yaml").write_text(CONFIG)
    return load(folder / "gateway.yaml", {})


def in_force(ledger: SqliteLedger) -> str:
    return next(iter(ledger.load_rules(ledger.current_revision()).files.values()))


def superseded(folder: Path) -> tuple[Config, SqliteLedger]:
    """A host whose folder holds what was in force before, and the ledger."""
    ledger = SqliteLedger.open(folder / "ledger.db")
    config = host_with(folder, OLD)
    _store_rules(ledger, config, {})
    _store_rules(ledger, host_with(folder, NEW), {})
    assert in_force(ledger) == NEW
    return host_with(folder, OLD), ledger


def test_a_host_that_starts_with_old_rules_does_not_turn_back_those_that_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("supervisor-0", format="json")
    config, ledger = superseded(tmp_path)
    ledger.open_session(Role.CONSOLE, "other", 1, 1, "", OTHER_HOME)
    _store_rules(ledger, config, {})
    assert in_force(ledger) == NEW
    told = capfd.readouterr().err
    assert "rules_folder_behind" in told and f'"host":"{config.host}"' in told.replace(": ", ":")
    # Rules that no host has had yet are newer, whoever comes with them.
    _store_rules(ledger, host_with(tmp_path, NEW.replace("new", "newest")), {})
    assert "newest" in in_force(ledger)
    ledger.close()


def test_a_host_alone_gets_the_old_rules_that_its_administrator_put_back(tmp_path: Path) -> None:
    config, ledger = superseded(tmp_path)
    dead = ledger.open_session(Role.CONSOLE, "other", 1, 1, "", OTHER_HOME)
    ledger.void_session(dead.session_id, 2)
    _store_rules(ledger, config, {})
    assert in_force(ledger) == OLD
    ledger.close()


def test_the_watch_over_a_folder_that_was_found_old_waits_for_a_change(tmp_path: Path) -> None:
    config, ledger = superseded(tmp_path)
    ledger.open_session(Role.CONSOLE, "other", 1, 1, "", OTHER_HOME)

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(tmp_path / "ledger.db", create=False))
        loaded: list[str] = []

        async def until(done: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not done():  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.02)

        watcher = RuleWatcher(
            thread, config.rules.dir, ("pacs",), clock_ms, lambda plan: loaded.append(plan.rules[0].name), home=HOME
        )
        running = asyncio.create_task(watcher.run())
        await until(lambda: watcher._taken is not None)
        assert (loaded, in_force(ledger)) == ([], NEW)
        watcher.look_again()  # as a changed configuration has it do
        await until(lambda: watcher._taken is not None)
        assert (loaded, in_force(ledger)) == ([], NEW)
        os.utime(config.rules.dir / "10.yaml", ns=(1, 1))  # somebody has saved it again
        await until(lambda: bool(loaded))
        assert (loaded, in_force(ledger)) == (["old"], OLD)
        ledger.store_rules(RuleSet("of-the-other", {"10.yaml": NEWEST}), clock_ms())
        await until(lambda: watcher._taken is not None)
        watcher.look_again()  # what this host has taken is what the other has replaced
        await until(lambda: watcher._taken is not None)
        assert (loaded, in_force(ledger)) == (["old"], NEWEST)
        running.cancel()
        await asyncio.wait([running])
        await thread.close()

    asyncio.run(main())
    ledger.close()


def test_old_files_that_are_put_back_are_not_refused_any_more(tmp_path: Path) -> None:
    config, ledger = superseded(tmp_path)
    ledger.open_session(Role.CONSOLE, "other", 1, 1, "", OTHER_HOME)
    file = config.rules.dir / "10.yaml"
    kept = file.stat()

    def refused() -> float | None:
        return registry.REGISTRY.get_sample_value("gateway_rules_refused")

    async def main() -> None:
        thread = LedgerThread(lambda: SqliteLedger.open(tmp_path / "ledger.db", create=False))
        watcher = RuleWatcher(thread, config.rules.dir, ("pacs",), clock_ms, lambda plan: None, home=HOME)
        watcher._known = signature(config.rules.dir)
        file.write_text(OTHER_VERSION)
        assert await watcher._take(signature(config.rules.dir)) and refused() == 1
        file.write_text(OLD)  # out of a copy, with the time that it had
        os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        assert await watcher._take(signature(config.rules.dir)) and refused() == 0
        await thread.close()

    asyncio.run(main())
    assert in_force(ledger) == NEW
    ledger.close()
