"""Studies whose instances refer to each other, sent in any order through two workers: every reference resolves."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from tests.faults.test_transforms import Scene
from tests.harness.data import Instance
from tests.harness.linked import LinkedStudy, linked_study, references, uids
from tests.unit.transform_kit import reread

RULES = """\
transforms:
  to-research:
    - deidentify: {{key: site, options: [{options}]}}
rules:
  - name: everything
    send_to: [{{destination: research, transform: to-research}}]
"""
CONTENT = "clean-structured-content, clean-graphics"
KEY, OTHER_KEY = "the secret of the tests, no more", "another secret of the same tests"
Pair = tuple[pydicom.Dataset, pydicom.Dataset]


class Linked(Scene):
    """A gateway with two workers and a secret of its own."""

    def __init__(self, folder: Path, key: str, options: str) -> None:
        folder.mkdir(parents=True)
        (folder / "site.key").write_text(key)
        keys = {"site": {"file": "./site.key"}}
        super().__init__(
            folder, RULES.format(options=options), pseudonym_keys=keys, processes={"worker": 2, "forwarder": 1}
        )


def through(
    folder: Path, studies: Sequence[LinkedStudy], *, seed: int, key: str = KEY, options: str = ""
) -> list[Pair]:
    """Send studies in random order, over several associations; each instance with what the archive got of it."""
    instances: list[Instance] = [one for study in studies for one in study.instances]
    random.Random(seed).shuffle(instances)
    with Linked(folder, key, options) as scene:
        scene.start()
        scene.send(instances, calling="SENDER", associations=3)
        scene.wait_states("research", delivered=len(instances))
        received = [reread(data) for copies in scene.archive("research").data.values() for data in copies]
    assert len(received) == len(instances)
    return paired([reread(one.data) for one in instances], received)


def paired(originals: Sequence[pydicom.Dataset], received: Sequence[pydicom.Dataset]) -> list[Pair]:
    """Originals and copies, matched by what de-identification leaves alone: which reference leads where is not it."""

    def groups(data: Sequence[pydicom.Dataset]) -> dict[str, list[pydicom.Dataset]]:
        found: dict[str, list[pydicom.Dataset]] = {}
        for each in sorted(data, key=lambda each: int(each.InstanceNumber)):
            found.setdefault(f"{each.SeriesNumber} {each.Modality}", []).append(each)
        return found

    old, new = groups(originals), groups(received)
    assert {name: len(each) for name, each in old.items()} == {name: len(each) for name, each in new.items()}
    return [pair for name in old for pair in zip(old[name], new[name], strict=True)]


def mapping(pairs: Sequence[Pair]) -> dict[str, str]:
    """Which UID stands for which, over all attributes of all instances; each for one, and none for two."""
    found: dict[str, str] = {}
    for old, new in pairs:
        before = dict(uids(old))
        for path, uid in uids(new):
            assert found.setdefault(before[path], uid) == uid, "one UID became two"
    assert len(set(found.values())) == len(found), "two UIDs became one"
    return found


@pytest.mark.parametrize("options", ["", CONTENT], ids=["basic", "content"])
def test_every_reference_resolves_and_everything_is_together_that_was(tmp_path: Path, options: str) -> None:
    studies = [linked_study(1, "17"), linked_study(2, "17"), linked_study(3, "18")]
    pairs = through(tmp_path / "gateway", studies, seed=7, options=options)
    new_uids = mapping(pairs)
    assert not new_uids.keys() & set(new_uids.values())
    received = {str(new.SOPInstanceUID) for _, new in pairs} | {str(new.StudyInstanceUID) for _, new in pairs}
    for old, new in pairs:
        assert references(new) <= received, new.Modality
        assert references(new) == {new_uids[uid] for uid in references(old)}, new.Modality
    assert {new.Modality for _, new in pairs if references(new)} == {
        "MR",
        "SR",
        "PR",
        "SEG",
        "KO",
        "RTSTRUCT",
        "RTPLAN",
    }
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert grouping([old for old, _ in pairs], keyword) == grouping([new for _, new in pairs], keyword), keyword
    assert not {"17", "18"} & {new.PatientID for _, new in pairs}


def grouping(data: Sequence[pydicom.Dataset], keyword: str) -> set[frozenset[int]]:
    """Which instances have the same value."""
    found: dict[str, set[int]] = {}
    for number, each in enumerate(data):
        found.setdefault(str(each.get(keyword)), set()).add(number)
    return set(map(frozenset, found.values()))


def test_another_host_with_the_same_key_makes_the_same_uids_and_another_key_makes_others(tmp_path: Path) -> None:
    studies = [linked_study(1, "17")]
    once = through(tmp_path / "once", studies, seed=1)
    again = through(tmp_path / "again", studies, seed=2)
    other = through(tmp_path / "other", studies, seed=3, key=OTHER_KEY)
    assert mapping(once) == mapping(again)
    assert {new.PatientID for _, new in once} == {new.PatientID for _, new in again}
    assert not set(mapping(once).values()) & set(mapping(other).values())
    assert not {new.PatientID for _, new in once} & {new.PatientID for _, new in other}
