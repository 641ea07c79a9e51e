"""What every ledger does with sessions, arrivals, routing and deliveries."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import MAX_ROUTING_ATTEMPTS, InstanceFilter, Voided
from gateway.model import (
    DeliveryState,
    DuplicateKind,
    InstanceState,
    Quarantine,
    Role,
    Routing,
    StudyFacts,
)
from tests.contract.ledger_scene import FACTS, Scene, arrival, decision

# ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_beats_until_it_is_voided(scene: Scene) -> None:
    assert scene.ledger.beat(scene.worker, 1)
    assert scene.ledger.void_session(scene.worker.session_id, 2) == Voided(0, 0)
    assert not scene.ledger.beat(scene.worker, 3)
    assert scene.session().session_id > scene.worker.session_id


def test_a_voided_session_gets_no_work(scene: Scene) -> None:
    scene.arrive("a")
    scene.ledger.void_session(scene.worker.session_id, 2)
    with pytest.raises(LeaseLost):
        scene.claim_instances()
    with pytest.raises(LeaseLost):
        scene.claim(session=scene.worker)
    assert scene.state("a") is InstanceState.RECEIVED


def test_voiding_a_host_frees_what_its_processes_held_and_nothing_else(scene: Scene) -> None:
    scene.arrive("a", "b", "c")
    scene.route()
    scene.arrive("d")
    scene.claim_instances()
    other = scene.session(host="other host")
    scene.claim(limit=1)
    assert len(scene.claim(limit=1, session=other)) == 1
    assert scene.ledger.void_host("host", 5) == Voided(instances=1, deliveries=1)
    assert scene.ledger.void_host("host", 6) == Voided(0, 0)
    assert scene.ledger.beat(other, 7)
    states = sorted(state for _, _, state in scene.deliveries("a", "b", "c"))
    assert states == ["leased", "ready", "ready"]


def test_what_a_dead_worker_had_is_claimed_again_one_by_one(scene: Scene) -> None:
    scene.arrive("a", "b")
    assert len(scene.claim_instances()) == 2
    scene.ledger.void_session(scene.worker.session_id, 2)
    scene.arrive("c", "d")
    scene.worker = scene.session(Role.WORKER)
    claims = [[(lease.instance_id, lease.attempt) for lease in scene.claim_instances()] for _ in range(4)]
    assert claims == [[("a", 2)], [("b", 2)], [("c", 1), ("d", 1)], []]


def test_what_a_dead_forwarder_had_goes_last_alone_and_uncertain(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    assert [lease.uncertain for lease in scene.claim()] == [False, False]
    scene.ledger.void_session(scene.forwarder.session_id, 2)
    scene.arrive("c")
    scene.route()
    scene.forwarder = scene.session()
    claims = [
        [(lease.instance_id, lease.attempt, lease.uncertain, lease.alone) for lease in scene.claim()] for _ in range(4)
    ]
    assert claims == [[("c", 1, False, False)], [("a", 2, True, True)], [("b", 2, True, True)], []]


# ── arrivals ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_is_recorded_once(scene: Scene) -> None:
    first = scene.ledger.record_arrivals([arrival("a"), arrival("a"), arrival("b")], 1)
    assert [(each.instance_id, each.new) for each in first] == [("a", True), ("a", False), ("b", True)]
    scene.route()
    again = scene.ledger.record_arrivals([arrival("b", content=b"other"), arrival("c")], 2)
    assert [(each.instance_id, each.new) for each in again] == [("b", False), ("c", True)]
    assert scene.state("b") is InstanceState.ROUTED
    assert scene.ledger.known_instances(iter(["a", "c", "x"])) == {"a", "c"}
    assert scene.ledger.known_instances([]) == set()


def test_the_claim_tells_what_arrived(scene: Scene) -> None:
    told = arrival("a")
    scene.ledger.record_arrivals([told], 1)
    (lease,) = scene.claim_instances()
    assert (lease.instance_id, lease.attempt, lease.received_at_ms) == ("a", 1, told.received_at_ms)
    assert lease.facts == told.facts
    payload = dataclasses.asdict(lease.payload)
    assert payload == {name: getattr(told, name) for name in payload}


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (arrival("b", "1.9"), DuplicateKind.EXACT),
        (arrival("b", "1.9", facts=dataclasses.replace(FACTS, association_id="2", peer_host="x")), DuplicateKind.EXACT),
        (arrival("b", "1.9", content=b"changed"), DuplicateKind.CHANGED),
        (arrival("b", "1.9", transfer_syntax_uid="1.2.840.10008.1.2"), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=dataclasses.replace(FACTS, source="ct2")), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=dataclasses.replace(FACTS, calling_ae_title="CT2")), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=dataclasses.replace(FACTS, called_ae_title="OTHER")), DuplicateKind.CHANGED),
        (arrival("b", "1.9.1"), DuplicateKind.NONE),
    ],
)
def test_duplicates_are_told_apart(scene: Scene, again: object, kind: DuplicateKind) -> None:
    scene.arrive("a", uid="1.9")
    (recorded,) = scene.ledger.record_arrivals([again], 2)  # type: ignore[list-item]
    assert (recorded.new, recorded.duplicate) == (True, kind)
    assert scene.row("b").duplicate is kind


@pytest.mark.parametrize("state", [DeliveryState.HELD, DeliveryState.DEAD])
def test_an_equal_arrival_is_no_exact_duplicate_of_one_that_was_stopped(scene: Scene, state: DeliveryState) -> None:
    scene.arrive("a", uid="1.9")
    scene.route()
    scene.conclude(*scene.claim(), state=state)
    (recorded,) = scene.ledger.record_arrivals([arrival("b", "1.9")], 2)
    assert recorded.duplicate is DuplicateKind.CHANGED


def test_a_changed_arrival_between_does_not_hide_an_equal_one(scene: Scene) -> None:
    scene.arrive("a", uid="1.9")
    scene.arrive("b", uid="1.9", content=b"changed")
    (recorded,) = scene.ledger.record_arrivals([arrival("c", "1.9")], 2)
    assert recorded.duplicate is DuplicateKind.EXACT


def test_text_from_a_peer_is_stored_whatever_it_is(scene: Scene) -> None:
    odd = "1.2.\ud800'; DROP TABLE instance; --\0"
    scene.arrive("a", uid=odd)
    scene.arrive("b", uid=odd)
    assert scene.row("b").duplicate is DuplicateKind.EXACT
    scene.route(study=StudyFacts(patient_name="Yamada^Tarou=山田^太郎\ud800", patient_id="\0"))
    assert scene.row("a").patient_name.startswith("Yamada^Tarou=山田^太郎")


# ── routing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_instances_are_claimed_once_oldest_first(scene: Scene) -> None:
    scene.arrive("b", "a", "c")
    assert [lease.instance_id for lease in scene.claim_instances(2)] == ["b", "a"]
    assert [lease.instance_id for lease in scene.claim_instances(2)] == ["c"]
    assert scene.claim_instances() == []


def test_an_instance_waits_while_an_earlier_arrival_of_its_uid_is_received(scene: Scene) -> None:
    scene.arrive("a", uid="1.9")
    scene.arrive("b", uid="1.9")
    scene.arrive("c", uid="1.9")
    scene.arrive("d")
    first = scene.claim_instances()
    assert [lease.instance_id for lease in first] == ["a", "d"]
    assert scene.claim_instances() == []
    scene.record(first)
    assert scene.route() == ["b", "c"]


def test_routing_makes_one_delivery_for_each_destination(scene: Scene) -> None:
    scene.arrive("a")
    (result,) = scene.record(scene.claim_instances(), decision("pacs", "dr", "pacs"))
    assert (result.state, result.destinations) == (InstanceState.ROUTED, ("pacs", "dr"))
    assert scene.deliveries("a") == [("a", "dr", "ready"), ("a", "pacs", "ready")]
    assert scene.row("a").rules == ("r",)
    assert scene.row("a").revision == "one"


@pytest.mark.parametrize(
    ("what", "state", "reason"),
    [
        (decision("pacs", hold="no rule matches"), InstanceState.HELD, "no rule matches"),
        (decision("pacs", discard="test images"), InstanceState.SETTLED, "test images"),
        (decision(hold="wait", discard="away"), InstanceState.HELD, "wait"),
        (decision(), InstanceState.SETTLED, ""),
    ],
)
def test_hold_and_discard_win(scene: Scene, what: object, state: InstanceState, reason: str) -> None:
    scene.arrive("a")
    scene.route(what)  # type: ignore[arg-type]
    assert (scene.state("a"), scene.row("a").reason, scene.deliveries("a")) == (state, reason, [])


def test_a_destination_that_is_not_configured_holds_its_deliveries(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": False}, 2)
    scene.arrive("a")
    (result,) = scene.record(scene.claim_instances(), decision("pacs", "dr", "never heard of"))
    assert result.state is InstanceState.ROUTED
    rows = {row.destination: row for row in scene.ledger.deliveries_of(["a"])}
    assert {name: row.state.value for name, row in rows.items()} == {
        "pacs": "ready",
        "dr": "held",
        "never heard of": "held",
    }
    assert rows["dr"].reason == "destination removed from the configuration"
    assert scene.claim("never heard of") == []


def test_a_routing_without_its_lease_is_left_out_and_the_rest_recorded(scene: Scene) -> None:
    scene.arrive("a", "b")
    (first,) = scene.claim_instances(1)
    scene.ledger.void_session(scene.worker.session_id, 2)
    old, scene.worker = scene.worker, scene.session(Role.WORKER)
    scene.claim_instances()  # "a", alone, for the new worker
    scene.claim_instances()
    routings = [Routing(each, decision("pacs"), StudyFacts()) for each in ("a", "b", "unknown")]
    assert scene.ledger.record_routings(old, routings, 3) == []
    recorded = scene.ledger.record_routings(scene.worker, [*routings, routings[0]], 3)
    assert [each.instance_id for each in recorded] == ["a", "b"]
    assert len(scene.deliveries("a", "b")) == 2
    assert first.instance_id == "a"


def test_an_instance_that_ends_its_workers_is_quarantined_after_five_tries(scene: Scene) -> None:
    scene.arrive("poison", "good")
    attempts = []
    for _ in range(MAX_ROUTING_ATTEMPTS):
        leases = scene.claim_instances()
        attempts.append([(lease.instance_id, lease.attempt) for lease in leases if lease.instance_id == "poison"])
        scene.record([lease for lease in leases if lease.instance_id == "good"])
        scene.ledger.void_session(scene.worker.session_id, 2)
        scene.worker = scene.session(Role.WORKER)
    assert attempts == [[("poison", n)] for n in range(1, MAX_ROUTING_ATTEMPTS + 1)]
    assert scene.claim_instances() == []
    assert scene.state("poison") is InstanceState.QUARANTINED
    assert scene.row("poison").reason == "routing failed 5 times"
    assert scene.state("good") is InstanceState.ROUTED


# ── quarantine ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_quarantines_what_it_holds_only(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.claim_instances(1)
    verdicts = [Quarantine("a", "truncated"), Quarantine("b", "not mine"), Quarantine("unknown", "")]
    assert scene.ledger.quarantine(scene.worker, verdicts, 2) == 1
    assert (scene.state("a"), scene.row("a").reason) == (InstanceState.QUARANTINED, "truncated")
    assert scene.state("b") is InstanceState.RECEIVED


def test_quarantine_keeps_what_was_delivered_and_holds_the_rest(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"))
    (lease,) = scene.claim("dr")
    assert scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "checksum")], 2) == 1
    assert scene.deliveries("a") == [("a", "dr", "held"), ("a", "pacs", "delivered")]
    assert scene.ledger.deliveries_of(["a"])[0].reason == "quarantined: checksum"
    assert scene.conclude(lease, state=DeliveryState.DEFERRED, due_at_ms=1) == []
    assert scene.state("a") is InstanceState.QUARANTINED


def test_a_delivery_that_had_arrived_when_its_instance_was_quarantined_is_still_written_down(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    (to_pacs,), (to_dr,) = scene.claim("pacs"), scene.claim("dr")
    scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "checksum")], 2)
    assert scene.conclude(to_pacs) == [to_pacs.delivery_id]
    assert scene.deliveries("a") == [("a", "dr", "held"), ("a", "pacs", "delivered")]
    scene.ledger.void_session(scene.forwarder.session_id, 3)
    assert scene.conclude(to_dr) == []


def test_a_voided_session_quarantines_nothing(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    scene.ledger.void_session(scene.forwarder.session_id, 2)
    assert scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "late")], 3) == 0
    assert scene.state("a") is InstanceState.ROUTED


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
    payload = dataclasses.asdict(lease.payload)
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
    stale = dataclasses.replace(b, token=b.token + 1)
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


def test_a_deferred_delivery_is_claimed_when_it_is_due(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    assert scene.ledger.next_due_ms("pacs") is None
    for lease, due_in_ms in zip(scene.claim(), (500, 200), strict=True):
        scene.conclude(lease, state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + due_in_ms, uncertain=True)
    assert scene.ledger.next_due_ms("pacs") == scene.now_ms + 200
    assert scene.ledger.next_due_ms("dr") is None
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
    assert scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms) == 1
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
