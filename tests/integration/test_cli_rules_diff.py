"""`gateway rules diff` as a person runs it: over files, and over what a running gateway remembers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.data import Instance, make_instance, write_part10
from tests.harness.gatewayprocess import GatewayConfig
from tests.harness.tools import Completed, free_port, wait_until
from tests.integration.cli_site import RULES, Site, command, running_site


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    config = GatewayConfig(tmp_path, {"pacs": free_port(), "dr": free_port()}, rules={"10-site.yaml": RULES})
    config.write()
    return config


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_site(tmp_path) as site:
        yield site


def folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "10.yaml").write_text(text)
    return path


def diff(config: GatewayConfig, *words: str | Path) -> Completed:
    return command("rules", "diff", *words, "--config", config.path, cwd=config.folder)


ONLY_PACS = RULES.replace("[pacs, dr]", "[pacs]")


def test_diff_counts_what_would_go_another_way_with_examples(config: GatewayConfig, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number, (modality, patient) in enumerate([("CT", "1"), ("CT", "2"), ("MR", "3"), ("CT", "QA1"), ("US", "4")]):
        write_part10(images / f"{number}.dcm", make_instance(seed=number, Modality=modality, PatientID=patient))
    new = folder(tmp_path / "new", ONLY_PACS)
    words = ("--old", config.rules_dir, "--new", new, images, "--source", "ct1", "--examples", "1")
    said = diff(config, *words).check()
    lines = [line.split() for line in said.stdout.splitlines()]
    assert ["1", "2", "ct1", "CT", "dr,", "pacs", "pacs"] in lines
    assert ["2", "1", "ct1", "MR", "dr,", "pacs", "pacs"] in lines
    assert ["dr", "3"] in lines
    assert ["1", str(images / "0.dcm"), "images", "images"] in lines
    assert "1.dcm" not in said.stdout
    assert lines[-1] == ["3", "of", "5", "instances", "would", "go", "another", "way"]
    report = json.loads(diff(config, *words, "--json").check().stdout)
    assert (report["instances"], report["changed"]) == (5, 3)
    assert report["destinations"] == {"dr": {"gained": 0, "lost": 3, "other_copy": 0}}
    first = report["groups"][0]
    assert (first["source"], first["modality"], first["instances"]) == ("ct1", "CT", 2)
    assert first["now"]["destinations"] == {"dr": "", "pacs": ""}
    assert first["then"]["destinations"] == {"pacs": ""}


def test_diff_takes_patterns_and_says_by_its_exit_code_whether_something_changes(
    config: GatewayConfig, tmp_path: Path
) -> None:
    write_part10(tmp_path / "in" / "a.dcm", make_instance(seed=1))
    new = folder(tmp_path / "new", ONLY_PACS)
    pattern = str(tmp_path / "in" / "*.dcm")
    assert diff(config, "--old", config.rules_dir, "--new", new, pattern).returncode == 0
    assert diff(config, "--old", config.rules_dir, "--new", new, pattern, "--exit-code").returncode == 1
    same = diff(config, "--old", config.rules_dir, pattern, "--exit-code")
    assert same.returncode == 0
    assert same.stdout == "1 instance, none of which would go another way\n"


def test_diff_shows_what_a_chain_does_where_only_that_is_another(config: GatewayConfig, tmp_path: Path) -> None:
    rules = (
        "transforms: {mark: [{set: {StudyID: X}}]}\nrules: [{name: all, send_to: [{destination: dr, transform: mark}]}]"
    )
    old, new = folder(tmp_path / "old", rules), folder(tmp_path / "new", rules.replace("X", "Y"))
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=2))
    said = diff(config, "--old", old, "--new", new, image).check().stdout
    assert said.count("dr (through mark~") == 2


def test_diff_names_what_it_could_not_decide_about(config: GatewayConfig, tmp_path: Path) -> None:
    whole = write_part10(tmp_path / "in" / "a.dcm", make_instance(seed=3)).read_bytes()
    (tmp_path / "in" / "cut.dcm").write_bytes(whole[:-100])
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    said = diff(config, "--old", config.rules_dir, tmp_path / "in")
    assert said.returncode == 1
    assert "1 instance, none" in said.stdout
    notes, cut = said.stderr.splitlines()
    assert notes.startswith(f"not decided: {tmp_path / 'in' / 'notes.txt'}: ")
    assert cut.startswith(f"not decided: {tmp_path / 'in' / 'cut.dcm'}: ")
    assert cut.endswith("the gateway would quarantine it")


def test_diff_says_where_either_set_is_wrong_and_that_tests_fail(config: GatewayConfig, tmp_path: Path) -> None:
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=4))
    broken = folder(tmp_path / "broken", "rules:\n  - name: x\n    send: [pacs]\n")
    for words in (("--old", broken), ("--old", config.rules_dir, "--new", broken)):
        said = diff(config, *words, image)
        assert said.returncode == 2
        assert f"{broken / '10.yaml'}:3:5: a rule has no key 'send'" in said.stderr
    failing = folder(tmp_path / "failing", ONLY_PACS.replace("destinations: [pacs]", "destinations: [dr]"))
    said = diff(config, "--old", config.rules_dir, "--new", failing, image)
    assert said.returncode == 1
    assert said.stderr.startswith(f"{failing / '10.yaml'}:9:5: the test 'a CT goes everywhere' of the new rules fails")
    assert "1 of 1 instance would go another way" in said.stdout
    assert diff(config, "--old", config.rules_dir).returncode == 2


def test_diff_compares_a_draft_with_the_rules_in_force(site: Site, tmp_path: Path) -> None:
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=5))
    draft = folder(tmp_path / "draft", ONLY_PACS)
    said = site.run("rules", "diff", "--new", draft, image).check().stdout
    assert "1 of 1 instance would go another way" in said
    assert "none of which" in site.run("rules", "diff", image).check().stdout


def test_diff_tries_a_draft_on_what_the_gateway_has_routed(site: Site, tmp_path: Path) -> None:
    series = [make_instance(seed=60 + n, SeriesInstanceUID="1.2.3.4", StationName="ROOM1") for n in range(5)]
    held = make_instance(seed=66, PatientID="QA1")
    other = make_instance(seed=67, Modality="MR", StationName="MR1")
    site.send([*series, held, other], "--calling", "CT1").check()
    room = "rules:\n  - {name: room, match: {StationName: ROOM1}, send_to: dr, stop: true}\n"
    draft = folder(tmp_path / "draft", RULES.replace("rules:\n", room))
    words = ("rules", "diff", "--history", "--new", str(draft))

    def remembered() -> dict[str, Any] | None:
        report: dict[str, Any] = json.loads(site.run(*words, "--json").stdout)
        return report if report["instances"] == 7 else None

    report = wait_until(remembered, 30, "all seven to be remembered")
    assert report["changed"] == 5
    (group,) = report["groups"]
    assert (group["modality"], group["instances"]) == ("CT", 5)
    assert group["now"]["destinations"] == {"dr": "", "pacs": ""}
    assert group["then"]["destinations"] == {"dr": ""}
    (example,) = group["examples"]
    assert example["instance"].endswith(" of series 1.2.3.4")
    assert (example["rules_now"], example["rules_then"]) == (["images"], ["room"])
    shown = site.json("show", example["instance"].split()[0])
    assert shown[0]["series_instance_uid"] == "1.2.3.4"
    said = site.run(*words, "--since", "1 h").check().stdout
    assert said.endswith("5 of 7 instances would go another way\n")
    assert "none of which" in site.run("rules", "diff", "--history").check().stdout


def test_diff_of_history_wants_nothing_that_does_not_go_with_it(config: GatewayConfig, tmp_path: Path) -> None:
    for words in (("--history", "x.dcm"), ("--since", "1 d", "x.dcm"), ("--history", "--source", "ct1"), ()):
        assert diff(config, "--old", config.rules_dir, *words).returncode == 2
    said = diff(config, "--old", config.rules_dir, "--history", "--since", "yesterday")
    assert "--since yesterday: " in said.stderr


def test_nothing_is_remembered_where_that_is_switched_off_and_what_was_is_forgotten(site: Site) -> None:
    def remembered(*instances: Instance) -> int:
        """How many instances the ledger remembers, after these were routed and the gateway has stopped."""
        site.send(instances).check()
        for one in instances:
            site.wait_routed(one.sop_instance_uid)
        assert site.gateway.stop() == 0
        count: int = json.loads(site.run("rules", "diff", "--history", "--json").check().stdout)["instances"]
        return count

    assert remembered(make_instance(seed=80), make_instance(seed=81)) == 2
    site.gateway.config.document["rules"]["history"] = "0 s"
    site.gateway.start(timeout_s=60)
    assert remembered(make_instance(seed=82)) == 0
