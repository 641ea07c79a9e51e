"""Frames in another transfer syntax, each decoded or encoded when it is asked for."""

from __future__ import annotations

from gateway.transform.pixels import samples
from gateway.transform.pixels.codecs import CODECS, decode, encode, encoded_image, native_image
from gateway.transform.pixels.frames import Frames
from gateway.transform.pixels.image import Image


def decoded(frames: Frames) -> Frames:
    """The same frames, native: as they are where they are so already.

    :raises ValueRefused: no codec decodes them, or it is not installed.
    """
    return frames if frames.image.is_native else Decoded(frames)


def encoded(frames: Frames, transfer_syntax_uid: str, *, ratio: float = 0, error: int = 0) -> Frames:
    """The same frames in an encapsulated transfer syntax; they are native.

    :param ratio, error: how much may be lost (`gateway.transform.pixels.codecs.encode`).
    :raises ValueRefused: the standard does not allow it, or the codec is not installed.
    """
    return Encoded(frames, transfer_syntax_uid, ratio, error)


class Decoded:
    """Native frames from encapsulated ones. `frames` are those."""

    def __init__(self, frames: Frames) -> None:
        for name in CODECS.get(frames.image.transfer_syntax_uid, ()):
            samples.codec(name)
        self.frames = frames
        self.image: Image = native_image(frames.image, frames.read(0))

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`."""
        return decode(self.frames.image, self.frames.read(index))


class Encoded:
    """Encapsulated frames from native ones. `frames` are those."""

    def __init__(self, frames: Frames, transfer_syntax_uid: str, ratio: float = 0, error: int = 0) -> None:
        self.image: Image = encoded_image(frames.image, transfer_syntax_uid)
        for name in CODECS[transfer_syntax_uid]:
            samples.codec(name)
        self.frames = frames
        self._ratio = ratio
        self._error = error

    def read(self, index: int) -> bytes:
        """See `gateway.transform.pixels.frames.Frames`."""
        frame, syntax = self.frames.read(index), self.image.transfer_syntax_uid
        return encode(self.frames.image, frame, syntax, ratio=self._ratio, error=self._error)
