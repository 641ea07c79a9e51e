"""The samples of a native frame in the form that a codec takes, and back: order of colours, unused bits, containers.

The arithmetic is numpy's, which comes with the codecs (`gateway[codecs]`) and is imported when it is first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gateway.transform.names import label
from gateway.transform.pixels.image import BITS_STORED, Image
from gateway.transform.values import ValueRefused

MISSING = "the codecs are not installed: pip install 'dicom-gateway[codecs]'"


def codec(name: str) -> Any:
    """A module of the codecs. :raises ValueRefused: it is not installed, or there is no room to load it."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ValueRefused(MISSING) from None
    except ImportError:
        raise ValueRefused("the codecs cannot be loaded: are they damaged, or is worker.memory too small?") from None


def by_pixel(frame: bytes, samples_per_pixel: int, sample_bytes: int) -> bytes:
    """A frame in Planar Configuration 0 from one in 1 (PS3.3 C.7.6.3.1.3)."""
    return _reordered(frame, samples_per_pixel, sample_bytes, to_planes=False)


def by_plane(frame: bytes, samples_per_pixel: int, sample_bytes: int) -> bytes:
    """A frame in Planar Configuration 1 from one in 0."""
    return _reordered(frame, samples_per_pixel, sample_bytes, to_planes=True)


def _reordered(frame: bytes, count: int, size: int, *, to_planes: bool) -> bytes:
    plane, out = len(frame) // count, bytearray(len(frame))
    for sample in range(count):
        for byte in range(size):
            one = slice(sample * plane + byte, (sample + 1) * plane, size)
            other = slice(sample * size + byte, None, count * size)
            if to_planes:
                out[one] = frame[other]
            else:
                out[other] = frame[one]
    return bytes(out)


def canonical(image: Image, frame: bytes) -> bytes:
    """A frame whose unused bits are the sign, or zero: what a codec gives back that knows stored bits alone.

    :raises ValueRefused: unused bits hold something else, such as an overlay; it would be lost.
    """
    if image.high_bit != image.bits_stored - 1:
        raise ValueRefused(
            f"{label(BITS_STORED)}: the samples do not lie in the lowest bits: only rle-lossless keeps them"
        )
    if image.bits_stored == image.bits_allocated:
        return frame
    numpy = codec("numpy")
    found = numpy.frombuffer(frame, f"<u{image.sample_bytes}")
    stored = found & found.dtype.type((1 << image.bits_stored) - 1)
    full = _signed(stored, image.bits_stored) if image.is_signed else stored
    if not numpy.logical_or(found == stored, found == full).all():
        raise ValueRefused(f"{label(BITS_STORED)}: bits beyond them are used, which only rle-lossless keeps")
    return bytes(full.tobytes())


def contained(image: Image, frame: bytes, *, is_masked: bool) -> bytes:
    """Samples in as many bytes as Bits Stored takes (1, 2 or 4), with the unused bits cleared if `is_masked`."""
    size = container(image.bits_stored)
    if size == image.sample_bytes and not (is_masked and image.is_signed and image.bits_stored < image.bits_allocated):
        return frame
    numpy = codec("numpy")
    samples = numpy.frombuffer(frame, f"<u{image.sample_bytes}")
    if is_masked:
        samples = samples & samples.dtype.type((1 << image.bits_stored) - 1)
    return bytes(samples.astype(f"<u{size}").tobytes())


def fitted(image: Image, frame: bytes, precision: int) -> bytes:
    """Samples of so many bits, as a codec gives them, in Bits Allocated; the unused bits are the sign, or zero."""
    size = container(precision)
    if size == image.sample_bytes and precision == image.bits_allocated:
        return frame
    numpy = codec("numpy")
    samples = numpy.frombuffer(frame, f"<u{size}")
    if precision < size * 8:
        samples = samples & samples.dtype.type((1 << precision) - 1)
    samples = samples.astype(f"<u{image.sample_bytes}")
    if image.is_signed and precision < image.bits_allocated:
        samples = _signed(samples, precision)
    return bytes(samples.tobytes())


def greatest_difference(image: Image, one: bytes, other: bytes) -> int:
    """How far two frames differ at most, sample by sample."""
    numpy = codec("numpy")
    kind = f"<{'i' if image.is_signed else 'u'}{image.sample_bytes}"
    left, right = (numpy.frombuffer(frame, kind).astype("<i8") for frame in (one, other))
    return int(numpy.abs(left - right).max())


def container(bits: int) -> int:
    """How many bytes codecs use for samples of so many bits."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def _signed(samples: Any, bits: int) -> Any:
    """Two's complement of so many bits in all the bits of its samples."""
    sign = samples.dtype.type(1 << bits - 1)
    return (samples ^ sign) - sign
