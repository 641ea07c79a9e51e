"""What is kept of an instance so that rules of a later day can be tried on it: its header, cut and packed.

Kept are the elements in front of the pixel data, private ones too, as they were encoded. Left out are group lengths,
and sequences longer than 16 KiB; of another value longer than 1 KiB the first 64 bytes are kept, so that the attribute
is there. What goes past 64 KiB in all, or past 20,000 elements, is left out: to remember costs a worker little,
whatever the object. A deflated data set is kept inflated; `encoding_of` says in which transfer syntax what was kept is
read.

Patient data: it goes into the ledger and nowhere else. Workers `pack` what `read_header` has read, commands `unpack`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import pack as packed

from gateway.dicom.window import ByteSource, Inflated
from gateway.errors import HeaderError
from gateway.transform.names import is_sequence_tag
from gateway.transform.parse import BIG_ENDIAN, DEFLATED, IMPLICIT, Held, Walk
from gateway.transform.tree import Budget

MAX_VALUE_BYTES = 1024
MAX_SEQUENCE_BYTES = 16 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_ELEMENTS = 20_000
MAX_INFLATED_BYTES = 256 * 1024  # of a deflated data set: to go back in one is to inflate it anew
SHORTENED_BYTES = 64
_FIRST_PIXEL_DATA = 0x7FE00000
_UNDEFINED = 0xFFFFFFFF
_NO_END = 1 << 63
_BYTE_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"})
_PLAIN = "1.2.840.10008.1.2.1"  # what a deflated data set is, inflated (PS3.5 A.5)
_LEVEL = 1  # of zlib: 6 packs 5 % better, in half as much time again


def pack(source: ByteSource, transfer_syntax_uid: str) -> bytes | None:
    """The header of a data set that `read_header` has read, packed; None where nothing can be kept."""
    try:
        if transfer_syntax_uid in DEFLATED:
            source = Held(Inflated(source).read(0, MAX_INFLATED_BYTES))
        walk = Walk(source, Budget(MAX_ELEMENTS))
        implicit = walk.detect_implicit(0, transfer_syntax_uid in IMPLICIT)
        kept = b"".join(_parts(walk, implicit, transfer_syntax_uid in BIG_ENDIAN))
    except HeaderError:
        return None
    return zlib.compress(kept, _LEVEL) if kept else None


def _parts(walk: Walk, implicit: bool, big_endian: bool) -> Iterator[bytes]:
    """What is kept, in runs of elements as they stand, to the first that cannot be read."""
    size = at = run = last = 0
    for _ in range(MAX_ELEMENTS):
        try:
            tag, vr, header, length = walk.head(at, _NO_END, implicit, big_endian)
            if tag >= _FIRST_PIXEL_DATA or tag >> 16 == 0:
                break
            is_sequence = vr == b"SQ" or ((not vr or vr == b"UN") and is_sequence_tag(tag))
            if length == _UNDEFINED:
                is_sequence, begin = True, at + header
                if vr in _BYTE_VRS:
                    length = walk.fragments_end(begin, big_endian) - begin
                else:
                    length = walk.sequence_end(begin, vr, implicit, big_endian) - begin
            after = at + header + length
            is_whole = length <= MAX_VALUE_BYTES or (is_sequence and length <= MAX_SEQUENCE_BYTES)
            is_length = not tag & 0xFFFF
            if is_whole and not is_length:
                if size + after - run > MAX_HEADER_BYTES:
                    break
                last, at = at, after
                continue
            shortened = b""
            if not is_sequence and not is_length:
                shortened = _shortened(walk.slice(at, header + SHORTENED_BYTES), vr, header, big_endian)
        except HeaderError:  # the end, or nothing that could be read on
            break
        if at > run:
            yield walk.slice(run, at - run)
        size, run, at = size + at - run + len(shortened), after, after
        if size > MAX_HEADER_BYTES:
            break
        yield shortened
    if at > run and not walk.peek(at - 1, 1):  # the last one is cut
        at = last
    if at > run:
        yield walk.slice(run, at - run)


def _shortened(encoded: bytes, vr: bytes, header: int, big_endian: bool) -> bytes:
    """An element's head, with the length of what is left, and the beginning of its value."""
    length, places = ("H", 2) if vr and header == 8 else ("I", 4)
    said = packed((">" if big_endian else "<") + length, SHORTENED_BYTES)
    return encoded[: header - places] + said + encoded[header:]


def unpack(header: bytes) -> bytes:
    """The elements that `pack` kept. :raises HeaderError: they are damaged."""
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(header, MAX_HEADER_BYTES + 1)
    except zlib.error:
        data = b""
    if not unpacker.eof or len(data) > MAX_HEADER_BYTES:
        raise HeaderError("what was kept of a header is damaged")
    return data


def encoding_of(transfer_syntax_uid: str) -> str:
    """The transfer syntax in which the header of an instance that came in this one was kept."""
    return _PLAIN if transfer_syntax_uid in DEFLATED else transfer_syntax_uid
