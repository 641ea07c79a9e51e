"""Instances to send: made ones with canary values, Part 10 files, and every sample file that pydicom brings.

`make_instance` builds a data set with seeded pixels in any transfer syntax that needs no codec (encapsulated ones get
opaque fragments). `make_instances` yields many over patients, studies and series, quickly, each patient attribute a
canary: a unique random word with a fixed beginning, so that `checker` can find it anywhere. `sample_files` lists what
pydicom and pydicom-data install, and says of each why it cannot be sent, if it cannot. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_LE, IMPLEMENTATION_CLASS_UID

CANARY_PREFIX = "CNRY"
CANARY_LENGTH = 16  # fits SH
_CANARY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_PIXEL_CHUNK_BYTES = 1 << 20
CANARY_KEYWORDS = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "PatientComments",
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A data set as it is sent, with what its command and file meta say."""

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    canaries: tuple[str, ...] = ()
    study_instance_uid: str = ""
    series_instance_uid: str = ""

    @property
    def meta(self) -> FileMetaDataset:
        """File meta information for a Part 10 file of this instance."""
        return file_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A file of pydicom or pydicom-data. `reason` says why it cannot be sent as it is; "" when it can."""

    path: Path
    name: str
    sha256: str = ""
    length: int = 0
    offset: int = 0
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    reason: str = ""

    @property
    def sendable(self) -> bool:
        return not self.reason

    @property
    def odd(self) -> bool:
        """An odd number of bytes (PS3.5 A.5 wants a deflated stream padded): DCMTK aborts when it gets one as it is."""
        return self.length % 2 == 1

    def instance(self) -> Instance:
        """The data set bytes as they stand in the file."""
        data = self.path.read_bytes()[self.offset :]
        return Instance(data, self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, self.sha256)


def new_uid(source: random.Random) -> str:
    """A UUID-derived UID (PS3.5 B.2) from a seeded source, always 44 characters."""
    return f"2.25.{source.randrange(10**38, 3 * 10**38)}"


def canary(source: random.Random) -> str:
    """A word that appears nowhere else: 16 characters, fits SH, LO, PN."""
    return CANARY_PREFIX + "".join(source.choices(_CANARY_ALPHABET, k=CANARY_LENGTH - len(CANARY_PREFIX)))


def pixels(size_bytes: int, seed: int) -> Iterator[bytes]:
    """Seeded random bytes in chunks of at most 1 MiB."""
    source = random.Random(seed)
    for start in range(0, size_bytes, _PIXEL_CHUNK_BYTES):
        yield source.randbytes(min(_PIXEL_CHUNK_BYTES, size_bytes - start))


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set bytes in a transfer syntax (encapsulated ones are explicit little endian)."""
    syntax = UID(transfer_syntax_uid)
    buffer = DicomBytesIO()
    private = syntax.is_private or not syntax.is_transfer_syntax
    buffer.is_implicit_VR = False if private else syntax.is_implicit_VR
    buffer.is_little_endian = True if private else syntax.is_little_endian
    write_dataset(buffer, dataset)
    raw = buffer.getvalue()
    if not private and syntax.is_deflated:
        # PS3.5 A.5: RFC 1951 without zlib header, padded to even length
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        raw = deflater.compress(raw) + deflater.flush()
        raw += b"\0" * (len(raw) % 2)
    return raw


def make_instance(
    *,
    transfer_syntax_uid: str = EXPLICIT_LE,
    pixel_bytes: int = 2048,
    seed: int = 1,
    **attributes: object,
) -> Instance:
    """An instance with canary values, `pixel_bytes` of seeded pixels (0: none) and the attributes given.

    An attribute of None is left out. The same arguments always make the same bytes, UIDs included.
    """
    source = random.Random(seed)
    values: dict[str, object] = {
        "SOPClassUID": CT_IMAGE_STORAGE,
        "SOPInstanceUID": new_uid(source),
        "StudyInstanceUID": new_uid(source),
        "SeriesInstanceUID": new_uid(source),
        "Modality": "CT",
        "StudyDate": "20240229",
        "StudyTime": "120000",
        "SeriesNumber": "1",
        "InstanceNumber": "1",
        "StudyID": "1",
        **{keyword: canary(source) for keyword in CANARY_KEYWORDS},
    }
    if pixel_bytes:
        columns = min(512, max(1, pixel_bytes // 2))
        values |= {
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": min(65535, max(1, pixel_bytes // 2 // columns)),
            "Columns": columns,
            "BitsAllocated": 16,
            "BitsStored": 12,
            "HighBit": 11,
            "PixelRepresentation": 0,
        }
    values |= attributes
    dataset = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if pixel_bytes:
        raw = b"".join(pixels(pixel_bytes, seed))
        syntax = UID(transfer_syntax_uid)
        encapsulated = syntax.is_transfer_syntax and not syntax.is_private and syntax.is_encapsulated
        dataset.add_new(0x7FE00010, "OB" if encapsulated else "OW", encapsulate([raw]) if encapsulated else raw)
        dataset["PixelData"].is_undefined_length = encapsulated
    data = encode(dataset, transfer_syntax_uid)
    return Instance(
        data,
        str(values["SOPClassUID"] or ""),
        str(values["SOPInstanceUID"] or ""),
        transfer_syntax_uid,
        hashlib.sha256(data).hexdigest(),
        tuple(str(values[keyword]) for keyword in CANARY_KEYWORDS if values[keyword] and keyword not in attributes),
        str(values["StudyInstanceUID"] or ""),
        str(values["SeriesInstanceUID"] or ""),
    )


def make_instances(
    count: int,
    *,
    patients: int = 1,
    studies_per_patient: int = 1,
    series_per_study: int = 1,
    pixel_bytes: int = 2048,
    transfer_syntax_uid: str = EXPLICIT_LE,
    seed: int = 1,
    **attributes: object,
) -> Iterator[Instance]:
    """`count` instances spread evenly over patients × studies × series; about 10,000 small ones a second.

    They are made from one template by replacing values of equal length, so the transfer syntax must not compress.
    """
    source = random.Random(seed)
    template = make_instance(
        transfer_syntax_uid=transfer_syntax_uid, pixel_bytes=pixel_bytes, seed=seed + 1_000_003, **attributes
    )
    numbered = {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"} & attributes.keys()
    assert not numbered, f"make_instances makes {numbered} itself"
    assert UID(transfer_syntax_uid) != UID("1.2.840.10008.1.2.1.99"), "a deflated template cannot be changed"
    pixel_start = len(template.data) - pixel_bytes if pixel_bytes else len(template.data)
    head, tail = template.data[:pixel_start], template.data[pixel_start:]
    groups: list[tuple[str, str, tuple[str, ...]]] = []
    for _ in range(patients):
        of_patient = {word: canary(source) for word in template.canaries}
        for _ in range(studies_per_patient):
            study = new_uid(source)
            for _ in range(series_per_study):
                groups.append((study, new_uid(source), tuple(of_patient.values())))
    heads = [_replaced(head, template, study, series, words) for study, series, words in groups]
    stamp_at = 8 if len(tail) >= 16 else None
    for index in range(count):
        study, series, words = groups[index % len(groups)]
        uid = new_uid(source)
        data = heads[index % len(groups)].replace(template.sop_instance_uid.encode(), uid.encode())
        if stamp_at is None:
            data += tail
        else:  # every instance has pixels of its own
            data += tail[:stamp_at] + struct.pack("<Q", index) + tail[stamp_at + 8 :]
        sha = hashlib.sha256(data).hexdigest()
        yield Instance(data, template.sop_class_uid, uid, transfer_syntax_uid, sha, words, study, series)


def _replaced(head: bytes, template: Instance, study: str, series: str, words: tuple[str, ...]) -> bytes:
    head = head.replace(template.study_instance_uid.encode(), study.encode())
    head = head.replace(template.series_instance_uid.encode(), series.encode())
    for old, new in zip(template.canaries, words, strict=True):
        head = head.replace(old.encode(), new.encode())
    return head


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> FileMetaDataset:
    """File meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    return meta


def part10_header(meta: FileMetaDataset) -> bytes:
    """Preamble, prefix and file meta group."""
    buffer = DicomBytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, meta, enforce_standard=False)
    return bytes(buffer.getvalue())


def write_part10(path: Path, instance: Instance) -> Path:
    """Write an instance as a Part 10 file; its data set bytes are exactly `instance.data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part10_header(instance.meta) + instance.data)
    return path


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A Part 10 file too large to hold in memory."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    length: int
    sha256: str
    canaries: tuple[str, ...] = field(default=())


def write_large_part10(path: Path, pixel_bytes: int, seed: int = 1, frame_bytes: int = 512 * 512 * 2) -> LargeFile:
    """Write a multi-frame instance of any size (< 4 GiB) in constant memory."""
    frames = max(1, pixel_bytes // frame_bytes)
    small = make_instance(
        seed=seed,
        pixel_bytes=0,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        NumberOfFrames=str(frames),
        Rows=512,
        Columns=512,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
    )
    header = part10_header(small.meta)
    element = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixel_bytes)
    digest = hashlib.sha256(small.data + element)
    with path.open("wb") as file:
        file.write(header + small.data + element)
        for chunk in pixels(pixel_bytes, seed):
            digest.update(chunk)
            file.write(chunk)
    length = len(small.data) + len(element) + pixel_bytes
    return LargeFile(
        path,
        small.sop_class_uid,
        small.sop_instance_uid,
        EXPLICIT_LE,
        len(header),
        length,
        digest.hexdigest(),
        small.canaries,
    )


def dataset_sha256(path: Path) -> str:
    """SHA-256 of the bytes after the file meta information of a Part 10 file."""
    _, offset = split_dataset(path)
    return sha256_from(path, offset)


def sha256_from(path: Path, offset: int) -> str:
    """SHA-256 of a file's bytes from an offset on, in constant memory."""
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sample_roots() -> list[Path]:
    roots = []
    for module, inside in (("pydicom.data", ""), ("data_store", "data")):
        spec = importlib.util.find_spec(module)
        if spec is not None:
            locations = list(spec.submodule_search_locations or ())
            roots += [Path(location) / inside for location in locations]
    return roots


@functools.cache
def sample_files() -> tuple[SampleFile, ...]:
    """Every file that pydicom and pydicom-data have installed, except code and their tables."""
    found = []
    for root in _sample_roots():
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".json"}:
                found.append(_look_at(path, path.relative_to(root).as_posix()))
    return tuple(found)


def sendable_sample_files() -> tuple[SampleFile, ...]:
    """Those of `sample_files` whose data set can go into a C-STORE as it stands."""
    return tuple(sample for sample in sample_files() if sample.sendable)


def _look_at(path: Path, name: str) -> SampleFile:
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return SampleFile(path, name, reason="not a Part 10 file (no DICM prefix)")
    try:
        meta, offset = split_dataset(path)
    except Exception as error:
        return SampleFile(path, name, reason=f"file meta information cannot be read: {type(error).__name__}")
    sop_class = str(meta.get("MediaStorageSOPClassUID", ""))
    sop_instance = str(meta.get("MediaStorageSOPInstanceUID", ""))
    syntax = str(meta.get("TransferSyntaxUID", ""))
    length = path.stat().st_size - offset
    reason = ""
    if sop_class == "1.2.840.10008.1.3.10":
        reason = "a DICOMDIR is not a storage instance"
    elif not sop_class or not sop_instance:
        reason = "file meta information names no SOP class or instance"
    elif not syntax:
        reason = "file meta information names no transfer syntax"
    elif length <= 0:
        reason = "no data set"
    sha = "" if reason else sha256_from(path, offset)
    return SampleFile(path, name, sha, length, offset, sop_class, sop_instance, syntax, reason)
