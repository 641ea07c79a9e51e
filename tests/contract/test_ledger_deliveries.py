"""What every ledger does with deliveries: claims, outcomes, and the order of one UID."""

from __future__ import annotations

import pytest

from gateway.ledger.base import LONE_PATIENCE_MS, InstanceFilter, Ordered
from gateway.model import (
    DeliveryState,
    InstanceState,
)
from tests.contract.ledger_scene import Scene, arrival, decision

# ── deliveries ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_deliveries_go_by_priority_then_arrival(scene: Scene) -> None:
    for instance_id, priority in (("low", -1), ("a", 0), ("b", 0), ("high", 1)):
        scene.arrive(instance_id)
        scene.route(priority=priority)
    assert scene.claimed(limit=3) == ["high", "a", "b"]
    assert scene.claimed() == ["low"]
    assert scene.claimed() == []


def test_a_lease_tells_what_to_send(scene: Scene) -> None:
    told = arrival("a")
    scene.ledger.record_arrivals([told], 1)
    scene.route(priority=1)
    (lease,) = scene.claim()
    assert (lease.instance_id, lease.destination, lease.attempt, lease.chain) == ("a", "pacs", 1, "")
    assert (lease.created_at_ms, lease.received_at_ms) == (scene.now_ms, told.received_at_ms)
    assert (lease.calling_ae_title, lease.priority, lease.alone, lease.uncertain) == ("CT1", 1, False, False)
    payload = lease.payload._asdict()
    assert payload == {name: getattr(told, name) for name in payload}


def test_an_instance_is_settled_by_its_last_delivery(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"))
    assert scene.state("a") is InstanceState.ROUTED
    scene.conclude(*scene.claim("dr"))
    assert scene.state("a") is InstanceState.SETTLED


def test_an_outcome_counts_once_and_only_with_its_token(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    a, b = scene.claim()
    stale = b._replace(token=b.token + 1)
    assert scene.conclude(a, stale, a) == [a.delivery_id]
    assert scene.conclude(a) == []
    scene.ledger.release_deliveries(scene.forwarder, [b], 2)
    (again,) = scene.claim()
    assert again.token != b.token
    assert scene.conclude(b) == []
    assert scene.conclude(again) == [again.delivery_id]


def test_an_outcome_of_a_voided_session_changes_nothing(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    (lease,) = scene.claim()
    scene.ledger.void_session(scene.forwarder.session_id, 2)
    assert scene.conclude(lease) == []
    assert scene.ledger.release_deliveries(scene.forwarder, [lease], 3) == 0
    scene.forwarder = scene.session()
    (again,) = scene.claim()
    assert scene.conclude(lease) == []
    assert scene.conclude(again) == [again.delivery_id]


@pytest.mark.parametrize("state", [DeliveryState.READY, DeliveryState.LEASED, DeliveryState.CANCELLED])
def test_only_results_are_outcomes(scene: Scene, state: DeliveryState) -> None:
    scene.arrive("a")
    scene.route()
    with pytest.raises(ValueError, match="not an outcome"):
        scene.conclude(*scene.claim(), state=state)


def test_a_try_that_is_not_counted_takes_back_its_attempt(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    seen = []
    for counted in (False, True, False, True):
        (lease,) = scene.claim()
        seen.append(lease.attempt)
        scene.conclude(lease, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms, counted=counted)
    assert seen == [1, 1, 2, 2]


def test_a_deferred_delivery_is_claimed_when_it_is_due(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    for lease, due_in_ms in zip(scene.claim(), (500, 200), strict=True):
        scene.conclude(lease, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + due_in_ms, uncertain=True)
    assert scene.claimed() == []
    scene.now_ms += 200
    (lease,) = scene.claim()
    assert (lease.instance_id, lease.attempt, lease.uncertain) == ("b", 2, True)
    scene.now_ms += 300
    assert scene.claimed() == ["a"]


def test_what_is_given_back_untried_is_not_counted(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    leases = scene.claim()
    assert scene.ledger.release_deliveries(scene.forwarder, [*leases, leases[0]], 2) == 2
    assert [(lease.instance_id, lease.attempt) for lease in scene.claim()] == [("a", 1), ("b", 1)]


def test_alone_means_last_and_one_by_one(scene: Scene) -> None:
    scene.arrive("a", "b", "c")
    scene.route()
    a, b, c = scene.claim()
    scene.conclude(a, b, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms, alone=True)
    scene.conclude(c, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms)
    assert [scene.claimed() for _ in range(4)] == [["c"], ["a"], ["b"], []]


def test_a_lone_delivery_has_its_turn_at_a_destination_that_is_never_idle(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    scene.conclude(*scene.claim(), state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms, alone=True)
    scene.arrive("1", "2", "3", "4")
    scene.route()
    assert scene.claimed(limit=1) == ["1"]
    scene.now_ms += LONE_PATIENCE_MS
    (lone,) = scene.claim(limit=1)
    assert lone.instance_id == "a"
    assert scene.claimed(limit=1) == ["2"], "one lone delivery at a time: it may take until its time-out"
    scene.conclude(lone)
    assert [scene.claimed(limit=2) for _ in range(2)] == [["b"], ["3", "4"]]


def test_a_held_or_dead_delivery_is_not_claimed_and_keeps_its_instance(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    a, b = scene.claim()
    scene.conclude(a, state=DeliveryState.HELD, reason="refused", status=0xA900)
    scene.conclude(b, state=DeliveryState.DEAD)
    assert scene.claimed() == []
    assert scene.state("a") is scene.state("b") is InstanceState.ROUTED
    assert scene.ledger.deliveries_of(["a"])[0].status == 0xA900


# ── order of one UID ──────────────────────────────────────────────────────────────────────────────────────────────


def test_versions_of_a_uid_reach_a_destination_one_at_a_time_in_order(scene: Scene) -> None:
    for instance_id in ("a", "b", "c"):
        scene.arrive(instance_id, uid="1.9", content=instance_id.encode())
    scene.arrive("other")
    scene.route(decision("pacs", "dr"))
    first = scene.claim()
    assert [lease.instance_id for lease in first] == ["a", "other"]
    assert scene.claimed() == []
    assert scene.claimed("dr") == ["a", "other"]  # another destination is another line
    scene.conclude(first[0], state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + 1)
    assert scene.claimed() == []
    scene.now_ms += 1
    (again,) = scene.claim()
    assert again.instance_id == "a"
    scene.conclude(again)
    (second,) = scene.claim()
    assert second.instance_id == "b"
    scene.conclude(second, state=DeliveryState.HELD)
    assert scene.claimed() == ["c"]


def test_a_later_version_of_higher_priority_does_not_overtake(scene: Scene) -> None:
    scene.arrive("a", uid="1.9")
    scene.route(priority=0)
    scene.arrive("b", uid="1.9", content=b"changed")
    scene.route(priority=5)
    first = scene.claim()
    assert [lease.instance_id for lease in first] == ["a"]
    scene.conclude(*first)
    assert scene.claimed() == ["b"]


def test_an_older_version_that_is_released_waits_for_what_is_in_flight(scene: Scene) -> None:
    scene.arrive("a", uid="1.9")
    scene.route()
    scene.conclude(*scene.claim(), state=DeliveryState.HELD)
    scene.arrive("b", uid="1.9", content=b"changed")
    scene.route()
    in_flight = scene.claim()
    assert [lease.instance_id for lease in in_flight] == ["b"]
    assert scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms) == Ordered(1)
    assert scene.claimed() == []
    scene.conclude(*in_flight)
    assert scene.claimed() == ["a"]


def test_many_versions_of_a_uid_all_arrive_in_order(scene: Scene) -> None:
    names = [f"v{n:03}" for n in range(60)]
    for name in names:
        scene.arrive(name, uid="1.9", content=name.encode())
    scene.route()
    sent: list[str] = []
    while leases := scene.claim():
        sent += [lease.instance_id for lease in leases]
        scene.conclude(*leases)
    assert sent == names


def test_a_lost_lease_is_uncertain_but_not_where_the_peer_may_have_another_version(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.arrive("a2", uid="1.2.3.a", content=b"another version")
    scene.route()
    scene.conclude(*(lease for lease in scene.claim() if lease.instance_id == "a"))
    assert scene.claimed() == ["a2"]
    scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms)
    scene.forwarder = scene.session()
    leases = []
    while claimed := scene.claim():
        leases += claimed
        scene.conclude(*claimed)
    # "I have that UID already" (0x0111) tells that b arrived; of a2 it tells nothing: the peer has a.
    assert {lease.instance_id: lease.uncertain for lease in leases} == {"a2": False, "b": True}
