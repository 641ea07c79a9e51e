"""Workload `deidentify`: what de-identifying costs an instance, beside dicom-anonymizer and dicognito in the same run.

Each side reads a file, takes the identity out of it and makes another in memory. What is told is CPU, of which other
processes of the machine take nothing away; there is one thread, which waits for nothing. The gateway's knows where the
data set begins, as its ledger does, writes file meta information anew and does the Basic Profile of PS3.15 with all of
its table; so does dicom-anonymizer, whose rules are made once here and not for each file, as it would; dicognito does
less. Real headers: two of pydicom's samples, and the CT among them with a request, references and codes, and 512 KiB
of pixels.

Memory is looked at with a multi-frame object of 1 GiB, a file of holes, that goes to where nothing is kept.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import IO

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from bench.goals import Figures, Goal, Verdict
from bench.measure import MIB, Scale, folder_of, tell
from bench.report import in_turn
from gateway import document
from gateway.errors import Problem
from gateway.model import AssociationFacts
from gateway.spool.record import encode_meta
from gateway.transform import Key, Origin, Transform, prepare, read_transforms
from tests.harness.tools import peak_resident_bytes, reset_peak, resident_bytes

RULES = "transforms:\n  t:\n    - deidentify: {key: site}\n"
FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")
CT_BYTES = 512 * 512 * 2
REPEATS = 60
MOST = 1 / 5

Run = Callable[[Path, IO[bytes]], object]


def deidentify(scale: Scale) -> list[Verdict]:
    """Every sample through every side, in turn; and the large one through the gateway's."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        samples = written_samples(folder)
        sides: dict[str, Run] = {"gateway": Ours(samples), "dicom-anonymizer": anonymizer(), "dicognito": dicognito()}
        large = large_file(folder / "large.dcm", scale(1024) * MIB)
        ours = Ours({"large": large})

        def measured(name: str) -> Callable[[], Figures]:
            return lambda: (
                times(sides[name], samples, scale(REPEATS))
                | ({"rise MiB": rise_mib(lambda: through(ours, large))} if name == "gateway" else {})
            )

        found = in_turn({name: measured(name) for name in sides}, scale.rounds)
    figures = [f"{name} ms" for name in samples]
    goals = [Goal("gateway", figure, MOST, peer) for figure in figures for peer in sides if peer != "gateway"]
    return tell("deidentify", found, [*goals, Goal("gateway", "rise MiB", 64)])


def through(run: Run, path: Path) -> None:
    """A file through a side, to where nothing is kept."""
    with open(os.devnull, "wb", buffering=0) as out:
        run(path, out)


def times(run: Run, samples: Mapping[str, Path], repeats: int) -> Figures:
    """Milliseconds of CPU an instance, the median of so many."""
    found = {}
    for name, path in samples.items():
        took = []
        for _ in range(repeats):
            began = time.process_time()
            run(path, BytesIO())
            took.append(time.process_time() - began)
        found[f"{name} ms"] = median(took) * 1000
    return found


def rise_mib(run: Callable[[], object]) -> float:
    """How far the memory of this process rises, at most, while something runs."""
    reset_peak(os.getpid())
    before = resident_bytes(os.getpid())
    run()
    return (peak_resident_bytes(os.getpid()) - before) / MIB


# ── samples ───────────────────────────────────────────────────────────────────────────────────────────────────


def written_samples(folder: Path) -> dict[str, Path]:
    """Files by name."""
    found = {name: Path(str(get_testdata_file(f"{name}.dcm"))) for name in ("CT_small", "MR_small")}
    data_set = pydicom.dcmread(found["CT_small"])
    data_set.Rows = data_set.Columns = 512
    data_set.PixelData = bytes(range(256)) * (CT_BYTES // 256)
    code = item(CodeValue="71651007", CodingSchemeDesignator="SCT", CodeMeaning="Mammography")
    reference = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3.4")
    request = item(RequestedProcedureDescription="CT abdomen", RequestedProcedureID="17", ScheduledProcedureStepID="18")
    request.ScheduledProtocolCodeSequence = Sequence([code])
    data_set.ReferencedStudySequence = Sequence([reference])
    data_set.ReferencedImageSequence = Sequence([reference, reference])
    data_set.SourceImageSequence = Sequence([reference])
    data_set.RequestAttributesSequence = Sequence([request])
    data_set.ProcedureCodeSequence = Sequence([code])
    data_set.AnatomicRegionSequence = Sequence([code])
    data_set.InstitutionName, data_set.OperatorsName = "St. Elsewhere", "Doe^Jane"
    data_set.ReferringPhysicianName, data_set.PatientAddress = "Roe^Richard", "1 Main Street"
    found["CT of 512 KiB"] = folder / "ct.dcm"
    data_set.save_as(found["CT of 512 KiB"])
    return found


def item(**attributes: str) -> Dataset:
    """An item of these attributes."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def large_file(path: Path, pixel_bytes: int) -> Path:
    """A multi-frame object with so much pixel data, all of it a hole in the file."""
    data_set = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    data_set.NumberOfFrames = pixel_bytes // CT_BYTES
    data_set.Rows = data_set.Columns = 512
    del data_set.PixelData
    if "DataSetTrailingPadding" in data_set:
        del data_set.DataSetTrailingPadding
    data_set.save_as(path)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"\xe0\x7f\x10\x00OW\0\0" + pixel_bytes.to_bytes(4, "little"))
        file.truncate(file.tell() + pixel_bytes)
    return path


# ── sides ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Source:
    """The data set of a file as the spool hands it out."""

    fd: int
    begin: int

    def read(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset` on."""
        return os.pread(self.fd, length, self.begin + offset)


class Ours:
    """The gateway's way, with what the ledger would know of each file."""

    def __init__(self, samples: Mapping[str, Path]) -> None:
        problems: list[Problem] = []
        known: dict[str, Transform] = {}
        read_transforms(document.parse(RULES, "bench"), problems, known, keys={"site": Key(b"a secret of the bench")})
        assert not problems, problems
        self._chain = list(known.values())
        self._known = {path: known_of(path) for path in samples.values()}

    def __call__(self, path: Path, out: IO[bytes]) -> None:
        begin, origin = self._known[path]
        fd = os.open(path, os.O_RDONLY)
        try:
            prepared = prepare(self._chain, Source(fd, begin), origin, system="gateway")
            identity = (prepared.sop_class_uid, prepared.sop_instance_uid, prepared.transfer_syntax_uid)
            out.write(encode_meta("0" * 32, *identity, FACTS))
            prepared.write(out.write)
        finally:
            os.close(fd)


def known_of(path: Path) -> tuple[int, Origin]:
    """Where the data set of a file begins, and what it is."""
    with path.open("rb") as file:
        meta = pydicom.filereader.read_preamble(file, False) and pydicom.filereader._read_file_meta_info(file)
        begin = file.tell()
    uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    return begin, Origin(FACTS, *map(str, uids), 1_704_067_200_123)


def anonymizer() -> Run:
    """dicom-anonymizer, with its rules made once."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file, initialize_actions

    rules = initialize_actions()

    def run(path: Path, out: IO[bytes]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            anonymize_dicom_file(str(path), out, None, True, lambda: rules)

    return run


def dicognito() -> Run:
    """dicognito, with one anonymizer for all."""
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="bench")

    def run(path: Path, out: IO[bytes]) -> None:
        data_set = pydicom.dcmread(path)
        anonymizer.anonymize(data_set)
        data_set.save_as(out)

    return run
