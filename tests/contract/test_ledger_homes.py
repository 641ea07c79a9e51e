"""Several hosts on one ledger: whose a session is, and what ends with it."""

from __future__ import annotations

from gateway.ledger.base import Voided
from gateway.model import Role, Session
from tests.contract.ledger_scene import Scene

HERE, THERE = "a" * 32, "b" * 32


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
