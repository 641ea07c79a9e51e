"""Made instances and sample files are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from tests.harness.data import (
    CANARY_KEYWORDS,
    CANARY_PREFIX,
    dataset_sha256,
    make_instance,
    make_instances,
    sample_files,
    write_large_part10,
    write_part10,
)

SYNTAXES = [
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.201",
]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_instance_reads_back_from_its_file(tmp_path: Path, syntax: str) -> None:
    instance = make_instance(transfer_syntax_uid=syntax, pixel_bytes=5000, Modality="MR")
    path = write_part10(tmp_path / "one.dcm", instance)
    dataset = dcmread(path)
    assert dataset.Modality == "MR"
    assert dataset.SOPInstanceUID == instance.sop_instance_uid
    assert [str(dataset[keyword].value) for keyword in CANARY_KEYWORDS] == list(instance.canaries)
    assert dataset_sha256(path) == instance.sha256
    assert path.read_bytes().endswith(instance.data)


def test_the_same_seed_makes_the_same_bytes() -> None:
    assert make_instance(seed=7) == make_instance(seed=7)
    assert make_instance(seed=7).sha256 != make_instance(seed=8).sha256


def test_an_attribute_of_none_is_left_out(tmp_path: Path) -> None:
    dataset = dcmread(write_part10(tmp_path / "one.dcm", make_instance(PatientID=None)))
    assert "PatientID" not in dataset


def test_many_instances_differ_and_spread_over_patients(tmp_path: Path) -> None:
    made = list(make_instances(60, patients=3, studies_per_patient=2, series_per_study=5, pixel_bytes=300))
    assert len({one.sha256 for one in made}) == 60
    assert len({one.sop_instance_uid for one in made}) == 60
    assert len({one.study_instance_uid for one in made}) == 6
    assert len({one.series_instance_uid for one in made}) == 30
    assert len({one.canaries for one in made}) == 3
    dataset = dcmread(write_part10(tmp_path / "one.dcm", made[41]))
    assert dataset.SOPInstanceUID == made[41].sop_instance_uid
    assert dataset.StudyInstanceUID == made[41].study_instance_uid
    assert dataset.PatientID == made[41].canaries[1]
    assert dataset.PatientID.startswith(CANARY_PREFIX)


def test_a_large_file_is_hashed_while_written(tmp_path: Path) -> None:
    large = write_large_part10(tmp_path / "large.dcm", 5 << 20)
    assert dataset_sha256(large.path) == large.sha256
    dataset = dcmread(large.path)
    assert dataset.NumberOfFrames == 10
    assert len(dataset.PixelData) == 5 << 20


def test_sample_files_are_found_with_a_reason_for_each_left_out() -> None:
    samples = sample_files()
    sendable = [sample for sample in samples if sample.sendable]
    assert len(sendable) >= 200
    assert len({sample.transfer_syntax_uid for sample in sendable}) >= 12
    assert any(sample.name == "test_files/CT_small.dcm" for sample in sendable)
    assert all(sample.sha256 and sample.sop_class_uid and sample.length for sample in sendable)
    reasons = {sample.name: sample.reason for sample in samples if not sample.sendable}
    assert reasons["test_files/dicomdirtests/DICOMDIR"] == "a DICOMDIR is not a storage instance"
    assert "DICM" in reasons["test_files/no_meta.dcm"]
    one = next(sample for sample in sendable if sample.name == "test_files/CT_small.dcm")
    assert dataset_sha256(one.path) == one.sha256 == one.instance().sha256
