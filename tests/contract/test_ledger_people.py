"""What every ledger does with destinations, duplicates, the spool's end, rules, listings and gauges."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.errors import LedgerError
from gateway.ledger.base import AgeBucket, InstanceFilter, Ordered, RuleSet
from gateway.model import Breaker, DeliveryState, InstanceState, Quarantine, Role, StudyFacts
from tests.contract.ledger_scene import Scene, arrival, decision

EVERYTHING = InstanceFilter()


def only(*instance_ids: str) -> InstanceFilter:
    """These instances."""
    return InstanceFilter(instance_ids=instance_ids)


# ── destinations ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_destination_rows_follow_the_configuration(scene: Scene) -> None:
    scene.ledger.save_destination("pacs", "down", 2.5, "connection refused", 77, 2)
    scene.ledger.sync_destinations({"pacs": False, "new": True}, 3)
    rows = {state.name: state for state in scene.ledger.destinations()}
    assert {name: state.configured for name, state in rows.items()} == {"dr": False, "new": True, "pacs": True}
    pacs = rows["pacs"]
    assert (pacs.breaker, pacs.window, pacs.last_error) == (Breaker.DOWN, 2.5, "connection refused")
    assert pacs.next_probe_at_ms == 77
    with pytest.raises(LedgerError):
        scene.ledger.save_destination("unheard of", "up", 1, "", 0, 4)


def test_removing_a_destination_holds_what_waits_and_its_return_frees_it(scene: Scene) -> None:
    scene.arrive("ready", "leased", "deferred", "held")
    scene.route(decision("pacs", "dr"))
    deferred, held, *_ = (lease for lease in scene.claim() if lease.instance_id in ("deferred", "held"))
    leases = {lease.instance_id: lease for lease in (deferred, held)}
    scene.conclude(leases["deferred"], state=DeliveryState.DEFERRED, due_at_ms=scene.now_ms + 1000)
    scene.conclude(leases["held"], state=DeliveryState.HELD, reason="refused")
    assert scene.ledger.sync_destinations({"dr": False}, 2) == (3, 0)
    assert scene.ledger.sync_destinations({"dr": False}, 3) == (0, 0)
    assert scene.claim() == []
    assert {state for _, name, state in scene.deliveries("ready", "leased", "deferred") if name == "pacs"} == {"held"}
    assert scene.ledger.sync_destinations({"dr": False, "pacs": False}, 4) == (0, 3)
    assert sorted(scene.claimed()) == ["deferred", "leased", "ready"]


def test_a_delivery_that_arrived_while_its_destination_was_removed_is_written_down(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    a, b = scene.claim()
    scene.ledger.sync_destinations({}, 2)
    assert scene.conclude(a) == [a.delivery_id]
    assert scene.state("a") is InstanceState.SETTLED
    assert scene.conclude(b, state=DeliveryState.DEFERRED, due_at_ms=1) == []
    scene.ledger.sync_destinations({"pacs": False}, 3)
    (again,) = scene.claim()
    assert (again.instance_id, again.uncertain) == ("b", True)


def test_nothing_is_claimed_for_a_paused_destination(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    scene.ledger.pause_destination("pacs", True, "me", 2)
    assert scene.claim() == []
    assert [state.paused for state in scene.ledger.destinations()] == [False, True]
    scene.ledger.pause_destination("pacs", False, "me", 3)
    assert scene.claimed() == ["a"]
    with pytest.raises(LedgerError):
        scene.ledger.pause_destination("unheard of", True, "me", 4)


# ── duplicates ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exact_duplicates_are_skipped_where_the_destination_says_so(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, 2)
    scene.arrive("a", "b", "c", uid="1.9")
    (first,) = scene.record(scene.claim_instances(1), decision("pacs", "dr"))
    assert (first.destinations, first.skipped_duplicates) == (("pacs", "dr"), ())
    (second,) = scene.record(scene.claim_instances(1), decision("pacs", "dr"))
    assert (second.destinations, second.skipped_duplicates) == (("dr",), ("pacs",))
    (third,) = scene.record(scene.claim_instances(1), decision("pacs"))
    assert (third.destinations, third.skipped_duplicates, third.state) == ((), ("pacs",), InstanceState.SETTLED)
    scene.arrive("d", uid="1.9", content=b"changed")
    (changed,) = scene.record(scene.claim_instances(1), decision("pacs"))
    assert changed.destinations == ("pacs",)


def test_exact_duplicates_routed_in_one_batch_are_skipped_too(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, 2)
    scene.arrive("a", "b", uid="1.9")
    first, second = scene.record(scene.claim_instances(), decision("pacs", "dr"))
    assert (first.destinations, first.skipped_duplicates) == (("pacs", "dr"), ())
    assert (second.destinations, second.skipped_duplicates) == (("dr",), ("pacs",))


def test_a_duplicate_is_skipped_because_of_what_was_delivered_before(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, 2)
    scene.arrive("a", uid="1.9")
    scene.route()
    scene.conclude(*scene.claim())
    scene.arrive("b", uid="1.9")
    (second,) = scene.record(scene.claim_instances(), decision("pacs", "dr"))
    assert second.skipped_duplicates == ("pacs",)
    scene.conclude(*scene.claim("dr"))
    assert scene.state("b") is InstanceState.SETTLED


@pytest.mark.parametrize("state", [DeliveryState.HELD, DeliveryState.DEAD])
def test_a_duplicate_is_not_skipped_when_the_earlier_delivery_was_stopped_after_it_came(
    scene: Scene, state: DeliveryState
) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("a", uid="1.9")
    scene.route()
    scene.arrive("b", uid="1.9")
    scene.conclude(*scene.claim(), state=state)
    scene.route()
    assert scene.claimed() == ["b"]


def test_a_skipped_duplicate_stays_until_the_delivery_that_stands_for_it_is_settled(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route()
    assert scene.state("b") is InstanceState.SETTLED
    assert scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms) == []
    scene.conclude(*scene.claim())
    assert {item.instance_id for item in scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)} == {"a", "b"}


def test_a_skipped_duplicate_is_delivered_after_all_when_the_earlier_arrival_is_quarantined(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("a", "b", "c", uid="1.9")
    scene.route()
    assert len(scene.claim()) == 1
    scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "flipped bit")], 3)
    assert scene.state("b") is InstanceState.ROUTED
    leases = scene.claim()
    assert [lease.instance_id for lease in leases] == ["b"]
    assert scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms) == []
    scene.conclude(*leases)
    assert {item.instance_id for item in scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)} == {"b", "c"}


def test_a_skipped_duplicate_is_not_cancelled_with_the_earlier_arrival_unless_it_is_meant_too(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("a", "b", "c", "d", uid="1.9")
    scene.route()
    assert scene.ledger.cancel(only("a", "c"), "sent by mistake", "me", 3) == Ordered(1)
    assert scene.deliveries("a", "b", "c", "d") == [("a", "pacs", "cancelled"), ("b", "pacs", "ready")]
    assert scene.state("b") is InstanceState.ROUTED
    purged = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert {item.instance_id for item in purged} == {"a", "c"}, "the new delivery stands for d"
    assert scene.claimed() == ["b"]


@pytest.mark.parametrize(
    "which",
    [
        EVERYTHING,
        only("a", "b"),
        InstanceFilter(sop_instance_uid="1.9", destination="pacs"),
        InstanceFilter(states=(InstanceState.ROUTED,)),
        InstanceFilter(delivery_states=(DeliveryState.READY,)),
    ],
)
def test_a_skipped_duplicate_is_cancelled_when_it_is_meant_too(scene: Scene, which: InstanceFilter) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route()
    assert scene.ledger.cancel(which, "sent by mistake", "me", 3) == Ordered(1)
    assert scene.deliveries("a", "b") == [("a", "pacs", "cancelled")]
    assert len(scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)) == 2


def test_a_duplicate_takes_over_a_removed_destination_as_removed(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route(decision("pacs", "dr"))
    scene.ledger.sync_destinations({"dr": True}, 3)
    scene.ledger.cancel(only("a"), "sent by mistake", "me", 4)
    assert scene.deliveries("b") == [("b", "dr", "ready"), ("b", "pacs", "held")]
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, 5)
    assert scene.claimed() == ["b"]


def test_a_duplicate_of_what_is_quarantined_takes_over_a_removed_destination_as_removed(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route(decision("pacs", "dr"))
    scene.ledger.sync_destinations({"dr": True}, 3)
    scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "flipped bit")], 4)
    assert scene.deliveries("b") == [("b", "dr", "ready"), ("b", "pacs", "held")]


def test_a_skipped_duplicate_can_be_routed_again(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("dr"))
    (lease,) = scene.claim("dr")
    scene.ledger.quarantine(scene.forwarder, [Quarantine("b", "flipped bit")], 3)
    scene.conclude(lease)  # it had arrived: so nothing is left that a release could go back to
    scene.ledger.release(only("b"), "me", 4)
    (again,) = scene.record(scene.claim_instances(), decision("pacs", "dr"))
    assert (again.instance_id, again.destinations, again.skipped_duplicates) == ("b", ("dr",), ("pacs",))


def test_a_duplicate_is_not_skipped_when_another_version_came_in_between(scene: Scene) -> None:
    """v1, v2, v1: the sender took its correction back, and the archive must not keep it."""
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive("v1", uid="1.9", content=b"one")
    scene.route()
    scene.conclude(*scene.claim())
    scene.arrive("v2", uid="1.9", content=b"two")
    scene.arrive("v1 again", "v1 once more", uid="1.9", content=b"one")
    assert [each.skipped_duplicates for each in scene.record(scene.claim_instances())] == [(), (), ("pacs",)]
    for expected in ("v2", "v1 again"):
        (lease,) = scene.claim()
        assert lease.instance_id == expected
        scene.conclude(lease)
    assert scene.claim() == []


def test_a_line_of_exact_duplicates_is_skipped_however_long(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True}, 2)
    scene.arrive(*(f"a{n}" for n in range(200)), uid="1.9")
    scene.route()
    assert scene.claimed() == ["a0"]
    assert scene.ledger.gauges().instances == {InstanceState.ROUTED: 1, InstanceState.SETTLED: 199}


def test_a_duplicate_does_not_go_instead_when_a_later_version_was_delivered_meanwhile(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, 2)
    scene.arrive("a", "b", uid="1.9")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"), state=DeliveryState.HELD)
    scene.arrive("c", uid="1.9", content=b"changed")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"))
    scene.ledger.quarantine(scene.forwarder, [Quarantine("a", "flipped bit")], 3)
    assert scene.deliveries("b") == [("b", "dr", "ready"), ("b", "pacs", "held")]
    assert {row.code for row in scene.ledger.deliveries_of(["b"])} == {"", "overtaken"}
    scene.ledger.release(only("b"), "me", 4)
    assert scene.claimed() == ["b"]


def test_a_skipped_duplicate_is_kept_as_long_as_what_stood_for_it(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, 2)
    scene.arrive("a", "b", "c", uid="1.9")
    scene.route(decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"))
    scene.now_ms += 60_000
    scene.ledger.cancel(only("a", "b", "c"), "not wanted there", "me", scene.now_ms)
    assert scene.ledger.begin_purge(scene.now_ms - 1, 10, scene.now_ms) == []
    assert len(scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)) == 3


# ── spool's end ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_settled_instances_are_purged_and_only_when_told_so_twice(scene: Scene) -> None:
    scene.arrive("settled", "open")
    scene.route()
    scene.conclude(scene.claim(limit=1)[0])
    assert scene.ledger.begin_purge(scene.now_ms - 1, 10, scene.now_ms) == []
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert (item.instance_id, item.paths) == ("settled", (arrival("settled").path,))
    assert scene.state("settled") is InstanceState.PURGING
    assert scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms) == [item]  # a crash before the files were gone
    assert scene.ledger.finish_purge(["settled", "open", "unknown"], scene.now_ms) == 1
    assert scene.ledger.finish_purge(["settled"], scene.now_ms) == 0
    assert (scene.state("settled"), scene.state("open")) == (InstanceState.PURGED, InstanceState.ROUTED)
    assert scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms) == []
    assert scene.ledger.known_instances(["settled"]) == {"settled"}


def test_a_purge_is_bounded_and_goes_by_age(scene: Scene) -> None:
    for instance_id in ("a", "b", "c"):
        scene.arrive(instance_id)
        scene.route(decision(discard="test"))
        scene.now_ms += 1
    assert [item.instance_id for item in scene.ledger.begin_purge(scene.now_ms, 2, scene.now_ms)] == ["a", "b"]
    scene.ledger.finish_purge(["a"], scene.now_ms)
    assert [item.instance_id for item in scene.ledger.begin_purge(scene.now_ms, 2, scene.now_ms)] == ["b", "c"]


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rules_are_stored_by_revision_and_one_is_current(scene: Scene) -> None:
    assert scene.ledger.current_revision() == ""
    one, two = RuleSet("one", {"10-a.yaml": "rules: []", "ü": "№"}), RuleSet("two", {})
    assert scene.ledger.store_rules(one, 1)
    assert not scene.ledger.store_rules(one, 2)
    assert scene.ledger.store_rules(two, 3)
    assert scene.ledger.current_revision() == "two"
    assert scene.ledger.load_rules("one") == one
    assert scene.ledger.store_rules(one, 4)
    assert scene.ledger.gauges().rules_revision == "one"
    with pytest.raises(LedgerError):
        scene.ledger.load_rules("three")


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────

STUDY = StudyFacts(
    patient_id="P1",
    patient_name="DOE^JANE",
    accession_number="A1",
    study_instance_uid="1.2.9",
    study_date="20260101",
    study_description="CHEST",
    series_instance_uid="1.2.9.1",
    modality="CT",
    instance_number="7",
)


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (EVERYTHING, ["d", "c", "b", "a"]),
        (only("a", "d", "unknown"), ["d", "a"]),
        (InstanceFilter(states=(InstanceState.HELD, InstanceState.RECEIVED)), ["d", "c"]),
        (InstanceFilter(destination="dr"), ["b"]),
        (InstanceFilter(destination="unheard of"), []),
        (InstanceFilter(delivery_states=(DeliveryState.READY,)), ["b", "a"]),
        (InstanceFilter(destination="dr", delivery_states=(DeliveryState.DELIVERED,)), []),
        (InstanceFilter(states=(InstanceState.HELD,), delivery_states=(DeliveryState.READY,)), ["c", "b", "a"]),
        (InstanceFilter(states=(InstanceState.HELD,), delivery_states=(DeliveryState.READY,), destination="dr"), ["b"]),
        (InstanceFilter(source="ct2"), ["d"]),
        (InstanceFilter(patient_id="P1"), ["b"]),
        (InstanceFilter(patient_id="p1"), []),
        (InstanceFilter(patient_id="P1' OR 1=1 --"), []),
        (InstanceFilter(accession_number="A1", study_instance_uid="1.2.9"), ["b"]),
        (InstanceFilter(sop_instance_uid="1.2.3.a"), ["a"]),
        (InstanceFilter(sop_instance_uid="1.2.3.a", patient_id="P1"), []),
    ],
)
def test_instances_are_found_by_what_people_know(scene: Scene, which: InstanceFilter, found: list[str]) -> None:
    scene.arrive("a")
    scene.route()
    scene.arrive("b")
    scene.route(decision("pacs", "dr"), study=STUDY)
    scene.arrive("c")
    scene.route(decision(hold="no rule matches"))
    scene.arrive("d", facts=arrival("x").facts._replace(source="ct2"))
    assert [row.instance_id for row in scene.ledger.list_instances(which, 10)] == found
    assert [row.instance_id for row in scene.ledger.list_instances(which, 1, 1)] == found[1:2]


def test_a_row_shows_what_people_need(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(study=STUDY)
    row = dataclasses.asdict(scene.row("a"))
    shown = {name: value for name, value in STUDY._asdict().items() if name in row}
    assert {name: row[name] for name in shown} == shown
    assert (row["source"], row["calling_ae_title"], row["length"]) == ("ct1", "CT1", 7)


def test_queue_ages_put_each_open_delivery_in_one_bucket(scene: Scene) -> None:
    for age_s in (3700, 61, 60, 5, -30):
        scene.arrive(f"age{age_s}")
        scene.now_ms -= age_s * 1000
        scene.route()
        scene.now_ms += age_s * 1000
    assert scene.ledger.queue_ages([3600, 60], scene.now_ms) == [
        AgeBucket("dr", 60, 0),
        AgeBucket("dr", 3600, 0),
        AgeBucket("dr", 0, 0),
        AgeBucket("pacs", 60, 3),
        AgeBucket("pacs", 3600, 1),
        AgeBucket("pacs", 0, 1),
    ]


def test_gauges_follow_every_move(scene: Scene) -> None:
    scene.arrive("a", "b", "c")
    assert scene.ledger.gauges().instances == {InstanceState.RECEIVED: 3}
    scene.route(decision("pacs", "dr"))
    leases = scene.claim(limit=2)
    scene.conclude(leases[0])
    scene.conclude(leases[1], state=DeliveryState.HELD)
    gauges = scene.ledger.gauges()
    assert gauges.queue_depth == {
        ("pacs", DeliveryState.READY): 1,
        ("pacs", DeliveryState.DELIVERED): 1,
        ("pacs", DeliveryState.HELD): 1,
        ("dr", DeliveryState.READY): 3,
    }
    assert gauges.queue_oldest_ms == {"pacs": scene.now_ms, "dr": scene.now_ms}
    assert [state.name for state in gauges.destinations] == ["dr", "pacs"]
    assert gauges.instances == {InstanceState.ROUTED: 3}


def test_gauges_say_since_when_the_oldest_instance_waits_to_be_routed(scene: Scene) -> None:
    def since_ms() -> int | None:
        return scene.ledger.gauges().routing_since_ms

    assert since_ms() is None
    scene.arrive("a", received_at_ms=3_000)
    scene.arrive("b", "c", received_at_ms=4_000)
    assert since_ms() == 3_000
    leases = scene.claim_instances(limit=1)
    assert since_ms() == 3_000, "a worker has it, and has not routed it"
    scene.record(leases)
    assert since_ms() == 4_000
    scene.claim_instances()
    scene.ledger.void_session(scene.worker.session_id, scene.now_ms)
    assert since_ms() == 4_000, "the worker died"
    scene.worker = scene.session(Role.WORKER)
    scene.route(decision(hold="no rule matches"))
    assert since_ms() is None


def test_gauges_say_when_the_newest_of_each_source_arrived_whatever_became_of_it(scene: Scene) -> None:
    mr1 = arrival("x").facts._replace(source="mr1")

    def arrivals_ms() -> dict[str, int]:
        return dict(scene.ledger.gauges().source_arrivals_ms)

    assert arrivals_ms() == {}
    scene.arrive("a", received_at_ms=2_000)
    scene.arrive("b", received_at_ms=3_000, facts=mr1)
    scene.ledger.record_arrivals([arrival("c", received_at_ms=4_000), arrival("d", received_at_ms=3_500)], 5_000)
    assert arrivals_ms() == {"ct1": 4_000, "mr1": 3_000}
    scene.arrive("c", received_at_ms=9_000)
    assert arrivals_ms()["ct1"] == 4_000, "it is known already"
    scene.arrive("adopted late", received_at_ms=1_000)
    assert arrivals_ms()["ct1"] == 4_000
    scene.arrive("by a wrong clock", received_at_ms=scene.now_ms + 1)
    scene.arrive("by a right one", received_at_ms=scene.now_ms)
    assert arrivals_ms() == {"ct1": scene.now_ms, "mr1": 3_000}
