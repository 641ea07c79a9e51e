"""The trace of a delivery: `gateway show` says rule, revision, chain and the steps that made what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness.data import make_instance
from tests.harness.tools import wait_until
from tests.integration.cli_site import Site, running_site

RULES = {
    "transforms": {
        "mark": [
            {"set": {"StationName": "MARKED"}},
            {"record": "false"},
            {"when": {"Modality": "MR"}, "remove": ["StudyID"]},
        ],
        "tidy": [{"strip": ["PatientID"]}],
    },
    "rules": [{"name": "all", "send_to": ["pacs", {"destination": "dr", "transform": ["mark", "tidy"]}]}],
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as site:
        before = site.json("queue")["rules_revision"]
        (site.gateway.config.rules_dir / "10-site.yaml").write_text(yaml.safe_dump(RULES, sort_keys=False))
        wait_until(lambda: site.json("queue")["rules_revision"] != before, 30, "the rules to be taken")
        yield site


def test_show_says_the_steps_of_each_copy(site: Site) -> None:
    one = make_instance(seed=70, Modality="CT", StudyID="SECRET7")
    site.send([one]).check()
    wait_until(lambda: set(site.deliveries(one.sop_instance_uid).values()) == {"delivered"}, 30, "both to have it")
    ((row),) = site.json("show", one.sop_instance_uid)
    assert row["rules"] == ["all"]
    assert row["revision"] == site.json("queue")["rules_revision"]
    sent = {delivery["destination"]: delivery for delivery in row["deliveries"]}
    assert (sent["pacs"]["chain"], sent["pacs"]["steps"]) == ("", [])
    assert sent["dr"]["chain"].startswith("mark+tidy~")
    assert sent["dr"]["steps"] == [
        {"transform": "mark", "number": 1, "verb": "set", "done": True},
        {"transform": "mark", "number": 3, "verb": "remove", "done": False},
        {"transform": "tidy", "number": 1, "verb": "strip", "done": True},
    ]
    said = site.run("show", one.sop_instance_uid).check().stdout
    lines = [line.split(maxsplit=3) for line in said.splitlines()]
    assert f"steps of {sent['dr']['chain']}" in said.splitlines()
    assert ["mark", "1", "set", "done"] in lines
    assert ["mark", "3", "remove", "left out: its `when` did not hold"] in lines
    assert ["tidy", "1", "strip", "done"] in lines
    assert "MARKED" not in said
    assert "SECRET7" not in said
