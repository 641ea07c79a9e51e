"""Types of attributes are those of PS3.3: known examples, and highdicom's data asked in another way."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import tag_for_keyword

from gateway.transform.deidentify.table import rows
from gateway.transform.deidentify.types import iod_of, type_of
from tests.harness.tools import require

CT, ENHANCED_CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.7"
SR, IMPLANT = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.43.1"


def tag(keyword: str) -> int:
    return tag_for_keyword(keyword) or 0


@pytest.mark.parametrize(
    ("sop_class", "keyword", "expected"),
    [
        (CT, "PatientName", "2"),  # PS3.3 C.7.1.1
        (CT, "PatientID", "2"),
        (CT, "StudyDate", "2"),  # C.7.2.1
        (CT, "ReferringPhysicianName", "2"),
        (CT, "SeriesDate", "3"),  # C.7.3.1
        (CT, "ContentDate", "2"),  # C.7.6.1: 2C
        (CT, "ClinicalTrialSponsorName", "1"),  # C.7.1.3, a module that need not be there
        (CT, "InstanceCreatorUID", "3"),
        (CT, "DeviceSerialNumber", "3"),  # C.7.5.1
        (ENHANCED_CT, "DeviceSerialNumber", "1"),  # C.7.5.2, of the enhanced equipment
        (ENHANCED_CT, "ContentDate", "1"),  # C.7.6.16
        (ENHANCED_CT, "AcquisitionDateTime", "1"),  # C.8.15.2: 1C
        (SC, "ContentDate", "2"),
        (SR, "ContentDate", "1"),  # C.17.2
        (SR, "VerifyingOrganization", "3"),  # of an item, not of the top level
        (CT, "VerifyingOrganization", "3"),  # of another IOD
        (CT, "DetectorID", "3"),
    ],
)
def test_the_iod_decides_at_the_top_level(sop_class: str, keyword: str, expected: str) -> None:
    assert type_of(sop_class, 0, tag(keyword)) == expected


@pytest.mark.parametrize(
    ("sequence", "keyword", "expected"),
    [
        ("VerifyingObserverSequence", "VerifyingOrganization", "1"),  # C.17.2
        ("VerifyingObserverSequence", "VerifyingObserverIdentificationCodeSequence", "2"),
        ("VerifyingObserverSequence", "PatientName", "3"),
        ("FrameContentSequence", "FrameAcquisitionDateTime", "1"),  # C.7.6.16.2.2: 1C
        ("RequestAttributesSequence", "AccessionNumber", "3"),  # C.7.3.1, Table 10-9
    ],
)
def test_the_sequence_decides_in_its_items(sequence: str, keyword: str, expected: str) -> None:
    assert {type_of(each, tag(sequence), tag(keyword)) for each in (CT, SR, "1.2.3")} == {expected}


def test_of_an_unknown_sop_class_nothing_is_known() -> None:
    assert (iod_of(CT), iod_of("1.2.3")) == ("ct-image", "")
    assert type_of("1.2.3", 0, tag("PatientName")) == ""


def highdicom(name: str) -> Any:
    require("highdicom")
    spec = importlib.util.find_spec("highdicom")
    assert spec is not None and spec.origin is not None
    return json.loads((Path(spec.origin).parent / "_standard" / f"{name}.json").read_text(encoding="utf-8"))


def test_fifty_sop_classes_are_as_highdicom_has_them() -> None:
    classes, iods, modules = map(highdicom, ("sop_class_iod_map", "iod_module_map", "module_attribute_map"))
    asked = {row.name: row.tag for row in rows() if "/" in row.basic or row.basic in ("Z", "D")}
    for uid in random.Random(15).sample(sorted(classes), 50):
        used = [module["key"] for module in iods[classes[uid]] if module["key"] in modules]
        assert iod_of(uid) == classes[uid]
        for name, number in asked.items():
            listed = [
                attribute["type"]
                for key in used
                for attribute in modules[key]
                if attribute["keyword"] == name and not attribute["path"]
            ]
            expected = "1" if {"1", "1C"} & set(listed) else "2" if {"2", "2C"} & set(listed) else "3"
            assert type_of(uid, 0, number) == expected, (uid, name)


def test_the_strictest_type_counts_in_items() -> None:
    iods, modules, classes = map(highdicom, ("iod_module_map", "module_attribute_map", "sop_class_iod_map"))
    used = {module["key"] for iod in classes.values() for module in iods[iod]} & set(modules)
    asked = {row.name: row.tag for row in rows() if "/" in row.basic or row.basic in ("Z", "D")}
    strictest: dict[tuple[int, int], str] = {}
    for attribute in (attribute for key in sorted(used) for attribute in modules[key] if attribute["path"]):
        if attribute["keyword"] in asked and (sequence := tag_for_keyword(attribute["path"][-1])):
            key = (sequence, asked[attribute["keyword"]])
            strictest[key] = min(strictest.get(key, "3"), attribute["type"][:1])
    assert len(strictest) > 900
    assert {key: type_of("", *key) for key in strictest} == strictest
