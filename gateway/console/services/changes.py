"""What a chain of transforms changes in a file, attribute by attribute, for people who are about to rely on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from gateway.dicom.window import ByteSource
from gateway.transform import Origin, Transform, prepare

_TRANSFER_SYNTAX = "TransferSyntaxUID"  # of the file meta information; told by its name
_SHOWN_CHARACTERS = 60
_BULK = "(bulk data)"
_BULK_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_PIECE_BYTES = 1 << 20

Change = tuple[str, str, str]  # attribute, before, after


def changes(
    transforms: Sequence[Transform], source: ByteSource, origin: Origin, system: str, folder: Path | None = None
) -> list[Change]:
    """Every attribute that a copy has differently, by its path; the transfer syntax first where it is another.

    :param source: the data set's bytes.
    :param folder: on whose disk both are for the while, without a name; None: that of the system.
    :raises TransformError, HeaderError: the copy cannot be made.
    """
    with tempfile.TemporaryFile(dir=folder) as before, tempfile.TemporaryFile(dir=folder) as after:
        _begin(before, origin.transfer_syntax_uid)
        at = 0
        while piece := source.read(at, _PIECE_BYTES):
            before.write(piece)
            at += len(piece)
        prepared = prepare(transforms, source, origin, system=system)
        _begin(after, prepared.transfer_syntax_uid)
        prepared.write(after.write)
        old, new = (dict(_values(_read(file), "")) for file in (before, after))
    old[_TRANSFER_SYNTAX], new[_TRANSFER_SYNTAX] = (
        UID(uid).name for uid in (origin.transfer_syntax_uid, prepared.transfer_syntax_uid)
    )
    paths = dict.fromkeys((_TRANSFER_SYNTAX, *old, *new))
    return [
        (path, old.get(path, "absent"), new.get(path, "absent")) for path in paths if old.get(path) != new.get(path)
    ]


def _begin(file: BinaryIO, transfer_syntax_uid: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta, enforce_standard=False)


def _read(file: BinaryIO) -> Dataset:
    file.seek(0)
    return dcmread(file, force=True)


def _values(data: Dataset, above: str) -> Iterator[tuple[str, str]]:
    for element in data:
        name = element.keyword or str(element.tag)
        path = f"{above}{name}"
        if element.VR == "SQ":
            yield path, f"{len(element.value)} items"
            for number, item in enumerate(element.value, 1):
                yield from _values(item, f"{path}[{number}].")
        elif element.VR in _BULK_VRS:
            yield path, _BULK if element.value else ""
        else:
            yield path, str(element.value)[:_SHOWN_CHARACTERS]
