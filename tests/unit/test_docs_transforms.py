"""docs/transforms.md teaches nothing that is not so: its examples are read, run, and do what is said beside them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy
import pytest
from pydicom.dataset import Dataset

from gateway.transform.pixels.detectors import DETECTORS
from gateway.transform.schema import Transform
from gateway.transform.transcode import SYNTAXES
from gateway.transform.verbs import VERBS
from tests.unit.array_kit import Pixels, encode, image
from tests.unit.samples import SOP, element, item, sample
from tests.unit.transform_kit import problems_of, reread, run_all, transforms

DOCUMENT = (Path(__file__).parents[2] / "docs" / "transforms.md").read_text(encoding="utf-8")
BLOCKS = {
    DOCUMENT.count("\n", 0, found.start()) + 1: found[1]
    for found in re.finditer(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
}
EXAMPLES = {name: found for text in BLOCKS.values() for name, found in transforms(text).items()}


@pytest.mark.parametrize("line", list(BLOCKS))
def test_every_example_is_a_rule_file_that_works(line: int) -> None:
    known: dict[str, Transform] = {}
    assert problems_of(BLOCKS[line], "transforms.md", known) == []
    assert known


def test_the_guide_shows_every_verb() -> None:
    used = {step.verb for each in EXAMPLES.values() for step in each.steps}
    assert used == set(VERBS)
    table = DOCUMENT[DOCUMENT.index("## Reference") :]
    assert all(f"`{verb}`" in table for verb in [*VERBS, "when", "record"])


def of(name: str, data: bytes):  # type: ignore[no-untyped-def]
    """What pydicom reads after an example."""
    return reread(run_all(data, [EXAMPLES[name]])[0])


def test_the_examples_do_what_is_said() -> None:
    ct = sample("CT_small.dcm").data_set
    found = of("to-pacs", ct + element(0x7FE10010, "LO", b"X "))
    assert found.InstitutionName == "St. Elsewhere"
    found = of("describe", ct)
    assert found.StudyDescription == "e+1 (CT1)"
    assert found.PatientComments == ""
    found = of("leave-out", ct)
    assert not any(each.tag.is_private for each in found)
    assert of("to-utf-8", ct).InstitutionName == "Szpital Wałęsy"
    private = of("for-a-study", ct)
    assert private.PatientName == "SUBJECT^17"
    assert "OriginalAttributesSequence" not in private


def test_transfer_syntaxes_are_those_that_are_said() -> None:
    ct = sample("CT_small.dcm").data_set
    assert run_all(ct, [EXAMPLES["to-old-archive"]])[0] == ct
    small = run_all(ct, [EXAMPLES["to-long-term"]])[1]
    assert small.transfer_syntax_uid == SYNTAXES["jpeg-ls-lossless"]
    assert small.sop_instance_uid != run_all(ct, [EXAMPLES["to-teaching"]])[1].sop_instance_uid
    section = DOCUMENT[DOCUMENT.index("## Transfer syntaxes") : DOCUMENT.index("## What was changed")]
    assert all(f"`{name}`" in section or f"{{to: {name}, " in section for name in SYNTAXES)


def test_masks_blank_what_is_said() -> None:
    def shown(**attributes: object) -> Pixels:
        data = image(numpy.full((1, 768, 1024), 9, "u1"), Modality="US", **attributes)
        return of("clean-pixels", encode(data)).pixel_array

    corners = Dataset()
    corners.RegionLocationMinX0, corners.RegionLocationMinY0 = 100, 200
    corners.RegionLocationMaxX1, corners.RegionLocationMaxY1 = 299, 399
    by_size = shown(Manufacturer="GE Healthcare")
    assert (by_size[:60] == 0).all() and (by_size[60:150, 900:] == 0).all() and (by_size[150:] == 9).all()
    by_regions = shown(Manufacturer="Other", SequenceOfUltrasoundRegions=[corners])
    assert (by_regions[200:400, 100:300] == 9).all() and (by_regions == 9).sum() == 200 * 200
    assert (shown(Manufacturer="Other") == 9).all()


def test_the_guide_names_the_modalities_that_are_at_no_risk() -> None:
    assert f"({', '.join(sorted(DETECTORS))})" in DOCUMENT


def test_tidy_does_what_is_said() -> None:
    data = SOP + element(0x00080050, "SH", b"") + element(0x00081010, "SH", b"CTAW02")
    data += element(0x00100010, "PN", b"Doe^Jane") + element(0x00100020, "LO", b" 00123")
    found = of("tidy", data)
    assert found.PatientID == "00000123-X"
    assert found.PatientName == "DOE^JANE"
    assert found.StationName == "CT-ROOM-2"
    assert found.AccessionNumber == ""


def test_siemens_does_what_is_said() -> None:
    creators = element(0x00090010, "LO", b"GEMS_IDEN_01") + element(0x00091004, "SH", b"ROOM 1")
    creators += element(0x00181020, "LO", b"VD20")
    csa = element(0x00290010, "LO", b"SIEMENS CSA HEADER") + element(0x00291008, "CS", b"X ")
    references = element(0x00081140, "SQ", item(element(0x00081155, "UI", b"1.2\0") + csa))
    header = element(0x00290011, "LO", b"SIEMENS MEDCOM HEADER ")
    header += element(0x00291140, "SQ", item(element(0x00100010, "PN", b"Doe^Jane")))
    found = of("siemens", SOP + references + creators + header)
    assert found[0x00291109].value == "VD20"
    assert found.StationName == "ROOM 1"
    assert len(found[0x00291140].value[0]) == 0
    assert not [each for each in found if each.tag.group == 9]
    assert [each.keyword for each in found.ReferencedImageSequence[0]] == ["ReferencedSOPInstanceUID"]
    made = of("siemens", SOP + element(0x00181020, "LO", b"VD20"))
    assert made.private_block(0x0029, "SIEMENS MEDCOM HEADER")[0x09].value == "VD20"


def test_requested_does_what_is_said() -> None:
    data = SOP + element(0x00080050, "SH", b"A1") + element(0x00180015, "CS", b"HEAD")
    (made,) = of("requested", data).RequestAttributesSequence
    assert made.RequestedProcedureID == "A1"
    (code,) = made.RequestedProcedureCodeSequence
    assert (code.CodeValue, code.CodeMeaning) == ("P1", "CT of the HEAD")
    assert len(made.ScheduledProtocolCodeSequence) == 0


def test_identifiers_and_rooms_do_what_is_said() -> None:
    old = item(element(0x00100020, "LO", b"1 ") + element(0x00100021, "LO", b"OLD-CLINIC"))
    data = SOP + element(0x00080060, "CS", b"CT") + element(0x00081010, "SH", b"CTAW01")
    data += element(0x00100020, "LO", b"12") + element(0x00101002, "SQ", old) + element(0x00200010, "SH", b"S1")
    found = of("identifiers", data)
    (other,) = found.OtherPatientIDsSequence
    assert (other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID) == ("12", "CT1", "TEXT")
    found = of("by-room", data)
    assert found.InstitutionalDepartmentName == "CT, ground floor"
    assert found.AccessionNumber == "S1"
