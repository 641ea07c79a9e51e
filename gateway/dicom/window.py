"""A window that moves forward over the bytes of a data set, and the inflating of deflated ones.

`Window` reads 64 KiB at a time while elements follow each other, and little where a long value was stepped over: the
last byte of that value (it shows that the data set reaches so far) and what follows it. `Inflated` makes a
`ByteSource` of the deflated data set of another (PS3.5 A.5); it remembers only the bytes last asked for, so a
deflate bomb costs time up to a bound and no memory. `gateway.dicom.scan` and `gateway.dicom.header` call.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from gateway.errors import HeaderError

WINDOW_BYTES = 64 * 1024
SKIP_WINDOW_BYTES = 4096
MAX_PADDING_BYTES = 1024 * 1024
MAX_INFLATED_BYTES = 2 * 1024 * 1024 * 1024
_INFLATE_STEP_BYTES = 256 * 1024
_MAX_TRAILER_BYTES = 8


class ByteSource(Protocol):
    """Random access to the bytes of one data set."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on (bytes from 0); fewer only where the data set ends."""


class Window:
    """`buffer` holds the bytes from `base` on; `ended` says that nothing follows it."""

    __slots__ = ("_source", "base", "buffer", "ended")

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.base = 0
        self.buffer = source.read(0, WINDOW_BYTES)
        self.ended = len(self.buffer) < WINDOW_BYTES

    def holds(self, end: int) -> bool:
        """Whether the window reaches as far as `end`."""
        return end <= self.base + len(self.buffer)

    def move(self, at: int, length: int = SKIP_WINDOW_BYTES) -> None:
        """Bring the bytes from `at` on into the window; reads `length` where `at` lies behind it.

        :raises HeaderError: the data set ends before `at`.
        """
        if self.holds(at):
            if not self.ended:
                self.buffer = self._source.read(at, WINDOW_BYTES)
                self.ended = len(self.buffer) < WINDOW_BYTES
                self.base = at
            return
        if not self.ended:
            self.buffer = self._source.read(at - 1, length + 1)
            self.ended = len(self.buffer) <= length
            self.base = at - 1
            if self.buffer:
                return
        raise HeaderError("a length goes past the end of the data set")

    def bytes_at(self, at: int, length: int) -> bytes:
        """`length` bytes (at most a window) from an `at` inside the window; fewer where the data set ends."""
        if not self.holds(at + length):
            self.move(at)
        start = at - self.base
        return self.buffer[start : start + length]

    def expect_padding(self, at: int) -> None:
        """Check that only zeros follow. :raises HeaderError: something else does, or more than 1 MiB of them."""
        end = at + MAX_PADDING_BYTES
        while at < end:
            block = self._source.read(at, WINDOW_BYTES)
            if block.strip(b"\0"):
                break
            at += len(block)
            if len(block) < WINDOW_BYTES:
                return
        raise HeaderError("zeros stand where an element should")


class Inflated:
    """The bytes of a deflated data set, read forward: no read may begin before the one before it began."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._next_input = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._held = b""
        self._held_from = 0

    def read(self, offset: int, length: int) -> bytes:
        """As `ByteSource.read`. :raises HeaderError: not a deflate stream, cut short, or too long."""
        skip = offset - self._held_from
        while skip > len(self._held):
            self._held_from += len(self._held)
            skip -= len(self._held)
            self._held = self._inflate(_INFLATE_STEP_BYTES)
            if not self._held:
                return b""
        parts = [self._held[skip:]]
        missing = length - len(parts[0])
        while missing > 0:
            part = self._inflate(missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._held = b"".join(parts)
        self._held_from = offset
        return self._held[:length]

    def _inflate(self, limit: int) -> bytes:
        """Between 1 and `limit` further bytes; none at the end of the stream."""
        while not self._inflater.eof:
            block = self._inflater.unconsumed_tail
            if not block:
                block = self._source.read(self._next_input, WINDOW_BYTES)
                self._next_input += len(block)
            try:
                data = self._inflater.decompress(block, limit)
            except zlib.error:
                raise HeaderError("the deflated data set is not a deflate stream") from None
            if data:
                if self._held_from + len(self._held) + len(data) > MAX_INFLATED_BYTES:
                    raise HeaderError(f"the deflated data set holds more than {MAX_INFLATED_BYTES} bytes")
                return data
            if not block and not self._inflater.eof:
                raise HeaderError("the deflated data set is cut short")
        self._expect_end()
        return b""

    def _expect_end(self) -> None:
        # PS3.5 A.5: a zero may follow the deflated bit stream, to make it even. Some writers leave the checksum of
        # their zlib or gzip wrapper there too: the stream has said that it is complete, so that harms nothing.
        rest = self._inflater.unused_data + self._source.read(self._next_input, WINDOW_BYTES)
        if len(rest.rstrip(b"\0")) > _MAX_TRAILER_BYTES:
            raise HeaderError("something follows the deflated data set")
