"""What `deidentify` does about pixels: nothing that may show a name goes without a word on it."""

from __future__ import annotations

import re
import struct

import numpy
import pytest

from gateway.errors import TransformError
from gateway.transform.pixels import PIXEL_DATA
from tests.unit.array_kit import encode, image
from tests.unit.pixels_kit import GREY, attributes
from tests.unit.samples import SOP, element, item, undefined
from tests.unit.transform_kit import reread, run

CANARY = b"CNRY^JANE 1970-01-01"
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


# ── pixels elsewhere in the data set ──────────────────────────────────────────────────────────────────────────────

ID = element(0x00100020, "LO", b"17")
NESTED = element(PIXEL_DATA, "OW", CANARY)


@pytest.mark.parametrize("inner", [NESTED, undefined(PIXEL_DATA, "OB", item(b"") + item(CANARY))])
@pytest.mark.parametrize("sequence", [0x00081140, 0x00081115, 0x00189346])
def test_pixels_in_an_item_are_gone_from_the_copy(sequence: int, inner: bytes) -> None:
    """Also behind an image at the top, whose pixels stay."""
    within = element(sequence, "SQ", item(element(0x00081155, "UI", b"1.2.9\0") + inner))
    assert CANARY not in run(SOP + within + ID, STEP)
    found = run(SOP + element(0x00080060, "CS", b"CT") + within + ID + element(PIXEL_DATA, "OW", b"VISIBLE!"), STEP)
    assert CANARY not in found
    assert b"VISIBLE!" in found


def test_pixels_in_a_safe_private_sequence_are_gone_from_the_copy() -> None:
    data = SOP + ID + element(0x00290010, "LO", b"ACME")
    data += element(0x00291010, "SQ", item(element(0x00189004, "CS", b"PRODUCT ") + NESTED))
    safe = 'options: [retain-safe-private], safe_private: {ACME: ["(0029,xx10)"]}'
    found = run(data, f"- deidentify: {{key: site, {safe}}}")
    assert b"PRODUCT " in found
    assert CANARY not in found


@pytest.mark.parametrize("group", [0x7F00, 0x7F02, 0x7FDE, 0x7FE2, 0x7FFE])
def test_pixels_in_the_retired_groups_are_gone_from_the_copy(group: int) -> None:
    data = SOP + ID + element(group << 16 | 0x10, "OW", CANARY) + element(group << 16 | 0x20, "OW", CANARY)
    assert CANARY not in run(data, STEP)


def test_tables_of_offsets_are_gone_from_the_copy() -> None:
    data = SOP + element(0x00080060, "CS", b"CT") + ID
    data += b"".join(element(tag, "OV", CANARY) for tag in (0x7FE00001, 0x7FE00002, 0x7FE00003))
    assert CANARY not in run(data + element(PIXEL_DATA, "OW", bytes(4)), STEP)


# ── overlays in bits of the pixels ────────────────────────────────────────────────────────────────────────────────

IN_BIT_15 = (
    element(0x60000010, "US", b"\2\0") + element(0x60000100, "US", b"\x10\0") + element(0x60000102, "US", b"\x0f\0")
)
TAKES_OVERLAYS_OUT = '- remove: ["(60xx,xxxx)"]\n'
OTHERWISE = {
    "all of it removed": TAKES_OVERLAYS_OUT,
    "what tells of it removed": '- remove: ["(6000,0100)", "(6000,0102)"]\n',
    "told otherwise": '- set: {"(6000,0100)": "1", "(6000,0102)": "0"}\n',
}


def twelve_bits(samples: list[int], *, signed: bool = False, overlay: bytes = IN_BIT_15, frames: int = 1) -> bytes:
    """A CT image of 12 of 16 bits with these samples in each frame, and the attributes of an overlay."""
    image = GREY.but(rows=1, columns=len(samples), bits_stored=12, high_bit=11, pixel_representation=int(signed))
    pixels = b"".join(struct.pack("<H", each & 0xFFFF) for each in samples) * frames
    sop = SOP + element(0x00080060, "CS", b"CT") + ID
    return sop + attributes(image.but(number_of_frames=frames)) + overlay + element(PIXEL_DATA, "OW", pixels)


def test_an_overlay_without_data_of_its_own_lies_in_the_pixels_though_there_is_an_element_for_it() -> None:
    for data in (element(0x60003000, "OW", b""), b""):
        with pytest.raises(TransformError, match="the overlay lies in bits of the pixels"):
            run(twelve_bits([1, 2], overlay=IN_BIT_15 + data), STEP)
    run(twelve_bits([1, 2], overlay=IN_BIT_15 + element(0x60003000, "OW", b"\3\0")), STEP)


@pytest.mark.parametrize("how", OTHERWISE)
@pytest.mark.parametrize("bit", [12, 15])
def test_an_overlay_stays_in_the_pixels_whatever_a_step_has_done_to_what_tells_of_it(how: str, bit: int) -> None:
    steps = OTHERWISE[how] + STEP
    with pytest.raises(TransformError, match=r"step 2 \(deidentify\).*an overlay lies in bits of the pixels"):
        run(twelve_bits([4095, 7 | 1 << bit, 0], frames=3), steps)
    with pytest.raises(TransformError, match="bits of the pixels"):
        run(twelve_bits([-1, 7 | 1 << bit, 0], signed=True), steps)
    with pytest.raises(TransformError, match="bits of the pixels"):
        run(twelve_bits([-1 & 0x7FFF, 7], signed=True), steps)


def test_pixels_in_which_no_overlay_is_left_go_as_they_are() -> None:
    for data in (
        twelve_bits([4095, 7, 0], frames=3),
        twelve_bits([-1, 7, 0, -2048], signed=True),
        twelve_bits([4095, 7, 0], signed=True),
    ):
        assert run(data, TAKES_OVERLAYS_OUT + STEP)[-8:] == data[-8:]
    behind = SOP + element(0x00080060, "CS", b"CT") + ID
    behind += attributes(GREY.but(rows=1, columns=40_000, bits_stored=12, high_bit=11)) + IN_BIT_15
    empty = behind + element(PIXEL_DATA, "OW", bytes(80_000))
    assert len(run(empty, TAKES_OVERLAYS_OUT + STEP)) > 80_000
    with pytest.raises(TransformError, match="bits of the pixels"):
        run(empty[:-1] + b"\x80", TAKES_OVERLAYS_OUT + STEP)


def test_an_overlay_below_the_samples_is_found_too() -> None:
    image = GREY.but(rows=1, columns=2, bits_stored=12, high_bit=15)
    data = SOP + element(0x00080060, "CS", b"CT") + ID + attributes(image) + IN_BIT_15
    run(data + element(PIXEL_DATA, "OW", b"\x10\xff\0\0"), TAKES_OVERLAYS_OUT + STEP)
    with pytest.raises(TransformError, match="bits of the pixels"):
        run(data + element(PIXEL_DATA, "OW", b"\x11\xff\0\0"), TAKES_OVERLAYS_OUT + STEP)


def test_without_an_overlay_nobody_looks_at_unused_bits() -> None:
    own = element(0x60000100, "US", b"\1\0") + element(0x60000102, "US", b"\0\0") + element(0x60003000, "OW", b"\3\0")
    for overlay in (b"", own):
        data = twelve_bits([0xFFFF, 0x7000], overlay=overlay)
        assert run(data, TAKES_OVERLAYS_OUT + STEP)[-4:] == b"\xff\xff\x00\x70"


def test_an_overlay_that_may_lie_in_compressed_pixels_is_held() -> None:
    steps = "- mask: nothing\n" + TAKES_OVERLAYS_OUT + "- transcode: rle-lossless\n" + STEP
    with pytest.raises(TransformError, match="an overlay lay in bits of the pixels, and they are compressed"):
        run(twelve_bits([1, 2]), steps)


def test_a_recording_of_a_voice_is_held() -> None:
    heard = element(0x54000100, "SQ", item(element(0x54001010, "OW", CANARY)))
    data = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.9.4.1\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    data += element(0x00080060, "CS", b"AU") + ID + heard
    for steps in (STEP, "- mask: nothing\n" + STEP):
        with pytest.raises(TransformError, match="it is a recording of a voice"):
            run(data, steps)
    assert CANARY not in run(data, "- remove: [WaveformSequence.WaveformData]\n" + STEP)
