"""What is de-identified keeps to its IOD as well as it did before, as dciodvfy of dicom3tools sees it."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from gateway.errors import HeaderError
from gateway.transform import TransformError
from gateway.transform.deidentify.table import Option
from tests.faults.crash_kit import LONG
from tests.harness.made import MADE
from tests.harness.tools import program, require, run
from tests.unit.deidentify_kit import ALL, FULL_DATES, MODIFIED_DATES, deidentified, profile
from tests.unit.samples import Sample, all_samples, read_sample
from tests.unit.transform_kit import CT_IMAGE, before, part10

CLEANING = frozenset({Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_GRAPHICS})
# What tells errors apart is not what values they are about.
_VALUES = ((re.compile(r"= <[^>]*>"), "= <>"), (re.compile(r"UID [^ ]+"), "UID"), (re.compile(r"\d+(\.\d+)+"), "UID"))
Errors = Counter[str]


def errors_of(path: Path, data: bytes) -> Errors:
    """The errors that dciodvfy has against a file, whatever the values."""
    path.write_bytes(data)
    found: Errors = Counter()
    for line in run([program("dciodvfy"), path], 120).output.splitlines():
        if line.startswith("Error"):
            for pattern, instead in _VALUES:
                line = pattern.sub(instead, line)
            found[line] += 1
    return found


def identity(sample: Sample) -> tuple[str, str]:
    """The SOP class and instance; one that a sender would name where the sample has none."""
    data = before(sample)
    return str(data.get("SOPClassUID") or CT_IMAGE), str(data.get("SOPInstanceUID") or "1.2.3.4")


@cache
def errors_before(sample: Sample, folder: Path) -> Errors:
    return errors_of(folder / "before.dcm", part10(sample.data_set, sample.transfer_syntax_uid, *identity(sample)))


def new_errors(sample: Sample, options: frozenset[Option], folder: Path) -> Errors | None:
    """The errors that were not there before; None where the sample cannot be de-identified."""
    folder.mkdir(exist_ok=True)
    try:
        data, prepared = deidentified(
            sample.data_set, profile(options), sample.transfer_syntax_uid, identity(sample)[0]
        )
    except (TransformError, HeaderError):
        return None
    made = part10(data, sample.transfer_syntax_uid, prepared.sop_class_uid, prepared.sop_instance_uid)
    return errors_of(folder / "after.dcm", made) - errors_before(sample, folder)


each_choice = pytest.mark.parametrize(
    "options",
    [frozenset(), ALL, *((CLEANING, ALL - {MODIFIED_DATES} | {FULL_DATES}) if LONG else ())],
    ids=["basic", "all", *(("cleaning", "all-full-dates") if LONG else ())],
)


@pytest.mark.chaos
@each_choice
def test_no_sample_has_an_error_that_it_did_not_have(
    options: frozenset[Option], tmp_path_factory: pytest.TempPathFactory
) -> None:
    require("dciodvfy")
    base = tmp_path_factory.getbasetemp() / "dciodvfy"
    base.mkdir(exist_ok=True)
    samples = all_samples()
    folders = [base / str(number) for number in range(len(samples))]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: new_errors(each[0], options, each[1]), zip(samples, folders, strict=True)))
    assert {str(sample): dict(new) for sample, new in zip(samples, found, strict=True) if new} == {}
    held = [str(sample) for sample, new in zip(samples, found, strict=True) if new is None]
    assert len(held) < len(samples) // 10, held


@pytest.mark.chaos
@each_choice
@pytest.mark.parametrize("name", MADE)
def test_what_is_found_in_images_has_no_new_error_and_names_nobody(
    name: str, options: frozenset[Option], tmp_path: Path
) -> None:
    require("dciodvfy", "highdicom")
    MADE[name]().save_as(tmp_path / "made.dcm")
    sample = read_sample(tmp_path / "made.dcm")
    assert b"Jane" in sample.data_set
    assert new_errors(sample, options, tmp_path) == Counter()
    data, _ = deidentified(sample.data_set, profile(options), sample.transfer_syntax_uid, identity(sample)[0])
    assert b"Jane" not in data and b"Doe" not in data
