"""Several hosts on one ledger: whose a session is, and what ends with it."""

from __future__ import annotations

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import Voided
from gateway.model import Role, Session
from tests.contract.ledger_scene import Scene, decision

HERE, THERE = "a" * 32, "b" * 32
BOTH = decision("pacs", "dr")


def opened(scene: Scene, role: Role, home: str, generation: str = "") -> Session:
    return scene.ledger.open_session(role, f"host-{home[:1]}", 1, scene.now_ms, generation, home)


def test_open_sessions_tell_home_generation_and_beats(scene: Scene) -> None:
    receiver = opened(scene, Role.RECEIVER, HERE, "0001-a")
    worker = opened(scene, Role.WORKER, THERE)
    scene.ledger.beat(receiver, 2_000_000)
    scene.ledger.beat(receiver, 2_000_005)
    found = {each.session.session_id: each for each in scene.ledger.sessions()}
    assert list(found) == sorted(found)
    mine, theirs = found[receiver.session_id], found[worker.session_id]
    assert mine.session == receiver
    assert (mine.generation, mine.home, mine.beats, mine.beat_at_ms) == ("0001-a", HERE, 2, 2_000_005)
    assert (theirs.session.host, theirs.generation, theirs.home, theirs.beats) == ("host-b", "", THERE, 0)
    assert (found[scene.worker.session_id].home, found[scene.worker.session_id].generation) == ("", "")


def test_a_session_that_is_voided_is_open_no_more(scene: Scene) -> None:
    worker = opened(scene, Role.WORKER, HERE)
    scene.ledger.void_session(worker.session_id, 5)
    assert worker not in [each.session for each in scene.ledger.sessions()]


def test_a_start_on_a_shared_ledger_ends_what_is_of_its_home_or_of_none(scene: Scene) -> None:
    mine, theirs = opened(scene, Role.FORWARDER, HERE), opened(scene, Role.FORWARDER, THERE)
    scene.arrive("a", "b", "c")
    scene.route()
    for session in (mine, theirs, scene.forwarder):
        assert len(scene.claim(limit=1, session=session)) == 1
    assert scene.ledger.void_all(5, {}, HERE) == Voided(instances=0, deliveries=2)
    assert [each.session for each in scene.ledger.sessions()] == [theirs]
    assert scene.ledger.void_all(6, {}) == Voided(instances=0, deliveries=1)
    assert scene.ledger.sessions() == []


def test_a_start_ends_another_of_its_home_but_not_itself_and_nothing_once_it_was_ended(scene: Scene) -> None:
    first, second = opened(scene, Role.SUPERVISOR, HERE), opened(scene, Role.SUPERVISOR, HERE)
    theirs = opened(scene, Role.SUPERVISOR, THERE)
    scene.ledger.void_all(5, {}, HERE, first)
    worker = opened(scene, Role.WORKER, HERE)
    with pytest.raises(LeaseLost):
        scene.ledger.void_all(6, {}, HERE, second)
    open_now = [each for each in scene.ledger.sessions() if each.home]
    assert [each.session for each in open_now] == [first, theirs, worker]
    assert [each.has_role for each in open_now] == [False, False, True]


def test_a_home_knows_the_generations_of_its_receivers_that_are_dead(scene: Scene) -> None:
    first = opened(scene, Role.RECEIVER, HERE, "0001-a")
    second = opened(scene, Role.RECEIVER, HERE, "0002-b")
    opened(scene, Role.RECEIVER, HERE, "0003-c")
    theirs = opened(scene, Role.RECEIVER, THERE, "0004-d")
    for session in (second, first, theirs, opened(scene, Role.WORKER, HERE)):
        scene.ledger.void_session(session.session_id, 5)
    assert scene.ledger.dead_generations(HERE) == ["0001-a", "0002-b"]
    assert scene.ledger.dead_generations(THERE) == ["0004-d"]
    assert scene.ledger.dead_generations("c" * 32) == []


def test_a_generation_is_known_once_a_session_has_named_it(scene: Scene) -> None:
    receiver = opened(scene, Role.RECEIVER, HERE, "0001-a")
    scene.ledger.void_session(receiver.session_id, 5)
    assert scene.ledger.unknown_generations(["0001-a", "0002-b", ""]) == {"0002-b", ""}


def test_a_ledger_is_empty_until_the_first_instance_and_never_again(scene: Scene) -> None:
    assert scene.ledger.is_empty()
    scene.arrive("a")
    assert not scene.ledger.is_empty()


# ── configurations that differ ────────────────────────────────────────────────────────────────────────────────────


def configured(scene: Scene) -> dict[str, bool]:
    return {each.name: each.configured for each in scene.ledger.destinations()}


def test_a_destination_stays_configured_while_a_running_host_has_it(scene: Scene) -> None:
    scene.ledger.sync_destinations({}, 1)  # what the scene began with
    theirs = opened(scene, Role.CONSOLE, THERE)
    scene.ledger.sync_destinations({"pacs": False, "dr": False}, 2, THERE)
    scene.arrive("a")
    scene.route(BOTH)
    assert scene.ledger.sync_destinations({"pacs": False}, 3, HERE) == (0, 0)
    assert configured(scene) == {"dr": True, "pacs": True}
    assert scene.claimed("dr") == ["a"]
    # That one leaves it out as well: now nobody has it.
    assert scene.ledger.sync_destinations({"pacs": False}, 4, THERE) == (1, 0)
    assert configured(scene) == {"dr": False, "pacs": True}
    scene.ledger.void_session(theirs.session_id, 5)


def test_what_only_a_host_that_is_gone_has_is_held_until_it_is_back(scene: Scene) -> None:
    scene.ledger.sync_destinations({}, 1)
    theirs = opened(scene, Role.CONSOLE, THERE)
    scene.ledger.sync_destinations({"pacs": False, "dr": False}, 2, THERE)
    scene.arrive("a")
    scene.route(BOTH)
    scene.ledger.void_session(theirs.session_id, 3)
    assert scene.ledger.sync_destinations({"pacs": False}, 4, HERE) == (1, 0)
    assert configured(scene) == {"dr": False, "pacs": True}
    assert scene.ledger.sync_destinations({"pacs": False, "dr": False}, 5, THERE) == (0, 1)
    assert configured(scene) == {"dr": True, "pacs": True}


def test_where_hosts_differ_about_duplicates_whoever_was_told_last_counts(scene: Scene) -> None:
    scene.ledger.sync_destinations({}, 1)
    opened(scene, Role.CONSOLE, THERE)
    scene.ledger.sync_destinations({"pacs": False, "dr": True}, 2, THERE)
    scene.ledger.sync_destinations({"pacs": True}, 3, HERE)
    scene.arrive("a", "b", uid="1.2.3")
    first, second = scene.record(scene.claim_instances(), BOTH)
    assert (first.destinations, first.skipped_duplicates) == (("pacs", "dr"), ())
    assert (second.destinations, second.skipped_duplicates) == ((), ("pacs", "dr"))
    scene.ledger.sync_destinations({"pacs": False}, 4, HERE)
    scene.arrive("c", uid="1.2.3")
    (third,) = scene.record(scene.claim_instances(), BOTH)
    assert (third.destinations, third.skipped_duplicates) == (("pacs",), ("dr",))


def test_what_a_host_names_is_configured_again_when_it_turns_out_to_run(scene: Scene) -> None:
    ledger = scene.ledger
    ledger.sync_destinations({"third": False}, 1, HERE)
    scene.arrive("a")
    scene.route(decision("third"))
    ledger.sync_destinations({"other": False}, 2, THERE)  # no process of the first has registered
    assert scene.deliveries("a") == [("a", "third", "held")]
    assert ledger.restore_destinations(3) == 0
    ledger.open_session(Role.CONSOLE, "here", 1, 4, "", HERE)
    assert ledger.restore_destinations(5) == 1
    assert scene.deliveries("a") == [("a", "third", "ready")]
    ledger.sync_destinations({}, 6, HERE)  # a person has taken it out
    assert ledger.restore_destinations(7) == 0
    assert scene.deliveries("a") == [("a", "third", "held")]
