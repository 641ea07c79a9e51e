"""A table beside the rules, in a gateway that runs: a change of the file is taken as one of the rules is, and a broken
file is refused as broken rules are."""

from __future__ import annotations

from pathlib import Path

from tests.faults.test_transforms import Scene
from tests.harness.data import make_instance
from tests.harness.gatewayconfig import replace
from tests.harness.tools import wait_until

RULES = """\
tables:
  stations: {file: stations.csv, key: station}
groups:
  archives: [pacs, research]
transforms:
  room:
    - map: {attribute: StationName, table: {table: stations, column: room}, default: hold}
rules:
  - name: known
    match: {StationName: {table: stations}}
    send_to: [archives]
    transform: room
"""


def reloads(scene: Scene, result: str) -> float:
    return scene.gateway.metric("gateway_rules_reload_total", result=result)


def test_a_changed_table_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    first, second = make_instance(seed=1, StationName="CT1"), make_instance(seed=2, StationName="CT2")
    with Scene(tmp_path, RULES) as scene:
        scene.config.rules["stations.csv"] = "station,room\nCT1,ROOM-1\n"
        scene.start()
        table = scene.config.rules_dir / "stations.csv"
        scene.send([first], calling="SENDER")
        for name in ("pacs", "research"):
            scene.wait_states(name, delivered=1)
            assert scene.got(name, first.sop_instance_uid).StationName == "ROOM-1"

        replace(table, "station,room\nCT2,ROOM-2\nCT2,ROOM-3\n")
        wait_until(lambda: reloads(scene, "refused") == 1, 30, "the broken table to be refused")
        (told,) = scene.gateway.log_lines(event="rules_refused")
        assert "stations.csv:3:1: this key stands in line 2 already" in str(told)
        assert "ROOM" not in str(told)

        before = reloads(scene, "loaded")
        replace(table, "station,room\nCT2,ROOM-2\n")
        wait_until(lambda: reloads(scene, "loaded") > before, 30, "the table to be taken")
        scene.send([second], calling="SENDER")
        scene.wait_states("pacs", delivered=2)
        assert scene.got("pacs", second.sop_instance_uid).StationName == "ROOM-2"
