"""What may show who the patient is where no change of the header reaches, and what ends the risk."""

from __future__ import annotations

import re
from typing import Any

import numpy
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from gateway.transform.parse import parse
from gateway.transform.pixels.detectors import CLASSES, DETECTORS
from gateway.transform.pixels.risk import is_video, why_at_risk
from tests.unit.array_kit import encode, image
from tests.unit.samples import EXPLICIT, MemorySource, element, item
from tests.unit.transform_kit import CT_IMAGE, origin, transform

REGION = "- mask: {regions: [{left: 0, top: 0, width: 1, height: 1}]}"
NOTHING = "- mask: nothing"
STORAGE = "1.2.840.10008.5.1.4.1.1."
SECONDARY_CAPTURE = f"{STORAGE}7"
ULTRASOUND, PHOTOGRAPHY = f"{STORAGE}6.1", f"{STORAGE}77.1.4"
PDF = f"{STORAGE}104.1"
VOICE, AUDIO = f"{STORAGE}9.4.1", f"{STORAGE}9.4.2"
PIXELS = element(0x7FE00010, "OW", bytes(4))


def a_ct(**changes: Any) -> Dataset:
    """A CT image with these attributes; None takes one out."""
    data = image(numpy.full((1, 9, 9), 7, "u1"))
    for name, value in changes.items():
        setattr(data, name, value)
        if value is None:
            delattr(data, name)
    return data


def why_of(data: bytes, steps: str = "", syntax: str = EXPLICIT) -> str:
    """Why the bytes of a data set are at risk behind these steps."""
    tree = parse(MemorySource(data), syntax)
    for step in transform(steps).steps if steps else ():
        step.action.run(tree, origin(syntax))
    return why_at_risk(tree)


def why(data: Dataset, steps: str = "", syntax: str = EXPLICIT) -> str:
    """Why a data set is at risk behind these steps."""
    return why_of(encode(data), steps, syntax)


def raw(*elements: tuple[int, str, bytes], sop_class: str = CT_IMAGE, modality: bytes = b"CT") -> bytes:
    """The bytes of a data set of pixels with these elements, in whatever VR, as often as they are given."""
    uid = sop_class.encode() + b"\0" * (len(sop_class) % 2)
    found = [(0x00080016, "UI", uid), *elements]
    if not any(tag == 0x00080060 for tag, _, _ in elements):
        found.append((0x00080060, "CS", modality))
    return b"".join(element(*each) for each in sorted(found, key=lambda each: each[0])) + PIXELS


# ── what a detector makes ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sop_class", CLASSES)
def test_images_of_detectors_are_at_no_risk_in_the_classes_that_are_theirs(sop_class: str) -> None:
    for modality in DETECTORS:
        reason = why(a_ct(SOPClassUID=sop_class, Modality=modality))
        assert (reason == "") == (modality in CLASSES[sop_class]), (modality, reason)


def test_every_detector_has_a_class_and_every_class_is_one_of_images() -> None:
    assert frozenset().union(*CLASSES.values()) == frozenset(DETECTORS)
    for each in frozenset(CLASSES) - {f"{STORAGE}66.7"}:  # Label Map Segmentation: pydicom 3.0 does not know it yet
        name, kind = UID_dictionary[each][:2]
        assert kind == "SOP Class"
        assert "Image" in name or name.removesuffix(" Storage") in (
            "Segmentation",
            "Parametric Map",
            "RT Dose",
        ), name
        assert not re.search("Ultrasound|US|VL|Photo|Capture|Video|Intravascular|Endoscop|Encapsulated", name), name


def test_a_class_that_is_not_known_is_at_risk_whatever_the_modality_says() -> None:
    others = [uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and uid not in CLASSES]
    assert len(others) > 100
    for each in (*others, "1.2.3.4", f"{CT_IMAGE}.9", f"{CT_IMAGE}00"):
        for modality in DETECTORS:
            assert why_of(raw(sop_class=each, modality=modality.encode())) != "", each


OF_WHICH_NOTHING_IS_KNOWN = [
    *["US", "IVUS", "ES", "XC", "GM", "SM", "OP", "BMD", "DG", "TG", "DOC", "HC", "FILM", "OT", "SC", "CP", "LP", "VF"],
    *["EC", "DD", "CD", "AS", "CS", "DM", "DMS", "FA", "FS", "OPM", "KO", "IVOCT", "PA", "AU", "ECG", "XX", "CFM"],
    "ULTRASOUND",
]


@pytest.mark.parametrize("modality", [*OF_WHICH_NOTHING_IS_KNOWN, "us", "US ", " US"])
def test_a_modality_that_is_no_detector_is_at_risk_until_a_mask_says_what_to_do(modality: str) -> None:
    for sop_class in (CT_IMAGE, ULTRASOUND):
        data = a_ct(Modality=modality, SOPClassUID=sop_class)
        assert "are known to show nothing, and no mask step says" in why(data)
        assert why(data, REGION) == why(data, NOTHING) == ""


AT_RISK = {
    "BurnedInAnnotation (0028,0301) is YES": {"BurnedInAnnotation": "YES"},
    "RecognizableVisualFeatures (0028,0302) is YES": {"RecognizableVisualFeatures": "YES"},
    "it is a secondary capture": {"SOPClassUID": SECONDARY_CAPTURE},
    "it is a secondary capture,": {"SOPClassUID": f"{SECONDARY_CAPTURE}.4"},
    "says that it was captured": {"ConversionType": "WSD"},
    "says that it was captured,": {"ConversionType": ["SYN", "DI"]},
    "has no Modality": {"Modality": None},
    "has no": {"Modality": ""},
    "SOPClassUID (0008,0016) is none of those": {"SOPClassUID": PHOTOGRAPHY},
    "SOPClassUID (0008,0016) is none": {"SOPClassUID": None},
    "modality MR does not go with SOPClassUID": {"Modality": "MR"},
    "are elsewhere": {"PixelDataProviderURL": "https://a.example/x", "PixelData": None},
    "ImageType (0008,0008) speaks of": {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
}


@pytest.mark.parametrize("reason", AT_RISK)
def test_what_may_show_names_is_at_risk_until_a_mask_says_what_to_do(reason: str) -> None:
    data = a_ct(**AT_RISK[reason])
    assert reason in why(data)
    assert why(data, "- set: {PatientName: X}") != ""
    assert why(data, NOTHING) == ""
    if "PixelData" in data:
        assert why(data, REGION) == ""


# ── nobody is taken at their word ─────────────────────────────────────────────────────────────────────────────────


def test_of_a_repeated_attribute_every_element_counts() -> None:
    assert "has several values" in why_of(raw((0x00080060, "CS", b"US"), (0x00080060, "CS", b"CT")))
    assert "has several values" in why_of(raw((0x00080060, "CS", b"CT"), (0x00080060, "CS", b"US")))
    assert "is YES" in why_of(raw((0x00280301, "CS", b"YES "), (0x00280301, "CS", b"NO")))
    assert "captured" in why_of(raw((0x00080064, "CS", b"WSD "), (0x00080064, "CS", b"SYN ")))
    uids = [(0x00080016, "UI", uid.encode() + b"\0") for uid in (ULTRASOUND, CT_IMAGE)]
    assert "SOPClassUID" in why_of(
        b"".join(element(*each) for each in uids) + element(0x00080060, "CS", b"CT") + PIXELS
    )


@pytest.mark.parametrize("modality", [b"CT\\US ", b"OT\\CT ", b"\\US ", b"\\CT ", b"CT\\CT "])
def test_of_several_modalities_none_is_believed(modality: bytes) -> None:
    assert why_of(raw((0x00080060, "CS", modality))) != ""


@pytest.mark.parametrize("vr", ["OB", "UN", "UT", "OW", "SQ"])
def test_a_vr_that_is_wrong_hides_nothing(vr: str) -> None:
    assert why_of(raw((0x00080060, vr, b"US"))) != ""
    assert "is YES" in why_of(raw((0x00280301, vr, b"YES ")))
    assert "captured" in why_of(raw((0x00080064, vr, b"WSD ")))
    assert "ImageType" in why_of(raw((0x00080008, vr, b"SCREEN SAVE ")))
    assert why_of(raw((0x00080060, "OB", b"CT"))) == "", "it says CT, whatever its VR"


@pytest.mark.parametrize("value", [b"YES ", b"yes ", b"Y ", b"YES\\YES ", b"NO\\YES", b"?1", b"\xff\xfe", b"YES\0"])
def test_what_is_burned_in_is_so_unless_it_says_no(value: bytes) -> None:
    for tag in (0x00280301, 0x00280302):
        assert "is YES, or nothing that can be read" in why_of(raw((tag, "CS", value)))
        assert why_of(raw((tag, "CS", b"NO"))) == why_of(raw((tag, "CS", b""))) == ""


def test_that_nothing_is_said_to_be_burned_in_ends_no_risk() -> None:
    assert why(a_ct(Modality="US", BurnedInAnnotation="NO")) != ""
    assert why(a_ct(BurnedInAnnotation="NO", RecognizableVisualFeatures="NO")) == ""


@pytest.mark.parametrize(
    "kind", ["SCREEN", "SCREEN SAVE", "SCREENSHOT", "DOSE_INFO", "CSA REPORT", "PROTOCOL", "CT PROT"]
)
def test_an_image_type_may_speak_of_a_picture_of_a_screen(kind: str) -> None:
    assert "ImageType" in why(a_ct(ImageType=["DERIVED", "SECONDARY", kind]))


def test_an_image_type_may_say_what_it_wants_else() -> None:
    for kind in ("LOCALIZER", "AXIAL", "PROTON_DENSITY", "MPR"):
        assert why(a_ct(ImageType=["ORIGINAL", "PRIMARY", kind])) == ""
    assert why(a_ct(ConversionType="SYN")) == ""


def test_detectors_see_no_colour() -> None:
    colour = image(numpy.full((1, 9, 9, 3), 7, "u1"))
    assert "colours, which a detector for CT does not see" in why(colour)
    assert "colours" in why(a_ct(SamplesPerPixel=None, PhotometricInterpretation="RGB"))
    assert "colours" in why(a_ct(PhotometricInterpretation="PALETTE COLOR"))
    for modality, sop_class in (("NM", f"{STORAGE}20"), ("SEG", f"{STORAGE}66.7")):
        palette = {"Modality": modality, "SOPClassUID": sop_class, "PhotometricInterpretation": "PALETTE COLOR"}
        assert why(a_ct(**palette)) == ""
        assert "colours" in why(a_ct(**palette, SamplesPerPixel=3))


def test_a_mask_whose_condition_does_not_hold_ends_no_risk() -> None:
    """The step is there, and was not done."""
    tree = parse(MemorySource(encode(a_ct(Modality="US"))), EXPLICIT)
    (step,) = transform(f"- when: {{Manufacturer: GE}}\n  {REGION[2:]}").steps
    assert step.when is not None
    assert why_at_risk(tree) != ""


# ── what no mask is for ───────────────────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize(("sop_class", "modality"), [(VOICE, "AU"), (AUDIO, "AU"), (VOICE, "OT"), (CT_IMAGE, "AU")])
def test_a_voice_is_at_risk_as_long_as_it_can_be_heard(sop_class: str, modality: str) -> None:
    heard = element(0x5400100A, "OW", bytes(2)) + element(0x54001010, "OW", b"spoken names")
    data = element(0x00080016, "UI", sop_class.encode() + b"\0" * (len(sop_class) % 2))
    data += element(0x00080060, "CS", modality.encode())
    data += element(0x54000100, "SQ", item(b"") + item(heard))
    assert "a recording of a voice" in why_of(data)
    assert "a recording of a voice" in why_of(data, NOTHING)
    assert why_of(data, "- remove: [WaveformSequence.WaveformData]") == ""
    assert why_of(data, "- remove: [WaveformSequence]") == ""


def test_other_waveforms_are_at_no_risk() -> None:
    data = element(0x00080016, "UI", f"{STORAGE}9.1.1\0".encode()) + element(0x00080060, "CS", b"ECG ")
    data += element(0x54000100, "SQ", item(element(0x54001010, "OW", bytes(4))))
    assert why_of(data) == ""


def test_without_pixels_there_is_nothing_to_see() -> None:
    assert why(a_ct(Modality="US", PixelData=None)) == ""


def test_a_reason_names_no_value_of_a_patient() -> None:
    assert "ZEBRA" not in why(a_ct(Modality="US"))
    assert "ZEBRA" not in why(a_ct(Modality="ZEBRA")), "what is not on the list is not repeated"
    assert "ZEBRA" not in why(a_ct(ImageType=["SCREEN ZEBRA"]))
