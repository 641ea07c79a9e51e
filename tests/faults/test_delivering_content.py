"""What is sent is what arrived, in the order of its versions; and what no longer is what arrived is never sent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.flow.dispatch import LONE_FAILURES
from tests.faults.delivering_kit import Delivering
from tests.harness.archive import Behaviour, StoreFacts
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.ledgerrows import look
from tests.harness.tools import wait_until


def _flip_last_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def _cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: tuple[Callable[[Path], None], ...] = (_flip_last_byte, _cut_short, Path.unlink, _replace_by_folder)


def test_a_file_damaged_between_routing_and_sending_is_quarantined_and_never_leaves_whole(tmp_path: Path) -> None:
    """Of a large one megabytes are on their way when the damage shows: the association is aborted, nothing stored."""
    good = list(make_instances(5))
    damaged = list(make_instances(len(DAMAGE), seed=2))
    large = make_instance(pixel_bytes=9 << 20, seed=3)
    with Delivering(tmp_path, ["pacs", "dr"]) as scene:
        scene.start()
        for name in scene.archives:
            scene.cli("pause", name)
        everything = [*good[:2], *damaged, large, *good[2:]]
        scene.send(everything)
        for name in scene.archives:
            scene.wait_states(name, ready=len(everything))
        for one, damage in (*zip(damaged, DAMAGE, strict=True), (large, _flip_last_byte)):
            damage(_spool_path(scene, one))
        for name in scene.archives:
            scene.cli("resume", name)
        wrong = {one.sop_instance_uid for one in (*damaged, large)}
        for name, archive in scene.archives.items():
            scene.wait_states(name, delivered=len(good), held=len(wrong))
            assert not wrong & archive.contents().keys()
            assert {one.code for uid, one in scene.deliveries(name).items() if uid in wrong} == {"quarantined"}
        # The outcome is in the ledger before the archive has read the megabytes that stand before the abort.
        wait_until(lambda: sum(one.tally.aborts_received for one in scene.archives.values()) >= 1, 30, "the abort")
        shown = json.loads(scene.cli("list", "--state", "quarantined", "--json"))
        assert {row["sop_instance_uid"] for row in shown} == wrong
        assert all(row["reason"].startswith("spool: ") for row in shown), [row["reason"] for row in shown]
        assert scene.gateway.metric("gateway_quarantined_instances") == len(wrong)
        assert len(scene.gateway.log_lines(event="quarantined")) >= len(wrong)
        report = scene.judge(damaged=wrong).assert_clean()
        assert report.duplicates.total() == 0


def test_damaged_files_at_the_head_do_not_keep_a_destination_that_comes_back_waiting(tmp_path: Path) -> None:
    """One delivery at a time shows whether it is up: what is quarantined instead shows nothing, and the next goes at
    once, whether the association outlived the damage (a small file) or was aborted for it (a large one)."""
    damaged = list(make_instances(len(DAMAGE)))
    large = make_instance(pixel_bytes=9 << 20, seed=2)
    last = make_instance(seed=3)
    with Delivering(tmp_path, {"pacs": {"idle_timeout": "1 h"}}) as scene:
        scene.archive("pacs").stop()
        scene.start()
        scene.send([damaged[0]])
        wait_until(lambda: scene.metric_up("pacs") == 0, 30, "it to be down")
        scene.send([*damaged[1:], large, last])
        scene.wait_states("pacs", ready=len(damaged) + 2)
        wrong = [*damaged, large]
        for one, damage in zip(wrong, (*DAMAGE, _flip_last_byte), strict=True):
            damage(_spool_path(scene, one))
        scene.archive("pacs").start()
        scene.wait_states("pacs", delivered=1, held=len(wrong))
        wait_until(lambda: scene.metric_up("pacs") == 1, 30, "it to be up")
        assert scene.archive("pacs").contents().keys() == {last.sop_instance_uid}
        scene.judge(damaged={one.sop_instance_uid for one in wrong}).assert_clean()


def _spool_path(scene: Delivering, instance: Instance) -> Path:
    query = "SELECT i.sop_instance_uid, p.path FROM payload p JOIN instance i ON i.seq = p.instance_seq"
    with look(scene.config.ledger_source) as ask:
        return scene.config.spool_dir / str(dict(ask(query))[instance.sop_instance_uid])


def test_an_exact_duplicate_is_acknowledged_reported_and_sent_as_the_destination_wants(tmp_path: Path) -> None:
    same = make_instance()
    with Delivering(tmp_path, {"every": {}, "once": {"duplicates": "skip"}}) as scene:
        scene.start()
        for _ in range(3):
            scene.send([same])
        scene.settle()
        assert len(scene.archive("every").stored(same.sop_instance_uid)) == 3
        assert len(scene.archive("once").stored(same.sop_instance_uid)) == 1
        assert scene.gateway.metric("gateway_duplicates_total", kind="exact") == 2
        assert scene.gateway.metric("gateway_duplicates_total", kind="changed") == 0
        rows = json.loads(scene.cli("list", "--uid", same.sop_instance_uid, "--json"))
        assert sorted(row["duplicate"] for row in rows) == ["exact", "exact", "none"]
        scene.judge().assert_clean(delivered=True)


TROUBLE = (
    Behaviour(status=0xA700, store=False),
    Behaviour(respond=False),  # stored, and nobody says so
    Behaviour(cut="rst", cut_after=100),
    Behaviour(status=0xC000, store=False),
    Behaviour(respond=False, store=False, end="abort"),
)


def test_an_older_version_never_lands_last_whatever_happens_to_its_first_tries(tmp_path: Path) -> None:
    """Same UID, other content: every version is acknowledged and kept, none is overwritten, all arrive in order."""
    versions = 3
    uids = 2 * len(TROUBLE)
    sent = [
        [make_instance(seed=number, PatientComments=f"version {version}") for version in range(versions)]
        for number in range(uids)
    ]
    trouble = {one[0].sop_instance_uid: TROUBLE[index % len(TROUBLE)] for index, one in enumerate(sent)}

    def answer(facts: StoreFacts) -> Behaviour:
        return trouble[facts.sop_instance_uid] if facts.attempt in (1, 3) else Behaviour()

    with Delivering(tmp_path, {"pacs": {"response_timeout": "500 ms", "attempts": 9}}) as scene:
        scene.archive("pacs").on_store = answer
        scene.start()
        for version in range(versions):
            scene.send([one[version] for one in sent], associations=3)
        scene.judge_all_delivered()
        for one in sent:
            landed = [stored.sha256 for stored in scene.archive("pacs").stored(one[0].sop_instance_uid)]
            assert list(dict.fromkeys(landed)) == [version.sha256 for version in one], "each, in order of arrival"
            assert landed[-1] == one[-1].sha256
            assert landed == sorted(landed, key=[version.sha256 for version in one].index), "none again after a newer"
        assert scene.gateway.metric("gateway_duplicates_total", kind="changed") == uids * (versions - 1)


@pytest.mark.parametrize("refusals", [0, LONE_FAILURES])
def test_an_instance_that_the_peer_cannot_bear_goes_last_and_alone_until_it_is_held(
    tmp_path: Path, refusals: int
) -> None:
    """The peer refuses it at first, then aborts on it, each time. The others flow, and are not tried twice for it."""
    poison, *others = make_instances(140)

    def answer(facts: StoreFacts) -> Behaviour:
        if facts.sop_instance_uid != poison.sop_instance_uid:
            return Behaviour()
        if facts.attempt <= refusals:
            return Behaviour(status=0xC000, store=False)
        return Behaviour(respond=False, store=False, end="abort")

    keys = {"retry_max": "300 ms", "probe_max": "200 ms", "attempts": 2 * LONE_FAILURES}
    with Delivering(tmp_path, {"pacs": keys}) as scene:
        pacs = scene.archive("pacs")
        pacs.on_store = answer
        scene.start()
        scene.send([poison, *others[:40]])
        scene.gateway.wait_delivered(40, "pacs")
        rest = others[40:]

        def held() -> bool:
            if scene.deliveries("pacs")[poison.sop_instance_uid].state == "held":
                return True
            if rest:  # somebody must succeed meanwhile, else it is the peer that is to blame
                scene.send([rest.pop()])
            return False

        wait_until(held, 60, lambda: f"the poison to be held: {scene.deliveries('pacs')}", interval_s=0.4)
        scene.settle()
        found = scene.deliveries("pacs").pop(poison.sop_instance_uid)
        assert found.code == "aborted"
        assert f"failed {LONE_FAILURES} times, alone, while other instances succeed" in found.reason
        tries = pacs.tally.requests[poison.sop_instance_uid]
        assert tries > refusals + LONE_FAILURES, "the first was not alone"
        assert {tries for uid, tries in pacs.tally.requests.items() if uid != poison.sop_instance_uid} == {1}
        scene.judge().assert_clean()
