"""Copies in another transfer syntax: what they are called, and which may stand for what.

A destination that takes an instance's SOP class, but not in its transfer syntax, can get a copy without any loss
(`transcode: lossless`). The copy's chain is the delivery's own with a built-in transform at its end, such as
`to-research+as-explicit-vr-little-endian~0a1b2c3de1`: the digest of the chain before it and the code of the built-in
one, so that whoever has the name of one has that of the other, and needs no rules for it.

What may stand for what, the first that the destination accepts:
  - native for anything: Explicit VR Little Endian, then Implicit VR Little Endian;
  - compressed without loss for what is native, or was compressed without loss. What may have been compressed with a
    loss is only ever decompressed: compressed anew it would be as large, and seem to be without one. So is what was
    decompressed from it: what counts is what arrived, and what the copy was made of;
  - for a copy that is not taken (any more): before all others what it was made of.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.dicom.negotiation import NATIVE_TRANSFER_SYNTAXES
from gateway.model import CHAIN_DIGEST, CHAIN_JOINS, transforms_of


class Recoding(NamedTuple):
    """A built-in transform: its name, the syntax of what it makes, and what it adds to the digest of a chain."""

    name: str
    transfer_syntax_uid: str
    code: str  # letters and digits; another one where it makes something else of the same
    codec: str = ""  # the module that encodes it, which need not be installed


class Substitute(NamedTuple):
    """What may go in the place of something, and its transfer syntax; `recoding` None is what that was made of."""

    transfer_syntax_uid: str
    recoding: Recoding | None


NATIVE_RECODINGS: Final = (
    Recoding("as-explicit-vr-little-endian", "1.2.840.10008.1.2.1", "e1"),
    Recoding("as-implicit-vr-little-endian", "1.2.840.10008.1.2", "i1"),
)
COMPRESSED_RECODINGS: Final = (
    Recoding("as-jpeg-ls-lossless", "1.2.840.10008.1.2.4.80", "s1", "jpeg_ls"),
    Recoding("as-jpeg-2000-lossless", "1.2.840.10008.1.2.4.90", "j1", "openjpeg"),
    Recoding("as-rle-lossless", "1.2.840.10008.1.2.5", "r1", "rle"),
)
RECODINGS: Final = {each.name: each for each in (*NATIVE_RECODINGS, *COMPRESSED_RECODINGS)}
_CODE_LENGTH = 2

_LOSSLESS = frozenset(
    {
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless, Non-Hierarchical (Process 14)
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Non-Hierarchical, First-Order Prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 (Lossless Only)
        "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 (Lossless Only)
        "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL Options (Lossless Only)
        "1.2.840.10008.1.2.5",  # RLE Lossless
    }
)
_MAYBE_LOSSY = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline (Process 1)
        "1.2.840.10008.1.2.4.51",  # JPEG Extended (Process 2 & 4)
        "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    }
)


def substitutes(transfer_syntax_uid: str) -> tuple[Recoding, ...]:
    """What may stand for data in this transfer syntax, the best first; () for video and what nobody knows."""
    if transfer_syntax_uid in _MAYBE_LOSSY:
        return NATIVE_RECODINGS
    if transfer_syntax_uid not in _LOSSLESS and transfer_syntax_uid not in NATIVE_TRANSFER_SYNTAXES:
        return ()
    known = (*NATIVE_RECODINGS, *COMPRESSED_RECODINGS)
    return tuple(each for each in known if each.transfer_syntax_uid != transfer_syntax_uid)


def stand_ins(chain: str, transfer_syntax_uid: str, original_uid: str, before_uid: str) -> tuple[Substitute, ...]:
    """What may stand for what a chain has made of an instance, the best first.

    :param transfer_syntax_uid: of what it has made.
    :param original_uid: the transfer syntax of the instance; "" where that is it.
    :param before_uid: that of what the built-in transform at its end was given; "" where it has none, or that is gone.
    """
    _, own = split(chain)
    found = substitutes(before_uid or transfer_syntax_uid)
    # A built-in transform that compresses leaves what has no pixels native: so would all others.
    is_without_pixels = own is not None and own.transfer_syntax_uid != transfer_syntax_uid
    if is_without_pixels or not _MAYBE_LOSSY.isdisjoint((original_uid, before_uid)):
        found = tuple(each for each in found if each in NATIVE_RECODINGS)
    known = [Substitute(before_uid, None)] if before_uid else []
    known += [Substitute(each.transfer_syntax_uid, each) for each in found if each != own]
    return tuple(each for each in known if each.transfer_syntax_uid != transfer_syntax_uid)


def split(chain: str) -> tuple[str, Recoding | None]:
    """The chain before the built-in transform at its end, and that transform; None where it has none."""
    names = transforms_of(chain)
    recoding = RECODINGS.get(names[-1]) if names else None
    digest = chain.partition(CHAIN_DIGEST)[2]
    if recoding is None or not digest.endswith(recoding.code):
        return chain, None
    before = CHAIN_JOINS.join(names[:-1])
    return (f"{before}{CHAIN_DIGEST}{digest[:-_CODE_LENGTH]}" if before else ""), recoding


def recoded(chain: str, recoding: Recoding) -> str:
    """The chain of a copy in another syntax of what a chain makes; of a chain that is one already, in place of it."""
    before, _ = split(chain)
    names, _, digest = before.partition(CHAIN_DIGEST)
    return f"{names}{CHAIN_JOINS if names else ''}{recoding.name}{CHAIN_DIGEST}{digest}{recoding.code}"


def turned(chain: str, substitute: Substitute) -> str:
    """The chain of what may stand for what a chain makes."""
    return split(chain)[0] if substitute.recoding is None else recoded(chain, substitute.recoding)


def alike(chain: str) -> list[str]:
    """The chains that make the same of an instance, in whatever transfer syntax."""
    before, _ = split(chain)
    return [before, *(recoded(before, each) for each in RECODINGS.values())]
