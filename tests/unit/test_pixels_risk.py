"""What may show who the patient is where no change of the header reaches, and what ends the risk."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from pydicom.dataset import Dataset

from gateway.transform.parse import parse
from gateway.transform.pixels.risk import MODALITIES, is_video, why_at_risk
from tests.unit.array_kit import encode, image
from tests.unit.samples import EXPLICIT, MemorySource
from tests.unit.transform_kit import origin, transform

REGION = "- mask: {regions: [{left: 0, top: 0, width: 1, height: 1}]}"
NOTHING = "- mask: nothing"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def a_ct(**changes: Any) -> Dataset:
    """A CT image with these attributes; None takes one out."""
    data = image(numpy.full((1, 9, 9), 7, "u1"))
    for name, value in changes.items():
        setattr(data, name, value)
        if value is None:
            delattr(data, name)
    return data


def why(data: Dataset, steps: str = "", syntax: str = EXPLICIT) -> str:
    """Why a data set is at risk behind these steps."""
    tree = parse(MemorySource(encode(data)), syntax)
    for step in transform(steps).steps if steps else ():
        step.action.run(tree, origin(syntax))
    return why_at_risk(tree)


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "NM", "CR", "DX", "MG", "XA", "RF", "PX", "OPT"])
def test_images_of_detectors_that_write_nothing_are_at_no_risk(modality: str) -> None:
    assert why(a_ct(Modality=modality)) == ""


AT_RISK = {
    "Burned In Annotation (0028,0301)": {"BurnedInAnnotation": "YES"},
    "Recognizable": {"RecognizableVisualFeatures": "YES"},
    "secondary capture": {"SOPClassUID": SECONDARY_CAPTURE},
    "it is a secondary capture": {"SOPClassUID": f"{SECONDARY_CAPTURE}.4"},
    "says that it was captured": {"ConversionType": "WSD"},
    "has no Modality": {"Modality": None},
    "has no": {"Modality": ""},
    "are elsewhere": {"PixelDataProviderURL": "https://a.example/x", "PixelData": None},
    **{f"modality {each}": {"Modality": each} for each in MODALITIES},
}


@pytest.mark.parametrize("reason", AT_RISK)
def test_what_may_show_names_is_at_risk_until_a_mask_says_what_to_do(reason: str) -> None:
    data = a_ct(**AT_RISK[reason])
    assert reason.split(" (")[0].replace("Burned In Annotation", "BurnedInAnnotation") in why(data)
    assert why(data, "- set: {PatientName: X}") != ""
    assert why(data, NOTHING) == ""
    if "PixelData" in data:
        assert why(data, REGION) == ""


def test_a_modality_is_known_however_it_is_written() -> None:
    assert why(a_ct(Modality="US ")) != ""


def test_that_nothing_is_said_to_be_burned_in_ends_no_risk() -> None:
    assert why(a_ct(Modality="US", BurnedInAnnotation="NO")) != ""
    assert why(a_ct(BurnedInAnnotation="NO", RecognizableVisualFeatures="NO")) == ""


def test_a_mask_whose_condition_does_not_hold_ends_no_risk() -> None:
    """The step is there, and was not done."""
    tree = parse(MemorySource(encode(a_ct(Modality="US"))), EXPLICIT)
    (step,) = transform(f"- when: {{Manufacturer: GE}}\n  {REGION[2:]}").steps
    assert step.when is not None
    assert why_at_risk(tree) != ""


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.103.1", "1.2.840.10008.1.2.4.108"])
def test_video_is_at_risk_whatever_made_it(syntax: str) -> None:
    assert is_video(syntax)
    assert "video" in why(a_ct(), syntax=syntax)


@pytest.mark.parametrize("end", ["1", "4.50", "4.91", "4.110", "4.201", "5"])
def test_what_is_no_video_is_none(end: str) -> None:
    assert not is_video(f"1.2.840.10008.1.2.{end}")


def test_a_document_is_at_risk_and_no_mask_is_for_it() -> None:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = PDF, "1.2.3.4", "DOC"
    data.EncapsulatedDocument = b"%PDF-1.7"
    assert "of which nothing would be left" in why(data)
    assert "of which nothing would be left" in why(data, NOTHING)
    assert why(data, "- remove: [EncapsulatedDocument]") == ""


def test_without_pixels_there_is_nothing_to_see() -> None:
    assert why(a_ct(Modality="US", PixelData=None)) == ""


def test_a_reason_names_no_value_of_a_patient() -> None:
    assert "ZEBRA" not in why(a_ct(Modality="US"))
    assert "ZEBRA" not in why(a_ct(Modality="ZEBRA")), "what is not on the list is not repeated"
