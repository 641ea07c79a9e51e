"""Micro-benchmark of a typical chain of transforms, beside pydicom doing the same in the same run.

python -m bench transform

Both sides begin with the bytes of a data set in memory and end with those of the changed one: five attributes set,
edited or removed, and their old values told in Original Attributes Sequence. pydicom reads with its defaults, and
decodes no value that is not asked for. Sides take turns; times are told an instance, the median of some rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from io import BytesIO
from statistics import median

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from bench.report import in_turn
from gateway import document
from gateway.errors import Problem
from gateway.model import AssociationFacts
from gateway.transform import Origin, Transform, prepare, read_transforms

CHAIN = """
transforms:
  to-pacs:
    - set: {InstitutionName: "St. Elsewhere", StudyDescription: "{StudyDescription} ({calling_ae_title})"}
    - prefix: {AccessionNumber: "A"}
    - when: {Modality: CT}
      map: {attribute: StationName, table: {CT01_OC0: CT-ROOM-1}, default: keep}
    - remove: [PatientComments, "(60xx,3000)"]
"""
EXPLICIT = "1.2.840.10008.1.2.1"
FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")
CT_BYTES = 512 * 512 * 2
ROUNDS, REPEATS = 7, 200


class Source:
    """Bytes in memory as the spool hands them out."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on."""
        return self._data[offset : offset + length]


def chain() -> list[Transform]:
    """The transforms of `CHAIN`."""
    problems: list[Problem] = []
    known: dict[str, Transform] = {}
    read_transforms(document.parse(CHAIN, "bench"), problems, known)
    assert not problems, problems
    return list(known.values())


def samples() -> dict[str, bytes]:
    """CT_small's data set, with its own pixels and with 512 KiB of them."""
    data_set = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    data_set.AccessionNumber = "17"
    small = encoded(data_set)
    data_set.Rows = data_set.Columns = 512
    data_set.PixelData = bytes(range(256)) * (CT_BYTES // 256)
    return {"CT_small, 39 KB": small, "CT, 512 KiB": encoded(data_set)}


def encoded(data_set: Dataset) -> bytes:
    """A data set's bytes, without file meta information."""
    file = BytesIO()
    pydicom.dcmwrite(file, Dataset(data_set), implicit_vr=False, little_endian=True, force_encoding=True)
    return file.getvalue()


def ours(data: bytes, transforms: list[Transform]) -> bytes:
    """The chain run by the gateway."""
    origin = Origin(FACTS, "1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT, 1_704_067_200_123)
    pieces: list[bytes | memoryview] = []
    prepare(transforms, Source(data), origin, system="gateway").write(pieces.append)
    return b"".join(pieces)


def peers(data: bytes) -> bytes:
    """The same done with pydicom."""
    data_set = pydicom.dcmread(BytesIO(data), force=True)
    modified = Dataset()
    for keyword in ("InstitutionName", "StudyDescription", "AccessionNumber", "StationName"):
        setattr(modified, keyword, data_set[keyword].value)
    description = data_set.StudyDescription
    data_set.InstitutionName = "St. Elsewhere"
    data_set.StudyDescription = f"{description} (CT1)"
    data_set.AccessionNumber = "A" + data_set.AccessionNumber
    if data_set.Modality == "CT":
        data_set.StationName = {"CT01_OC0": "CT-ROOM-1"}.get(data_set.StationName, data_set.StationName)
    for tag in [tag for tag in data_set.keys() if tag.group & 0xFF00 == 0x6000 and tag.elem == 0x3000]:  # noqa: SIM118
        del data_set[tag]
    if "PatientComments" in data_set:
        del data_set["PatientComments"]
    original = Dataset()
    original.ModifiedAttributesSequence = [modified]
    original.AttributeModificationDateTime = "20240101000000.123000+0000"
    original.ModifyingSystem = "gateway"
    original.SourceOfPreviousValues = "CT1"
    original.ReasonForTheAttributeModification = "COERCE"
    data_set.OriginalAttributesSequence = [original]
    return encoded(data_set)


def bare(data: bytes) -> bytes:
    """What reading and writing alone costs pydicom."""
    return encoded(pydicom.dcmread(BytesIO(data), force=True))


def us(run: Callable[[], object]) -> Callable[[], float]:
    """Microseconds a run, over `REPEATS`."""

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(REPEATS):
            run()
        return (time.perf_counter() - began) / REPEATS * 1e6

    return measure


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    transforms = chain()
    print(f"{'us an instance, median':28} {'gateway':>10} {'pydicom':>10} {'ratio':>7} {'read+write':>12} {'ratio':>7}")
    for name, data in samples().items():
        assert same(ours(data, transforms), peers(data)), "the two sides do not do the same"
        found = in_turn(
            {
                "gateway": us(lambda data=data: ours(data, transforms)),  # type: ignore[misc]
                "pydicom": us(lambda data=data: peers(data)),  # type: ignore[misc]
                "bare": us(lambda data=data: bare(data)),  # type: ignore[misc]
            },
            ROUNDS,
        )
        gateway, peer, alone = (median(found[side]) for side in ("gateway", "pydicom", "bare"))
        print(f"{name:28} {gateway:10.0f} {peer:10.0f} {peer / gateway:6.1f}x {alone:12.0f} {alone / gateway:6.1f}x")


def same(one: bytes, other: bytes) -> bool:
    """Whether pydicom reads the same from both."""
    read = [pydicom.dcmread(BytesIO(data), force=True).to_json_dict() for data in (one, other)]
    return read[0] == read[1]
