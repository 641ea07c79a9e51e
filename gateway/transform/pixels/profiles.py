"""Which images the standard lets a transfer syntax hold (PS3.5 8.2), as far as the gateway writes them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.transform.names import label
from gateway.transform.pixels.image import BITS_ALLOCATED, BITS_STORED, PHOTOMETRIC_INTERPRETATION, Image
from gateway.transform.values import ValueRefused

RLE = "1.2.840.10008.1.2.5"
JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
JPEG_LS = frozenset({JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS})
JPEG_2000 = frozenset({J2K_LOSSLESS, J2K, *(f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203))})
ENCODED = (RLE, JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS, J2K_LOSSLESS, J2K)
LOSSY = frozenset({JPEG_LS_NEAR_LOSSLESS, J2K})

_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
_MAX_J2K_BITS = 24  # OpenJPEG's; the standard has 38


@dataclass(frozen=True, slots=True)
class _Profile:
    """A row or some of a table: the photometric interpretations of images that have the other values."""

    colours: Collection[str]
    allocated: Collection[int]
    stored: range
    signed: bool = False


_PALETTE, _RGB, _YBR = frozenset({"PALETTE COLOR"}), frozenset({"RGB"}), frozenset({"YBR_FULL"})
_TABLES: dict[str, tuple[_Profile, ...]] = {
    RLE: (  # Table 8.2.2-1
        _Profile(_MONOCHROME, (8, 16), range(1, 17), signed=True),
        _Profile(_PALETTE | _RGB, (8, 16), range(1, 17)),
        _Profile(_YBR, (8,), range(1, 9)),
    ),
    JPEG_LS_LOSSLESS: (  # Table 8.2.3-1
        _Profile(_MONOCHROME, (8, 16), range(2, 17), signed=True),
        _Profile(_PALETTE | _RGB, (8, 16), range(2, 17)),
        _Profile(_YBR, (8,), range(2, 9)),
    ),
    JPEG_LS_NEAR_LOSSLESS: (
        _Profile(_MONOCHROME, (8, 16), range(2, 17), signed=True),
        _Profile(_RGB, (8, 16), range(2, 17)),
        _Profile(_YBR, (8,), range(2, 9)),
    ),
    J2K_LOSSLESS: (  # Table 8.2.4-1
        _Profile(_MONOCHROME, (8, 16, 32), range(1, _MAX_J2K_BITS + 1), signed=True),
        _Profile(_PALETTE, (8, 16), range(1, 17)),
        _Profile(_RGB | _YBR, (8, 16, 32), range(1, _MAX_J2K_BITS + 1)),
    ),
    J2K: (
        _Profile(_MONOCHROME, (8, 16, 32), range(1, _MAX_J2K_BITS + 1), signed=True),
        _Profile(_RGB | _YBR, (8, 16, 32), range(1, _MAX_J2K_BITS + 1)),
    ),
}


def check_profile(image: Image, transfer_syntax_uid: str) -> None:
    """See that a native image may be encoded in an encapsulated transfer syntax.

    :raises ValueRefused: it may not, or the gateway has no codec that does it.
    """
    profiles = _TABLES.get(transfer_syntax_uid)
    if profiles is None:
        raise ValueRefused(f"the gateway writes no transfer syntax {transfer_syntax_uid}")
    of_colour = [each for each in profiles if image.photometric_interpretation in each.colours]
    if image.bits_allocated == 1:
        raise ValueRefused(f"{label(BITS_ALLOCATED)}: single bits cannot be compressed (PS3.5 8.2)")
    if image.is_subsampled or not of_colour:
        raise ValueRefused(f"{label(PHOTOMETRIC_INTERPRETATION)}: none that this transfer syntax can hold (PS3.5 8.2)")
    for each in of_colour:
        if image.bits_allocated not in each.allocated:
            raise ValueRefused(f"{label(BITS_ALLOCATED)}: more than this transfer syntax can hold (PS3.5 8.2)")
        if image.bits_stored not in each.stored:
            raise ValueRefused(f"{label(BITS_STORED)}: not so many that this transfer syntax can hold (PS3.5 8.2)")
        if image.is_signed and not each.signed:
            raise ValueRefused(f"{label(PHOTOMETRIC_INTERPRETATION)}: colour cannot be signed (PS3.5 8.2)")
