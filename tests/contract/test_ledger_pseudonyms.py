"""What every ledger does with what stands behind pseudonyms: kept with its copy, for good, shown with an audit row."""

from __future__ import annotations

from gateway.ledger.base import DerivationResult, InstanceFilter
from gateway.model import Derivation, Routing, Sealed, StudyFacts
from tests.contract.ledger_scene import Scene, decision
from tests.contract.test_ledger_derived import CHAIN, claimed, lose, made, route

PATIENT = Sealed("7M3K0QW5", b"m" * 16, b"\x01sealed patient")
STUDY = Sealed("2.25.7", b"n" * 16, b"\x01sealed study")


def copy(*remembered: Sealed, name: str = "a") -> Derivation:
    return Derivation(CHAIN, made(name), remembered=remembered)


def behind(scene: Scene, pseudonym: str) -> list[bytes]:
    return scene.ledger.originals_of(pseudonym, "me", "a finding", scene.now_ms)


def test_what_a_copy_remembers_is_kept_with_it(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, copy(PATIENT, STUDY))
    assert behind(scene, PATIENT.pseudonym) == [PATIENT.sealed]
    assert behind(scene, STUDY.pseudonym) == [STUDY.sealed]
    assert behind(scene, "7M3K0QW") == behind(scene, "") == []


def test_what_is_kept_already_stays_as_it_is(scene: Scene) -> None:
    scene.arrive("a", "b")
    route(scene, copy(PATIENT))
    scene.arrive("c")
    route(scene, copy(PATIENT._replace(sealed=b"\x01sealed anew"), STUDY))
    assert behind(scene, PATIENT.pseudonym) == [PATIENT.sealed]
    assert behind(scene, STUDY.pseudonym) == [STUDY.sealed]


def test_two_originals_with_one_pseudonym_are_two(scene: Scene) -> None:
    """Nobody may be taken for somebody else who came first."""
    scene.arrive("a")
    route(scene, copy(PATIENT))
    scene.now_ms += 1
    scene.arrive("b")
    route(scene, copy(PATIENT._replace(mark=b"a" * 16, sealed=b"\x01another patient"), name="b"))
    assert behind(scene, PATIENT.pseudonym) == [PATIENT.sealed, b"\x01another patient"]


def test_of_a_lost_lease_nothing_is_kept(scene: Scene) -> None:
    scene.arrive("a")
    dead = scene.worker
    (lease,) = scene.claim_instances()
    scene.ledger.void_session(dead.session_id, scene.now_ms)
    scene.worker = scene.session()
    late = Routing(lease.instance_id, decision("dr"), StudyFacts(), 0, (copy(PATIENT),))
    assert scene.ledger.record_routings(dead, [late], scene.now_ms) == []
    assert behind(scene, PATIENT.pseudonym) == []


def test_what_is_made_again_is_remembered_again(scene: Scene) -> None:
    """By a gateway that did not remember before, or whose ledger is a new one."""
    scene.arrive("a")
    route(scene, copy())
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    result = scene.ledger.record_derivation(scene.worker, lease, copy(PATIENT), scene.now_ms)
    assert result is DerivationResult.RECORDED
    assert behind(scene, PATIENT.pseudonym) == [PATIENT.sealed]
    late = copy(STUDY)
    assert scene.ledger.record_derivation(scene.worker, lease, late, scene.now_ms) is DerivationResult.LEASE_LOST
    assert behind(scene, STUDY.pseudonym) == []


def test_it_outlives_the_instance(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, copy(PATIENT))
    scene.conclude(*scene.claim("pacs"), *scene.claim("dr"))
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    scene.ledger.finish_purge([item.instance_id], scene.now_ms)
    assert behind(scene, PATIENT.pseudonym) == [PATIENT.sealed]


def test_every_look_is_audited_whether_anything_was_found_or_not(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, copy(PATIENT))
    scene.ledger.hold(InstanceFilter(), "not yet", "me", scene.now_ms)
    scene.ledger.originals_of(PATIENT.pseudonym, "cli:ann", "incidental finding", 5)
    scene.ledger.originals_of("unknown\udcff", "cli:bob", "", 6)
    newest, oldest = scene.ledger.audited("reidentify", 10)
    assert (oldest.at_ms, oldest.actor, oldest.action, oldest.reason) == (
        5,
        "cli:ann",
        "reidentify",
        "incidental finding",
    )
    assert (oldest.which, oldest.count) == ({"pseudonym": PATIENT.pseudonym}, 1)
    assert (newest.actor, newest.which, newest.count) == ("cli:bob", {"pseudonym": "unknown\\udcff"}, 0)
    assert scene.ledger.audited("reidentify", 1) == [newest]
    assert scene.opener().audited("reidentify", 10) == [newest, oldest], "another process sees it at once"
    assert [row.reason for row in scene.ledger.audited("hold", 10)] == ["not yet"]
