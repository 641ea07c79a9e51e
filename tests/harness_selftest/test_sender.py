"""The journaling sender writes down exactly what it was told, whatever happens to the other side."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.archive import Admission, Behaviour, OurArchive, first
from tests.harness.checker import Evidence, check
from tests.harness.data import make_instances, write_large_part10
from tests.harness.sender import Journal, JournalSender, read_journal, send_large
from tests.harness.tools import wait_until


def test_many_associations_send_everything_once(tmp_path: Path) -> None:
    instances = list(make_instances(400, pixel_bytes=4000))
    with OurArchive() as archive, Journal(tmp_path / "j.jsonl") as journal:
        sender = JournalSender(archive.port, journal, instances, associations=5, per_association=20, calling=["A", "B"])
        sender.run(60)
        assert sender.acknowledged == 400
        assert sender.connects >= 20
        assert 0 < sender.percentile_s(50) <= sender.percentile_s(99)
        assert archive.contents() == {one.sop_instance_uid: [one.sha256] for one in instances}
        assert {request.calling for request in archive.tally.associations} == {"A", "B"}
    told = read_journal(journal.path)
    assert sum(one.acknowledged for one in told) == 400
    assert sum(one.event == "sending" for one in told) == 400
    assert all(len(one.xxh3) == 32 for one in told)


def test_refusals_and_silence_are_written_down_and_tried_again(tmp_path: Path) -> None:
    instances = list(make_instances(20, pixel_bytes=100))
    script = {1: Behaviour(status=0xA700, store=False), 2: Behaviour(respond=False, end="rst")}
    with (
        OurArchive(on_store=lambda facts: script.get(facts.attempt, Behaviour())) as archive,
        Journal(tmp_path / "j.jsonl") as journal,
    ):
        sender = JournalSender(archive.port, journal, instances, associations=3, pause_s=0.001).run(60)
        assert dict(sender.statuses) == {0xA700: 20, None: 20, 0: 20}
        assert archive.duplicates() == 20
    told = [one.status for one in read_journal(journal.path) if one.event == "told"]
    assert (told.count(0xA700), told.count(None), told.count(0)) == (20, 20, 20)


def test_without_until_success_each_is_sent_once(tmp_path: Path) -> None:
    with (
        OurArchive(on_store=first(1, Behaviour(status=0xC000, store=False))) as archive,
        Journal(tmp_path / "j.jsonl") as journal,
    ):
        sender = JournalSender(archive.port, journal, make_instances(5, pixel_bytes=0), until_success=False).run()
        assert dict(sender.statuses) == {0xC000: 5}


def test_it_outlives_a_peer_that_dies_and_rejects(tmp_path: Path) -> None:
    instances = list(make_instances(2000, pixel_bytes=2000))
    archive = OurArchive().start()
    with Journal(tmp_path / "j.jsonl") as journal:
        sender = JournalSender(archive.port, journal, instances, associations=4, pause_s=0.01).start()
        for round_ in (1, 2, 3):
            wait_until(lambda least=round_ * 300: sender.acknowledged >= least, 30)  # type: ignore[misc]
            archive.stop()
            archive.start()
        archive.on_associate = lambda request, number: Admission(reject=(2, 3, 2))
        archive.stop()
        archive.start()
        wait_until(lambda: any("rejected" in text for text in sender.problems), 10)
        archive.on_associate = lambda request, number: Admission()
        sender.join(60)
    report = check(Evidence([journal.path], archives={"pacs": archive.contents()}, routing=lambda uid: ["pacs"]))
    report.assert_clean(delivered=True)
    assert report.acknowledged == 2000
    archive.close()


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    line = {"sop_instance_uid": "1.2", "sha256": "ab", "status": 0}
    path.write_text(json.dumps(line) + "\n" + '{"sop_instance_uid": "1.')
    (told,) = read_journal(path)
    assert told.acknowledged


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    large = write_large_part10(tmp_path / "large.dcm", 30 << 20)
    with OurArchive() as archive, Journal(tmp_path / "j.jsonl") as journal:
        assert send_large(archive.port, large, journal) == 0
        assert archive.contents() == {large.sop_instance_uid: [large.sha256]}
