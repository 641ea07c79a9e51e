"""Micro-benchmark of transcoding a CT of 512 KiB, beside pydicom, DCMTK and GDCM doing the same in the same run.

python -m bench transcode

The gateway and pydicom (with the same codecs) begin with bytes in memory and end with those of the new data set; the
gateway decodes every frame again and compares, which nobody else does: what that costs is told. The programs read and
write a file on a memory disk, and are told with and without the time that they take to start. Times are told an
instance, the median of some rounds, sides in turn. A program that is not installed is left out.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from statistics import median

import pydicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from bench.report import in_turn
from bench.transform import FACTS, Source
from gateway import document
from gateway.errors import Problem
from gateway.transform import Origin, Transform, prepare, read_transforms
from gateway.transform.parse import parse
from gateway.transform.pixels import encoded, frames_of
from gateway.transform.pixels.codecs import decode
from tests.unit.samples import sample

CT = "693_UNCR.dcm"  # 512 by 512, 14 bits of 16
ROUNDS, REPEATS = 7, 10
SYNTAXES = {"rle-lossless": RLELossless, "jpeg-ls-lossless": JPEGLSLossless, "jpeg-2000-lossless": JPEG2000Lossless}
PROGRAMS = {
    "rle-lossless": {"dcmcrle": ["dcmcrle"], "gdcmconv": ["gdcmconv", "--rle"]},
    "jpeg-ls-lossless": {"dcmcjpls": ["dcmcjpls"], "gdcmconv": ["gdcmconv", "--jpegls"]},
    "jpeg-2000-lossless": {"gdcmconv": ["gdcmconv", "--j2k"]},
}


def transform(name: str) -> Transform:
    """One that transcodes."""
    problems: list[Problem] = []
    known: dict[str, Transform] = {}
    read_transforms(document.parse(f"transforms: {{t: [{{transcode: {name}}}]}}", "bench"), problems, known)
    assert not problems, problems
    return known["t"]


def ours(data: bytes, syntax: str, chain: list[Transform]) -> bytes:
    """Transcoded by the gateway."""
    pieces: list[bytes | memoryview] = []
    origin = Origin(FACTS, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax, 1_704_067_200_123)
    prepare(chain, Source(data), origin, system="gateway").write(pieces.append)
    return b"".join(pieces)


def pydicoms(file: bytes, syntax: str) -> bytes:
    """Transcoded by pydicom, with the codec that the gateway uses."""
    data_set = pydicom.dcmread(BytesIO(file))
    data_set.compress(syntax, encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    out = BytesIO()
    data_set.save_as(out)
    return out.getvalue()


def ms(run: Callable[[], object]) -> Callable[[], float]:
    """Milliseconds a run, over `REPEATS`."""

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(REPEATS):
            run()
        return (time.perf_counter() - began) / REPEATS * 1e3

    return measure


def program(command: list[str], *arguments: str) -> Callable[[], object]:
    """A run of a program. gdcmconv and DCMTK's both take the file read and the file written last."""
    return lambda: subprocess.run([*command, *arguments], check=True, capture_output=True)


def start(command: list[str]) -> Callable[[], object]:
    """A run of a program that does nothing."""
    return lambda: subprocess.run([command[0], "--version"], check=False, capture_output=True)


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    ct = sample(CT)
    file = ct.path.read_bytes()
    frames = frames_of(parse(Source(ct.data_set), ct.transfer_syntax_uid))
    print(f"{'ms an instance, median':22} {'side':16} {'whole':>8} {'but start':>10} {'of the whole':>14}")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        before, after = Path(folder, "before.dcm"), Path(folder, "after.dcm")
        before.write_bytes(file)
        for name, syntax in SYNTAXES.items():
            chain = [transform(name)]
            stream = encoded(frames, syntax).read(0)
            again = ms(lambda stream=stream, syntax=syntax: decode(frames.image, stream, syntax))  # type: ignore[misc]
            sides: dict[str, Callable[[], float]] = {
                "gateway": ms(lambda chain=chain: ours(ct.data_set, ct.transfer_syntax_uid, chain)),  # type: ignore[misc]
                "second look": again,
                "pydicom": ms(lambda syntax=syntax: pydicoms(file, syntax)),  # type: ignore[misc]
            }
            found_programs = {side: words for side, words in PROGRAMS[name].items() if shutil.which(words[0])}
            for side, words in found_programs.items():
                sides[side] = ms(program(words, str(before), str(after)))
                sides[f"{side} start"] = ms(start(words))
            found = {side: median(times) for side, times in in_turn(sides, ROUNDS).items()}
            look = f"{found['second look']:.1f} to compare"
            print(f"{name:22} {'gateway':16} {found['gateway']:8.1f} {found['gateway']:10.1f} {look:>14}")
            for side in ("pydicom", *found_programs):
                alone = found[side] - found.get(f"{side} start", 0)
                print(f"{'':22} {side:16} {found[side]:8.1f} {alone:10.1f}")
