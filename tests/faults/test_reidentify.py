"""From what an archive got back to the patient: through a gateway, its crashes, and the command that is audited."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from gateway.transform.deidentify.keypair import make_pair, read_private
from gateway.transform.deidentify.seal import unseal
from tests.faults.test_transforms import Scene
from tests.harness.backends import about_sqlite
from tests.harness.data import Instance, make_instance, make_instances
from tests.harness.ledgerrows import look
from tests.harness.sender import JournalSender
from tests.harness.strace import Strace, inject
from tests.harness.terminal import typing
from tests.harness.tools import Completed, require, run, wait_until
from tests.integration.cli_site import command, piped, terminal

RULES = """\
transforms:
  to-research:
    - deidentify: {key: site}
rules:
  - name: everything
    send_to: [pacs, {destination: research, transform: to-research}]
"""
PSEUDONYM_KEY = "the secret of the tests, no more"


class Kept(Scene):
    """A scene whose research archive gets pseudonyms, with the private key in the hand of the test."""

    def __init__(self, folder: Path, rules: str = RULES, *, keeps: bool = True, **also: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "site.key").write_text(PSEUDONYM_KEY)
        private, public = make_pair()
        self.private = folder / "elsewhere.key"
        self.private.write_bytes(private)
        (folder / "reid.pub").write_bytes(public)
        if keeps:
            also |= {"reidentification": {"public_key": "./reid.pub"}}
        super().__init__(folder, rules, pseudonym_keys={"site": {"file": "./site.key"}}, **also)

    def copies_of_research(self) -> list[pydicom.Dataset]:
        """Every copy that the research archive got."""
        datas = [data for each in self.archive("research").data.values() for data in each]
        return [pydicom.dcmread(io.BytesIO(data), force=True) for data in datas]

    def look_up(self, *words: str | Path, stdin: int | None = None) -> Completed:
        """`gateway reidentify`."""
        more = {} if stdin is None else {"stdin": stdin}
        return command("reidentify", *words, "--config", self.config.path, cwd=self.folder, **more)  # type: ignore[arg-type]

    def original(self, pseudonym: str) -> dict[str, str]:
        """What the command says of a pseudonym; it must be well."""
        said = self.look_up(pseudonym, "--private-key", self.private, "--reason", "a finding", "--json").check()
        (found,) = json.loads(said.stdout)["originals"]
        return found  # type: ignore[no-any-return]

    def rows(self) -> list[tuple[str, bytes]]:
        """(pseudonym, sealed) of the ledger."""
        with look(self.config.ledger_source) as ask:
            return [(pseudonym, sealed) for pseudonym, sealed in ask("SELECT pseudonym, sealed FROM pseudonym")]

    def audit(self) -> list[tuple[str, str, int]]:
        """(filter, reason, count) of each look."""
        query = "SELECT filter, reason, count FROM audit WHERE action = 'reidentify' ORDER BY audit_key"
        with look(self.config.ledger_source) as ask:
            return [(which, reason, count) for which, reason, count in ask(query)]

    def send(self, instances: Any, **also: Any) -> JournalSender:
        return super().send(instances, calling="SENDER", **also)


def judge(scene: Kept, instances: list[Instance]) -> None:
    """For every copy there is an entry for each of its names, and it opens to the instance that was sent."""
    kept = dict(scene.rows())
    private = read_private(scene.private.read_bytes())
    sent = {one.sop_instance_uid: one for one in instances}
    copies = scene.copies_of_research()
    assert {copy.SOPInstanceUID for copy in copies} <= kept.keys()
    seen = set()
    for copy in copies:
        found = {}
        for name in (copy.PatientID, copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID):
            found |= unseal(private, name, kept[name])
        one = sent[found["SOPInstanceUID"]]
        seen.add(one.sop_instance_uid)
        assert (found["StudyInstanceUID"], found["SeriesInstanceUID"]) == (
            one.study_instance_uid,
            one.series_instance_uid,
        )
        assert found["PatientName"] == one.canaries[0] and found["PatientID"] == one.canaries[1]
    assert seen == sent.keys(), "every instance has its copy"


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kept, Instance, pydicom.Dataset]]:
    """A scene in which one instance was delivered, and what research got."""
    one = make_instance(pixel_bytes=20_000)
    with Kept(tmp_path_factory.mktemp("scene"), spool={"keep": "1 h"}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("research", delivered=1)
        (copy,) = scene.copies_of_research()
        yield scene, one, copy


Delivered = tuple[Kept, Instance, pydicom.Dataset]


def test_what_the_archive_got_leads_back_to_the_patient_and_to_each_uid(delivered: Delivered) -> None:
    scene, one, copy = delivered
    name, patient_id = one.canaries[:2]
    assert name not in str(copy) and patient_id not in str(copy)
    found = scene.original(copy.PatientID)
    assert (found["PatientName"], found["PatientID"]) == (name, patient_id)
    assert scene.original(copy.StudyInstanceUID) == {"StudyInstanceUID": one.study_instance_uid}
    assert scene.original(copy.SeriesInstanceUID) == {"SeriesInstanceUID": one.series_instance_uid}
    assert scene.original(copy.SOPInstanceUID) == {"SOPInstanceUID": one.sop_instance_uid}


def test_the_screen_shows_it_and_standard_input_names_it(delivered: Delivered) -> None:
    scene, one, copy = delivered
    with piped(f"{copy.PatientID}\n") as stdin:
        said = scene.look_up("-", "--private-key", scene.private, "--reason", "x", stdin=stdin).check()
    assert said.stdout.splitlines()[0] == "original"
    assert one.canaries[0] in said.stdout and one.canaries[1] in said.stdout
    with piped("\n") as stdin:
        nothing = scene.look_up("-", "--private-key", scene.private, "--reason", "x", stdin=stdin)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    with terminal(f"{copy.PatientID}\n") as stdin:
        asked = scene.look_up("-", "--private-key", scene.private, "--reason", "x", stdin=stdin).check()
    assert "Patient ID or UID in the copy: " in asked.stderr


def test_every_look_is_in_the_audit_trail_found_or_not(delivered: Delivered) -> None:
    scene, _, copy = delivered
    before = len(scene.audit())
    scene.look_up(copy.PatientID, "--private-key", scene.private, "--reason", "incidental finding").check()
    unknown = scene.look_up("2.25.4711", "--private-key", scene.private, "--reason", "a try")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "nothing is kept of this pseudonym" in unknown.stderr
    assert scene.audit()[before:] == [
        (json.dumps({"pseudonym": copy.PatientID}), "incidental finding", 1),
        (json.dumps({"pseudonym": "2.25.4711"}), "a try", 0),
    ]
    newest, older = json.loads(scene.look_up("--log", "--limit", "2", "--json").check().stdout)
    assert (newest["pseudonym"], newest["found"], newest["reason"]) == ("2.25.4711", 0, "a try")
    assert older["pseudonym"] == copy.PatientID and older["actor"].startswith("cli")
    table = scene.look_up("--log").check().stdout
    assert "incidental finding" in table and copy.PatientID in table


@about_sqlite
def test_nothing_is_shown_before_the_audit_row_is_on_the_disk(delivered: Delivered, tmp_path: Path) -> None:
    """While the gateway runs the ledger's log is not moved at the command's end: only the commit itself flushes it."""
    require("strace")
    scene, one, copy = delivered
    trace = tmp_path / "trace"
    words = [sys.executable, "-m", "gateway", "reidentify", str(copy.PatientID), "--private-key", str(scene.private)]
    words += ["--reason", "x", "--config", str(scene.config.path)]
    argv = Strace.command(trace, words, trace=("write", "fsync", "fdatasync"))
    root = Path(__file__).parents[2]
    said = run(argv, 120, cwd=scene.folder, env={"PYTHONPATH": str(root)}).check()
    assert one.canaries[0] in said.stdout
    calls = [line.split(maxsplit=2)[2] for line in trace.read_text().splitlines()]
    shown = next(at for at, call in enumerate(calls) if call.startswith("write(1,"))
    assert any(call.startswith(("fsync(", "fdatasync(")) for call in calls[:shown]), calls


def test_another_key_a_damaged_one_and_a_passphrase_are_told_apart(delivered: Delivered, tmp_path: Path) -> None:
    scene, one, copy = delivered
    looks = len(scene.audit())
    other, encrypted, wrong = tmp_path / "other.key", tmp_path / "encrypted.key", tmp_path / "wrong.txt"
    other.write_bytes(make_pair()[0])
    encrypted.write_bytes(make_pair(b"correct horse")[0])
    wrong.write_text("battery staple\n")

    def refused(key: Path, *words: str | Path) -> str:
        said = scene.look_up(copy.PatientID, "--private-key", key, "--reason", "x", *words)
        assert (said.returncode, said.stdout) == (2, "")
        assert "Traceback" not in said.stderr
        return said.stderr

    assert "is encrypted: give --passphrase-file" in refused(encrypted)
    assert "the passphrase is not the one" in refused(encrypted, "--passphrase-file", wrong)
    assert "no X25519 private key" in refused(scene.folder / "reid.pub")
    assert "cannot be read" in refused(tmp_path / "none.key")
    assert len(scene.audit()) == looks, "nothing was looked up"
    said = scene.look_up(copy.PatientID, "--private-key", other, "--reason", "x")
    assert (said.returncode, said.stdout) == (1, "")
    assert "sealed for the key" in said.stderr
    assert one.canaries[0] not in said.stderr
    assert len(scene.audit()) == looks + 1, "a look that failed is a look"


def test_what_cannot_be_meant_is_not_done(delivered: Delivered) -> None:
    scene, _, copy = delivered
    looks = len(scene.audit())
    for words, text in (
        ([], "say one of PSEUDONYM|UID"),
        ([copy.PatientID, "--log"], "say one of PSEUDONYM|UID"),
        ([copy.PatientID, "--private-key", scene.private], "--reason"),
        ([copy.PatientID, "--private-key", scene.private, "--reason", " "], "--reason"),
        ([copy.PatientID, "--reason", "x"], "--private-key"),
    ):
        said = scene.look_up(*words)
        assert (said.returncode, said.stdout) == (2, "")
        assert text in said.stderr
    assert len(scene.audit()) == looks


def test_no_original_is_in_what_is_kept_or_in_the_log(delivered: Delivered) -> None:
    scene, one, copy = delivered
    rows = scene.rows()
    assert {name for name, _ in rows} == {
        *(copy.PatientID, copy.StudyInstanceUID, copy.SeriesInstanceUID, copy.SOPInstanceUID)
    }
    originals = (*one.canaries, one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid)
    assert not any(text.encode() in sealed or text in name for text in originals for name, sealed in rows)
    log = scene.gateway.log()
    assert not any(text in log for text in one.canaries)


def test_nothing_is_kept_unless_it_is_configured(tmp_path: Path) -> None:
    with Kept(tmp_path, keeps=False) as scene:
        scene.start()
        scene.send([make_instance(pixel_bytes=20_000)])
        scene.wait_states("research", delivered=1)
        assert scene.rows() == []


def test_a_step_that_is_not_to_remember_leaves_nothing(tmp_path: Path) -> None:
    with Kept(tmp_path, RULES.replace("key: site", "key: site, remember: false")) as scene:
        scene.start()
        scene.send([make_instance(pixel_bytes=20_000)])
        scene.wait_states("research", delivered=1)
        assert scene.rows() == []


def test_a_gateway_that_could_not_keep_it_does_not_start(tmp_path: Path) -> None:
    with Kept(tmp_path) as scene:
        scene.config.write()
        (tmp_path / "reid.pub").write_bytes(scene.private.read_bytes())
        for words in (("check", "--no-echo"), ("run",)):
            said = command(*words, "--config", scene.config.path, cwd=tmp_path)
            assert said.returncode == 2
            assert "reid.pub:0:0: reidentification.public_key is no X25519 public key" in said.stderr
        (tmp_path / "reid.pub").unlink()
        said = command("check", "--no-echo", "--config", scene.config.path, cwd=tmp_path)
        assert "reidentification.public_key cannot be read: No such file" in said.stderr


def test_a_gateway_without_the_package_says_which_one_it_needs(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "cryptography.py").write_text("raise ImportError('as if it were not installed')\n")
    root = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{tmp_path / 'without'}:{root}"}
    with Kept(tmp_path / "scene") as scene:
        scene.config.write()
        for words in (("check", "--no-echo"), ("run",)):
            said = command(*words, "--config", scene.config.path, cwd=tmp_path, env=env)
            assert said.returncode == 2
            assert "needs the package cryptography: pip install 'dicom-gateway[reidentification]'" in said.stderr
        said = command("reidentify", "--make-key", "reid.key", cwd=tmp_path, env=env)
        assert said.returncode == 2 and "needs the package cryptography" in said.stderr


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pair_of_keys_is_made_and_none_is_ever_written_over(tmp_path: Path) -> None:
    made = command("reidentify", "--make-key", "reid.key", cwd=tmp_path).check()
    private, public = tmp_path / "reid.key", tmp_path / "reid.key.pub"
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PUBLIC KEY" in public.read_bytes()
    assert "reid.key.pub: for reidentification.public_key" in made.stdout
    assert "is not encrypted" in made.stderr
    before = private.read_bytes(), public.read_bytes()
    again = command("reidentify", "--make-key", "reid.key", cwd=tmp_path)
    assert again.returncode == 2 and "is there already" in again.stderr
    private.unlink()
    again = command("reidentify", "--make-key", "reid.key", cwd=tmp_path)
    assert again.returncode == 2 and not private.exists(), "its public key is in use, perhaps"
    assert public.read_bytes() == before[1]


def test_a_key_with_a_passphrase_opens_what_its_public_key_has_sealed(delivered: Delivered, tmp_path: Path) -> None:
    (tmp_path / "pass.txt").write_text("correct horse\n")
    words = ("reidentify", "--make-key", "reid.key", "--passphrase-file", "pass.txt")
    made = command(*words, cwd=tmp_path).check()
    assert made.stderr == ""
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "reid.key").read_bytes()
    one = make_instance(pixel_bytes=20_000, seed=5)
    with Kept(tmp_path / "scene") as scene:
        scene.config.document["reidentification"]["public_key"] = str(tmp_path / "reid.key.pub")
        scene.start()
        scene.send([one])
        scene.wait_states("research", delivered=1)
        (copy,) = scene.copies_of_research()
        key = ("--private-key", tmp_path / "reid.key", "--passphrase-file", tmp_path / "pass.txt")
        said = scene.look_up(copy.PatientID, *key, "--reason", "x").check()
        assert one.canaries[0] in said.stdout


def test_a_passphrase_is_asked_for_on_a_terminal_and_never_shown(delivered: Delivered, tmp_path: Path) -> None:
    scene, _, copy = delivered
    code, told = typing(tmp_path, "reidentify", "--make-key", "a.key", answers=["correct horse\n", "correct horse\n"])
    assert code == 0 and "correct" not in told and "is not encrypted" not in told
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "a.key").read_bytes()
    code, told = typing(tmp_path, "reidentify", "--make-key", "b.key", answers=["one\n", "another\n"])
    assert code == 2 and "two different passphrases" in told and not (tmp_path / "b.key").exists()
    code, told = typing(tmp_path, "reidentify", "--make-key", "b.key", answers=["\x04"])
    assert code == 2 and "no passphrase was typed" in told and not (tmp_path / "b.key").exists()
    look = ("reidentify", str(copy.PatientID), "--private-key", tmp_path / "a.key", "--reason", "x")
    look = (*look, "--config", scene.config.path)
    code, told = typing(tmp_path, *look, answers=["wrong\n"])
    assert code == 2 and "the passphrase is not the one of this key" in told
    code, told = typing(tmp_path, *look, answers=["correct horse\n"])
    assert code == 1 and "sealed for the key" in told, "it is open, and another gateway's"


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_that_dies_between_copy_and_record_loses_no_entry(tmp_path: Path) -> None:
    require("strace")
    one = make_instance(pixel_bytes=20_000)
    with Kept(tmp_path, spool={"keep": "1 h"}) as scene:
        scene.start()
        worker = scene.gateway.pid_of("worker")
        with Strace.attach(worker, tmp_path / "trace", injections=[inject("rename", kill=True, when=1)]):
            scene.send([one])
            scene.gateway.wait_replaced("worker", worker)
        assert "/derived/" in (tmp_path / "trace").read_text(), "the copy was whole, and about to get its name"
        scene.wait_states("research", delivered=1)
        judge(scene, [one])


@pytest.mark.chaos
def test_workers_killed_under_load_lose_no_entry(tmp_path: Path) -> None:
    """Of every copy that was delivered, though patients, studies and series are sealed once a worker."""
    instances = list(make_instances(160, pixel_bytes=20_000, seed=31, patients=4))
    with Kept(tmp_path) as scene:
        scene.start()
        sender = JournalSender(scene.port, scene.journal, instances, calling="SENDER", pause_s=0.005).start()
        for number in range(5):
            sent = (number + 1) * 25
            wait_until(lambda sent=sent: sender.acknowledged >= sent, 60, "the load")  # type: ignore[misc]
            scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        sender.join(120)
        scene.gateway.wait_idle(120)
        assert scene.states("research") == {"delivered": len(instances)}
        judge(scene, instances)
        assert len(scene.rows()) == len(instances) + 3 * 4


def test_a_lost_copy_that_is_made_again_after_it_was_configured_is_remembered(tmp_path: Path) -> None:
    one = make_instance(pixel_bytes=20_000)
    with Kept(tmp_path, keeps=False) as scene:
        scene.start()
        scene.cli("pause", "research")
        scene.send([one])
        scene.wait_states("research", ready=1)
        assert scene.rows() == []
        scene.config.document["reidentification"] = {"public_key": "./reid.pub"}
        scene.config.write()
        scene.gateway.stop()
        scene.start()
        (copy,) = scene.copies()
        copy.unlink()
        scene.cli("resume", "research")
        scene.wait_states("research", delivered=1)
        judge(scene, [one])


@about_sqlite
def test_a_recovered_ledger_has_no_entries_until_what_is_in_the_spool_is_sent_again(tmp_path: Path) -> None:
    one = make_instance(pixel_bytes=20_000)
    with Kept(tmp_path, spool={"keep": "1 h"}) as scene:
        scene.start()
        scene.send([one])
        scene.wait_states("research", delivered=1)
        scene.gateway.stop()
        scene.cli("recover")
        scene.start()
        assert scene.rows() == []
        scene.cli("release", "--state", "held", "--yes")
        scene.wait_states("research", delivered=1)
        judge(scene, [one])


def test_two_originals_of_one_pseudonym_are_both_shown_and_one_of_another_key_is_told_of(tmp_path: Path) -> None:
    """A pseudonym is made of the Patient ID: where two clinics use one, nobody is taken for the other by mistake."""
    with Kept(tmp_path, spool={"keep": "1 h"}) as scene:
        scene.start()
        one, other = (
            make_instance(pixel_bytes=2_000, seed=seed, PatientID="SAME7", PatientName=name)
            for seed, name in ((1, "Zebra^One"), (2, "Zebra^Other"))
        )
        scene.send([one])
        scene.send([other])
        scene.wait_states("research", delivered=2)
        (pseudonym,) = {copy.PatientID for copy in scene.copies_of_research()}
        key = ("--private-key", scene.private, "--reason", "x", "--json")
        said = scene.look_up(pseudonym, *key)
        assert said.returncode == 1
        assert [each["PatientName"] for each in json.loads(said.stdout)["originals"]] == ["Zebra^One", "Zebra^Other"]
        assert "this pseudonym stands for 2 originals" in said.stderr
        scene.gateway.stop()
        old = tmp_path / "old.key"
        scene.private.rename(old)
        private, public = make_pair()
        scene.private.write_bytes(private)
        (tmp_path / "reid.pub").write_bytes(public)
        scene.start()
        scene.send([make_instance(pixel_bytes=2_000, seed=3, PatientID="SAME7", PatientName="Zebra^One")])
        scene.wait_states("research", delivered=3)
        said = scene.look_up(pseudonym, *key)
        assert said.returncode == 1
        assert [each["PatientName"] for each in json.loads(said.stdout)["originals"]] == ["Zebra^One"]
        assert "sealed for the key" in said.stderr
        assert len(json.loads(scene.look_up(pseudonym, "--private-key", old, *key[2:]).stdout)["originals"]) == 2


@pytest.mark.parametrize("becomes", ["another", "lost"])
def test_a_public_key_that_is_not_that_of_the_start_seals_nothing_and_holds_what_needs_it(
    tmp_path: Path, becomes: str
) -> None:
    """Nor does it end the worker that finds it so."""
    first, later = make_instance(seed=1), make_instance(seed=2)
    with Kept(tmp_path) as scene:
        scene.start()
        scene.send([first])
        scene.wait_states("research", delivered=1)
        before = scene.rows()
        public = tmp_path / "reid.pub"
        if becomes == "another":
            public.write_bytes(make_pair()[1])
        else:
            public.rename(tmp_path / "mislaid.pub")
        scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        scene.send([later])
        scene.wait_states("pacs", delivered=2)
        scene.wait_states("research", delivered=1, held=1)
        told = "has changed since the gateway was started: restart it" if becomes == "another" else "cannot be read"
        held = scene.deliveries("research")[later.sop_instance_uid]
        assert f"reidentification.public_key {told}" in held.reason
        assert scene.gateway.log_lines(event="public_key_lost", level="warning")
        assert scene.rows() == before
