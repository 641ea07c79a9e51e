"""What every ledger does when a person wants a destination tried at once, an order rehearsed, or a reason's rows."""

from __future__ import annotations

import pytest

from gateway.errors import LedgerError
from gateway.ledger.base import DERIVE, InstanceFilter, Ordered
from gateway.ledger.look import REASON_MAX
from gateway.model import Breaker, DeliveryLease, DeliveryState, DestinationState, InstanceState, Outcome, Quarantine
from tests.contract.ledger_scene import Scene, decision

EVERYTHING = InstanceFilter()


def pacs(scene: Scene) -> DestinationState:
    """The row of the destination."""
    return next(state for state in scene.ledger.destinations() if state.name == "pacs")


def outcome(lease: DeliveryLease, code: str, due_at_ms: int, reason: str = "") -> Outcome:
    """Deferred until then, or held."""
    state = DeliveryState.DEFERRED if due_at_ms else DeliveryState.HELD
    return Outcome(lease.delivery_id, lease.token, state, code, reason, due_at_ms=due_at_ms)


def test_a_destination_that_is_down_is_to_be_probed_at_once(scene: Scene) -> None:
    scene.ledger.save_destination("pacs", "down", 1.0, "refused", scene.now_ms + 90_000, scene.now_ms)
    assert scene.ledger.probe_destination("pacs", "me", scene.now_ms, "it is back")
    assert (pacs(scene).breaker, pacs(scene).next_probe_at_ms) == (Breaker.DOWN, 0)
    (row,) = scene.ledger.audited("probe", 9)
    assert (row.actor, row.which, row.reason, row.count) == ("me", {"destination": "pacs"}, "it is back", 1)


def test_one_that_is_up_has_nothing_to_be_probed_for_and_the_wish_is_written_down(scene: Scene) -> None:
    assert not scene.ledger.probe_destination("pacs", "me", scene.now_ms)
    assert [row.count for row in scene.ledger.audited("probe", 9)] == [0]
    with pytest.raises(LedgerError, match="never configured"):
        scene.ledger.probe_destination("unheard of", "me", scene.now_ms)


def test_what_is_deferred_is_tried_now_but_for_what_waits_for_a_copy(scene: Scene) -> None:
    scene.arrive("a", "copy")
    scene.route(decision("pacs", "dr"))
    a, copy = scene.claim("pacs")
    scene.conclude(a, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + 60_000)
    scene.conclude(*scene.claim("dr"), state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + 60_000)
    scene.ledger.record_outcomes(scene.forwarder, [outcome(copy, DERIVE, scene.now_ms + 60_000)], scene.now_ms)
    scene.ledger.save_destination("pacs", "down", 1.0, "refused", scene.now_ms + 90_000, scene.now_ms)
    assert scene.claim("pacs") == []
    assert scene.ledger.try_now("pacs", "me", scene.now_ms, rehearse=True) == 1
    assert scene.claim("pacs") == []
    assert scene.ledger.try_now("pacs", "me", scene.now_ms, "now") == 1
    assert pacs(scene).next_probe_at_ms == 0
    assert scene.claimed("pacs") == ["a"]
    assert scene.claim("dr") == [], "the other destination's are as they were"
    (row,) = scene.ledger.audited("retry", 9)
    assert (row.actor, row.which, row.reason, row.count) == ("me", {"destination": "pacs"}, "now", 1)
    with pytest.raises(LedgerError, match="never configured"):
        scene.ledger.try_now("unheard of", "me", scene.now_ms)


def test_a_rehearsal_says_what_the_order_would_do_and_leaves_all_as_it_was(scene: Scene) -> None:
    scene.arrive("waits", "sent")
    scene.route()
    sent = next(lease for lease in scene.claim() if lease.instance_id == "sent")
    scene.conclude(sent)
    orders = (
        lambda rehearse: scene.ledger.hold(EVERYTHING, "why", "me", 2, rehearse=rehearse),
        lambda rehearse: scene.ledger.release(EVERYTHING, "me", 3, "why", rehearse=rehearse),
        lambda rehearse: scene.ledger.resend(EVERYTHING, ["dr"], "me", 4, reason="why", rehearse=rehearse),
        lambda rehearse: scene.ledger.cancel(EVERYTHING, "why", "me", 5, rehearse=rehearse),
    )
    for order in orders:
        before = (scene.deliveries("waits", "sent"), scene.ledger.gauges())
        expected = order(True)
        assert (scene.deliveries("waits", "sent"), scene.ledger.gauges()) == before
        assert order(False) == expected
    for action in ("hold", "release", "resend", "cancel"):
        (row,) = scene.ledger.audited(action, 9)
        assert row.reason == "why"


def test_an_order_about_a_reason_moves_what_stopped_for_it_alone(scene: Scene) -> None:
    scene.arrive("refused", "silent")
    scene.route()
    refused, silent = scene.claim()
    for lease, code, reason in ((refused, "refused", "0xA900"), (silent, "timeout", "no answer")):
        scene.ledger.record_outcomes(scene.forwarder, [outcome(lease, code, 0, reason)], scene.now_ms)
    meant = InstanceFilter(delivery_states=(DeliveryState.HELD,), destination="pacs", code="refused", because="0xA900")
    assert [row.instance_id for row in scene.ledger.list_instances(meant, 9)] == ["refused"]
    other = InstanceFilter(delivery_states=(DeliveryState.HELD,), code="refused", because="no answer")
    assert scene.ledger.release(other, "me", 2) == Ordered(0)
    assert scene.ledger.release(meant, "me", 3) == Ordered(1)
    assert scene.deliveries("refused", "silent") == [("refused", "pacs", "ready"), ("silent", "pacs", "held")]


def test_an_order_about_why_instances_stopped_leaves_those_that_stopped_otherwise(scene: Scene) -> None:
    scene.arrive("phantom", "unmatched", "broken", "bad")
    for name, why in (("phantom", "a phantom"), ("unmatched", "no rule matches")):
        lease = scene.ledger.claim_instances(scene.worker, 1, scene.now_ms)
        assert [each.instance_id for each in lease] == [name]
        scene.record(lease, decision(hold=why))
    for name in ("broken", "bad"):
        scene.ledger.claim_instances(scene.worker, 1, scene.now_ms)
        scene.ledger.quarantine(scene.worker, [Quarantine(name, f"{name} header")], scene.now_ms)
    held = InstanceFilter(states=(InstanceState.HELD,), because="a phantom")
    assert [row.instance_id for row in scene.ledger.list_instances(held, 9)] == ["phantom"]
    assert scene.ledger.cancel(held, "why", "me", 2) == Ordered(1)
    either = InstanceFilter(
        states=(InstanceState.HELD,), delivery_states=(DeliveryState.HELD,), because="no rule matches"
    )
    assert [row.instance_id for row in scene.ledger.list_instances(either, 9)] == ["unmatched"]
    assert scene.ledger.release(either, "me", 3) == Ordered(1)
    quarantined = InstanceFilter(states=(InstanceState.QUARANTINED,), because="bad header")
    assert scene.ledger.cancel(quarantined, "why", "me", 4) == Ordered(1)
    assert scene.state("broken") is InstanceState.QUARANTINED


def test_orders_about_destinations_and_hosts_keep_their_reason(scene: Scene) -> None:
    scene.ledger.pause_destination("pacs", True, "me", 2, "maintenance")
    scene.ledger.set_draining("host", [scene.worker.role], True, "me", 3, "new disk")
    assert [row.reason for action in ("pause", "drain") for row in scene.ledger.audited(action, 9)] == [
        "maintenance",
        "new disk",
    ]


def test_what_is_taken_out_is_written_down_before_anything_is_given(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    found = scene.ledger.payload_for("a", "", "me", "for a report", 2)
    assert found is not None
    assert (found.path, found.length) == ("incoming/generation/batch/a.dcm", len(b"content"))
    assert scene.ledger.payload_for("a", "no-such-chain~1", "me", "", 3) is None
    assert scene.ledger.payload_for("nobody", "", "me", "", 4) is None
    rows = [(row.which["instance_ids"], row.reason, row.count) for row in scene.ledger.audited("download", 9)]
    assert rows == [(["nobody"], "", 0), (["a"], "", 0), (["a"], "for a report", 1)]
    scene.conclude(*scene.claim())
    assert [item.instance_id for item in scene.ledger.begin_purge(scene.now_ms + 1, 9, scene.now_ms + 1)] == ["a"]
    assert scene.ledger.payload_for("a", "", "me", "", 5) is None


def test_a_reason_that_is_too_long_to_be_shown_whole_is_known_by_what_is_shown_of_it(scene: Scene) -> None:
    scene.arrive("long", "short")
    scene.route()
    long, short = scene.claim()
    reasons = ((long, "x" * (REASON_MAX + 50)), (short, "x" * (REASON_MAX - 1)))
    for lease, reason in reasons:
        scene.ledger.record_outcomes(scene.forwarder, [outcome(lease, "refused", 0, reason)], scene.now_ms)
    held = (DeliveryState.HELD,)
    for because, name in (("x" * REASON_MAX, "long"), ("x" * (REASON_MAX - 1), "short")):
        meant = InstanceFilter(delivery_states=held, because=because)
        assert [row.instance_id for row in scene.ledger.list_instances(meant, 9)] == [name]
