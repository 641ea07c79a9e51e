"""Where an overlay lies: in data of its own, or in bits of the pixels (PS3.3 C.9.2 before 2004, retired)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.transform.tree import DataSet

_DATA, _BITS_ALLOCATED, _BIT_POSITION = 0x60003000, 0x60000100, 0x60000102
_ONE_BIT = (b"\x01\x00", b"\x00\x01")


def overlay_in_pixels(data: DataSet, tag: int) -> bool:
    """Whether the overlay of a group (60xx) lies in bits of the pixels, as far as its attributes say."""
    offset = tag & 0x00FF0000
    pixels, bits, bit = (data.get(each + offset) for each in (_DATA, _BITS_ALLOCATED, _BIT_POSITION))
    if pixels is not None and pixels.value_bytes:
        return False
    if bits is None:
        return bit is not None and any(bit.value)
    return bits.value[:2] not in _ONE_BIT
