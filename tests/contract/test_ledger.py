"""What every ledger does with sessions, arrivals, routing and quarantine."""

from __future__ import annotations

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import RETRY_PATIENCE_MS, RuleSet, Voided
from gateway.model import (
    Beat,
    DeliveryLease,
    DeliveryState,
    DuplicateKind,
    InstanceState,
    LeftBehind,
    Outcome,
    Quarantine,
    Role,
    Routing,
    Session,
    StudyFacts,
)
from tests.contract.ledger_scene import FACTS, Scene, arrival, decision

# ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_has_beaten_since_it_was_found_silent_is_not_voided(scene: Scene) -> None:
    scene.arrive("a")
    scene.claim_instances()
    scene.ledger.beat(scene.worker, 5)
    assert scene.ledger.void_session(scene.worker.session_id, 6, beats=0) is None
    assert scene.claim_instances() == []
    voided = scene.ledger.void_session(scene.worker.session_id, 6, beats=1)
    assert voided is not None and voided.instances == 1


def test_a_session_beats_until_it_is_voided(scene: Scene) -> None:
    assert scene.ledger.beat(scene.worker, 1) is Beat.GO_ON
    assert scene.ledger.void_session(scene.worker.session_id, 2) == Voided(0, 0)
    assert scene.ledger.beat(scene.worker, 3) is Beat.VOIDED
    assert scene.session().session_id > scene.worker.session_id


def test_a_voided_session_gets_no_work(scene: Scene) -> None:
    scene.arrive("a")
    scene.ledger.void_session(scene.worker.session_id, 2)
    with pytest.raises(LeaseLost):
        scene.claim_instances()
    with pytest.raises(LeaseLost):
        scene.claim(session=scene.worker)
    assert scene.state("a") is InstanceState.RECEIVED


def test_a_start_frees_what_earlier_processes_held_under_whatever_host_name(scene: Scene) -> None:
    scene.arrive("a", "b", "c")
    scene.route()
    scene.arrive("d")
    scene.claim_instances()
    other = scene.session(host="other host")
    scene.claim(limit=1)
    assert len(scene.claim(limit=1, session=other)) == 1
    assert scene.ledger.void_all(5, {}) == Voided(instances=1, deliveries=2)
    assert scene.ledger.void_all(6, {}) == Voided(0, 0)
    assert scene.ledger.beat(other, 7) is Beat.VOIDED
    states = sorted(state for _, _, state in scene.deliveries("a", "b", "c"))
    assert states == ["ready", "ready", "ready"]


def left_by(session: Session, *leases: DeliveryLease) -> LeftBehind:
    outcomes = [Outcome(each.delivery_id, each.token, DeliveryState.DELIVERED, "success", status=0) for each in leases]
    return LeftBehind(session.opened_at_ms, tuple(outcomes))


def test_what_a_dead_forwarder_had_delivered_is_recorded_with_its_end(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    first, _ = scene.claim()
    voided = scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms, left_by(scene.forwarder, first))
    assert voided == Voided(instances=0, deliveries=1)
    assert [state for _, _, state in scene.deliveries("a", "b")] == ["delivered", "ready"]
    assert scene.state("a") is InstanceState.SETTLED
    # The second time nothing is believed: the session is over, and what it had may be somebody else's.
    scene.forwarder = scene.session()
    (again,) = scene.claim()
    left = left_by(scene.forwarder, again)
    assert scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms) == Voided(0, 1)
    assert scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms, left) == Voided(0, 0)
    assert [state for _, _, state in scene.deliveries("b")] == ["ready"]


def test_a_start_believes_what_a_session_left_of_its_own_leases_only(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    (mine,) = scene.claim(limit=1)
    other = scene.session()
    (theirs,) = scene.claim(limit=1, session=other)
    left = {scene.forwarder.session_id: left_by(scene.forwarder, mine, theirs), 4711: left_by(other, theirs)}
    assert scene.ledger.void_all(5, left) == Voided(instances=0, deliveries=1)
    assert [state for _, _, state in scene.deliveries("a", "b")] == ["delivered", "ready"]


def test_what_a_session_of_another_ledger_left_is_not_believed(scene: Scene) -> None:
    """A ledger that was put in the place of this one has sessions, deliveries and leases of the same numbers."""
    scene.arrive("a", "b")
    scene.route()
    first, second = scene.claim()
    left = left_by(scene.forwarder, first, second)._replace(opened_at_ms=scene.forwarder.opened_at_ms + 1)
    assert scene.ledger.void_session(scene.forwarder.session_id, 5, left) == Voided(0, 2)
    scene.forwarder = scene.session()
    left = left_by(scene.forwarder, *scene.claim())._replace(opened_at_ms=scene.forwarder.opened_at_ms + 1)
    assert scene.ledger.void_all(6, {scene.forwarder.session_id: left}) == Voided(0, 1)
    assert [state for _, _, state in scene.deliveries("a", "b")] == ["ready", "ready"]


def test_nothing_is_claimed_for_rules_that_are_not_the_current_ones(scene: Scene) -> None:
    scene.ledger.store_rules(RuleSet("new", {"1.yaml": ""}), 1)
    scene.arrive("a")
    assert scene.ledger.claim_instances(scene.worker, 10, 1, "old") == []
    (lease,) = scene.ledger.claim_instances(scene.worker, 10, 1, "new")
    assert (lease.instance_id, lease.attempt) == ("a", 1)


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
    scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms)
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
    payload = lease.payload._asdict()
    assert payload == {name: getattr(told, name) for name in payload}


@pytest.mark.parametrize(
    ("again", "kind"),
    [
        (arrival("b", "1.9"), DuplicateKind.EXACT),
        (arrival("b", "1.9", facts=FACTS._replace(association_id="2", peer_host="x")), DuplicateKind.EXACT),
        (arrival("b", "1.9", content=b"changed"), DuplicateKind.CHANGED),
        (arrival("b", "1.9", transfer_syntax_uid="1.2.840.10008.1.2"), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=FACTS._replace(source="ct2")), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=FACTS._replace(calling_ae_title="CT2")), DuplicateKind.CHANGED),
        (arrival("b", "1.9", facts=FACTS._replace(called_ae_title="OTHER")), DuplicateKind.CHANGED),
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
    first = scene.claim_instances(2)
    assert [lease.instance_id for lease in first] == ["a", "b"], "one batch routes them in their order"
    assert [lease.instance_id for lease in scene.claim_instances()] == ["d"]
    scene.record(first)
    assert scene.route() == ["c"]


def test_an_instance_that_ended_a_worker_stands_before_fresh_ones_only_at_times(scene: Scene) -> None:
    scene.arrive("poison", received_at_ms=scene.now_ms)

    def claims(fresh: str) -> list[list[str]]:
        """What two claims give, beside one fresh instance; what is not fresh ends its worker."""
        scene.arrive(fresh, received_at_ms=scene.now_ms)
        found = []
        for _ in range(2):
            leases = scene.claim_instances()
            found.append([lease.instance_id for lease in leases])
            scene.record([lease for lease in leases if lease.instance_id != "poison"])
        scene.ledger.void_session(scene.worker.session_id, 2)
        scene.worker = scene.session(Role.WORKER)
        return found

    scene.claim_instances()
    scene.ledger.void_session(scene.worker.session_id, 2)
    scene.worker = scene.session(Role.WORKER)
    assert claims("f1") == [["f1"], ["poison"]], "fresh ones first"
    assert claims("f2") == [["f2"], ["poison"]]
    scene.now_ms += 9 * RETRY_PATIENCE_MS
    assert claims("f3") == [["poison"], ["f3"]], "it has its turn, at an age that grows with its attempts"
    assert claims("f4") == [["f4"], ["poison"]]
    assert claims("f5") == [["poison"], ["f5"]], "past the last attempt it is only given up"


def test_no_instance_overtakes_an_earlier_arrival_of_its_uid_that_is_tried_again_alone(scene: Scene) -> None:
    scene.arrive("other")
    scene.arrive("a", uid="1.9")
    scene.claim_instances()
    scene.ledger.void_session(scene.worker.session_id, 2)
    scene.worker = scene.session(Role.WORKER)
    scene.arrive("b", uid="1.9")
    assert [[lease.instance_id for lease in scene.claim_instances()] for _ in range(3)] == [["other"], ["a"], []]


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


def test_an_instance_that_ends_its_workers_is_claimed_alone_and_its_attempts_are_counted(scene: Scene) -> None:
    scene.arrive("poison", "good")
    attempts = []
    for _ in range(3):
        leases = scene.claim_instances()
        attempts.append([(lease.instance_id, lease.attempt) for lease in leases if lease.instance_id == "poison"])
        scene.record([lease for lease in leases if lease.instance_id == "good"])
        scene.ledger.void_session(scene.worker.session_id, 2)
        scene.worker = scene.session(Role.WORKER)
    assert attempts == [[("poison", n)] for n in range(1, 4)]
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
