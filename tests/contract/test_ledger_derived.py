"""What every ledger does with payloads that transforms make: routed, lost, made again, sent again, purged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import (
    DERIVE,
    MAX_ROUTING_ATTEMPTS,
    DerivationLease,
    DerivationResult,
    InstanceFilter,
)
from gateway.model import (
    Decision,
    DeliveryLease,
    DeliveryState,
    Derivation,
    InstanceState,
    Outcome,
    PayloadFile,
    Quarantine,
    Routing,
    StepRun,
    StudyFacts,
)
from tests.contract.ledger_scene import CT, EXPLICIT_LITTLE_ENDIAN, Scene, arrival, decision

CHAIN = "to-research~0a1b2c3d"
RECORDED = DerivationResult.RECORDED
BOTH = replace(decision("pacs", "dr"), chains=("", CHAIN))


def made(name: str = "a", length: int = 7) -> PayloadFile:
    return PayloadFile(f"derived/x/{name}.dcm", 900, length, b"d" * 16, CT, f"2.25.{length}", EXPLICIT_LITTLE_ENDIAN)


def route(scene: Scene, derived: Derivation, what: Decision = BOTH) -> None:
    for lease in scene.claim_instances():
        routing = Routing(lease.instance_id, what, StudyFacts(), 0, (derived,))
        scene.ledger.record_routings(scene.worker, [routing], scene.now_ms)


def lose(scene: Scene, lease: DeliveryLease) -> None:
    """The forwarder finds no payload."""
    outcome = Outcome(
        lease.delivery_id,
        lease.token,
        DeliveryState.DEFERRED,
        DERIVE,
        reason="is made again",
        due_at_ms=scene.now_ms + 60_000,
        counted=False,
    )
    assert scene.ledger.record_outcomes(scene.forwarder, [outcome], scene.now_ms) == [lease.delivery_id]


def claimed(scene: Scene) -> DerivationLease:
    lease = scene.ledger.claim_derivation(scene.worker)
    assert lease is not None
    return lease


def reasons(scene: Scene, instance_id: str = "a") -> dict[str, tuple[str, str, str]]:
    rows = scene.ledger.deliveries_of([instance_id])
    return {row.destination: (row.state.value, row.code, row.reason) for row in rows}


def test_each_destination_gets_its_own_payload(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    (original,) = scene.claim("pacs")
    (changed,) = scene.claim("dr")
    assert (original.chain, original.payload.path) == ("", arrival("a").path)
    assert (changed.chain, changed.payload) == (CHAIN, made())
    assert scene.ledger.gauges().spool_bytes == arrival("a").length + 7


def test_what_could_not_be_made_is_held_with_the_reason_and_nothing_else_is(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "set: too long"))
    assert reasons(scene) == {"pacs": ("ready", "", ""), "dr": ("held", "transform", "set: too long")}
    assert scene.claim("dr") == []
    scene.conclude(*scene.claim("pacs"))
    assert scene.state("a") is InstanceState.ROUTED, "the original stays for what is held"
    assert scene.ledger.gauges().spool_bytes == arrival("a").length


def test_a_payload_that_is_lost_is_made_again_and_its_deliveries_go_on(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    assert scene.ledger.claim_derivation(scene.worker) is None
    (lost,) = scene.claim("dr")
    lose(scene, lost)
    assert scene.claim("dr") == []
    lease = claimed(scene)
    assert (lease.chain, lease.revision, lease.instance.instance_id, lease.instance.attempt) == (CHAIN, "one", "a", 1)
    assert lease.instance.payload.path == arrival("a").path, "it is made of the original"
    assert lease.instance.facts == arrival("a").facts
    assert scene.ledger.claim_derivation(scene.worker) is None
    again = Derivation(CHAIN, made("b", 9))
    assert scene.ledger.record_derivation(scene.worker, lease, again, scene.now_ms) is RECORDED
    (changed,) = scene.claim("dr")
    assert changed.payload == made("b", 9)
    assert changed.attempt == 1
    assert scene.ledger.gauges().spool_bytes == arrival("a").length + 9
    assert scene.ledger.claim_derivation(scene.worker) is None
    assert scene.ledger.record_derivation(scene.worker, lease, again, scene.now_ms) is DerivationResult.LEASE_LOST


def test_a_payload_that_cannot_be_made_again_is_held_with_the_reason_until_released(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    assert not lease.failed
    failed = Derivation(CHAIN, None, "the original is damaged")
    scene.ledger.record_derivation(scene.worker, lease, failed, scene.now_ms)
    assert reasons(scene)["dr"] == ("held", "transform", "the original is damaged")
    assert scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms).moved == 1
    (still,) = scene.claim("dr")
    assert still.payload == made(), "what is left of it is named, for the purge"
    lose(scene, still)
    lease = claimed(scene)
    other = "to-research~99999999"  # the transform was corrected meanwhile
    scene.ledger.record_derivation(scene.worker, lease, Derivation(other, made()), scene.now_ms)
    (changed,) = scene.claim("dr")
    assert (changed.chain, changed.payload) == (other, made())


def test_a_worker_that_dies_frees_what_it_was_making_and_the_attempts_are_counted(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    for attempt in range(1, MAX_ROUTING_ATTEMPTS + 2):
        lease = claimed(scene)
        assert lease.instance.attempt == attempt
        dead = scene.worker
        scene.ledger.void_session(dead.session_id, scene.now_ms)
        with pytest.raises(LeaseLost):
            scene.ledger.claim_derivation(dead)
        assert (
            scene.ledger.record_derivation(dead, lease, Derivation(CHAIN, made()), scene.now_ms)
            is DerivationResult.LEASE_LOST
        )
        scene.worker = scene.session()


@pytest.mark.parametrize("ended_by", ["cancel", "quarantine"])
def test_nobody_makes_what_nobody_waits_for(scene: Scene, ended_by: str) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    if ended_by == "cancel":
        scene.ledger.cancel(InstanceFilter(instance_ids=("a",)), "no longer", "me", scene.now_ms)
    else:
        scene.ledger.quarantine(scene.worker, [Quarantine("a", "damaged")], scene.now_ms)
    assert scene.ledger.claim_derivation(scene.worker) is None


def test_however_many_nobody_waits_for_any_more_a_call_forgets_some_and_the_next_goes_on(scene: Scene) -> None:
    """One transaction must not take as long as a hundred thousand of them do: everybody else waits for it."""
    many = [f"a{number}" for number in range(1_001)]
    scene.arrive(*many)
    while leases := scene.claim_instances():
        routings = [
            Routing(lease.instance_id, BOTH, StudyFacts(), 0, (Derivation(CHAIN, None, again=True),))
            for lease in leases
        ]
        scene.ledger.record_routings(scene.worker, routings, scene.now_ms)
    while leases := scene.claim("dr"):
        for lease in leases:
            lose(scene, lease)
    scene.ledger.cancel(InstanceFilter(destination="dr"), "no longer", "me", scene.now_ms)
    scene.arrive("wanted")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    assert scene.ledger.claim_derivation(scene.worker) is None
    assert claimed(scene).instance.instance_id == "wanted"


def test_what_is_sent_again_is_what_was_sent_and_never_the_original_instead(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    scene.conclude(*scene.claim("pacs"), *scene.claim("dr"))
    assert scene.state("a") is InstanceState.SETTLED
    assert scene.ledger.resend(InstanceFilter(instance_ids=("a",)), [], "me", scene.now_ms) == 2
    assert [lease.chain for lease in scene.claim("pacs")] == [""]
    assert [lease.chain for lease in scene.claim("dr")] == [CHAIN]


def test_a_purge_names_every_file_and_counts_their_bytes(scene: Scene) -> None:
    scene.arrive("a", "b")
    route(scene, Derivation(CHAIN, made()))
    scene.conclude(*scene.claim("pacs"), *scene.claim("dr"))
    items = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert [item.paths for item in items] == [(arrival(name).path, made().path) for name in "ab"]
    scene.ledger.finish_purge(["a", "b"], scene.now_ms)
    assert scene.ledger.gauges().spool_bytes == 0


def test_a_purge_names_no_file_that_was_never_made(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "no"))
    scene.conclude(*scene.claim("pacs"))
    scene.ledger.cancel(InstanceFilter(instance_ids=("a",)), "no longer", "me", scene.now_ms)
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    assert item.paths == (arrival("a").path,)


def test_only_what_went_through_the_same_chain_stands_for_a_duplicate(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, scene.now_ms)
    scene.arrive("a", uid="1.2.3")
    route(scene, Derivation(CHAIN, made()))
    scene.arrive("b", uid="1.2.3")
    route(scene, Derivation(CHAIN, made("b")))
    assert [each[1] for each in scene.deliveries("b")] == [], "both destinations have it, or will"
    scene.arrive("c", uid="1.2.3")
    other = "to-research~99999999"
    route(scene, Derivation(other, made("c")), replace(BOTH, chains=("", other)))
    assert scene.deliveries("c") == [("c", "dr", "ready")]
    # What stood for b comes to nothing: b goes itself, through its chain.
    scene.ledger.cancel(InstanceFilter(instance_ids=("a",)), "no longer", "me", scene.now_ms)
    assert [(lease.instance_id, lease.chain) for lease in scene.claim("dr", 1)] == [("b", CHAIN)]


def test_what_was_never_made_is_made_by_what_the_transforms_do_now(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "set: too long"))
    assert scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms).moved == 1
    (empty,) = scene.claim("dr")
    assert empty.payload.path == ""
    lose(scene, empty)
    assert claimed(scene).failed


def test_what_a_host_in_trouble_could_not_make_is_tried_again_and_blames_nobody(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "no room", again=True))
    (empty,) = scene.claim("dr")
    assert empty.payload.path == ""
    lose(scene, empty)
    again = Derivation(CHAIN, None, "no room", again=True)
    for _ in range(MAX_ROUTING_ATTEMPTS + 1):
        lease = claimed(scene)
        assert lease.instance.attempt == 1
        assert scene.ledger.record_derivation(scene.worker, lease, again, scene.now_ms) is DerivationResult.LATER
    assert reasons(scene)["dr"][:2] == ("deferred", DERIVE)
    lease = claimed(scene)
    assert scene.ledger.record_derivation(scene.worker, lease, Derivation(CHAIN, made()), scene.now_ms) is RECORDED
    assert [(each.payload, each.attempt) for each in scene.claim("dr")] == [(made(), 1)]


def test_nothing_waits_for_ever_though_everybody_forgets_it(scene: Scene) -> None:
    """A worker that lost its lease and its memory: the delivery comes due, and asks anew."""
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    scene.ledger.quarantine(scene.worker, [Quarantine("a", "damaged")], scene.now_ms)
    given_up = scene.ledger.record_derivation(scene.worker, lease, Derivation(CHAIN, made()), scene.now_ms)
    assert given_up is DerivationResult.UNWANTED
    scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms)
    (again,) = scene.claim("dr")
    lose(scene, again)
    assert claimed(scene).chain == CHAIN
    scene.now_ms += 60_000
    assert [each.instance_id for each in scene.claim("dr")] == ["a"]


def test_who_ended_its_worker_comes_after_all_others(scene: Scene) -> None:
    scene.arrive("poison", "b", "c")
    route(scene, Derivation(CHAIN, made()))
    for lease in scene.claim("dr"):
        lose(scene, lease)
    assert claimed(scene).instance.instance_id == "poison"
    scene.ledger.void_session(scene.worker.session_id, scene.now_ms)
    scene.worker = scene.session()
    assert [claimed(scene).instance.instance_id for _ in range(3)] == ["b", "c", "poison"]


def test_a_later_version_waits_for_the_copy_of_an_earlier_one(scene: Scene) -> None:
    scene.arrive("v1", uid="1.2.3")
    route(scene, Derivation(CHAIN, made("v1")))
    lose(scene, *scene.claim("dr"))
    scene.arrive("v2", uid="1.2.3", content=b"other")
    route(scene, Derivation(CHAIN, made("v2")))
    assert scene.claim("dr") == []
    scene.ledger.record_derivation(scene.worker, claimed(scene), Derivation(CHAIN, made("v1")), scene.now_ms)
    (first,) = scene.claim("dr")
    assert first.instance_id == "v1"
    scene.conclude(first)
    assert scene.claimed("dr") == ["v2"]


def test_a_person_may_hold_what_waits_for_its_copy(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    assert scene.ledger.hold(InstanceFilter(destination="dr"), "wait", "me", scene.now_ms).moved == 1
    scene.ledger.record_derivation(scene.worker, lease, Derivation(CHAIN, made()), scene.now_ms)
    assert reasons(scene)["dr"] == ("held", "operator", "wait")


def test_a_destination_that_is_gone_gets_no_copy(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    scene.ledger.sync_destinations({"pacs": False}, scene.now_ms)
    scene.ledger.record_derivation(scene.worker, lease, Derivation(CHAIN, made()), scene.now_ms)
    assert reasons(scene)["dr"][:2] == ("held", "unconfigured")


def test_a_duplicate_that_was_skipped_is_sent_again_as_it_would_have_been(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": True}, scene.now_ms)
    scene.arrive("a", "b", uid="1.2.3")
    route(scene, Derivation(CHAIN, made()))
    assert scene.deliveries("b") == []
    scene.conclude(*scene.claim("dr"), *scene.claim("pacs"))
    assert scene.ledger.resend(InstanceFilter(instance_ids=("b",)), ["dr"], "me", scene.now_ms) == 1
    assert [(lease.instance_id, lease.chain) for lease in scene.claim("dr")] == [("b", CHAIN)]


def test_what_waits_for_its_copy_is_not_sent_twice(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    lose(scene, *scene.claim("dr"))
    assert scene.ledger.resend(InstanceFilter(instance_ids=("a",)), ["dr"], "me", scene.now_ms) == 0


def test_of_what_is_purged_no_copy_is_known(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    assert scene.ledger.copies_of(["a", "b"]) == {made().path}
    scene.conclude(*scene.claim("pacs"), *scene.claim("dr"))
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    scene.ledger.finish_purge([item.instance_id], scene.now_ms)
    assert scene.ledger.copies_of(["a"]) == set()


def test_what_was_made_for_an_instance_that_was_given_up_meanwhile_is_not_recorded(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    scene.conclude(*scene.claim("pacs"))
    lose(scene, *scene.claim("dr"))
    lease = claimed(scene)
    scene.ledger.cancel(InstanceFilter(instance_ids=("a",)), "no longer", "me", scene.now_ms)
    (item,) = scene.ledger.begin_purge(scene.now_ms, 10, scene.now_ms)
    scene.ledger.finish_purge([item.instance_id], scene.now_ms)
    assert (
        scene.ledger.record_derivation(scene.worker, lease, Derivation(CHAIN, made()), scene.now_ms)
        is DerivationResult.UNWANTED
    )
    assert scene.ledger.gauges().spool_bytes == 0


STEPS = (StepRun("mark", 1, "set"), StepRun("mark", 3, "remove", done=False))


def steps_of(scene: Scene, instance_id: str = "a") -> dict[str, tuple[StepRun, ...]]:
    return {row.destination: row.steps for row in scene.ledger.deliveries_of([instance_id])}


def test_the_steps_that_made_a_payload_are_shown_with_its_deliveries(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made(), steps=STEPS))
    assert steps_of(scene) == {"pacs": (), "dr": STEPS}


def test_the_steps_of_a_payload_that_was_made_again_are_those_that_made_it_then(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made(), steps=STEPS))
    lose(scene, scene.claim("dr")[0])
    other = "to-research~ffff"
    again = Derivation(other, made("b"), steps=STEPS[:1])
    scene.ledger.record_derivation(scene.worker, claimed(scene), again, scene.now_ms)
    assert steps_of(scene) == {"pacs": (), "dr": STEPS[:1]}


def test_where_nothing_could_be_made_no_steps_are_shown(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "set: too long"))
    assert steps_of(scene) == {"pacs": (), "dr": ()}


NOW = "to-research~9f8e7d6c"


def test_what_waits_turns_to_what_its_transforms_are_called_now_and_what_is_claimed_or_over_does_not(
    scene: Scene,
) -> None:
    for name in ("a", "b", "c", "e"):
        scene.arrive(name)
        route(scene, Derivation(CHAIN, made(name)))
    first, second = scene.claim("dr", 2)
    scene.conclude(first)
    scene.ledger.hold(InstanceFilter(instance_ids=("c",), destination="dr"), "a person", "op", scene.now_ms)
    assert scene.ledger.waiting_chains() == [CHAIN]
    assert scene.ledger.turn_chain(CHAIN, NOW, 1, scene.now_ms) == 1
    assert scene.ledger.turn_chain(CHAIN, NOW, 10, scene.now_ms) == 1
    assert scene.ledger.turn_chain(CHAIN, NOW, 10, scene.now_ms) == 0
    assert scene.ledger.waiting_chains() == [NOW]
    assert second.payload == made("b"), "it was under way"
    (third,) = scene.claim("dr", 5)
    assert (third.chain, third.payload.path) == (NOW, "")
    lose(scene, third)
    lease = claimed(scene)
    assert (lease.instance.instance_id, lease.chain) == ("e", NOW)
    scene.ledger.record_derivation(scene.worker, lease, Derivation(NOW, made("new")), scene.now_ms)
    (again,) = scene.claim("dr", 5)
    assert (again.chain, again.payload) == (NOW, made("new"))


def test_what_waits_for_a_copy_of_the_old_kind_asks_for_one_of_the_new_at_once(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, None, "no room", again=True))
    (lease,) = scene.claim("dr")
    lose(scene, lease)
    assert scene.ledger.turn_chain(CHAIN, NOW, 10, scene.now_ms) == 1
    assert scene.ledger.claim_derivation(scene.worker) is None, "nobody wants the old one"
    (lease,) = scene.claim("dr")
    assert lease.chain == NOW


def test_what_is_sent_again_is_made_by_what_its_transforms_are_called_now(scene: Scene) -> None:
    scene.arrive("a")
    route(scene, Derivation(CHAIN, made()))
    scene.conclude(*scene.claim("dr"), *scene.claim("pacs"))
    which, names = InstanceFilter(instance_ids=("a",)), {CHAIN: NOW}
    assert scene.ledger.resend(which, ["dr"], "op", scene.now_ms, lambda chain: names.get(chain, chain)) == 1
    (lease,) = scene.claim("dr")
    assert (lease.chain, lease.payload.path) == (NOW, "")
