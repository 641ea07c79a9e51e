"""A multi-frame instance of any size whose bytes are made while they are sent: nothing of it is held or written.

    large = LargeStream(1 << 30)
    with RawScu(port) as scu:
        scu.associate([large.context])
        number = scu.send_store_stream(1, large.sop_class_uid, large.sop_instance_uid, large.pieces(scu.max_pdu - 6))
        status = scu.recv_store_status(number)
    assert archive.contents() == {large.sop_instance_uid: [large.sha256]}

Every piece differs from every other, so that one put in another's place shows in the digest.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator

from tests.harness.data import make_instance

FRAME_BYTES = 512 * 512 * 2


class LargeStream:
    """See the module's docstring. `pixel_bytes` < 4 GiB is rounded up to whole frames."""

    def __init__(self, pixel_bytes: int, seed: int = 1) -> None:
        self.frames = -(-pixel_bytes // FRAME_BYTES)
        self._source = random.Random(seed)
        head = make_instance(
            seed=seed,
            pixel_bytes=0,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            NumberOfFrames=str(self.frames),
            Rows=512,
            Columns=512,
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
        )
        self.sop_class_uid = head.sop_class_uid
        self.sop_instance_uid = head.sop_instance_uid
        self.transfer_syntax_uid = head.transfer_syntax_uid
        self._head = head.data + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, self.frames * FRAME_BYTES)
        self.length = len(self._head) + self.frames * FRAME_BYTES
        self.sha256 = ""  # of the whole data set, once `pieces` is through

    @property
    def context(self) -> tuple[str, str]:
        """Abstract and transfer syntax."""
        return self.sop_class_uid, self.transfer_syntax_uid

    def pieces(self, piece_bytes: int) -> Iterator[bytes]:
        """The data set in pieces of at most `piece_bytes`; sets `sha256` at the end. Once only."""
        frame = bytearray(self._source.randbytes(FRAME_BYTES))
        digest = hashlib.sha256()
        for part in self._parts(frame):
            for start in range(0, len(part), piece_bytes):
                piece = bytes(part[start : start + piece_bytes])
                digest.update(piece)
                yield piece
        self.sha256 = digest.hexdigest()

    def _parts(self, frame: bytearray) -> Iterator[bytes | bytearray]:
        yield self._head
        for number in range(self.frames):
            struct.pack_into("<Q", frame, number * 8 % FRAME_BYTES, self._source.getrandbits(64))
            struct.pack_into("<I", frame, 0, number)
            yield frame
