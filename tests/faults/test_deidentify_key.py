"""A pseudonym key that is lost or changed while the gateway runs stops what needs it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.test_transforms import Scene, send
from tests.harness.data import make_instances
from tests.harness.tools import wait_until

RULES = """\
transforms:
  anonymise:
    - deidentify: {key: site}
rules:
  - name: everything
    send_to: [pacs, {destination: research, transform: anonymise}]
"""


def test_what_needs_a_lost_key_is_held_and_goes_when_it_is_back(tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    key.write_text("the secret of a test, long enough\n")
    first, later = list(make_instances(2)), list(make_instances(3, seed=2))
    with Scene(tmp_path / "gateway", RULES, pseudonym_keys={"site": {"file": str(key)}}) as scene:
        scene.start()
        send(scene, first)
        scene.wait_states("research", delivered=2)
        key.rename(tmp_path / "mislaid.key")
        scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        send(scene, later)
        scene.wait_states("pacs", delivered=5)
        scene.wait_states("research", delivered=2, held=3)
        uid = later[0].sop_instance_uid
        held = scene.deliveries("research")[uid]
        assert "the pseudonym key site is not there: put it back, start anew and release" in held.reason
        assert scene.gateway.log_lines(event="pseudonym_key_lost", level="warning")
        (tmp_path / "mislaid.key").rename(key)
        scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        scene.cli("release", "--state", "held", "--yes")
        scene.wait_states("research", delivered=5)
        copies = scene.archive("research").contents()
        assert not copies.keys() & {one.sop_instance_uid for one in (*first, *later)}
        assert len(copies) == 5


@pytest.mark.parametrize("by", ["the file", "gateway.yaml"])
def test_a_key_that_is_changed_makes_no_second_pseudonyms_before_a_restart(tmp_path: Path, by: str) -> None:
    """Not in the worker that happens to start anew; with a restart of the gateway it takes effect."""
    key, other = tmp_path / "site.key", tmp_path / "other.key"
    key.write_text("the secret of a test, long enough\n")
    other.write_text("another secret of a test, long enough\n")
    first, later = make_instances(2)
    with Scene(tmp_path / "gateway", RULES, pseudonym_keys={"site": {"file": str(key)}}) as scene:
        scene.start()
        send(scene, [first])
        scene.wait_states("research", delivered=1)
        if by == "the file":
            key.write_bytes(other.read_bytes())
        else:
            scene.config.document["pseudonym_keys"]["site"]["file"] = str(other)
            scene.reload()
            wait_until(lambda: scene.gateway.log_lines(event="restart_needed"), 30, "the reload")
        scene.gateway.wait_replaced("worker", scene.gateway.kill_role("worker"))
        send(scene, [later])
        scene.wait_states("pacs", delivered=2)
        scene.wait_states("research", delivered=1, held=1)
        held = scene.deliveries("research")[later.sop_instance_uid]
        assert "the pseudonym key site has changed since the gateway was started: restart it" in held.reason
        assert scene.gateway.log_lines(event="pseudonym_key_lost", level="warning")
        scene.gateway.stop()
        scene.start()
        scene.cli("release", "--state", "held", "--yes")
        scene.wait_states("research", delivered=2)


def test_a_corrected_transform_makes_anew_what_waits_and_what_is_sent_again(tmp_path: Path) -> None:
    """What the leaking definition had made does not go out any more, whether it waits, is held, or was sent before."""
    (tmp_path / "site.key").write_text("the secret of a test, long enough\n")
    keys = {"site": {"file": str(tmp_path / "site.key")}}
    leaking = RULES.replace("{key: site}", "{key: site, options: [retain-institution-identity]}")
    sent, waiting, stopped = (list(make_instances(2, seed=seed, InstitutionName="CANARY")) for seed in (1, 2, 3))
    with Scene(tmp_path / "gateway", leaking, pseudonym_keys=keys, spool={"keep": "1 h"}) as scene:
        scene.start()
        research = scene.archive("research")
        send(scene, sent)
        scene.wait_states("research", delivered=2)
        assert sum(b"CANARY" in data for copies in research.data.values() for data in copies) == 2
        scene.cli("pause", "research")
        send(scene, [*waiting, *stopped])
        scene.wait_states("research", delivered=2, ready=4)
        for one in stopped:
            scene.cli("hold", "--uid", one.sop_instance_uid, "--destination", "research", "--reason", "x", "--yes")
        scene.take(RULES)
        assert sum(line["count"] for line in scene.gateway.log_lines(event="copies_to_be_made_anew")) == 4
        for one in stopped:
            scene.cli("release", "--uid", one.sop_instance_uid, "--yes")
        for one in sent:
            scene.cli("resend", "--uid", one.sop_instance_uid, "--to", "research", "--yes")
        research.data.clear()
        scene.cli("resume", "research")
        scene.wait_states("research", delivered=8)
        copies = [data for each in research.data.values() for data in each]
        assert len(copies) == 6
        assert not [data for data in copies if b"CANARY" in data]
