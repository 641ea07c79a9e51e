"""What `deidentify` does about pixels: nothing that may show a name goes without a word on it."""

from __future__ import annotations

import re

import numpy
import pytest

from gateway.errors import TransformError
from tests.unit.array_kit import encode, image
from tests.unit.transform_kit import reread, run

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
        (picture("US"), "modality US: ultrasound machines write the name into the picture, and no mask step says"),
        (picture("CT", BurnedInAnnotation="YES"), "BurnedInAnnotation (0028,0301) is YES, and no mask step was done"),
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
