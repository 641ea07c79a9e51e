"""The sample data sets that pydicom and pydicom-data bring along, and data sets made by hand, as bytes.

Nothing is downloaded: files are listed in the packages' own folders.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Sample:
    """One file: its data set bytes and the transfer syntax of its file meta information."""

    path: Path
    data_set: bytes
    transfer_syntax_uid: str

    def __str__(self) -> str:
        return self.path.name


class MemorySource:
    """A `ByteSource` over bytes that counts what is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.read_bytes = 0
        self.reads = 0

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length > 0
        part = self._data[offset : offset + length]
        self.read_bytes += len(part)
        self.reads += 1
        return part


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None, f"{name} is not installed"
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def sample_files() -> tuple[Path, ...]:
    """Every DICOM Part 10 file (PS3.10 7.1) of pydicom and pydicom-data."""
    pydicom = _package_folder("pydicom") / "data"
    folders = (pydicom / "test_files", pydicom / "charset_files", _package_folder("data_store") / "data")
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    if file.read(132)[128:] == b"DICM":
                        found.append(path)
    return tuple(found)


def read_sample(path: Path) -> Sample:
    """Split a Part 10 file behind its group 0002, which is explicit VR little endian (PS3.10 7.1)."""
    data = path.read_bytes()
    at, transfer_syntax_uid = 132, IMPLICIT
    while data[at : at + 2] == b"\x02\x00":
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        if data[at + 4 : at + 6] in (b"OB", b"UN", b"OW", b"UT"):
            start, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            start, length = at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
        if element == 0x0010:
            transfer_syntax_uid = data[start : start + length].decode("ascii").strip(" \0")
        at = start + length
    return Sample(path, data[at:], transfer_syntax_uid)


@lru_cache(maxsize=1)
def all_samples() -> tuple[Sample, ...]:
    """`sample_files`, read."""
    return tuple(read_sample(path) for path in sample_files())


def sample(name: str) -> Sample:
    """The sample of that file name."""
    return read_sample(next(path for path in sample_files() if path.name == name))


def element(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    """One element in explicit VR."""
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}:
        return head + struct.pack(order + "HI", 0, len(value)) + value
    return head + struct.pack(order + "H", len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    """One element in implicit VR little endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def undefined(tag: int, vr: str, content: bytes, order: str = "<", ended: bool = True) -> bytes:
    """A sequence or encapsulated pixel data of undefined length around encoded items ("" for implicit VR)."""
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    head += vr.encode() + b"\0\0" if vr else b""
    end = struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0) if ended else b""
    return head + b"\xff\xff\xff\xff" + content + end


def item(content: bytes, order: str = "<", *, of_undefined_length: bool = False) -> bytes:
    """One item around encoded elements, or one fragment."""
    if of_undefined_length:
        end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + end
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content


SOP = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0") + element(0x00080018, "UI", b"1.2.3.4\0")
