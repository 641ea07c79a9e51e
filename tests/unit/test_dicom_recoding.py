"""Copies in another transfer syntax: what they are called, and what may stand for what."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from gateway.dicom.recoding import (
    COMPRESSED_RECODINGS,
    NATIVE_RECODINGS,
    RECODINGS,
    Recoding,
    Substitute,
    alike,
    recoded,
    split,
    stand_ins,
    substitutes,
    turned,
)
from gateway.model import transforms_of
from gateway.rules.schema import chain_id

NAMED = chain_id(["to-research", "mark"], {"to-research": "1", "mark": "2"})
IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))


@pytest.mark.parametrize("chain", ["", NAMED])
@pytest.mark.parametrize("recoding", RECODINGS.values(), ids=str)
def test_a_recoding_is_the_last_transform_and_the_chain_before_it_can_be_told(chain: str, recoding: Recoding) -> None:
    after = recoded(chain, recoding)
    assert transforms_of(after) == (*transforms_of(chain), recoding.name)
    assert split(after) == (chain, recoding)
    assert split(chain) == (chain, None)
    assert after.partition("~")[2].isalnum(), "a part of a file's name"


def test_one_recoding_takes_the_place_of_another() -> None:
    explicit, implicit, *_ = RECODINGS.values()
    assert recoded(recoded(NAMED, explicit), implicit) == recoded(NAMED, implicit)
    assert recoded(recoded("", explicit), implicit) == recoded("", implicit)


def test_the_names_codes_and_syntaxes_are_told_apart() -> None:
    every = list(RECODINGS.values())
    for column in list(zip(*every, strict=True))[:3]:
        assert len(set(column)) == len(every)
    assert all(len(each.code) == 2 and each.code.isalnum() for each in every)
    assert all(UID(each.transfer_syntax_uid).is_transfer_syntax for each in every)


def test_chains_are_alike_whatever_the_syntax() -> None:
    some = recoded(NAMED, RECODINGS["as-implicit-vr-little-endian"])
    assert alike(some) == alike(NAMED)
    assert {NAMED, some} < set(alike(some))
    assert not set(alike("")) & set(alike(NAMED))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, "1.2.840.10008.1.2.4.90"])
def test_native_stands_for_anything_and_explicit_is_the_first(syntax: str) -> None:
    stand = [each.transfer_syntax_uid for each in substitutes(syntax)]
    assert [each for each in (EXPLICIT, IMPLICIT) if each != syntax] == stand[: 2 - (syntax in (EXPLICIT, IMPLICIT))]
    assert syntax not in stand


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.81"])
def test_what_may_be_lossy_is_only_ever_decompressed(syntax: str) -> None:
    assert [each.transfer_syntax_uid for each in substitutes(syntax)] == [EXPLICIT, IMPLICIT]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.3"])
def test_nothing_stands_for_video_references_and_what_nobody_knows(syntax: str) -> None:
    assert substitutes(syntax) == ()


LOSSY, JPEG_LS, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"


def test_what_is_no_copy_is_stood_for_by_what_may_stand_for_its_syntax() -> None:
    for syntax in (EXPLICIT, RLE, LOSSY, "1.2.3"):
        assert [each.recoding for each in stand_ins("", syntax, "", "")] == list(substitutes(syntax))


@pytest.mark.parametrize("chain", ["", NAMED])
def test_what_was_compressed_with_a_loss_stays_native_though_what_is_to_be_sent_is_native(chain: str) -> None:
    """The copy that is refused is in Explicit VR; compressed anew it would seem to be without a loss."""
    copy = recoded(chain, RECODINGS["as-explicit-vr-little-endian"])
    assert [each.transfer_syntax_uid for each in stand_ins(copy, EXPLICIT, LOSSY, LOSSY)] == [LOSSY, IMPLICIT]
    assert [each.transfer_syntax_uid for each in stand_ins(copy, EXPLICIT, LOSSY, "")] == [IMPLICIT]


def test_what_a_transform_decompressed_or_compressed_with_a_loss_is_not_compressed_anew() -> None:
    assert [each.transfer_syntax_uid for each in stand_ins(NAMED, EXPLICIT, LOSSY, "")] == [IMPLICIT]
    copy = recoded(NAMED, RECODINGS["as-explicit-vr-little-endian"])
    assert [each.transfer_syntax_uid for each in stand_ins(copy, EXPLICIT, EXPLICIT, LOSSY)] == [LOSSY, IMPLICIT]


@pytest.mark.parametrize("chain", ["", NAMED])
@pytest.mark.parametrize("recoding", RECODINGS.values(), ids=str)
def test_a_copy_turns_back_to_what_it_was_made_of_and_never_to_itself(chain: str, recoding: Recoding) -> None:
    copy = recoded(chain, recoding)
    first, *others = stand_ins(copy, recoding.transfer_syntax_uid, BIG_ENDIAN, BIG_ENDIAN)
    assert first == Substitute(BIG_ENDIAN, None)
    assert turned(copy, first) == chain
    assert {turned(copy, each) for each in others} == {
        recoded(chain, each) for each in RECODINGS.values() if each != recoding
    }


@pytest.mark.parametrize("recoding", COMPRESSED_RECODINGS, ids=str)
def test_what_has_no_pixels_to_compress_is_not_compressed_again_and_again(recoding: Recoding) -> None:
    """Made with JPEG-LS, a report is in Explicit VR all the same."""
    copy = recoded("", recoding)
    assert stand_ins(copy, EXPLICIT, IMPLICIT, IMPLICIT) == (Substitute(IMPLICIT, None),)
    assert stand_ins(copy, EXPLICIT, EXPLICIT, EXPLICIT) == (Substitute(IMPLICIT, NATIVE_RECODINGS[1]),)
