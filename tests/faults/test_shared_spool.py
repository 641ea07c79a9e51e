"""A gateway whose spool is one that several hosts share: its mount goes and comes, files are late or lost."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from gateway.spool.shared import HOSTS, OUTCOMES
from tests.faults.delivering_kit import Delivering
from tests.harness.data import make_instances
from tests.harness.tools import wait_until


def home_of(scene: Delivering) -> str:
    return (scene.config.state_dir / "home").read_text().strip()


def spool_path(scene: Delivering, uid: str) -> Path:
    query = "SELECT p.path FROM payload p JOIN instance i ON i.seq = p.instance_seq WHERE i.sop_instance_uid = ?"
    with contextlib.closing(sqlite3.connect(f"file:{scene.config.ledger_path}?mode=ro", uri=True)) as connection:
        return scene.config.spool_dir / str(connection.execute(query, (uid,)).fetchone()[0])


def test_a_mount_that_goes_and_comes_back_costs_nothing_but_time(tmp_path: Path) -> None:
    instances = list(make_instances(20))
    with Delivering(tmp_path, ["pacs"], spool={"shared": True}) as scene:
        scene.start()
        home = home_of(scene)
        wait_until(lambda: len(list((scene.config.spool_dir / HOSTS / home).iterdir())) == 4, 30, "all roles to show")
        assert len(list((scene.config.spool_dir / OUTCOMES / home).iterdir())) == 1
        scene.cli("pause", "pacs")
        scene.send(instances)
        scene.wait_states("pacs", ready=len(instances))
        away = tmp_path / "away"
        scene.config.spool_dir.rename(away)
        scene.config.spool_dir.mkdir()
        scene.cli("resume", "pacs")
        wait_until(
            lambda: sum("mounted" in line["reason"] for line in scene.gateway.log_lines(event="spool_read")) > 5,
            60,
            "the forwarder to look again and again",
        )
        assert scene.gateway.log_lines(event="quarantined") == []
        assert not (scene.config.spool_dir / HOSTS).exists()
        for path in scene.config.spool_dir.iterdir():  # a ballast, at most
            assert path.is_file()
            path.unlink()
        scene.config.spool_dir.rmdir()
        away.rename(scene.config.spool_dir)
        scene.wait_states("pacs", delivered=len(instances))
        scene.judge().assert_clean()


def test_a_file_that_is_late_is_delivered_and_one_that_is_lost_holds_up_nobody(tmp_path: Path) -> None:
    late, lost, *others = make_instances(12)
    with Delivering(tmp_path, ["pacs"], spool={"shared": True}) as scene:
        scene.start()
        scene.cli("pause", "pacs")
        scene.send([late, lost, *others])
        scene.wait_states("pacs", ready=12)
        path = spool_path(scene, late.sop_instance_uid)
        path.rename(tmp_path / "late")
        spool_path(scene, lost.sop_instance_uid).unlink()
        scene.cli("resume", "pacs")
        wait_until(lambda: scene.gateway.log_lines(event="spool_read") != [], 60, "somebody to miss it")
        (tmp_path / "late").rename(path)
        scene.wait_states("pacs", delivered=11, held=1)
        assert scene.deliveries("pacs")[lost.sop_instance_uid].code == "quarantined"
        scene.judge(damaged={lost.sop_instance_uid}).assert_clean()


def test_a_killed_gateway_finds_what_it_left_in_the_spool(tmp_path: Path) -> None:
    instances = list(make_instances(40))
    with Delivering(tmp_path, ["pacs"], spool={"shared": True}) as scene:
        scene.start()
        scene.send(instances)
        scene.gateway.kill_all()
        scene.start()
        scene.wait_states("pacs", delivered=len(instances))
        assert len(list((scene.config.spool_dir / OUTCOMES / home_of(scene)).iterdir())) == 1
        scene.judge().assert_clean()
