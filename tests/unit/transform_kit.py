"""What the tests of transforms have in common: a transform from its YAML, run over bytes."""

from __future__ import annotations

from io import BytesIO
from textwrap import indent

import pydicom
from pydicom.dataset import FileMetaDataset

from gateway import document
from gateway.errors import Problem
from gateway.model import AssociationFacts
from gateway.transform import Key, Origin, Prepared, Transform, prepare, read_transforms
from tests.unit.samples import EXPLICIT, MemorySource, Sample, sample

FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")
RECEIVED_AT_MS = 1_704_067_200_123  # 2024-01-01 00:00:00.123 UTC
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
KEYS = {"site": Key(b"the secret of the tests, no more")}


def origin(transfer_syntax_uid: str = EXPLICIT) -> Origin:
    """Where an instance of the tests came from."""
    return Origin(FACTS, CT_IMAGE, "1.2.3.4", transfer_syntax_uid, RECEIVED_AT_MS)


def problems_of(text: str, file: str = "x.yaml", known: dict[str, Transform] | None = None) -> list[Problem]:
    """What is wrong with a rule file's transforms."""
    problems: list[Problem] = []
    read_transforms(document.parse(text, file), problems, {} if known is None else known, keys=KEYS)
    return problems


def transforms(text: str) -> dict[str, Transform]:
    """The transforms of a rule file."""
    known: dict[str, Transform] = {}
    problems: list[Problem] = []
    read_transforms(document.parse(text, "x.yaml"), problems, known, keys=KEYS)
    assert problems == []
    return known


def transform(steps: str) -> Transform:
    """A transform of these steps (a YAML list)."""
    return transforms("transforms:\n  t:\n" + indent(steps.strip("\n"), "    "))["t"]


def run(data: bytes, steps: str, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """The bytes that come out."""
    return run_all(data, [transform(steps)] if steps else [], transfer_syntax_uid)[0]


def run_all(data: bytes, chain: list[Transform], transfer_syntax_uid: str = EXPLICIT) -> tuple[bytes, Prepared]:
    """The bytes that come out of a chain, and what is said of them."""
    pieces: list[bytes] = []
    prepared = prepare(chain, MemorySource(data), origin(transfer_syntax_uid), system="gateway")
    length = prepared.write(lambda piece: pieces.append(bytes(piece)))
    written = b"".join(pieces)
    assert length == len(written)
    assert all(0 < len(piece) <= 1 << 20 for piece in pieces)
    return written, prepared


def part10(
    data: bytes,
    transfer_syntax_uid: str = EXPLICIT,
    sop_class_uid: str = CT_IMAGE,
    sop_instance_uid: str = "1.2.3.4",
) -> bytes:
    """A file of a data set's bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = sop_instance_uid
    file = BytesIO()
    file.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(file, meta)
    file.write(data)
    return file.getvalue()


def reread(data: bytes, transfer_syntax_uid: str = EXPLICIT) -> pydicom.Dataset:
    """What pydicom makes of a data set's bytes."""
    return pydicom.dcmread(BytesIO(part10(data, transfer_syntax_uid)))


def on(name: str, steps: str) -> pydicom.Dataset:
    """A sample after these steps, read by pydicom."""
    each = sample(name)
    return reread(run(each.data_set, steps, each.transfer_syntax_uid), each.transfer_syntax_uid)


def before(each: Sample | str) -> pydicom.Dataset:
    """A sample as pydicom reads it."""
    each = sample(each) if isinstance(each, str) else each
    return reread(each.data_set, each.transfer_syntax_uid)
