"""The rules that a start finds in force: what is wrong with them is told where nothing better is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import telemetry
from gateway.app.host import _store_rules
from gateway.config import load
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger

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
