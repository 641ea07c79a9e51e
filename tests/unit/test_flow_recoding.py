"""What becomes of a delivery whose transfer syntax is not accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from gateway.config.values import Destination, Transcode
from gateway.dicom.recoding import NATIVE_RECODINGS, Substitute, recoded
from gateway.flow.health import Health
from gateway.flow.line import Line
from gateway.flow.verdict import Verdicts
from gateway.ledger.base import DERIVE
from gateway.model import DeliveryLease, DeliveryState, PayloadFile

NOW_MS = 1_700_000_000_000
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, calling_ae_title="GATEWAY", attempts=3)
EXPLICIT, IMPLICIT = (Substitute(each.transfer_syntax_uid, each) for each in NATIVE_RECODINGS)
BEFORE = Substitute("1.2.840.10008.1.2.4.90", None)
CHAIN = "to-research~0a1b2c3d"


def verdicts() -> Verdicts:
    health = Health(PACS, cast("Any", None), lambda: NOW_MS, None, lambda: None)
    return Verdicts(PACS, health, lambda: NOW_MS)


def lease(chain: str = "", attempt: int = 1) -> DeliveryLease:
    payload = PayloadFile("x.dcm", 0, 1, b"", "1.2", "1.2.3", "1.2.840.10008.1.2.4.90")
    return DeliveryLease(1, 7, "pacs", "0" * 32, attempt, False, NOW_MS, NOW_MS, chain, payload, "CT1")


def test_where_nothing_may_go_instead_it_is_held_with_the_reason() -> None:
    outcome = verdicts().not_accepted(lease())
    assert (outcome.state, outcome.code, outcome.chain) == (DeliveryState.HELD, "not_accepted", None)
    assert "1.2 in transfer syntax 1.2.840.10008.1.2.4.90" in outcome.reason


def test_what_may_go_instead_is_made_of_what_was_to_go_and_blames_nobody() -> None:
    for chain in ("", CHAIN):
        outcome = verdicts().not_accepted(lease(chain), EXPLICIT)
        assert (outcome.state, outcome.code) == (DeliveryState.DEFERRED, DERIVE)
        assert outcome.chain == recoded(chain, NATIVE_RECODINGS[0])
        assert not outcome.counted
        assert outcome.due_at_ms > NOW_MS
        assert "as-explicit-vr-little-endian" in outcome.reason


def test_a_copy_that_is_not_taken_any_more_is_made_anew_as_often_as_an_instance_is_tried() -> None:
    copy = recoded(CHAIN, NATIVE_RECODINGS[0])
    outcome = verdicts().not_accepted(lease(copy), IMPLICIT)
    assert (outcome.chain, outcome.counted) == (recoded(CHAIN, NATIVE_RECODINGS[1]), True)
    outcome = verdicts().not_accepted(lease(copy, PACS.attempts), IMPLICIT)
    assert (outcome.state, outcome.code) == (DeliveryState.HELD, "not_accepted")


def test_a_copy_turns_back_to_what_it_was_made_of_as_often_as_an_instance_is_tried() -> None:
    for chain in ("", CHAIN):
        copy = recoded(chain, NATIVE_RECODINGS[0])
        outcome = verdicts().not_accepted(lease(copy), BEFORE)
        assert (outcome.chain, outcome.counted, outcome.code) == (chain, True, DERIVE)
        assert outcome.reason.endswith("it gets what that was made of")
        assert verdicts().not_accepted(lease(copy, PACS.attempts), BEFORE).state is DeliveryState.HELD


def test_a_copy_that_never_is_there_whole_is_held_after_the_third_time() -> None:
    judge = verdicts()
    for _ in range(2):
        outcome = judge.copy_lost(lease(CHAIN), "the checksum of the data set does not hold")
        assert (outcome.state, outcome.code, outcome.counted) == (DeliveryState.DEFERRED, DERIVE, False)
    outcome = judge.copy_lost(lease(CHAIN), "the checksum of the data set does not hold")
    assert (outcome.state, outcome.code) == (DeliveryState.HELD, "copy_unreadable")
    assert (
        outcome.reason == "the copy could not be read back, 3 times; last: the checksum of the data set does not hold"
    )
    assert judge.copy_lost(lease(CHAIN), "released").state is DeliveryState.DEFERRED


def test_a_copy_that_was_answered_meanwhile_is_not_held_for_what_was() -> None:
    judge = verdicts()
    for _ in range(4):
        assert judge.copy_lost(lease(CHAIN), "gone").state is DeliveryState.DEFERRED
        judge.answered(lease(CHAIN), 0x0110)


def test_a_copy_may_go_only_where_the_destination_says_so() -> None:
    assert not Line(PACS, cast("Any", None)).transcodes
    assert Line(replace(PACS, transcode=Transcode.LOSSLESS), cast("Any", None)).transcodes
