"""Images made by hand of arrays, and the pixels of data sets as arrays, for tests that compare what is seen."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.transform.parse import parse
from gateway.transform.pixels import Image, decoded, frames_of
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT, MemorySource
from tests.unit.transform_kit import CT_IMAGE

Pixels = NDArray[Any]


def image(pixels: Pixels, bits_stored: int = 0, photometric: str = "", **attributes: Any) -> Dataset:
    """A data set whose frames are these: (frames, rows, columns) or (frames, rows, columns, samples), each sample in as
    many bits as the array has; colour by pixel."""
    bits = pixels.dtype.itemsize * 8
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = CT_IMAGE, "1.2.3.4", "CT"
    data.PatientName = "ZEBRA^Q"
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape[:3]
    data.SamplesPerPixel = pixels.shape[3] if pixels.ndim == 4 else 1
    data.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 4 else "MONOCHROME2")
    if pixels.ndim == 4:
        data.PlanarConfiguration = 0
    data.BitsAllocated, data.BitsStored = bits, bits_stored or bits
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    raw = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.add_new(0x7FE00010, "OW" if bits > 8 else "OB", raw + b"\0" * (len(raw) % 2))
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def encode(data: Dataset, transfer_syntax_uid: str = EXPLICIT) -> bytes:
    """The bytes of a data set."""
    file = DicomBytesIO()
    file.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    file.is_little_endian = transfer_syntax_uid != BIG_ENDIAN
    write_dataset(file, data)
    return file.getvalue()


def decoded_image(data: bytes, transfer_syntax_uid: str) -> tuple[Image, list[bytes]]:
    """The image that a data set has, and its native frames."""
    frames = decoded(frames_of(parse(MemorySource(data), transfer_syntax_uid)))
    return frames.image, [frames.read(index) for index in range(frames.image.number_of_frames)]


def array(image: Image, frame: bytes) -> Pixels:
    """A native frame as (rows, columns, samples); samples of less than a byte as bytes of 0 and 1; colour that two
    pixels share is each one's own."""
    rows, columns, count = image.rows, image.columns, image.samples_per_pixel
    if image.bits_allocated == 1:
        bits = numpy.unpackbits(numpy.frombuffer(frame, "u1"), bitorder="little")
        return bits[: rows * columns].reshape(rows, columns, 1)
    samples = numpy.frombuffer(frame, f"<{'i' if image.is_signed else 'u'}{image.sample_bytes}")
    if image.is_subsampled:
        pairs = samples.reshape(rows, columns // 2, 4)
        light = pairs[:, :, :2].reshape(rows, columns)
        return numpy.stack([light, *(pairs[:, :, at].repeat(2, axis=1) for at in (2, 3))], axis=2)
    if image.planar_configuration == 1:
        return samples.reshape(count, rows, columns).transpose(1, 2, 0)
    return samples.reshape(rows, columns, count)


def read(part10: bytes) -> Dataset:
    """A file as pydicom reads it."""
    return pydicom.dcmread(BytesIO(part10))
