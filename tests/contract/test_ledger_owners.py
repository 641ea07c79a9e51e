"""What every ledger does with destinations that forwarders own, with hosts that drain, and with who is there."""

from __future__ import annotations

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import DrainRow
from gateway.model import Beat, Owner, ProcessCount, Role, Session
from tests.contract.ledger_scene import Scene, decision


def owners(scene: Scene) -> dict[str, Owner | None]:
    """Destination → who has it."""
    return {state.name: state.owner for state in scene.ledger.forwarding().destinations}


def wanted(scene: Scene, name: str = "pacs") -> int | None:
    """Who asks for a destination."""
    return {state.name: state.wanted_by for state in scene.ledger.destinations()}[name]


def of(session: Session) -> Owner:
    """A session as an owner."""
    return Owner(session.session_id, session.host)


# ── owners ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_destination_has_one_owner_and_the_first_has_it(scene: Scene) -> None:
    other = scene.session(host="other host")
    assert scene.ledger.own_destinations(scene.forwarder, ["pacs"]) == {"pacs"}
    assert scene.ledger.own_destinations(other, ["pacs", "dr", "unknown"]) == {"dr"}
    assert scene.ledger.own_destinations(scene.forwarder, []) == {"pacs"}
    assert owners(scene) == {"pacs": of(scene.forwarder), "dr": of(other)}


def test_nobody_else_is_given_anything_of_an_owned_destination(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route(decision("pacs", "dr"))
    other = scene.session()
    assert [lease.instance_id for lease in scene.claim(limit=1, session=other)] == ["a"], "while nobody owns it"
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    assert scene.claim(session=other) == []
    assert scene.claimed() == ["b"]
    assert len(scene.claim("dr", session=other)) == 2, "others are nobody's still"


def test_what_an_earlier_owner_had_is_still_its_own_to_conclude(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route()
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    (first,) = scene.claim(limit=1)
    other = scene.session()
    scene.ledger.disown_destinations(scene.forwarder, ["pacs"])
    scene.ledger.own_destinations(other, ["pacs"])
    assert [lease.instance_id for lease in scene.claim(session=other)] == ["b"]
    assert scene.conclude(first) == [first.delivery_id]


def test_an_owner_that_is_dead_owns_and_wants_nothing(scene: Scene) -> None:
    other = scene.session()
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    scene.ledger.own_destinations(other, ["dr"])
    scene.ledger.ask_for_destinations(scene.forwarder, ["dr"])
    assert wanted(scene, "dr") == scene.forwarder.session_id
    scene.ledger.void_session(scene.forwarder.session_id, 2)
    assert owners(scene) == {"pacs": None, "dr": of(other)}
    assert wanted(scene, "dr") is None
    with pytest.raises(LeaseLost):
        scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    with pytest.raises(LeaseLost):
        scene.ledger.ask_for_destinations(scene.forwarder, ["dr"])
    scene.ledger.disown_destinations(scene.forwarder, ["dr"])
    assert owners(scene) == {"pacs": None, "dr": of(other)}


def test_who_asks_has_a_destination_as_soon_as_its_owner_gives_it_up(scene: Scene) -> None:
    other, third = scene.session(), scene.session()
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    scene.ledger.ask_for_destinations(third, ["pacs"])
    scene.ledger.ask_for_destinations(other, ["pacs", "dr"])
    assert (wanted(scene), wanted(scene, "dr")) == (other.session_id, None), "what is free is not asked for"
    scene.ledger.ask_for_destinations(scene.forwarder, ["pacs"])
    assert wanted(scene) == other.session_id, "nobody asks itself"
    assert scene.ledger.own_destinations(third, ["pacs"]) == frozenset()
    scene.ledger.disown_destinations(third, ["pacs"])
    assert owners(scene)["pacs"] == of(scene.forwarder), "only its owner gives it up"
    scene.ledger.disown_destinations(scene.forwarder, ["pacs"])
    assert owners(scene)["pacs"] == of(other)
    assert wanted(scene) is None
    scene.ledger.disown_destinations(other, ["pacs"])
    assert owners(scene)["pacs"] is None


def test_a_start_leaves_no_owner(scene: Scene) -> None:
    scene.ledger.own_destinations(scene.forwarder, ["pacs", "dr"])
    scene.ledger.void_session(scene.forwarder.session_id, 1)
    again = scene.session()
    assert scene.ledger.own_destinations(again, ["pacs", "dr"]) == {"pacs", "dr"}


def test_the_forwarders_are_those_that_live_and_do_not_drain(scene: Scene) -> None:
    there, gone, drained = scene.session(), scene.session(), scene.session(host="other")
    scene.ledger.void_session(gone.session_id, 1)
    assert scene.ledger.forwarding().forwarders == tuple(
        each.session_id for each in (scene.forwarder, there, drained)
    ), "workers are none"
    scene.ledger.set_draining("other", [Role.FORWARDER], True, "somebody", 1)
    assert scene.ledger.forwarding().forwarders == (scene.forwarder.session_id, there.session_id)


# ── draining ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_learn_by_their_beat_that_they_drain_and_that_they_no_longer_do(scene: Scene) -> None:
    elsewhere = scene.session(host="other")
    assert scene.ledger.beat(scene.worker, 1) is Beat.GO_ON
    assert scene.ledger.set_draining("host", [Role.WORKER, Role.FORWARDER], True, "me", 2) == 2
    assert scene.ledger.set_draining("host", [Role.WORKER], True, "you", 3) == 0
    assert scene.ledger.draining() == [
        DrainRow("host", Role.FORWARDER, "me", 2),
        DrainRow("host", Role.WORKER, "me", 2),
    ]
    assert scene.ledger.beat(scene.worker, 4) is Beat.DRAIN
    assert scene.ledger.beat(elsewhere, 4) is Beat.GO_ON
    assert scene.ledger.beat(scene.session(Role.WORKER), 4) is Beat.DRAIN, "a process that is started again drains too"
    scene.ledger.void_session(scene.worker.session_id, 5)
    assert scene.ledger.beat(scene.worker, 6) is Beat.VOIDED
    assert scene.ledger.set_draining("host", [Role.WORKER, Role.RECEIVER], False, "me", 7) == 1
    assert [row.role for row in scene.ledger.draining()] == [Role.FORWARDER]
    assert scene.ledger.beat(scene.session(Role.WORKER), 8) is Beat.GO_ON


def test_who_drained_what_is_in_the_audit_trail(scene: Scene) -> None:
    scene.ledger.set_draining("host", [Role.WORKER], True, "me", 2)
    scene.ledger.set_draining("host", [Role.WORKER], False, "you", 3)
    (drained,), (undone,) = scene.ledger.audited("drain", 9), scene.ledger.audited("undrain", 9)
    assert (drained.actor, drained.at_ms, drained.which) == ("me", 2, {"host": "host", "roles": ["worker"]})
    assert (undone.actor, undone.count) == ("you", 1)


# ── who is there ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_are_listed_with_what_they_hold(scene: Scene) -> None:
    scene.arrive("a", "b", "c")
    scene.route()
    scene.arrive("d")
    scene.claim_instances()
    scene.ledger.own_destinations(scene.forwarder, ["pacs", "dr"])
    scene.claim(limit=2)
    gone = scene.session(host="gone")
    scene.ledger.void_session(gone.session_id, 1)
    scene.ledger.beat(scene.worker, scene.now_ms + 7)
    forwarder, worker = scene.ledger.processes()
    assert (forwarder.session_id, forwarder.role, forwarder.host) == (
        scene.forwarder.session_id,
        Role.FORWARDER,
        "host",
    )
    assert (forwarder.instances, forwarder.deliveries, forwarder.destinations) == (0, 2, ("dr", "pacs"))
    assert (worker.instances, worker.deliveries, worker.destinations) == (1, 0, ())
    assert (worker.opened_at_ms, worker.beat_at_ms, worker.pid) == (scene.now_ms, scene.now_ms + 7, 4711)
    assert not worker.draining
    assert worker.in_hand is None


def test_a_process_is_drained_when_it_says_so_and_holds_nothing(scene: Scene) -> None:
    def drained() -> list[bool]:
        return [row.is_drained for row in scene.ledger.processes() if row.role is Role.FORWARDER]

    scene.arrive("a")
    scene.route()
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    leases = scene.claim()
    scene.ledger.set_draining("host", [Role.FORWARDER], True, "me", 1)
    assert drained() == [False], "it does not know yet"
    scene.ledger.beat(scene.forwarder, 2, 3)
    assert drained() == [False]
    scene.ledger.beat(scene.forwarder, 3, 0)
    assert drained() == [False], "it holds a delivery and a destination"
    scene.conclude(*leases)
    assert drained() == [False]
    scene.ledger.disown_destinations(scene.forwarder, ["pacs"])
    assert drained() == [True]
    scene.ledger.set_draining("host", [Role.FORWARDER], False, "me", 4)
    assert drained() == [False]
    scene.ledger.beat(scene.forwarder, 5)
    assert [row.in_hand for row in scene.ledger.processes() if row.role is Role.FORWARDER] == [None]


def test_the_gauges_count_the_processes_of_each_host(scene: Scene) -> None:
    scene.session(host="other")
    scene.session(host="other")
    scene.ledger.set_draining("other", [Role.FORWARDER], True, "me", 1)
    assert sorted(scene.ledger.gauges().processes) == [
        ProcessCount("host", Role.FORWARDER, 1, False),
        ProcessCount("host", Role.WORKER, 1, False),
        ProcessCount("other", Role.FORWARDER, 2, True),
    ]
    scene.ledger.own_destinations(scene.forwarder, ["pacs"])
    assert [state.owner for state in scene.ledger.gauges().destinations] == [None, of(scene.forwarder)]


def test_what_nobody_gave_back_is_there_for_the_next_owner(scene: Scene) -> None:
    scene.ledger.own_destinations(scene.forwarder, ["pacs", "dr"])
    scene.arrive("a", "b", "c")
    scene.route(decision("pacs", "dr"))
    leases = {lease.instance_id: lease for lease in scene.claim("pacs")}
    scene.claim("dr")
    on_its_way = leases["b"].delivery_id
    assert scene.ledger.free_leases(scene.forwarder, ["pacs"], {on_its_way}, scene.now_ms) == 2
    scene.ledger.disown_destinations(scene.forwarder, ["pacs"])
    other = scene.session()
    scene.ledger.own_destinations(other, ["pacs"])
    assert scene.conclude(leases["a"]) == []
    assert scene.conclude(leases["b"]) == [on_its_way]
    (again,) = scene.claim("pacs", session=other)
    assert (again.instance_id, again.alone, again.uncertain) == ("a", True, True)
