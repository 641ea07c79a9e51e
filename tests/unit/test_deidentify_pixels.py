"""What `deidentify` does about pixels: nothing that may show a name goes without a word on it."""

from __future__ import annotations

import re

import numpy
import pytest

from gateway.errors import TransformError
from tests.unit.array_kit import encode, image
from tests.unit.samples import element, item
from tests.unit.transform_kit import reread, run

CANARY = b"CNRY^JANE 1970-01-01"
ID = element(0x00100020, "LO", b"17")
STEP = "- deidentify: {key: site}"
OPTION = "- deidentify: {key: site, options: [clean-pixel-data]}"
MASK = "- mask: {regions: [{left: 0, top: 0, width: 100%, height: 8}]}\n"


def picture(modality: str, **attributes: object) -> bytes:
    """An image, all of one colour, of a patient."""
    who = {"PatientID": "1", "PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3"}
    return encode(image(numpy.full((1, 32, 40), 7, "u1"), Modality=modality, **who, **attributes))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            picture("US"),
            "Modality (0008,0060) is none of those whose images are known to show nothing, and no mask step",
        ),
        (picture("MR"), "modality MR does not go with SOPClassUID (0008,0016), and no mask step says"),
        (picture("CT", BurnedInAnnotation="YES"), "BurnedInAnnotation (0028,0301) is YES, or nothing that can be read"),
        (picture("CT", ConversionType="WSD"), "says that it was captured"),
    ],
)
def test_what_may_show_a_name_is_held_until_a_mask_step_was_done(data: bytes, reason: str) -> None:
    with pytest.raises(TransformError, match=re.escape(reason)):
        run(data, STEP)
    masked = reread(run(data, MASK + STEP))
    assert masked.BurnedInAnnotation == "NO"
    assert [code.CodeValue for code in masked.DeidentificationMethodCodeSequence] == ["113100", "113101"]
    assert not masked.pixel_array[:8].any()
    assert (masked.pixel_array[8:] == 7).all()
    looked_at = reread(run(data, "- mask: nothing\n" + STEP))
    assert looked_at.BurnedInAnnotation == "NO"
    assert [code.CodeValue for code in looked_at.DeidentificationMethodCodeSequence] == ["113100"]
    assert (looked_at.pixel_array == 7).all()


def test_a_mask_that_was_meant_for_other_images_lets_nothing_through() -> None:
    steps = "- when: {Modality: XA}\n  mask: nothing\n" + STEP
    with pytest.raises(TransformError, match="no mask step says"):
        run(picture("US"), steps)


def test_with_the_option_every_image_needs_a_word() -> None:
    with pytest.raises(TransformError, match="the option clean-pixel-data is chosen, and no mask step was done"):
        run(picture("CT"), OPTION)
    found = reread(run(picture("CT"), "- mask: nothing\n" + OPTION))
    assert [code.CodeValue for code in found.DeidentificationMethodCodeSequence] == ["113100", "113101"]
    assert "BurnedInAnnotation" not in reread(run(picture("CT"), STEP)), "nobody has said so"


def test_a_recording_of_a_voice_is_held() -> None:
    heard = element(0x54000100, "SQ", item(element(0x54001010, "OW", CANARY)))
    data = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.9.4.1\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    data += element(0x00080060, "CS", b"AU") + ID + heard
    for steps in (STEP, "- mask: nothing\n" + STEP):
        with pytest.raises(TransformError, match="it is a recording of a voice"):
            run(data, steps)
    assert CANARY not in run(data, "- remove: [WaveformSequence.WaveformData]\n" + STEP)
