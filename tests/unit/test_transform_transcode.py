"""`transcode` gives an instance another transfer syntax, tells of it what the standard wants told, and nothing else."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise, product

import pytest
from pydicom import Dataset
from pydicom.encaps import generate_frames

from gateway.errors import TransformError
from gateway.transform import prepare
from gateway.transform.parse import parse
from gateway.transform.transcode import SYNTAXES, Target, Transcode
from tests.unit.pixels_kit import (
    GREY,
    IMAGES,
    J2K,
    J2K_LOSSY,
    JPEG,
    JPEG_LS,
    LOSSLESS,
    NEAR_LOSSLESS,
    RLE,
    Tracking,
    attributes,
    encapsulated,
    made,
)
from tests.unit.samples import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SOP,
    Sample,
    element,
    item,
    sample,
    undefined,
)
from tests.unit.test_pixels_codecs import UNREADABLE, WITH_PIXELS
from tests.unit.transform_kit import before, origin, problems_of, reread, run, run_all, transform

TO = {uid: name for name, uid in SYNTAXES.items()}
LOSSY = "- transcode: {to: jpeg-2000, ratio: 10}"
NEAR = "- transcode: {to: jpeg-ls-near-lossless, error: 2}"
READABLE = [each for each in WITH_PIXELS if each.path.name not in UNREADABLE]
IMAGE_TAGS = {0x00280002, 0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00010}


def to(syntax: str) -> str:
    return f"- transcode: {TO[syntax]}"


def transcoded(data: bytes, steps: str, syntax: str = EXPLICIT) -> tuple[Dataset, str]:
    """What pydicom reads after these steps, and the transfer syntax that it is in."""
    written, prepared = run_all(data, [transform(steps)], syntax)
    return reread(written, prepared.transfer_syntax_uid), prepared.transfer_syntax_uid


# ── what is written ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_syntax_goes_by_its_name_or_its_uid() -> None:
    for name, uid in SYNTAXES.items():
        if name in ("jpeg-2000", "jpeg-ls-near-lossless"):
            continue
        for told in (name, f"{{to: {name}}}", uid, f"{{to: {uid}}}"):
            assert transform(f"- transcode: {told}").steps[0].action == Transcode(Target(uid))
    assert transform(LOSSY).steps[0].action == Transcode(Target(J2K_LOSSY, ratio=10))
    assert transform(NEAR).steps[0].action == Transcode(Target(NEAR_LOSSLESS, error=2))


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("rle-losless", "is 'rle-lossless' meant?"),
        ("1.2.840.10008.1.2.4.50", "the gateway writes these transfer syntaxes: explicit-vr-little-endian"),
        ("[rle-lossless]", "the gateway writes these"),
        ("", "the gateway writes these"),
        ("{ratio: 10}", "the gateway writes these"),
        ("jpeg-2000", "how much may be lost has to be said: transcode: {to: jpeg-2000, ratio: …}"),
        ("jpeg-ls-near-lossless", "transcode: {to: jpeg-ls-near-lossless, error: …}"),
        ("{to: jpeg-2000}", "jpeg-2000 needs ratio"),
        ("{to: jpeg-2000, error: 2}", "jpeg-2000 has no error"),
        ("{to: rle-lossless, ratio: 10}", "rle-lossless has no ratio"),
        ("{to: jpeg-2000, ratio: 0}", "ratio is a whole number from 1 to 1000"),
        ("{to: jpeg-ls-near-lossless, error: 256}", "error is a whole number from 1 to 255"),
        ("{to: jpeg-2000, ratio: 10, quality: 3}", "transcode has no key 'quality'"),
    ],
)
def test_what_cannot_be_meant_is_a_problem_of_the_rule_file(step: str, told: str) -> None:
    found = problems_of(f"transforms:\n  t:\n    - transcode: {step}\n")
    assert any(told in str(problem) for problem in found), found
    assert all(problem.line == 3 for problem in found)


# ── lossless ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "syntax"), [*product(IMAGES, LOSSLESS)])
def test_an_image_is_the_same_in_every_lossless_syntax_and_back(name: str, syntax: str) -> None:
    one = made(IMAGES[name])
    written, prepared = run_all(one.data_set, [transform(to(syntax))])
    assert prepared.transfer_syntax_uid == syntax
    assert prepared.sop_instance_uid == "1.2.3.4"
    back, again = run_all(written, [transform(to(EXPLICIT))], syntax)
    assert again.transfer_syntax_uid == EXPLICIT
    found = reread(back)
    pixels = b"".join(made(replace(one.image, planar_configuration=0)).frames)
    if one.image.planar_configuration:  # it comes back by pixel
        assert found.PlanarConfiguration == 0
        assert sorted(found.PixelData) == sorted(b"".join(one.frames))
    else:
        assert found.PixelData == pixels
    assert found.PhotometricInterpretation == one.image.photometric_interpretation


@pytest.mark.parametrize("each", [each for each in READABLE if each.transfer_syntax_uid == EXPLICIT][::3], ids=str)
def test_what_is_not_the_image_stays_byte_for_byte(each: Sample) -> None:
    try:
        written, _ = run_all(each.data_set, [transform(to(RLE))], EXPLICIT)
    except TransformError as error:
        assert "BitsAllocated" in str(error) or "PhotometricInterpretation" in str(error)
        return
    ours, theirs = (parse(Tracking(data), EXPLICIT) for data in (written, each.data_set))

    def elements(tree) -> dict[int, bytes]:  # type: ignore[no-untyped-def]
        return {
            one.tag: one.encoded + (tree.source.read(*one.bulk) if one.bulk else b"")
            for one in tree
            if one.tag not in IMAGE_TAGS and one.tag & 0xFFFF
        }

    assert elements(ours) == elements(theirs)


def test_what_is_in_the_syntax_already_stays_as_it_is() -> None:
    for name, syntax in (
        ("MR_small_RLE.dcm", RLE),
        ("MR_small_jpeg_ls_lossless.dcm", JPEG_LS),
        ("MR_small_jp2klossless.dcm", J2K),
        ("CT_small.dcm", EXPLICIT),
        ("MR_small_implicit.dcm", IMPLICIT),
    ):
        each = sample(name)
        assert run(each.data_set, to(syntax), syntax) == each.data_set
    lossy = sample("JPEG2000.dcm")
    assert run(lossy.data_set, LOSSY, lossy.transfer_syntax_uid) == lossy.data_set


def test_lossless_is_not_told_of_as_a_change() -> None:
    for steps in (to(J2K), f"- set: {{PatientID: A}}\n- record: false\n{to(J2K)}"):
        found, _ = transcoded(made(IMAGES["RGB by plane"]).data_set, steps)
        assert "OriginalAttributesSequence" not in found
        assert (found.PhotometricInterpretation, found.PlanarConfiguration) == ("YBR_RCT", 0)
        assert (found.SOPInstanceUID, "LossyImageCompression" in found) == ("1.2.3.4", False)
    found, _ = transcoded(made(GREY).data_set, f"{to(RLE)}\n- set: {{PatientID: A}}")
    (told,) = found.OriginalAttributesSequence
    assert [each.keyword for each in told.ModifiedAttributesSequence[0]] == ["PatientID"]


def test_every_frame_is_one_fragment() -> None:
    found, syntax = transcoded(sample("emri_small.dcm").data_set, to(JPEG_LS))
    assert syntax == JPEG_LS
    assert len(list(generate_frames(found.PixelData, number_of_frames=10))) == 10
    assert found.PixelData.startswith(b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0")


@pytest.mark.parametrize(("syntax", "target"), [*product((IMPLICIT, BIG_ENDIAN, DEFLATED), (RLE, EXPLICIT, IMPLICIT))])
def test_from_every_native_syntax(syntax: str, target: str) -> None:
    name = {IMPLICIT: "MR_small_implicit.dcm", BIG_ENDIAN: "MR_small_bigendian.dcm", DEFLATED: "image_dfl.dcm"}[syntax]
    each = sample(name)
    found, now = transcoded(each.data_set, to(target), syntax)
    assert now == target
    there, wanted = found.pixel_array, before(name).pixel_array
    assert (there == wanted).all()


def test_without_pixels_the_data_set_alone_is_encoded_anew() -> None:
    report = SOP + element(0x00100010, "PN", b"Doe^Jane")
    for syntax in (*LOSSLESS, EXPLICIT):
        written, prepared = run_all(report, [transform(to(syntax))])
        assert (written, prepared.transfer_syntax_uid) == (report, EXPLICIT)
    written, prepared = run_all(report, [transform(to(IMPLICIT))])
    assert prepared.transfer_syntax_uid == IMPLICIT
    back, prepared = run_all(written, [transform(to(RLE))], IMPLICIT)
    assert (back, prepared.transfer_syntax_uid) == (report, EXPLICIT)
    emptied = report + element(0x7FE00010, "OW", b"")
    assert run_all(emptied, [transform(to(RLE))])[1].transfer_syntax_uid == EXPLICIT


def test_the_same_comes_out_whenever_it_is_made() -> None:
    for name, steps in product(("CT_small.dcm", "emri_small.dcm", "examples_jpeg2k.dcm"), (to(JPEG_LS), LOSSY, NEAR)):
        each = sample(name)
        one, other = (run_all(each.data_set, [transform(steps)], each.transfer_syntax_uid)[0] for _ in range(2))
        assert sha256(one).digest() == sha256(other).digest()


def test_only_a_frame_is_held_at_a_time() -> None:
    image = replace(GREY, rows=600, columns=600, number_of_frames=20)
    source = Tracking(made(image, value=bytes(20 * image.frame_bytes)).data_set)
    prepared = prepare([transform(to(RLE))], source, origin(), system="gateway")
    at_first = source.read_bytes
    assert at_first < 2 * 1024 * 1024
    read_bytes: list[int] = []
    prepared.write(lambda piece: read_bytes.append(source.read_bytes))
    assert source.longest <= 1 << 20
    # Reading and writing take turns.
    assert max(after - before for before, after in pairwise(read_bytes)) <= image.frame_bytes


# ── lossy ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("steps", "syntax", "method", "told"),
    [
        (LOSSY, J2K_LOSSY, "ISO_15444_1", "jpeg-2000, ratio 10"),
        (NEAR, NEAR_LOSSLESS, "ISO_14495_1", "jpeg-ls-near-lossless, error 2"),
    ],
)
def test_a_lossy_image_is_a_derived_one(steps: str, syntax: str, method: str, told: str) -> None:
    original = before("CT_small.dcm")
    found, now = transcoded(sample("CT_small.dcm").data_set, steps)
    assert now == syntax
    assert found.LossyImageCompression == "01"
    assert found.LossyImageCompressionMethod == method
    assert found.ImageType == ["DERIVED", *original.ImageType[1:]]
    assert found.DerivationDescription == f"Lossy compression: {told}"
    code = found.DerivationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("113040", "DCM", "Lossy Compression")
    (source,) = found.SourceImageSequence
    assert source.ReferencedSOPClassUID == original.SOPClassUID
    assert source.ReferencedSOPInstanceUID == original.SOPInstanceUID
    purpose = source.PurposeOfReferenceCodeSequence[0]
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", "Uncompressed predecessor")
    assert found.SOPInstanceUID.startswith("2.25.") and found.SOPInstanceUID.is_valid
    (record,) = found.OriginalAttributesSequence
    modified = record.ModifiedAttributesSequence[0]
    assert modified.SOPInstanceUID == original.SOPInstanceUID
    assert modified.ImageType == original.ImageType
    assert "PixelData" not in modified


def test_the_ratio_is_the_one_that_was_reached() -> None:
    found, _ = transcoded(sample("CT_small.dcm").data_set, LOSSY)
    (stream,) = generate_frames(found.PixelData, number_of_frames=1)
    assert float(found.LossyImageCompressionRatio) == pytest.approx(128 * 128 * 2 / len(stream), rel=0.01)
    found, _ = transcoded(sample("emri_small.dcm").data_set, NEAR)
    streams = sum(map(len, generate_frames(found.PixelData, number_of_frames=10)))
    assert float(found.LossyImageCompressionRatio) == pytest.approx(64 * 64 * 12 * 10 / 8 / streams, rel=0.01)


def test_what_was_lossy_before_keeps_what_it_said_of_that() -> None:
    more = element(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\OTHER")
    data = made(GREY, more=more).data_set
    lossy = (
        element(0x00282110, "CS", b"01")
        + element(0x00282112, "DS", b"7.5 ")
        + element(0x00282114, "CS", b"ISO_10918_1 ")
    )
    at = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    found, _ = transcoded(data[:at] + lossy + data[at:], NEAR)
    assert found.LossyImageCompressionMethod == ["ISO_10918_1", "ISO_14495_1"]
    assert found.LossyImageCompressionRatio[0] == 7.5 and len(found.LossyImageCompressionRatio) == 2
    assert found.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_the_new_uid_depends_on_the_old_one_and_on_what_was_asked_for() -> None:
    other = made(GREY).data_set.replace(b"1.2.3.4\0", b"1.2.3.5\0")
    found = [
        transcoded(data, steps)[0].SOPInstanceUID
        for data in (made(GREY).data_set, other)
        for steps in (LOSSY, NEAR, LOSSY.replace("10", "20"), NEAR.replace("2}", "3}"))
    ]
    assert len(set(found)) == 8
    assert transcoded(made(GREY).data_set, LOSSY)[0].SOPInstanceUID == found[0]


def test_once_lossy_always_lossy() -> None:
    for name in ("JPGExtended.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jpeg_dcmtk.dcm", "693_J2KI.dcm"):
        each = sample(name)
        for syntax in (EXPLICIT, RLE):
            found, _ = transcoded(each.data_set, to(syntax), each.transfer_syntax_uid)
            assert found.LossyImageCompression == "01"
            assert found.SOPInstanceUID == before(name).SOPInstanceUID
    found, _ = transcoded(sample("MR_small_jp2klossless.dcm").data_set, to(EXPLICIT), J2K)
    assert found.get("LossyImageCompression", "00") == "00"


# ── what is refused, and with which words ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "syntax", "steps", "told"),
    [
        (sample("liver.dcm").data_set, EXPLICIT, to(JPEG_LS), "BitsAllocated (0028,0100): single bits"),
        (sample("rtdose.dcm").data_set, IMPLICIT, to(RLE), "BitsAllocated (0028,0100): more than"),
        (sample("rtdose_expb.dcm").data_set, BIG_ENDIAN, to(EXPLICIT), "PixelData (7fe0,0010): big endian"),
        (SOP + element(0x7FE00008, "OF", bytes(4)), EXPLICIT, to(RLE), "FloatPixelData (7fe0,0008): it cannot be"),
        (SOP + element(0x7FE00009, "OD", bytes(8)), EXPLICIT, to(J2K), "DoubleFloatPixelData (7fe0,0009): it cannot"),
        (SOP + element(0x00287FE0, "UR", b"http://a"), EXPLICIT, to(IMPLICIT), "PixelDataProvider"),
        (made(GREY).data_set, JPEG, to(EXPLICIT), "PixelData (7fe0,0010): it is not encoded as the transfer syntax"),
        (encapsulated(GREY, [b"abcd"]), "1.2.840.10008.1.2.4.100", to(EXPLICIT), "no codec decodes transfer syntax"),
    ],
)
def test_what_cannot_be_done_is_told_with_step_and_attribute(data: bytes, syntax: str, steps: str, told: str) -> None:
    with pytest.raises(TransformError) as caught:
        run(data, steps, syntax)
    assert str(caught.value).startswith("transform t, step 1 (transcode): ")
    assert told in str(caught.value)


def test_floats_go_through_native_syntaxes() -> None:
    data = SOP + element(0x7FE00008, "OF", b"\1\2\3\4")
    written, prepared = run_all(data, [transform(to(IMPLICIT))])
    assert prepared.transfer_syntax_uid == IMPLICIT
    assert written.endswith(b"\1\2\3\4")


def test_a_frame_that_cannot_be_decoded_is_told_by_its_number() -> None:
    streams = [
        bytes(generated) for generated in generate_frames(before("emri_small_RLE.dcm").PixelData, number_of_frames=10)
    ]
    image = replace(GREY, rows=64, columns=64, bits_stored=12, high_bit=11, number_of_frames=10)
    data = encapsulated(image, [*streams[:6], b"\0" * 64, *streams[7:]])
    with pytest.raises(TransformError, match=r"transform t, step 2 \(transcode\): frame 7: PixelData"):
        run(data, f"- set: {{PatientID: A}}\n{to(JPEG_LS)}", RLE)


# ── chains ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_may_transcode_more_than_once_and_change_its_mind() -> None:
    ct = sample("CT_small.dcm").data_set
    chain = [transform(steps) for steps in (to(JPEG_LS), to(RLE), to(EXPLICIT))]
    written, prepared = run_all(ct, chain)
    assert prepared.transfer_syntax_uid == EXPLICIT
    assert reread(written).PixelData == before("CT_small.dcm").PixelData
    found, syntax = transcoded(ct, f"{to(J2K)}\n- remove: [PixelData]")
    assert "PixelData" not in found
    found, syntax = transcoded(ct, f"- remove: [PixelData]\n{to(J2K)}")
    assert ("PixelData" in found, syntax) == (False, EXPLICIT)


def test_conditions_choose_what_is_transcoded() -> None:
    steps = "- when: {BitsAllocated: '16', PixelData: {present: true}}\n  transcode: rle-lossless\n"
    assert transcoded(made(GREY).data_set, steps)[1] == RLE
    assert transcoded(made(IMAGES["8 bits"]).data_set, steps)[1] == EXPLICIT
    after = f"{to(RLE)}\n- when: {{PixelData: {{present: true}}}}\n  set: {{PatientID: A}}"
    assert transcoded(made(GREY).data_set, after)[0].PatientID == "A"


def test_an_unknown_vr_beside_transcoded_pixels_is_read_as_what_it_is() -> None:
    odd = struct.pack("<HH", 0x0019, 0x1001) + b"ZZ" + struct.pack("<H", 4) + b"abcd"
    written = run(made(GREY, more=odd).data_set, to(RLE))
    assert odd in written


# ── images inside sequences ───────────────────────────────────────────────────────────────────────────────────


def icon(frames: list[bytes]) -> bytes:
    """An Icon Image Sequence whose image is compressed."""
    small = replace(IMAGES["8 bits"], rows=40, columns=36)
    content = item(b"") + b"".join(item(frame) for frame in frames)
    return element(0x00880200, "SQ", item(attributes(small) + undefined(0x7FE00010, "OB", content)))


def test_an_icon_is_native_afterwards() -> None:
    small = IMAGES["8 bits"]
    rle, _ = transcoded(made(small).data_set, to(RLE))
    (stream,) = generate_frames(rle.PixelData, number_of_frames=1)
    outer, _ = run_all(made(GREY).data_set, [transform(to(RLE))])
    at = outer.index(struct.pack("<HH", 0x7FE0, 0x0010))
    data = outer[:at] + icon([stream]) + outer[at:]
    for syntax in (EXPLICIT, IMPLICIT, J2K):
        found, _ = transcoded(data, to(syntax), RLE)
        assert found.IconImageSequence[0].PixelData == b"".join(made(small).frames)
        assert "OriginalAttributesSequence" not in found
    broken = outer[:at] + icon([stream[:70]]) + outer[at:]
    with pytest.raises(
        TransformError, match=r"IconImageSequence \(0088,0200\): its image cannot be decoded: PixelData"
    ):
        transcoded(broken, to(EXPLICIT), RLE)
