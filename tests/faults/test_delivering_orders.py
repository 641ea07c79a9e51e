"""Rules and destinations that change in the middle of traffic, and people's orders: nothing is lost, all is shown."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
import yaml

from tests.faults.crash_kit import Load, scaled
from tests.faults.delivering_kit import Delivering
from tests.harness.archive import Behaviour, OurArchive
from tests.harness.data import make_instances
from tests.harness.tools import wait_until


def _revision(number: int) -> str:
    """A rule set whose one rule names itself and sends to one of two archives in turn, and to a third a copy that names
    it. Its own test says so too.
    """
    destination, name = ("pacs", "dr")[number % 2], f"revision-{number}"
    return yaml.safe_dump(
        {
            "transforms": {"name-it": [{"set": {"StudyDescription": name}}, {"prefix": {"PatientID": "R"}}]},
            "rules": [{"name": name, "send_to": [destination, {"destination": "research", "transform": "name-it"}]}],
            "tests": [
                {
                    "name": "the copy says by what it was made",
                    "instance": {"Modality": "CT", "PatientID": "1"},
                    "expect": {
                        "destinations": [destination, "research"],
                        "to": "research",
                        "after": {"StudyDescription": name, "PatientID": "R1"},
                    },
                }
            ],
        }
    )


INVALID = (
    "rules: [",
    "rules: [{name: nowhere, send_to: [unheard-of]}]",
    "rules: [{name: twice}, {name: twice}]",
    "transforms: {name-it: [{set: {StudyDate: today}}]}\nrules: [{name: all, send_to: [pacs], transform: name-it}]",
    _revision(0).replace("R1", "R2"),  # its own test fails
)


@pytest.mark.chaos
def test_each_instance_is_routed_by_one_revision_however_often_rules_change(tmp_path: Path) -> None:
    """Invalid sets come in between: they are refused, told, and the last good one stays."""
    changes = scaled(6, 1000)
    with Delivering(tmp_path, ["pacs", "dr", "research"], rules={"1.yaml": _revision(0)}) as scene:
        research = scene.archive("research")
        research.keep_data = True
        scene.start()

        def reloads(result: str) -> float:
            return scene.gateway.metric("gateway_rules_reload_total", result=result)

        with Load(scene, round_size=10, pause_s=0.1) as load:
            load.wait_acknowledged(10)
            good = [0]
            for number in range(1, changes + 1):
                invalid = number % 3 == 0
                result = "refused" if invalid else "loaded"
                before = reloads(result)
                scene.config.rules = {"1.yaml": INVALID[number // 3 % len(INVALID)] if invalid else _revision(number)}
                scene.config.write()
                wait_until(lambda: reloads(result) > before, 60, f"revision {number} to be {result}", interval_s=0.1)  # noqa: B023
                good += [] if invalid else [number]
                load.wait_acknowledged(load.acknowledged + 10)
        scene.settle()
        rows = _listed(scene)
        assert len(rows) == load.acknowledged
        revision_of: dict[str, str] = {}
        original: dict[str, str] = {}
        for row in rows:
            (rule,) = row["rules"]
            number = int(rule.removeprefix("revision-"))
            assert number in good
            original[row["sop_instance_uid"]] = ("pacs", "dr")[number % 2]
            assert {one["destination"] for one in row["deliveries"]} == {original[row["sop_instance_uid"]], "research"}
            (copy,) = research.data[row["sop_instance_uid"]]
            assert pydicom.dcmread(io.BytesIO(copy), force=True).StudyDescription == rule, (
                "one revision makes all of it"
            )
            assert revision_of.setdefault(rule, row["revision"]) == row["revision"]
        assert len(set(revision_of.values())) == len(revision_of) >= len(good) - 1
        refused = scene.gateway.log_lines(event="rules_refused")
        loaded = {line["revision"] for line in scene.gateway.log_lines(event="rules_loaded")}
        assert {line["revision_in_force"] for line in refused} <= loaded
        places = [problem for line in refused for problem in line["problems"]]
        assert places
        assert all(re.match(r"1\.yaml:\d+:\d+: ", place) for place in places), places
        originals = {name: each for name, each in scene.contents().items() if name != "research"}
        scene.judge(routing=lambda uid: [original[uid]], archives=originals).assert_clean(delivered=True)


def _listed(scene: Delivering, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(scene.cli("list", "--json", "--limit", "100000", *words))
    return found


def test_what_no_rule_matches_is_held_and_told_and_goes_when_a_rule_is_there(tmp_path: Path) -> None:
    rule = "rules: [{name: ct, match: {Modality: CT}, send_to: [pacs]}]"
    matched, unmatched = list(make_instances(5)), list(make_instances(7, seed=2, Modality="US"))
    with Delivering(tmp_path, ["pacs"], rules={"1.yaml": rule}) as scene:
        scene.start()
        scene.send([*matched, *unmatched])
        scene.gateway.wait_delivered(len(matched), "pacs")
        scene.settle()
        assert len(_listed(scene, "--state", "held")) == len(unmatched)
        assert scene.gateway.metric("gateway_unrouted_instances") == len(unmatched)
        assert scene.gateway.metric("gateway_instances_unmatched_total") == len(unmatched)
        told = scene.gateway.log_lines(event="instance_held", level="warning")
        assert {line["reason"] for line in told} == {"no rule matches"}
        assert len(told) == len(unmatched)
        scene.judge(routing=lambda uid: ["pacs"]).assert_clean()
        scene.config.rules = {"1.yaml": rule, "2.yaml": "rules: [{name: rest, send_to: [pacs]}]"}
        scene.config.write()
        wait_until(lambda: scene.gateway.metric("gateway_rules_reload_total", result="loaded"), 30, "the new rule")
        assert "7 released" in scene.cli("release", "--state", "held", "--yes")
        scene.judge_all_delivered()
        assert scene.gateway.metric("gateway_unrouted_instances") == 0


def test_destinations_come_go_and_move_by_a_reload_in_the_middle_of_traffic(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs", "dr"]) as scene, OurArchive() as dr_moved, OurArchive() as pacs_moved:
        destinations = scene.config.document["destinations"]
        pacs, dr = scene.archive("pacs"), scene.archive("dr")
        scene.start()
        with Load(scene, round_size=10, pause_s=0.1) as load:
            load.wait_acknowledged(30)
            wait_until(lambda: dr.count >= 10, 30, "traffic to dr")
            keys = destinations.pop("dr")
            scene.reload()
            wait_until(lambda: not _queue(scene)["dr"]["configured"], 30, "dr to be removed")
            wait_until(lambda: not scene.states("dr").keys() & {"ready", "leased", "deferred"}, 30, "dr to be held")
            held, at_dr = scene.states("dr").get("held", 0), dr.count
            load.wait_acknowledged(load.acknowledged + 30)
            wait_until(lambda: scene.states("dr").get("held", 0) >= held + 20, 30, "more to be held")
            assert dr.count <= at_dr + 4, "what was under way, and nothing since"
            assert {one.reason for one in scene.deliveries("dr").values() if one.state == "held"} == {
                "destination removed from the configuration"
            }
            destinations["dr"] = {**keys, "port": dr_moved.port}
            destinations["pacs"]["port"] = pacs_moved.port
            scene.reload()
            wait_until(lambda: pacs_moved.count and dr_moved.count >= held, 60, "traffic to the new addresses")
            at_pacs = pacs.count
            load.wait_acknowledged(load.acknowledged + 50)
            wait_until(lambda: pacs_moved.count > 40, 60, "traffic to the new address")
            assert pacs.count <= at_pacs + 4, "no association to the old address is used any more"
        scene.settle()
        both = {
            name: {uid: [*old.contents().get(uid, ()), *new.contents().get(uid, ())] for uid in _uids(old, new)}
            for name, old, new in (("pacs", pacs, pacs_moved), ("dr", dr, dr_moved))
        }
        scene.judge(archives=both).assert_clean(delivered=True)
        assert scene.states("dr") == scene.states("pacs") == {"delivered": load.acknowledged}


@pytest.mark.parametrize("noticed", [False, True])
def test_a_destination_that_is_taken_out_and_put_back_finishes_what_it_sends_before_it_sends_more(
    tmp_path: Path, noticed: bool
) -> None:
    """However close the two reloads are: the forwarder may take them for one."""
    answered = threading.Event()
    (first,) = make_instances(1)
    with Delivering(tmp_path, ["pacs"]) as scene:
        destinations, pacs = scene.config.document["destinations"], scene.archive("pacs")
        pacs.on_store = lambda facts: Behaviour(wait_for=answered) if facts.attempt == 1 else Behaviour()
        scene.start()
        scene.send([first])
        wait_until(lambda: pacs.tally.requests[first.sop_instance_uid] == 1, 30, "it to be under way")
        keys = destinations.pop("pacs")
        destinations["other"] = dict(keys)
        scene.reload()
        wait_until(lambda: not _queue(scene)["pacs"]["configured"], 30, "pacs to be removed")
        if noticed:
            up = "gateway_destination_up"
            wait_until(lambda: not scene.gateway.metric(up, destination="pacs"), 30, "the forwarder to take it out")
        destinations["pacs"] = keys
        scene.reload()
        wait_until(lambda: _queue(scene)["pacs"]["configured"], 30, "pacs to be back")
        with pytest.raises(AssertionError, match="not within"):  # it is sent once at a time
            wait_until(lambda: pacs.tally.requests[first.sop_instance_uid] > 1, 3, "it to be sent beside itself")
        answered.set()
        scene.judge_all_delivered()
        assert not scene.gateway.log_lines(event="association_closed", role="requestor", result="aborted")


def _uids(*archives: OurArchive) -> set[str]:
    return {uid for archive in archives for uid in archive.contents()}


def _queue(scene: Delivering) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scene.cli("queue", "--json"))["destinations"]
    return found


def test_a_reload_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    with Delivering(tmp_path, ["pacs"]) as scene:
        scene.start()
        good = dict(scene.config.document["destinations"]["pacs"])
        scene.config.document["destinations"]["pacs"] = {**good, "port": "a hundred"}
        scene.reload()
        wait_until(lambda: scene.gateway.log_lines(event="configuration_refused"), 30, "the refusal")
        refused = 'gateway_configuration_refused{process="supervisor-0"} '
        wait_until(lambda: refused + "1" in scene.gateway.metrics(), 30, "the refusal to show")
        scene.send(make_instances(10))
        scene.judge_all_delivered()
        scene.config.document["destinations"]["pacs"] = good
        scene.reload()
        wait_until(lambda: refused + "0" in scene.gateway.metrics(), 30, "the good one to be taken")


def test_a_fixed_address_is_probed_at_once(tmp_path: Path) -> None:
    """A person corrects a wrong port: nobody waits for the next of the slow probes."""
    with Delivering(tmp_path, {"pacs": {"probe_min": "1 h", "probe_max": "1 h"}}) as scene:
        pacs = scene.archive("pacs")
        destination = scene.config.document["destinations"]["pacs"]
        destination["port"] = 1  # nobody listens there
        scene.start()
        scene.send(make_instances(10))
        wait_until(lambda: _queue(scene)["pacs"]["breaker"] == "down", 30, "pacs to be down")
        destination["port"] = pacs.port
        scene.reload()
        scene.judge_all_delivered()


def test_peoples_orders_take_effect_in_the_middle_of_traffic(tmp_path: Path) -> None:
    """pause, hold, cancel, resume, release and resend, while the neighbour's traffic flows on."""
    gate = threading.Event()
    gate.set()
    destinations = {"pacs": {"max_associations": 2, "response_timeout": "60 s"}, "dr": {}}
    with Delivering(tmp_path, destinations, spool={"keep": "1 h"}) as scene:
        pacs, dr = scene.archive("pacs"), scene.archive("dr")
        pacs.on_store = lambda facts: Behaviour(wait_for=gate)
        scene.start()
        with Load(scene, round_size=20, pause_s=0.05) as load:
            wait_until(lambda: pacs.count >= 10, 30, "traffic")
            gate.clear()
            wait_until(lambda: scene.states("pacs").get("leased", 0) >= 10, 30, "many to be claimed")
            scene.cli("pause", "pacs")
            wait_until(lambda: scene.states("pacs").get("leased", 0) <= 2, 30, "what is not under way to be given back")
            gate.set()
            wait_until(lambda: not scene.states("pacs").get("leased"), 30, "what was under way to end")
            before, at_dr = pacs.count, dr.count
            wait_until(lambda: dr.count >= at_dr + 40, 60, "the neighbour's traffic")
            assert pacs.count == before, "paused is paused"
        wanted, unwanted = list(make_instances(5, seed=77)), list(make_instances(4, seed=78))
        for name, group in (("held", wanted), ("cancelled", unwanted)):
            scene.send(group)
            study = group[0].study_instance_uid
            wait_until(lambda study=study, group=group: len(_listed(scene, "--study", study)) == len(group), 30, name)  # type: ignore[misc]
            order = ("hold",) if name == "held" else ("cancel", "--destination", "pacs")
            done = scene.gateway.cli(*order, "--study", study, "--reason", "a person says so", "--yes")
            assert done.returncode == 0 or name == "held", "to dr they may be on their way: that is told"
            assert f"{len(group)} {name}" in done.stdout or name == "held", done.output
        scene.cli("resume", "pacs")
        wait_until(lambda: scene.states("pacs").get("delivered") == load.acknowledged, 60, "the rest to be delivered")
        for one in wanted:
            assert scene.deliveries("pacs")[one.sop_instance_uid].state == "held"
            assert pacs.stored(one.sop_instance_uid) == []
        scene.cli("release", "--study", wanted[0].study_instance_uid, "--yes")
        scene.judge_all_delivered(
            routing=lambda uid: ["dr"] if uid in {one.sop_instance_uid for one in unwanted} else ["pacs", "dr"]
        )
        for one in unwanted:
            assert pacs.stored(one.sop_instance_uid) == []
            assert scene.deliveries("pacs")[one.sop_instance_uid].state == "cancelled"
        assert "5 to be sent again" in scene.cli(
            "resend", "--study", wanted[0].study_instance_uid, "--to", "dr", "--yes"
        )
        wait_until(lambda: all(len(dr.stored(one.sop_instance_uid)) == 2 for one in wanted), 30, "the second copies")
        assert all(len(pacs.stored(one.sop_instance_uid)) == 1 for one in wanted)
        scene.settle()
        scene.judge(routing=None).assert_clean()
