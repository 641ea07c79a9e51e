"""What was transcoded is read by DCMTK and by GDCM, and is the same image to them.

Every sample with pixels goes through every lossless transfer syntax: what cannot is refused, with the reason that
stands here. JPEG-LS and RLE are decoded by DCMTK, JPEG 2000 by GDCM, JPEG on the way in by DCMTK.
"""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder

from gateway.errors import HeaderError, TransformError
from tests.harness.tools import require
from tests.unit.pixels_kit import J2K, JPEG_LS, RLE
from tests.unit.samples import EXPLICIT, IMPLICIT, Sample, all_samples, sample
from tests.unit.test_pixels_codecs import UNREADABLE, WITH_PIXELS
from tests.unit.transform_kit import part10, run_all, transform

NAMES = {
    RLE: "rle-lossless",
    JPEG_LS: "jpeg-ls-lossless",
    J2K: "jpeg-2000-lossless",
    EXPLICIT: "explicit-vr-little-endian",
    IMPLICIT: "implicit-vr-little-endian",
}
TO_NATIVE = transform("- transcode: explicit-vr-little-endian")
BITS = "BitsAllocated (0028,0100): single bits cannot be compressed"
WIDE = "BitsAllocated (0028,0100): more than this transfer syntax can hold"
DEEP = "BitsStored (0028,0101): not so many"
SHARED = "PhotometricInterpretation (0028,0004): none that this transfer syntax can hold"
SMALL = "fewer than the 32 that the JPEG 2000 codec needs"
NO_ROOM = "the codec cannot encode a frame (RuntimeError)"  # CharLS, of an image of 3 by 3
COMPRESSED = (RLE, JPEG_LS, J2K)
REASONS: list[tuple[tuple[str, ...], dict[str, str]]] = [
    (
        ("liver.dcm", "liver_1frame.dcm", "liver_expb.dcm", "liver_expb_1frame.dcm"),
        dict.fromkeys(COMPRESSED, BITS),
    ),
    (
        ("SC_rgb_32bit.dcm", "SC_rgb_32bit_2frame.dcm", "rtdose.dcm", "rtdose_1frame.dcm"),
        {RLE: WIDE, JPEG_LS: WIDE, J2K: DEEP},
    ),
    (
        ("SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm"),
        {JPEG_LS: WIDE, J2K: DEEP},
    ),
    (("SC_ybr_full_422_uncompressed.dcm",), dict.fromkeys(COMPRESSED, SHARED)),
    (
        ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm"),
        {JPEG_LS: NO_ROOM, J2K: SMALL},
    ),
    (("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"), {J2K: SMALL}),
    (tuple(each.path.name for each in all_samples() if each.path.name.isdecimal()), {J2K: SMALL}),  # of 16 by 16
]
REFUSED = {name: reasons for names, reasons in REASONS for name in names}
READABLE = [each for each in WITH_PIXELS if each.path.name not in UNREADABLE]


def tool(arguments: Sequence[str | Path]) -> str:
    """What a tool of DCMTK says against a file; it has to end well."""
    done = subprocess.run([*map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("latin-1")
    return done.stderr.decode("latin-1")


def complaints(path: Path) -> str:
    """What dcmdump says against a file, but for how it reads sequences of UN, which are as PS3.5 6.2.2 has them."""
    done = subprocess.run(["dcmdump", str(path)], capture_output=True, check=False)
    lines = done.stderr.decode("latin-1").splitlines() + ["fails"] * (done.returncode != 0)
    return "".join(line for line in lines if "(CP-246)" not in line)


def array(path: Path, plugin: str = "") -> np.ndarray:  # type: ignore[type-arg]
    """The pixels of a file as they are stored, frame by frame, sample by sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path)
        decoder = get_decoder(data_set.file_meta.TransferSyntaxUID)
        return decoder.as_array(data_set, raw=True, decoding_plugin=plugin)[0]


def pixels(path: Path, syntax: str, folder: Path) -> np.ndarray:  # type: ignore[type-arg]
    """The pixels of a transcoded file, decoded by a program that has nothing to do with what encoded them."""
    if syntax == J2K:
        return array(path, "gdcm")
    if syntax in (RLE, JPEG_LS):
        native = folder / "native.dcm"
        tool(["dcmdrle" if syntax == RLE else "dcmdjpls", path, native])
        return array(native)
    return array(path)


@pytest.fixture(scope="module", autouse=True)
def peers() -> None:
    for name in ("dcmdump", "dcmdrle", "dcmdjpls", "dcmdjpeg"):
        require(name)


# The large ones of WG04's set take minutes, and are made of nothing that the others are not: `make chaos` has them too.
LARGE = r"(RG|MR2|MR3|MR4|NM1|XA1|VL|color3d).*"
TRIED = [each for each in READABLE if os.environ.get("GATEWAY_CHAOS") == "long" or not re.match(LARGE, each.path.name)]


@pytest.mark.chaos
@pytest.mark.parametrize("each", TRIED, ids=str)
def test_every_sample_is_the_same_image_in_every_lossless_syntax(each: Sample, tmp_path: Path) -> None:
    native = tmp_path / "first.dcm"
    written, prepared = run_all(
        each.data_set, [transform("- transcode: explicit-vr-little-endian")], each.transfer_syntax_uid
    )
    native.write_bytes(part10(written, prepared.transfer_syntax_uid))
    expected = array(native)
    original = tmp_path / "original.dcm"
    original.write_bytes(part10(each.data_set, each.transfer_syntax_uid))
    complains = complaints(original) != ""
    for syntax, name in NAMES.items():
        reason = REFUSED.get(each.path.name, {}).get(syntax)
        if reason is not None and each.transfer_syntax_uid != syntax:
            with pytest.raises(TransformError) as caught:
                run_all(each.data_set, [transform(f"- transcode: {name}")], each.transfer_syntax_uid)
            assert reason in str(caught.value)
            continue
        data, found = run_all(each.data_set, [transform(f"- transcode: {name}")], each.transfer_syntax_uid)
        assert found.transfer_syntax_uid == syntax
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(part10(data, syntax))
        assert complains or complaints(path) == ""
        assert np.array_equal(pixels(path, syntax, tmp_path), expected), name


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_samples_whose_pixels_cannot_be_read_are_refused(name: str) -> None:
    each = sample(name)
    for target in (RLE, JPEG_LS, J2K):
        with pytest.raises((TransformError, HeaderError), match=UNREADABLE[name]):
            run_all(each.data_set, [transform(f"- transcode: {NAMES[target]}")], each.transfer_syntax_uid)


JPEGS = [
    each
    for each in READABLE
    if each.transfer_syntax_uid.startswith("1.2.840.10008.1.2.4.")
    and int(each.transfer_syntax_uid.rpartition(".")[2]) in (50, 51, 57, 70)
    and each.path.name != "SC_rgb_jpeg.dcm"
]  # DCMTK does not read its odd VRs


@pytest.mark.parametrize("each", JPEGS, ids=str)
def test_jpeg_is_decoded_as_dcmtk_decodes_it(each: Sample, tmp_path: Path) -> None:
    """Also 12 bits, which pydicom's decoders do not do; of colours, what was compressed."""
    written, prepared = run_all(
        each.data_set, [transform("- transcode: explicit-vr-little-endian")], each.transfer_syntax_uid
    )
    ours, before, theirs = (tmp_path / f"{name}.dcm" for name in ("ours", "before", "theirs"))
    ours.write_bytes(part10(written, prepared.transfer_syntax_uid))
    before.write_bytes(part10(each.data_set, each.transfer_syntax_uid))
    tool(["dcmdjpeg", "+cn", before, theirs])
    assert np.array_equal(array(ours), array(theirs))
    colours = [pydicom.dcmread(path).PhotometricInterpretation for path in (ours, theirs)]
    assert colours[0] == colours[1]


@pytest.mark.parametrize("each", [sample("CT_small.dcm"), sample("US1_UNCI.dcm"), sample("emri_small.dcm")], ids=str)
def test_lossy_images_are_read_by_others_and_nearly_the_same(each: Sample, tmp_path: Path) -> None:
    expected = tmp_path / "before.dcm"
    expected.write_bytes(part10(each.data_set, each.transfer_syntax_uid))
    path = tmp_path / "lossy.dcm"
    data, found = run_all(each.data_set, [transform("- transcode: {to: jpeg-ls-near-lossless, error: 3}")], EXPLICIT)
    path.write_bytes(part10(data, found.transfer_syntax_uid))
    tool(["dcmdjpls", path, tmp_path / "native.dcm"])
    difference = np.abs(array(tmp_path / "native.dcm").astype("i8") - array(expected).astype("i8"))
    assert 0 < difference.max() <= 3
    data, found = run_all(each.data_set, [transform("- transcode: {to: jpeg-2000, ratio: 8}")], EXPLICIT)
    path.write_bytes(part10(data, found.transfer_syntax_uid))
    assert tool(["dcmdump", path]) == ""
    difference = np.abs(array(path, "gdcm").astype("i8") - array(expected).astype("i8"))
    assert 0 < difference.mean() < 20
