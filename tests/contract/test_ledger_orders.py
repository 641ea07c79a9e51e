"""What every ledger does on operators' orders, and in its upkeep."""

from __future__ import annotations

import pytest

from gateway.errors import LedgerError
from gateway.ledger.base import InstanceFilter, Left, Ordered
from gateway.model import DeliveryState, InstanceState, Quarantine
from tests.contract.ledger_scene import Scene, arrival, decision

EVERYTHING = InstanceFilter()


def only(*instance_ids: str) -> InstanceFilter:
    """These instances."""
    return InstanceFilter(instance_ids=instance_ids)


# ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_hold_stops_what_is_not_in_flight(scene: Scene) -> None:
    scene.arrive("leased", "ready")
    scene.route()
    scene.claim(limit=1)
    scene.arrive("received")
    assert scene.ledger.hold(EVERYTHING, "wrong patient", "me", 2) == Ordered(2, {Left.CLAIMED: 1})
    assert (scene.state("received"), scene.row("received").reason) == (InstanceState.HELD, "wrong patient")
    assert scene.deliveries("leased", "ready") == [("leased", "pacs", "leased"), ("ready", "pacs", "held")]
    assert scene.claim() == []
    assert scene.claim_instances() == []


def test_release_sends_deliveries_afresh_and_routes_what_was_never_routed(scene: Scene) -> None:
    scene.arrive("held", "dead")
    scene.route()
    held, dead = scene.claim()
    scene.conclude(held, state=DeliveryState.HELD, uncertain=True)
    scene.conclude(dead, state=DeliveryState.DEAD)
    scene.arrive("unrouted")
    scene.route(decision(hold="no rule matches"))
    scene.now_ms += 10_000
    assert scene.ledger.release(EVERYTHING, "me", scene.now_ms) == Ordered(3)
    leases = scene.claim()
    assert [(lease.instance_id, lease.attempt, lease.uncertain) for lease in leases] == [
        ("held", 1, True),
        ("dead", 1, False),
    ]
    assert {lease.created_at_ms for lease in leases} == {scene.now_ms}
    assert scene.ledger.deliveries_of(["held"])[0].created_at_ms < scene.now_ms
    assert [lease.instance_id for lease in scene.claim_instances()] == ["unrouted"]


def test_held_means_instances_and_deliveries_alike(scene: Scene) -> None:
    """`gateway release --state held`, and cancel: an instance quarantined beside them is not held."""
    held = InstanceFilter(states=(InstanceState.HELD,), delivery_states=(DeliveryState.HELD,))
    scene.arrive("delivery", "quarantined")
    scene.route()
    scene.conclude(*scene.claim(limit=1), state=DeliveryState.HELD)
    scene.ledger.quarantine(scene.forwarder, [Quarantine("quarantined", "flipped bit")], 2)
    scene.arrive("unrouted")
    scene.route(decision(hold="no rule matches"))
    assert scene.ledger.release(held, "me", 3) == Ordered(2, {Left.QUARANTINED: 1}), "its delivery is held"
    assert scene.claimed() == ["delivery"]
    assert scene.state("unrouted") is InstanceState.RECEIVED
    scene.route(decision(hold="no rule matches"))
    assert scene.ledger.cancel(held, "no longer wanted", "me", 4) == Ordered(2)
    assert scene.state("unrouted") is InstanceState.SETTLED
    assert scene.state("quarantined") is InstanceState.QUARANTINED
    assert scene.deliveries("delivery", "quarantined") == [
        ("delivery", "pacs", "leased"),
        ("quarantined", "pacs", "cancelled"),
    ]


def test_release_leaves_what_has_no_destination_and_says_so(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route(decision("gone"))
    of_it = InstanceFilter(delivery_states=(DeliveryState.HELD,), destination="gone")
    for which, left in ((EVERYTHING, 2), (of_it, 2), (only("a"), 1)):
        assert scene.ledger.release(which, "me", 2) == Ordered(0, {Left.UNCONFIGURED: left})
    assert scene.deliveries("a", "b") == [("a", "gone", "held"), ("b", "gone", "held")]
    assert scene.ledger.release(InstanceFilter(destination="pacs"), "me", 2) == Ordered(0), "it does not mean them"


@pytest.mark.parametrize("state", [DeliveryState.HELD, DeliveryState.DEAD])
def test_what_a_later_version_overtook_is_released_only_by_its_name(scene: Scene, state: DeliveryState) -> None:
    scene.arrive("v1", uid="1.9", content=b"one")
    scene.route(decision("pacs", "dr"))
    for name in ("pacs", "dr"):
        scene.conclude(*scene.claim(name), state=state)
    scene.arrive("v2", uid="1.9", content=b"two")
    scene.route()
    scene.arrive("other")
    scene.route()
    in_flight, other = scene.claim()
    scene.conclude(other, state=state)
    assert scene.ledger.release(InstanceFilter(destination="pacs"), "me", 3) == Ordered(1, {Left.OVERTAKEN: 1})
    scene.conclude(in_flight)
    assert scene.ledger.release(EVERYTHING, "me", 4) == Ordered(1, {Left.OVERTAKEN: 1})
    assert scene.deliveries("v1") == [("v1", "dr", "ready"), ("v1", "pacs", str(state))]
    assert scene.ledger.release(InstanceFilter(instance_ids=("v1",), destination="pacs"), "me", 5) == Ordered(1)
    assert scene.claimed() == ["v1", "other"]


def test_what_an_equal_copy_or_an_earlier_version_overtook_is_released_with_all_others(scene: Scene) -> None:
    scene.arrive("v0", uid="1.9", content=b"zero")
    scene.arrive("v1", uid="1.9", content=b"one")
    scene.route()
    for state in (DeliveryState.DELIVERED, DeliveryState.HELD):
        scene.conclude(*scene.claim(), state=state)
    scene.arrive("v1 again", uid="1.9", content=b"one")
    scene.route()
    scene.conclude(*scene.claim())
    assert scene.ledger.release(EVERYTHING, "me", 3) == Ordered(1)
    assert scene.claimed() == ["v1"]


def test_a_quarantined_instance_is_released_only_by_its_name(scene: Scene) -> None:
    scene.arrive("unrouted")
    scene.claim_instances()
    scene.ledger.quarantine(scene.worker, [Quarantine("unrouted", "truncated")], 2)
    scene.arrive("routed")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("dr"))
    scene.ledger.quarantine(scene.forwarder, [Quarantine("routed", "flipped bit")], 2)
    to_pacs = InstanceFilter(destination="pacs")
    named_of_pacs = InstanceFilter(instance_ids=("routed",), destination="pacs")
    for which, left in ((EVERYTHING, 2), (to_pacs, 1), (named_of_pacs, 1)):
        assert scene.ledger.release(which, "me", 3) == Ordered(0, {Left.QUARANTINED: left})
    assert scene.ledger.release(InstanceFilter(destination="dr"), "me", 3) == Ordered(0), "there it was delivered"
    assert scene.ledger.release(only("unrouted", "routed"), "me", 4) == Ordered(2)
    assert scene.state("unrouted") is InstanceState.RECEIVED
    assert scene.state("routed") is InstanceState.ROUTED
    assert scene.deliveries("routed") == [("routed", "dr", "delivered"), ("routed", "pacs", "ready")]
    (lease,) = scene.claim_instances()
    assert (lease.instance_id, lease.attempt) == ("unrouted", 2)


def test_what_a_release_leaves_is_told_by_each_reason(scene: Scene) -> None:
    scene.arrive("bad")
    scene.route(decision("pacs", "gone"))
    scene.ledger.quarantine(scene.forwarder, [Quarantine("bad", "flipped bit")], 2)
    scene.arrive("v1", uid="1.9", content=b"one")
    scene.route(decision("pacs", "gone"))
    scene.conclude(*scene.claim(), state=DeliveryState.HELD)
    scene.arrive("v2", uid="1.9", content=b"two")
    scene.route()
    scene.conclude(*scene.claim())
    left = {Left.QUARANTINED: 2, Left.UNCONFIGURED: 1, Left.OVERTAKEN: 1}
    assert scene.ledger.release(EVERYTHING, "me", 3) == Ordered(0, left)
    assert scene.ledger.release(only("bad"), "me", 3) == Ordered(1, {Left.UNCONFIGURED: 1})


def test_resend_makes_new_deliveries_of_what_is_still_there(scene: Scene) -> None:
    scene.arrive("done", "gone")
    scene.route(decision("pacs"))
    scene.conclude(*scene.claim())
    scene.ledger.begin_purge(scene.now_ms, 1, scene.now_ms)  # "done" and "gone" settled in this order
    assert scene.state("done") is InstanceState.PURGING
    assert scene.ledger.resend(EVERYTHING, [], "me", 2) == 1
    assert scene.state("gone") is InstanceState.ROUTED
    assert scene.ledger.resend(EVERYTHING, ["pacs", "dr"], "me", 3) == 1  # one to pacs is on its way already
    assert scene.claimed("dr") == ["gone"]
    leases = scene.claim()
    assert [(lease.instance_id, lease.attempt) for lease in leases] == [("gone", 1)]
    scene.conclude(*leases)
    with pytest.raises(LedgerError):
        scene.ledger.resend(EVERYTHING, ["unheard of"], "me", 4)


def test_a_resend_and_a_released_delivery_of_one_instance_do_not_go_at_once(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    scene.conclude(*scene.claim(), state=DeliveryState.HELD)
    assert scene.ledger.resend(only("a"), ["pacs"], "me", 2) == 1
    assert scene.ledger.release(only("a"), "me", 3) == Ordered(1)
    for _ in range(2):
        (lease,) = scene.claim()
        assert scene.claim() == []
        scene.conclude(lease)
    assert scene.state("a") is InstanceState.SETTLED


def test_cancel_settles_what_nothing_is_left_of(scene: Scene) -> None:
    scene.arrive("leased", "ready")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("dr"))
    (leased,) = scene.claim(limit=1)
    scene.arrive("held")
    scene.route(decision(hold="no rule matches"))
    assert scene.ledger.cancel(EVERYTHING, "test", "me", 3) == Ordered(2, {Left.CLAIMED: 1})
    assert scene.state("ready") is InstanceState.SETTLED
    assert scene.state("leased") is InstanceState.ROUTED
    assert (scene.state("held"), scene.row("held").reason) == (InstanceState.SETTLED, "cancelled: test")
    scene.conclude(leased)
    assert scene.state("leased") is InstanceState.SETTLED


def test_an_order_about_a_destination_moves_only_its_deliveries(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    scene.arrive("b")
    to_dr = InstanceFilter(destination="dr")
    assert scene.ledger.hold(to_dr, "later", "me", 2) == Ordered(1)
    assert scene.ledger.cancel(to_dr, "never", "me", 3) == Ordered(1)
    assert scene.deliveries("a") == [("a", "dr", "cancelled"), ("a", "pacs", "ready")]
    assert scene.state("b") is InstanceState.RECEIVED


def test_what_recovery_finds_is_held_until_released(scene: Scene) -> None:
    scene.arrive("known")
    found = [arrival("known"), arrival("lost"), arrival("lost")]
    assert scene.ledger.record_recovered(found, 2) == 1
    assert (scene.state("lost"), scene.row("lost").reason) == (InstanceState.HELD, "recovered")
    assert [lease.instance_id for lease in scene.claim_instances()] == ["known"]
    scene.ledger.release(only("lost"), "me", 3)
    assert [lease.instance_id for lease in scene.claim_instances()] == ["lost"]


def test_upkeep_changes_nothing(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    before = scene.ledger.gauges()
    scene.ledger.checkpoint()
    assert scene.ledger.check() == []
    assert scene.ledger.gauges() == before


def test_two_processes_see_one_ledger_and_closing_is_idempotent(scene: Scene) -> None:
    other = scene.opener()
    scene.arrive("a")
    assert other.known_instances(["a"]) == {"a"}
    other.record_arrivals([arrival("b")], 2)
    other.close()
    other.close()
    assert [lease.instance_id for lease in scene.claim_instances()] == ["a", "b"]
    with pytest.raises(LedgerError):
        other.gauges()
