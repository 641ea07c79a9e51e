"""Pixel data, frame by frame: what it is (`image`), where its frames lie (`frames`), decoded and encoded (`codecs`,
`coded`), and put back into a tree so that it is made while it is written (`produced`).

A step that works on pixels takes `frames_of` a tree, wraps them as often as it likes (`decoded`, `encoded`, or `Frames`
of its own), and hands the last to `put`. Nothing of it is done before the copy is written, a frame at a time; a later
step of the chain finds what an earlier one has put.

No module here imports a codec, or numpy, before the first frame is to be decoded or encoded: a gateway whose rules
touch no pixels pays nothing for them.
"""

from gateway.transform.pixels.coded import decoded, encoded
from gateway.transform.pixels.frames import Frames, frames_of
from gateway.transform.pixels.image import PIXEL_DATA, Image, image_of
from gateway.transform.pixels.produced import put

__all__ = ["PIXEL_DATA", "Frames", "Image", "decoded", "encoded", "frames_of", "image_of", "put"]
