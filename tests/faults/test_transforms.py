"""What goes through a transform, from the sender to the archive: changed as the rules say, or held; never the original
in its place.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.faults.delivering_kit import Delivering
from tests.harness import backends
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.machine import Tmpfs
from tests.harness.sender import JournalSender
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until

RULES = """\
transforms:
  to-research:
    - set: {InstitutionName: "Trial 7", StudyDescription: "{Modality} of {calling_ae_title}"}
    - remove: [PatientName]
rules:
  - name: everything
    send_to: [pacs, {destination: research, transform: to-research}]
"""
TOO_LONG = RULES.replace('InstitutionName: "Trial 7"', 'AccessionNumber: "{SOPInstanceUID}"')


class Scene(Delivering):
    """A PACS that gets originals, and a research archive that gets copies."""

    def __init__(self, folder: Path, rules: str = RULES, **also: Any) -> None:
        super().__init__(folder, ["pacs", "research"], **also)
        self.config.rules = {"10.yaml": rules}
        for archive in self.archives.values():
            archive.keep_data = True

    def got(self, name: str, uid: str) -> pydicom.Dataset:
        """What an archive has of an instance; it has it once."""
        (data,) = self.archive(name).data[uid]
        return pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=None)

    def copies(self) -> list[Path]:
        """The files that transforms made."""
        return sorted((self.config.spool_dir / "derived").rglob("*.dcm"))

    def take(self, rules: str) -> None:
        """Have the gateway take other rules."""
        before = self.gateway.metric("gateway_rules_reload_total", result="loaded")
        self.config.rules = {"10.yaml": rules}
        self.config.write()
        wait_until(lambda: self.gateway.metric("gateway_rules_reload_total", result="loaded") > before, 30, "the rules")


def is_copy(scene: Scene, one: Instance) -> None:
    """The research archive has the instance, changed as RULES says and not otherwise."""
    original, copy = scene.got("pacs", one.sop_instance_uid), scene.got("research", one.sop_instance_uid)
    assert copy.InstitutionName == "Trial 7"
    assert copy.StudyDescription == f"{original.Modality} of SENDER"
    assert "PatientName" not in copy
    assert copy.PixelData == original.PixelData
    (changes,) = copy.OriginalAttributesSequence
    assert changes.ReasonForTheAttributeModification == "COERCE"
    changed = {"InstitutionName", "StudyDescription", "PatientName", "OriginalAttributesSequence"}
    assert {e.keyword for e in copy} | {"PatientName"} == {e.keyword for e in original} | changed
    for element in original:
        if element.keyword not in changed:
            assert copy[element.tag] == element


def send(scene: Scene, instances: list[Instance]) -> None:
    scene.send(instances, calling="SENDER")


def test_each_archive_gets_its_own_and_nothing_stays(tmp_path: Path) -> None:
    require("strace")
    instances = [*make_instances(6, pixel_bytes=20_000), make_instance(pixel_bytes=9 << 20, seed=9)]
    with Scene(tmp_path) as scene:
        scene.start()
        send(scene, instances)
        scene.wait_states("research", delivered=len(instances))
        scene.wait_states("pacs", delivered=len(instances))
        assert {uid: len(copies) for uid, copies in scene.archive("pacs").contents().items()} == {
            one.sop_instance_uid: 1 for one in instances
        }
        for one in instances:
            assert scene.archive("pacs").contents()[one.sop_instance_uid] == [one.sha256]
            is_copy(scene, one)
        wait_until(lambda: not scene.copies(), 60, lambda: f"the copies to be purged: {scene.copies()}")
        assert scene.gateway.metric("gateway_copies_total", result="made") == len(instances)


def test_a_step_that_fails_holds_what_it_was_for_and_sends_nothing_in_its_place(tmp_path: Path) -> None:
    """Until the transform is corrected and the delivery released."""
    one = make_instance(pixel_bytes=20_000)
    with Scene(tmp_path, TOO_LONG) as scene:
        scene.start()
        send(scene, [one])
        scene.wait_states("pacs", delivered=1)
        scene.wait_states("research", held=1)
        held = scene.deliveries("research")[one.sop_instance_uid]
        assert held.code == "transform"
        assert "to-research" in held.reason and "AccessionNumber" in held.reason
        assert one.sop_instance_uid not in held.reason, "a reason holds no value"
        assert one.sop_instance_uid not in scene.archive("research").contents()
        assert scene.gateway.metric("gateway_copies_total", result="failed") == 1
        scene.take(RULES)
        scene.cli("release", "--uid", one.sop_instance_uid, "--yes")
        scene.wait_states("research", delivered=1)
        is_copy(scene, one)


@pytest.mark.parametrize("damage", ["removed", "changed", "cut short"])
def test_a_copy_that_is_lost_is_made_again_and_a_damaged_one_never_leaves_whole(tmp_path: Path, damage: str) -> None:
    one = make_instance(pixel_bytes=20_000)
    with Scene(tmp_path) as scene:
        scene.start()
        scene.cli("pause", "research")
        send(scene, [one])
        scene.wait_states("pacs", delivered=1)
        scene.wait_states("research", ready=1)
        (copy,) = scene.copies()
        if damage == "removed":
            copy.unlink()
        else:
            data = copy.read_bytes()
            copy.write_bytes(data[:-1] if damage == "cut short" else data[:-1] + bytes([data[-1] ^ 1]))
        scene.cli("resume", "research")
        scene.wait_states("research", delivered=1)
        is_copy(scene, one)


def test_a_damaged_original_is_quarantined_and_no_copy_is_made_of_it(tmp_path: Path) -> None:
    one = make_instance(pixel_bytes=20_000)
    with Scene(tmp_path) as scene:
        scene.start()
        with scene.gateway.frozen("worker"):
            send(scene, [one])
            (original,) = (
                path for path in (scene.config.spool_dir / "incoming").rglob("*.dcm") if path.stat().st_size > 20_000
            )
            data = original.read_bytes()
            original.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        wait_until(lambda: scene.gateway.log_lines(event="quarantined"), 30, "the verdict")
        assert scene.copies() == []
        assert scene.archive("research").count == 0


def test_a_worker_that_dies_while_it_makes_a_copy_leaves_nothing_and_the_next_makes_it(tmp_path: Path) -> None:
    require("strace")
    one = make_instance(pixel_bytes=9 << 20)
    with Scene(tmp_path) as scene:
        scene.start()
        worker = scene.gateway.pid_of("worker")
        with Strace.attach(worker, tmp_path / "trace", injections=[inject("fdatasync", kill=True, when=1)]):
            send(scene, [one])
            scene.gateway.wait_replaced("worker", worker)
        for name in scene.archives:
            scene.wait_states(name, delivered=1)
        is_copy(scene, one)
        wait_until(lambda: not scene.copies(), 60, lambda: f"what the dead worker left is gone: {scene.copies()}")


@pytest.mark.skipif(backends.LEDGER != "sqlite", reason="workers move their mark on a shared spool by the same call")
def test_a_copy_that_ends_every_worker_is_held_alone_and_the_original_goes(tmp_path: Path) -> None:
    require("strace")
    one = make_instance(pixel_bytes=20_000)
    with Scene(tmp_path) as scene:
        scene.start()
        # The supervisor is traced, and with it all that it starts. By this call a worker moves nothing but a copy.
        ends = inject("rename", kill=True)
        with Strace.attach(scene.gateway.supervisor_pid(), tmp_path / "trace", injections=[ends]):
            scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
            send(scene, [one])
            scene.wait_states("pacs", delivered=1)
            scene.wait_states("research", 120, held=1)
        held = scene.deliveries("research")[one.sop_instance_uid]
        assert (held.code, held.reason) == ("transform", "making the copy failed 5 times")
        assert scene.archive("pacs").contents() == {one.sop_instance_uid: [one.sha256]}
        assert scene.archive("research").count == 0
        assert not scene.gateway.log_lines(event="quarantined")
        scene.cli("release", "--uid", one.sop_instance_uid, "--yes")
        scene.wait_states("research", delivered=1)
        is_copy(scene, one)


def test_on_a_full_disk_originals_go_and_copies_wait_for_room(tmp_path: Path) -> None:
    one = make_instance(pixel_bytes=4 << 20)
    with (
        Tmpfs(tmp_path / "disk", 48 << 20) as disk,
        Scene(tmp_path / "gateway", spool={"dir": str(disk.path / "spool"), "ballast": "0 B"}) as scene,
    ):
        scene.start()
        scene.cli("pause", "pacs")  # the original stays, and its room is not given back
        with scene.gateway.frozen("worker"):
            send(scene, [one])
            filler = disk.fill(leave_bytes=1 << 20)
        scene.wait_states("research", deferred=1)
        assert scene.deliveries("research")[one.sop_instance_uid].code == "derive"
        scene.cli("resume", "pacs")
        scene.wait_states("pacs", delivered=1)
        assert scene.archive("research").count == 0
        filler.unlink()
        scene.wait_states("research", delivered=1)
        is_copy(scene, one)


@pytest.mark.chaos
def test_workers_killed_under_load_lose_nothing_and_nobody_gets_an_original_for_a_copy(tmp_path: Path) -> None:
    """Each of the copies is whole; none holds a name; those sent twice are the same twice."""
    instances = list(make_instances(240, pixel_bytes=60_000, seed=21))
    with Scene(tmp_path) as scene:
        scene.start()
        sender = JournalSender(scene.port, scene.journal, instances, calling="SENDER", pause_s=0.005).start()
        for number in range(6):
            sent = (number + 1) * 30
            wait_until(lambda sent=sent: sender.acknowledged >= sent, 60, "the load")  # type: ignore[misc]
            scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        sender.join(120)
        assert dict(sender.statuses) == {0: len(instances)}
        scene.gateway.wait_idle(120)
        assert scene.states("research") == scene.states("pacs") == {"delivered": len(instances)}
        for one in instances:
            copies = scene.archive("research").data[one.sop_instance_uid]
            assert copies and len(set(copies)) == 1
            copy = pydicom.dcmread(io.BytesIO(copies[0]), force=True)
            assert copy.InstitutionName == "Trial 7" and "PatientName" not in copy
            assert copies[0].endswith(one.data[-60_000:])
        wait_until(lambda: not scene.copies(), 60, lambda: f"the copies to be purged: {scene.copies()}")


def test_rules_that_ask_for_what_is_not_there_are_refused_at_their_place(tmp_path: Path) -> None:
    with Scene(tmp_path) as scene:
        scene.start()
        scene.config.rules = {"10.yaml": RULES.replace("transform: to-research", "transform: to-reserch")}
        scene.config.write()
        wait_until(lambda: scene.gateway.log_lines(event="rules_refused"), 30, "a refusal")
        refused = scene.gateway.log_lines(event="rules_refused")
        assert "10.yaml:7:" in str(refused[0]) and "is 'to-research' meant?" in str(refused[0])
