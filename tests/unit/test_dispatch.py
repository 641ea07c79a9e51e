"""The disposition table: what an answer means for a delivery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.values import Disposition
from gateway.flow.dispatch import (
    LONE_FAILURES,
    RetryPolicy,
    Trouble,
    answered,
    copy_lost,
    deferred,
    disposition,
    not_accepted,
    sender_rejected,
    unanswered,
)
from gateway.model import DeliveryLease, DeliveryState, PayloadFile

POLICY = RetryPolicy(retry_min_s=30, retry_max_s=3600, give_up_after_s=7 * 86400, attempts=5)
NOW_MS = 1_700_000_000_000


def lease(attempt: int = 1, age_s: float = 0, uncertain: bool = False, alone: bool = False) -> DeliveryLease:
    return DeliveryLease(
        delivery_id=1,
        token=7,
        destination="pacs",
        instance_id="0" * 32,
        attempt=attempt,
        uncertain=uncertain,
        created_at_ms=NOW_MS - int(age_s * 1000),
        received_at_ms=NOW_MS - int(age_s * 1000),
        chain="",
        payload=PayloadFile("incoming/a/0/x.dcm", 0, 1, b"", "1.2", "1.2.3", "1.2.840.10008.1.2"),
        calling_ae_title="CT1",
        alone=alone,
    )


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0107, 0x0116])
def test_success_and_warnings_are_delivered(status: int) -> None:
    chosen, outcome = answered(lease(), status, POLICY, {}, NOW_MS, 0.0)
    assert (chosen, outcome.state) == (Disposition.DELIVERED, DeliveryState.DELIVERED)
    assert outcome.code == ("success" if status == 0 else "warning")
    assert (outcome.delivery_id, outcome.token, outcome.status) == (1, 7, status)


def test_a_duplicate_counts_as_delivered_only_after_a_try_that_may_have_arrived() -> None:
    assert disposition(0x0111, uncertain=True, overrides={}) is Disposition.DELIVERED
    assert disposition(0x0111, uncertain=False, overrides={}) is Disposition.RETRY


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0213])
def test_out_of_resources_is_the_destinations_trouble(status: int) -> None:
    chosen, outcome = answered(lease(attempt=99), status, POLICY, {}, NOW_MS, 0.0)
    assert (chosen, outcome.state) == (Disposition.THROTTLE, DeliveryState.DEFERRED)


@pytest.mark.parametrize("status", [0x0110, 0xA900, 0xA9FF, 0xC000, 0xCFFF, 0x0117, 0x0122, 0x0124, 0x0111, 0x4242])
def test_a_refused_instance_is_tried_again_and_then_held(status: int) -> None:
    for attempt in range(1, POLICY.attempts):
        chosen, outcome = answered(lease(attempt=attempt), status, POLICY, {}, NOW_MS, 0.0)
        assert (chosen, outcome.state) == (Disposition.RETRY, DeliveryState.DEFERRED)
    _, outcome = answered(lease(attempt=POLICY.attempts), status, POLICY, {}, NOW_MS, 0.0)
    assert outcome.state is DeliveryState.HELD
    assert f"0x{status:04X}" in outcome.reason


def test_the_administrators_table_goes_first_and_the_most_specific_pattern_wins() -> None:
    table = {"0xA7xx": Disposition.HOLD, "0xA702": Disposition.DELIVERED, "0xxxxx": Disposition.RETRY}
    assert disposition(0xA700, False, table) is Disposition.HOLD
    assert disposition(0xA702, False, table) is Disposition.DELIVERED
    assert disposition(0x0000, False, table) is Disposition.RETRY
    _, outcome = answered(lease(), 0xA700, POLICY, table, NOW_MS, 0.0)
    assert outcome.state is DeliveryState.HELD


@given(age_s=st.floats(0, 6 * 86400), jitter=st.floats(-1, 1))
def test_the_next_try_is_due_by_age_within_its_bounds(age_s: float, jitter: float) -> None:
    outcome = deferred(lease(age_s=age_s), "timeout", "", POLICY, NOW_MS, jitter)
    pause_s = (outcome.due_at_ms - NOW_MS) / 1000
    expected = min(max(age_s, 30), 3600)
    assert 0.8 * expected - 1 <= pause_s <= 1.2 * expected + 1


def test_what_is_too_old_dies_only_when_a_try_fails() -> None:
    old = lease(age_s=8 * 86400)
    assert deferred(old, "timeout", "no answer", POLICY, NOW_MS, 0.0).state is DeliveryState.DEAD
    assert answered(old, 0x0000, POLICY, {}, NOW_MS, 0.0)[1].state is DeliveryState.DELIVERED


def test_silence_during_an_instance_sends_it_last_and_alone() -> None:
    outcome = unanswered(lease(), Trouble.TIMEOUT, "no answer", POLICY, NOW_MS, 0.0, lone_failures=0, sent_whole=True)
    assert outcome.state is DeliveryState.DEFERRED
    assert outcome.alone
    assert outcome.uncertain
    assert not outcome.counted, "it may be the destination's trouble"
    cut = unanswered(lease(), Trouble.CONNECTION, "cut", POLICY, NOW_MS, 0.0, lone_failures=0, sent_whole=False)
    assert not cut.uncertain, "what was not sent whole cannot have been stored"


def test_only_what_is_the_instances_trouble_is_counted_against_it() -> None:
    throttled = answered(lease(), 0xA700, POLICY, {}, NOW_MS, 0.0)[1]
    refused = answered(lease(), 0xC000, POLICY, {}, NOW_MS, 0.0)[1]
    lone = unanswered(lease(alone=True), Trouble.ABORTED, "", POLICY, NOW_MS, 0.0, lone_failures=1, sent_whole=False)
    assert (throttled.counted, refused.counted, lone.counted) == (False, True, True)


def test_a_sender_whose_title_is_rejected_is_tried_again_and_then_held() -> None:
    assert sender_rejected(lease(), "not recognized", POLICY, NOW_MS, 0.0).state is DeliveryState.DEFERRED
    assert sender_rejected(lease(attempt=5), "not recognized", POLICY, NOW_MS, 0.0).state is DeliveryState.HELD


def test_an_instance_that_fails_alone_while_others_succeed_is_held() -> None:
    alone = lease(alone=True)
    held = unanswered(
        alone, Trouble.ABORTED, "aborted", POLICY, NOW_MS, 0.0, lone_failures=LONE_FAILURES, sent_whole=True
    )
    assert held.state is DeliveryState.HELD
    assert held.reason.startswith(f"failed {LONE_FAILURES} times, alone, ")
    waits = unanswered(alone, Trouble.ABORTED, "aborted", POLICY, NOW_MS, 0.0, lone_failures=0, sent_whole=True)
    assert waits.state is DeliveryState.DEFERRED, "when nothing gets through, the instance is not to blame"


def test_refusals_are_no_lone_failures() -> None:
    refused = lease(attempt=LONE_FAILURES, alone=True)
    first = unanswered(refused, Trouble.ABORTED, "aborted", POLICY, NOW_MS, 0.0, lone_failures=1, sent_whole=True)
    assert first.state is DeliveryState.DEFERRED


def test_a_context_that_is_not_accepted_holds_at_once_with_the_reason() -> None:
    outcome = not_accepted(lease(), "the destination does not accept 1.2")
    assert (outcome.state, outcome.reason) == (DeliveryState.HELD, "the destination does not accept 1.2")


def test_one_whose_copy_is_not_there_waits_as_it_was_and_longer_the_older_it_is() -> None:
    for age_s, pause_s in ((0, 60), (600, 600), (7 * 86400, 3600)):
        outcome = copy_lost(lease(age_s=age_s, uncertain=True, alone=True), "there is none", NOW_MS)
        assert (outcome.state, outcome.code) == (DeliveryState.DEFERRED, "derive")
        assert outcome.due_at_ms == NOW_MS + pause_s * 1000
        assert outcome.alone and outcome.uncertain and not outcome.counted
