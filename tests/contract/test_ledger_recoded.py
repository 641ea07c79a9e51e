"""What every ledger does with deliveries that turn to a copy in another transfer syntax."""

from __future__ import annotations

import pytest

from gateway.dicom.recoding import NATIVE_RECODINGS, recoded
from gateway.ledger.base import DERIVE, DerivationResult, InstanceFilter
from gateway.model import DeliveryLease, DeliveryState, Derivation, InstanceState, Outcome, Routing, StudyFacts
from tests.contract.ledger_scene import EXPLICIT_LITTLE_ENDIAN, Scene, arrival, decision
from tests.contract.test_ledger_derived import BOTH, CHAIN, claimed, made, reasons, route

J2K = "1.2.840.10008.1.2.4.90"
EXPLICIT, IMPLICIT = (recoded("", each) for each in NATIVE_RECODINGS)


def turn_to(scene: Scene, lease: DeliveryLease, chain: str = EXPLICIT) -> list[int]:
    """The destination refuses the transfer syntax, and would take another."""
    outcome = Outcome(
        lease.delivery_id,
        lease.token,
        DeliveryState.DEFERRED,
        DERIVE,
        reason="is not accepted",
        due_at_ms=scene.now_ms + 60_000,
        counted=False,
        chain=chain,
    )
    return scene.ledger.record_outcomes(scene.forwarder, [outcome], scene.now_ms)


def make(scene: Scene, name: str = "a") -> DerivationResult:
    lease = claimed(scene)
    return scene.ledger.record_derivation(scene.worker, lease, Derivation(lease.chain, made(name)), scene.now_ms)


def test_a_delivery_that_turns_to_a_copy_waits_until_a_worker_has_made_it(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    (refused,) = scene.claim("pacs")
    assert turn_to(scene, refused) == [refused.delivery_id]
    assert scene.claim("pacs") == []
    lease = claimed(scene)
    assert (lease.chain, lease.instance.payload.path) == (EXPLICIT, arrival("a").path)
    assert scene.ledger.record_derivation(scene.worker, lease, Derivation(EXPLICIT, made()), scene.now_ms).value == (
        "recorded"
    )
    (copy,) = scene.claim("pacs")
    assert (copy.delivery_id, copy.chain, copy.payload, copy.attempt) == (refused.delivery_id, EXPLICIT, made(), 1)
    (other,) = scene.claim("dr")
    assert (other.chain, other.payload.path) == ("", arrival("a").path), "others get what they got"
    scene.conclude(copy, other)
    assert scene.state("a") is InstanceState.SETTLED
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert item.paths == (arrival("a").path, made().path)


def test_a_copy_that_is_there_already_is_not_made_again(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision("pacs", "dr"))
    turn_to(scene, *scene.claim("pacs"))
    make(scene)
    turn_to(scene, *scene.claim("dr"))
    assert scene.ledger.claim_derivation(scene.worker) is None
    assert [lease.payload for lease in scene.claim("dr")] == [made()]


def test_a_worker_that_dies_over_it_leaves_it_to_the_next(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    turn_to(scene, *scene.claim())
    claimed(scene)
    scene.ledger.void_session(scene.worker.session_id, scene.now_ms)
    scene.worker = scene.session()
    assert claimed(scene).instance.attempt == 2


def test_what_went_through_transforms_turns_to_a_copy_of_the_same_transforms(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    after = recoded(CHAIN, NATIVE_RECODINGS[0])
    turn_to(scene, *scene.claim("dr"), after)
    lease = claimed(scene)
    assert (lease.chain, lease.revision) == (after, "one")
    failed = Derivation(after, None, "there are no such transforms")
    scene.ledger.record_derivation(scene.worker, lease, failed, scene.now_ms)
    assert reasons(scene)["dr"] == ("held", "transform", "there are no such transforms")
    assert scene.claim("dr") == [], "nothing goes in its place"
    scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms)
    (released,) = scene.claim("dr")
    assert (released.chain, released.payload) == (CHAIN, made()), "what it was to be made of"


def test_a_lost_lease_turns_nothing(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    (lease,) = scene.claim()
    scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms)
    assert turn_to(scene, lease) == []
    scene.forwarder = scene.session()
    assert [each.chain for each in scene.claim()] == [""]
    assert scene.ledger.claim_derivation(scene.worker) is None


def test_a_later_version_waits_for_the_copy_of_an_earlier_one(scene: Scene) -> None:
    scene.arrive("v1", uid="1.2.3")
    scene.route()
    turn_to(scene, *scene.claim())
    scene.arrive("v2", uid="1.2.3", content=b"other")
    scene.route()
    assert scene.claim() == []
    make(scene)
    (first,) = scene.claim()
    assert (first.instance_id, first.chain) == ("v1", EXPLICIT)
    scene.conclude(first)
    assert scene.claimed() == ["v2"]


@pytest.mark.parametrize("chain", ["", CHAIN])
def test_what_was_sent_in_another_syntax_stands_for_an_exact_duplicate(scene: Scene, chain: str) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, scene.now_ms)
    what, destination = (BOTH, "dr") if chain else (decision("dr"), "dr")
    derived = (Derivation(chain, made()),) if chain else ()

    def route_all() -> None:
        for lease in scene.claim_instances():
            routing = Routing(lease.instance_id, what, StudyFacts(), 0, derived)
            scene.ledger.record_routings(scene.worker, [routing], scene.now_ms)

    scene.arrive("a", uid="1.2.3")
    route_all()
    turn_to(scene, *scene.claim(destination), recoded(chain, NATIVE_RECODINGS[1]))
    make(scene)
    scene.arrive("b", uid="1.2.3")
    route_all()
    assert scene.deliveries("b") == []
    scene.ledger.cancel(InstanceFilter(instance_ids=("a",)), "no longer", "me", scene.now_ms)
    assert [(each.instance_id, each.chain) for each in scene.claim(destination)] == [("b", chain)]


@pytest.mark.parametrize("chain", ["", CHAIN])
def test_what_is_sent_again_is_what_the_copy_was_made_of_and_the_copy_is_kept(scene: Scene, chain: str) -> None:
    scene.arrive("a")
    route(scene, Derivation(chain, made()), BOTH) if chain else scene.route(decision("dr"))
    first = scene.claim("dr")
    turn_to(scene, *first, recoded(chain, NATIVE_RECODINGS[0]))
    make(scene, "b")
    scene.conclude(*scene.claim("dr"))
    assert scene.ledger.resend(InstanceFilter(instance_ids=("a",)), ["dr"], "me", scene.now_ms) == 1
    again = scene.claim("dr")
    assert [(each.chain, each.payload) for each in again] == [(chain, first[0].payload)]
    turn_to(scene, *again, recoded(chain, NATIVE_RECODINGS[0]))
    assert scene.ledger.claim_derivation(scene.worker) is None
    assert [each.payload for each in scene.claim("dr")] == [made("b")]


def test_a_copy_that_is_refused_turns_back_to_the_original_which_is_there(scene: Scene) -> None:
    scene.arrive("a", transfer_syntax_uid=J2K)
    scene.route()
    (refused,) = scene.claim()
    turn_to(scene, refused)
    make(scene)
    turn_to(scene, *scene.claim(), "")
    (original,) = scene.claim()
    assert (original.chain, original.payload) == ("", refused.payload)
    assert scene.ledger.claim_derivation(scene.worker) is None
    scene.conclude(original)
    assert scene.state("a") is InstanceState.SETTLED


def test_a_lease_tells_the_transfer_syntaxes_that_are_behind_a_copy(scene: Scene) -> None:
    scene.arrive("a", transfer_syntax_uid=J2K)
    route(scene, Derivation(CHAIN, made()))
    (original,), (changed,) = scene.claim("pacs"), scene.claim("dr")
    assert (original.original_syntax_uid, original.before_syntax_uid) == ("", "")
    assert (changed.original_syntax_uid, changed.before_syntax_uid) == (J2K, "")
    turn_to(scene, original)
    turn_to(scene, changed, recoded(CHAIN, NATIVE_RECODINGS[1]))
    make(scene), make(scene, "b")
    (original,), (changed,) = scene.claim("pacs"), scene.claim("dr")
    assert (original.original_syntax_uid, original.before_syntax_uid) == (J2K, J2K)
    assert (changed.original_syntax_uid, changed.before_syntax_uid) == (J2K, EXPLICIT_LITTLE_ENDIAN)
    turn_to(scene, changed, recoded("never-made~0a1b2c3d", NATIVE_RECODINGS[0]))
    make(scene, "c")
    (never,) = scene.claim("dr")
    assert (never.original_syntax_uid, never.before_syntax_uid) == (J2K, "")


@pytest.mark.parametrize("chain", ["", CHAIN])
def test_what_is_released_is_of_what_the_copy_was_made_of_though_nothing_was(scene: Scene, chain: str) -> None:
    """Also where the copy could be made only of something that never was: then that is made."""
    scene.arrive("a")
    scene.route()
    turn_to(scene, *scene.claim(), recoded(chain, NATIVE_RECODINGS[0]))
    make(scene)
    scene.conclude(*scene.claim(), state=DeliveryState.HELD)
    scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms)
    (released,) = scene.claim()
    assert (released.chain, released.payload.path) == (chain, "" if chain else arrival("a").path)


def test_a_copy_can_turn_to_another(scene: Scene) -> None:
    scene.arrive("a")
    scene.route()
    turn_to(scene, *scene.claim())
    make(scene)
    turn_to(scene, *scene.claim(), IMPLICIT)
    make(scene, "b")
    (copy,) = scene.claim()
    assert (copy.chain, copy.payload) == (IMPLICIT, made("b"))


@pytest.mark.parametrize("state", [DeliveryState.HELD, DeliveryState.DELIVERED])
def test_only_what_is_to_be_made_turns_to_something_else(scene: Scene, state: DeliveryState) -> None:
    scene.arrive("a")
    scene.route()
    scene.conclude(*scene.claim(), state=state, chain=EXPLICIT)
    assert [row.chain for row in scene.ledger.deliveries_of(["a"])] == [""]
