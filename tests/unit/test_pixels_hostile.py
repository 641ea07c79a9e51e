"""Damaged streams and data sets are refused, or become some image of the right size; nothing else, and no crash.

The codecs are other people's C, C++ and Rust: each is tried in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest

from gateway.errors import HeaderError, TransformError
from tests.unit.samples import sample
from tests.unit.transform_kit import run

MUTATE = """
import sys
from random import Random
from gateway.transform.parse import parse
from gateway.transform.pixels import frames_of
from gateway.transform.pixels.codecs import decode
from gateway.transform.values import ValueRefused
from tests.unit.samples import MemorySource, sample
from tests.unit.test_pixels_hostile import mutated

each = sample(sys.argv[1])
frames = frames_of(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
stream, random = frames.read(0), Random(7)
refused = 0
for _ in range(int(sys.argv[2])):
    try:
        size = len(decode(frames.image, mutated(stream, random)))
        assert size == frames.image.samples * frames.image.sample_bytes
    except ValueRefused:
        refused += 1
print("refused", refused)
"""


def mutated(data: bytes, random: Random) -> bytes:
    """Some bytes changed, taken out or put in, most of them at the beginning."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        end = min(len(changed), 200) if random.random() < 0.6 else len(changed)
        at, kind = random.randrange(end), random.random()
        if kind < 0.7:
            changed[at] = random.randrange(256)
        elif kind < 0.85:
            del changed[at : at + random.randrange(1, 20)]
        else:
            changed[at:at] = bytes(random.randrange(256) for _ in range(random.randrange(1, 10)))
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("MR_small_RLE.dcm", 1000),
        ("MR_small_jpeg_ls_lossless.dcm", 1000),
        ("SC_rgb_jls_lossy_line.dcm", 1000),
        ("MR_small_jp2klossless.dcm", 1000),
        ("GDCMJ2K_TextGBR.dcm", 200),
        ("SC_rgb_jpeg_dcmtk.dcm", 2000),
        ("SC_rgb_jpeg_app14_dcmd.dcm", 1000),
        ("JPEG-lossy.dcm", 500),
        ("SC_rgb_jpeg_gdcm.dcm", 1000),
    ],
)
def test_a_damaged_stream_ends_no_process(name: str, times: int) -> None:
    done = subprocess.run([sys.executable, "-c", MUTATE, name, str(times)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused = int(done.stdout.rpartition("refused")[2])
    assert 0 < refused <= times


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "emri_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm", "liver_1frame.dcm"]
)
def test_a_damaged_data_set_is_refused_with_a_reason(name: str) -> None:
    random, each = Random(3), sample(name)
    refused = 0
    for number in range(300):
        target = ("explicit-vr-little-endian", "implicit-vr-little-endian", "rle-lossless")[number % 3]
        try:
            run(mutated(each.data_set, random), f"- transcode: {target}", each.transfer_syntax_uid)
        except (TransformError, HeaderError):
            refused += 1
    assert refused > 10
