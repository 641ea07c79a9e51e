"""A ledger against a simple model of itself, through random histories.

The model keeps plain lists and recounts everything each time. After every step states, counters and ages must agree,
and the ledger must find nothing wrong with itself. Where the ledger chooses (claims), the model checks the choice.

One state machine is one class, so this module is longer than others.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.dicom.recoding import NATIVE_RECODINGS, recoded
from gateway.errors import LeaseLost
from gateway.ledger.base import (
    DERIVE,
    LONE_PATIENCE_MS,
    MAX_ROUTING_ATTEMPTS,
    RETRY_PATIENCE_MS,
    DerivationResult,
    InstanceFilter,
    Left,
    Ordered,
)
from gateway.model import (
    DeliveryLease,
    DeliveryState,
    Derivation,
    DuplicateKind,
    InstanceLease,
    InstanceState,
    Outcome,
    PayloadFile,
    Quarantine,
    Role,
    Routing,
    Session,
    StudyFacts,
)
from tests.contract.ledger_scene import CT, EXPLICIT_LITTLE_ENDIAN, STORES, arrival, decision

OPEN = {"ready", "leased", "deferred"}
DONE = {"delivered", "cancelled"}
NAMES = ("pacs", "dr")
EXPLICIT = recoded("", NATIVE_RECODINGS[0])


@dataclass
class ModelInstance:
    """What the model knows of an instance."""

    instance_id: str
    seq: int
    uid: str
    content: str
    exact: bool  # a duplicate of an earlier arrival, when it came
    state: str = "received"
    session: int | None = None
    attempts: int = 0
    routed: bool = False
    received_at_ms: int = 1_000
    is_made: bool = False  # its copy in another transfer syntax


@dataclass
class ModelDelivery:
    """What the model knows of a delivery."""

    delivery_id: int
    of: ModelInstance
    destination: str
    state: str
    priority: int
    session: int | None = None
    token: int = 0
    due_at_ms: int = 0
    alone: bool = False
    held_by: str = ""
    turned: bool = False  # deferred until its copy is made


def ordered(moved: int, left: Mapping[Left, int]) -> Ordered:
    """What an order says that left so many, none among them."""
    return Ordered(moved, {why: count for why, count in left.items() if count})


class LedgerModel(RuleBasedStateMachine):
    """Random histories of one ledger."""

    store = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = STORES[self.store](Path(self.folder.name))()
        self.now_ms = 1_000_000
        self.configured = {"pacs": True, "dr": True}
        self.skip = {"pacs": False, "dr": False}
        self.standing: dict[tuple[str, str], ModelDelivery] = {}  # (instance_id, destination): skipped
        self.ledger.sync_destinations(dict.fromkeys(NAMES, False), self.now_ms)
        self.instances: list[ModelInstance] = []
        self.deliveries: list[ModelDelivery] = []
        self.sessions: dict[int, Session] = {}
        self.voided: set[int] = set()
        self.owners: dict[str, int] = {}  # destination → session
        self.instance_leases: list[tuple[Session, InstanceLease]] = []  # the newest last, as the deliveries'
        self.delivery_leases: list[tuple[Session, DeliveryLease]] = []
        self.open_session()
        self.open_session()

    def teardown(self) -> None:
        """End of a history."""
        self.ledger.close()
        self.folder.cleanup()

    # ── the model's questions ─────────────────────────────────────────────────────────────────────────────────

    def of(self, instance: ModelInstance) -> list[ModelDelivery]:
        """An instance's deliveries."""
        return [each for each in self.deliveries if each.of is instance]

    def settle(self, instance: ModelInstance) -> None:
        """Settle a routed instance whose deliveries are all done."""
        if instance.state == "routed" and all(each.state in DONE for each in self.of(instance)):
            instance.state = "settled"

    def claimable(self, name: str) -> list[ModelDelivery]:
        """What could be claimed now, in order."""
        if not self.configured[name]:
            return []
        mine = [each for each in self.deliveries if each.destination == name and each.state in OPEN]
        free = []
        for each in mine:
            twins = [other for other in mine if other is not each and other.of.uid == each.of.uid]
            due = each.state == "ready" or (each.state == "deferred" and each.due_at_ms <= self.now_ms)
            earlier = any((other.of.seq, other.delivery_id) < (each.of.seq, each.delivery_id) for other in twins)
            if due and not earlier and not any(other.state == "leased" for other in twins):
                free.append(each)
        return sorted(free, key=lambda each: (-each.priority, each.of.seq, each.delivery_id))

    def claimed(self, chosen: list[ModelInstance]) -> int:
        """How many deliveries of these a forwarder has."""
        return sum(each.state == "leased" for instance in chosen for each in self.of(instance))

    def overtaken(self, delivery: ModelDelivery) -> bool:
        """Whether a later version was delivered to the same destination, or is in flight."""
        return any(
            (other.of.uid, other.destination) == (delivery.of.uid, delivery.destination)
            and other.of.seq > delivery.of.seq
            and other.of.content != delivery.of.content
            and other.state in ("delivered", "leased")
            for other in self.deliveries
        )

    def stands_for(self, instance: ModelInstance, name: str) -> ModelDelivery | None:
        """The delivery that makes it needless to send a duplicate to a destination."""
        if not (instance.exact and self.skip[name]):
            return None
        for other in reversed(self.instances[: instance.seq]):
            if other.uid != instance.uid:
                continue
            if other.content != instance.content:
                return None
            found = [each for each in self.of(other) if each.destination == name]
            if (other.instance_id, name) in self.standing:
                found.append(self.standing[other.instance_id, name])
            for each in sorted(found, key=lambda each: -each.delivery_id):
                if each.of.state not in ("quarantined", "held") and each.state not in ("held", "dead", "cancelled"):
                    return each
        return None

    def waits(self, instance: ModelInstance) -> bool:
        """Whether something that stands for it is not settled."""
        return any(
            (instance.instance_id, name) in self.standing
            and self.standing[instance.instance_id, name].state not in DONE
            for name in NAMES
        )

    def deliver_instead(self, ended: list[ModelDelivery], unless: Callable[[ModelInstance], bool]) -> None:
        """Duplicates that these stood for: the first gets a delivery of its own, which stands for the rest."""
        first: dict[int, tuple[ModelInstance, str]] = {}
        rest: list[tuple[int, tuple[str, str]]] = []
        expected: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for old in ended:
            for each in self.instances:
                key = (each.instance_id, old.destination)
                if self.standing.get(key) is not old or each.state not in ("routed", "settled") or unless(each):
                    continue
                if old.delivery_id in first:
                    rest.append((old.delivery_id, key))
                    continue
                first[old.delivery_id] = (each, old.destination)
                del self.standing[key]
                made = ModelDelivery(0, each, old.destination, "", old.priority)
                held = self.overtaken(made) or not self.configured[old.destination]
                expected[each.instance_id].append((old.destination, "held" if held else "ready"))
        for instance_id, deliveries in expected.items():
            self.learn(self.instances[int(instance_id[1:])], deliveries, 0)
        new: dict[int, ModelDelivery] = {}
        for old in ended:
            if old.delivery_id in first:
                instance, name = first[old.delivery_id]
                new[old.delivery_id] = [each for each in self.of(instance) if each.destination == name][-1]
                new[old.delivery_id].priority = old.priority
                instance.state = "routed"
        for delivery_id, key in rest:
            self.standing[key] = new[delivery_id]

    def learn(self, instance: ModelInstance, expected: list[tuple[str, str]], priority: int) -> None:
        """Take over the ids of new deliveries, which must be the expected (destination, state)."""
        known = {each.delivery_id for each in self.deliveries}
        rows = [row for row in self.ledger.deliveries_of([instance.instance_id]) if row.delivery_id not in known]
        assert sorted((row.destination, row.state.value) for row in rows) == sorted(expected)
        for row in rows:
            state, by = row.state.value, row.code
            new = ModelDelivery(row.delivery_id, instance, row.destination, state, priority, held_by=by)
            self.deliveries.append(new)

    def some_session(self, data: st.DataObject) -> Session:
        """Mostly one that lives."""
        living = sorted(set(self.sessions) - self.voided)
        dead = sorted(self.voided)[-1:]
        return self.sessions[data.draw(st.sampled_from(living * 4 + dead))]

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────────────

    def open_session(self) -> None:
        """Another process."""
        session = self.ledger.open_session(Role.FORWARDER, "host", 1, self.now_ms)
        self.sessions[session.session_id] = session

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        session_id = self.some_session(data).session_id
        self.open_session()
        voided = self.ledger.void_session(session_id, self.now_ms)
        instances = [i for i in self.instances if i.state == "received" and i.session == session_id]
        deliveries = [d for d in self.deliveries if d.state == "leased" and d.session == session_id]
        assert (voided.instances, voided.deliveries) == (len(instances), len(deliveries))
        self.voided.add(session_id)
        self.owners = {name: owner for name, owner in self.owners.items() if owner != session_id}
        for instance in instances:
            instance.session = None
        for delivery in deliveries:
            delivery.state, delivery.session, delivery.alone = "ready", None, True

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def own(self, data: st.DataObject, name: str) -> None:
        session = self.some_session(data)
        if session.session_id in self.voided:
            with pytest.raises(LeaseLost):
                self.ledger.own_destinations(session, [name])
            return
        owned = self.ledger.own_destinations(session, [name])
        self.owners.setdefault(name, session.session_id)
        assert owned == {each for each, owner in self.owners.items() if owner == session.session_id}

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def disown(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.owners)))
        asks = data.draw(st.booleans())
        owner, other = self.sessions[self.owners.pop(name)], self.some_session(data)
        if asks and other.session_id not in self.voided | {owner.session_id}:
            self.ledger.ask_for_destinations(other, [name])
            self.owners[name] = other.session_id
        self.ledger.disown_destinations(owner, [name])
        real = {each.name: each.owner.session_id for each in self.ledger.destinations() if each.owner is not None}
        assert real == self.owners

    # Less than LONE_PATIENCE_MS in all: whose turn comes by waiting has tests of its own.
    @precondition(lambda self: self.now_ms < 1_000_000 + LONE_PATIENCE_MS - 6_000)
    @rule(seconds=st.integers(0, 5))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += seconds * 1000

    # ── the way of an instance ────────────────────────────────────────────────────────────────────────────────

    @rule(versions=st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("112")), min_size=1, max_size=4))
    def arrive(self, versions: list[tuple[str, str]]) -> None:
        arrivals = []
        for number, (uid, content) in enumerate(versions):
            seq = len(self.instances)
            exact = any(
                (other.uid, other.content) == (uid, content)
                and other.state not in ("quarantined", "held")
                and not any(each.state in ("held", "dead", "cancelled") for each in self.of(other))
                for other in self.instances
            )
            received_at_ms = 1_000 if number % 2 else self.now_ms
            self.instances.append(ModelInstance(f"i{seq}", seq, uid, content, exact, received_at_ms=received_at_ms))
            arrivals.append(arrival(f"i{seq}", uid, content.encode(), received_at_ms=received_at_ms))
        recorded = self.ledger.record_arrivals(arrivals, self.now_ms)
        kinds = [each.duplicate is DuplicateKind.EXACT for each in recorded]
        assert kinds == [each.exact for each in self.instances[-len(versions) :]]

    @rule(data=st.data(), limit=st.integers(1, 4))
    def claim_instances(self, data: st.DataObject, limit: int) -> None:
        session = self.some_session(data)
        if session.session_id in self.voided:
            with pytest.raises(LeaseLost):
                self.ledger.claim_instances(session, limit, self.now_ms)
            return
        received = [each for each in self.instances if each.state == "received"]
        expected: list[ModelInstance] = []
        lone: list[ModelInstance] = []
        for each in received:
            if each.session is not None or len(expected) >= limit:
                continue
            if any(other.uid == each.uid for other in received[: received.index(each)] if other not in expected):
                continue
            if not each.attempts:
                expected.append(each)
            elif expected or lone:
                continue
            elif (
                each.attempts >= MAX_ROUTING_ATTEMPTS
                or self.now_ms - each.received_at_ms >= each.attempts**2 * RETRY_PATIENCE_MS
            ):
                expected = [each]
                break
            else:
                lone = [each]
        expected = expected or lone
        leases = self.ledger.claim_instances(session, limit, self.now_ms)
        assert [lease.instance_id for lease in leases] == [each.instance_id for each in expected]
        for lease, each in zip(leases, expected, strict=True):
            each.session, each.attempts = session.session_id, each.attempts + 1
            assert lease.attempt == each.attempts
            self.instance_leases.append((session, lease))

    @precondition(lambda self: self.instance_leases)
    @rule(
        data=st.data(),
        names=st.sets(st.sampled_from(NAMES)),
        verdict=st.sampled_from(["route", "route", "route", "hold", "discard", "quarantine"]),
        priority=st.integers(-1, 1),
    )
    def route(self, data: st.DataObject, names: set[str], verdict: str, priority: int) -> None:
        session, lease = data.draw(st.sampled_from(self.instance_leases[-6:]))
        self._route(session, lease, names, verdict, priority)

    def _route(self, session: Session, lease: InstanceLease, names: set[str], verdict: str, priority: int) -> None:
        instance = next(each for each in self.instances if each.instance_id == lease.instance_id)
        holds = instance.state == "received" and instance.session == session.session_id
        if verdict == "quarantine":
            count = self.ledger.quarantine(session, [Quarantine(lease.instance_id, "bad")], self.now_ms)
            routed = instance.state == "routed" and session.session_id not in self.voided
            assert count == int(holds or routed)
            if count:
                self._quarantined(instance)
            return
        what = {
            "route": decision(*sorted(names)),
            "hold": decision(*sorted(names), hold="h"),
            "discard": decision(discard="d"),
        }[verdict]
        results = self.ledger.record_routings(
            session, [Routing(lease.instance_id, what, StudyFacts(), priority)], self.now_ms
        )
        assert len(results) == int(holds)
        if not holds:
            return
        instance.session, instance.routed = None, True
        if verdict == "hold":
            instance.state = "held"
        elif verdict == "discard":
            instance.state = "settled"
        else:
            skipped = {name: found for name in sorted(names) if (found := self.stands_for(instance, name))}
            assert results[0].skipped_duplicates == tuple(skipped)
            self.standing |= {(instance.instance_id, name): found for name, found in skipped.items()}
            names = names - set(skipped)
            instance.state = "routed" if names else "settled"
            self.learn(instance, [(n, "ready" if self.configured[n] else "held") for n in names], priority)

    def _quarantined(self, instance: ModelInstance) -> None:
        instance.state, instance.session = "quarantined", None
        for each in self.of(instance):
            if each.state in OPEN:
                each.state, each.held_by = "held", "quarantined"
        if instance.routed:
            self.deliver_instead([each for each in self.of(instance) if each.state not in DONE], lambda _: False)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.configure(set(NAMES), data.draw(st.sampled_from([set(NAMES), {"pacs"}, set()])))
        self.arrive([("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "1"), ("b", "1"), ("b", "1"), ("c", "1")])
        self.route_all(data, data.draw(st.sampled_from([{"pacs"}, set(NAMES)])), 0)

    @rule(data=st.data(), names=st.sets(st.sampled_from(NAMES), min_size=1), priority=st.integers(-1, 1))
    def route_all(self, data: st.DataObject, names: set[str], priority: int) -> None:
        before = None
        while before != (before := len(self.instance_leases)):
            self.claim_instances(data, 4)
            for session, lease in self.instance_leases[before:]:
                self._route(session, lease, names, "route", priority)

    @rule(data=st.data(), name=st.sampled_from(NAMES), limit=st.integers(1, 4))
    def claim(self, data: st.DataObject, name: str, limit: int) -> None:
        session = self.some_session(data)
        owner = self.owners.get(name)
        if owner is not None and data.draw(st.booleans()):
            session = self.sessions[owner]
        if session.session_id in self.voided:
            with pytest.raises(LeaseLost):
                self.ledger.claim_deliveries(session, name, limit, self.now_ms)
            return
        if owner not in (None, session.session_id):
            assert self.ledger.claim_deliveries(session, name, limit, self.now_ms) == []
            return
        free = self.claimable(name)
        expected = [each for each in free if not each.alone][:limit] or [each for each in free if each.alone][:1]
        leases = self.ledger.claim_deliveries(session, name, limit, self.now_ms)
        assert [lease.delivery_id for lease in leases] == [each.delivery_id for each in expected]
        if self.configured[name]:
            for each in self.deliveries:
                if each.destination == name and each.state == "deferred" and each.due_at_ms <= self.now_ms:
                    each.state = "ready"
        for lease, each in zip(leases, expected, strict=True):
            each.state, each.session, each.token = "leased", session.session_id, lease.token
            self.delivery_leases.append((session, lease))

    @precondition(lambda self: self.delivery_leases)
    @rule(
        data=st.data(),
        state=st.sampled_from(["delivered", "delivered", "deferred", "turned", "held", "dead", "given back"]),
        delay_s=st.integers(0, 3),
        alone=st.booleans(),
    )
    def conclude(self, data: st.DataObject, state: str, delay_s: int, alone: bool) -> None:
        session, lease = data.draw(st.sampled_from(self.delivery_leases[-8:]))
        self._conclude(session, lease, state, delay_s, alone)

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def deliver(self, data: st.DataObject, name: str) -> None:
        before = len(self.delivery_leases)
        self.claim(data, name, 4)
        for session, lease in self.delivery_leases[before:]:
            self._conclude(session, lease, "delivered", 0, False)

    def _conclude(self, session: Session, lease: DeliveryLease, state: str, delay_s: int, alone: bool) -> None:
        delivery = next(each for each in self.deliveries if each.delivery_id == lease.delivery_id)
        mine = delivery.session == session.session_id and delivery.token == lease.token
        holds = mine and session.session_id not in self.voided and delivery.state == "leased"
        if state == "given back":
            assert self.ledger.release_deliveries(session, [lease], self.now_ms) == int(holds)
            if holds:
                delivery.state, delivery.session = "ready", None
            return
        stopped = delivery.state == "held" and delivery.held_by in ("quarantined", "unconfigured")
        if mine and session.session_id not in self.voided and stopped and state == "delivered":
            holds = True
        due_at_ms = self.now_ms + delay_s * 1000
        turned, state = state == "turned", "deferred" if state == "turned" else state
        code, chain = (DERIVE, EXPLICIT) if turned else ("test", None)
        outcome = Outcome(
            lease.delivery_id, lease.token, DeliveryState(state), code, due_at_ms=due_at_ms, alone=alone, chain=chain
        )
        recorded = self.ledger.record_outcomes(session, [outcome], self.now_ms)
        assert recorded == ([lease.delivery_id] if holds else [])
        if holds:
            delivery.state, delivery.session, delivery.due_at_ms = state, None, due_at_ms
            delivery.alone, delivery.held_by, delivery.turned = alone, "", turned
            if turned and delivery.of.is_made:
                delivery.due_at_ms = 0
            self.settle(delivery.of)

    @rule(is_possible=st.booleans())
    def make_copy(self, is_possible: bool) -> None:
        """A worker makes the copy that some delivery waits for, or cannot."""
        worker = self.sessions[max(set(self.sessions) - self.voided)]
        waiting = [each for each in self.deliveries if each.state == "deferred" and each.turned]
        lease = self.ledger.claim_derivation(worker)
        if lease is None:
            assert all(each.of.is_made or each.of.state != "routed" for each in waiting)
            return
        (instance,) = (each for each in self.instances if each.instance_id == lease.instance.instance_id)
        served = [each for each in waiting if each.of is instance]
        assert served and instance.state == "routed" and lease.chain == EXPLICIT
        payload = PayloadFile(f"derived/{instance.seq}", 9, 9, b"d" * 16, CT, "1.2", EXPLICIT_LITTLE_ENDIAN)
        made = Derivation(EXPLICIT, payload if is_possible else None, "cannot be made")
        assert self.ledger.record_derivation(worker, lease, made, self.now_ms) is DerivationResult.RECORDED
        instance.is_made = instance.is_made or is_possible
        for each in served:
            if is_possible:
                each.due_at_ms = 0
            else:
                each.state, each.held_by, each.turned = "held", "transform", False

    # ── people and configuration ──────────────────────────────────────────────────────────────────────────────

    def _chosen(self, data: st.DataObject) -> tuple[InstanceFilter, list[ModelInstance], bool]:
        fewest = data.draw(st.sampled_from([1, 1, 1, 0]))  # an order about everything leaves little to happen after it
        ids = data.draw(st.sets(st.sampled_from([i.instance_id for i in self.instances]), min_size=fewest, max_size=3))
        chosen = [each for each in self.instances if not ids or each.instance_id in ids]
        return InstanceFilter(instance_ids=tuple(sorted(ids))), chosen, bool(ids)

    @precondition(lambda self: self.instances)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        which, chosen, _ = self._chosen(data)
        count, left = 0, self.claimed(chosen)
        for instance in chosen:
            for each in self.of(instance):
                if each.state in ("ready", "deferred"):
                    each.state, each.held_by, count = "held", "operator", count + 1
                    each.session = None
            if instance.state == "received" and instance.session is None:
                instance.state, count = "held", count + 1
        assert self.ledger.hold(which, "why", "me", self.now_ms) == ordered(count, {Left.CLAIMED: left})

    @precondition(lambda self: self.instances)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        which, chosen, by_name = self._chosen(data)
        count, left = 0, Counter[Left]()
        for instance in chosen:
            unsettled = any(each.state not in DONE for each in self.of(instance))
            if instance.state == "held" or (by_name and instance.state == "quarantined" and not unsettled):
                instance.state, instance.attempts, count = "received", min(instance.attempts, 1), count + 1
                instance.session = None
                for name in NAMES:
                    self.standing.pop((instance.instance_id, name), None)
                continue
            stopped = [each for each in self.of(instance) if each.state in ("held", "dead")]
            if instance.state == "quarantined" and not by_name:
                left[Left.QUARANTINED] += len(stopped) if unsettled else 1
            if instance.state != "routed" and not (by_name and instance.state == "quarantined"):
                continue
            for each in stopped:
                if not self.configured[each.destination]:
                    left[Left.UNCONFIGURED] += 1
                    continue
                if not by_name and self.overtaken(each):
                    left[Left.OVERTAKEN] += 1
                    continue
                each.state, each.held_by, each.session, each.alone = "ready", "", None, False
                instance.state, count = "routed", count + 1
        assert self.ledger.release(which, "me", self.now_ms) == ordered(count, left)

    @precondition(lambda self: self.instances)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        which, chosen, _ = self._chosen(data)
        count, left = 0, self.claimed(chosen)
        ended = [each for each in self.deliveries if each.of in chosen and each.state not in {*DONE, "leased"}]
        for each in ended:
            each.state = "cancelled"
        for instance in chosen:
            self.settle(instance)
            if instance.state in ("held", "quarantined"):
                instance.state, count = "settled", count + 1
        assert self.ledger.cancel(which, "why", "me", self.now_ms) == ordered(count + len(ended), {Left.CLAIMED: left})
        self.deliver_instead(ended, lambda each: each in chosen)

    @precondition(lambda self: self.instances)
    @rule(data=st.data(), names=st.sets(st.sampled_from(NAMES)))
    def resend(self, data: st.DataObject, names: set[str]) -> None:
        which, chosen, _ = self._chosen(data)
        names = {name for name in names if self.configured[name]}
        made: dict[str, list[str]] = {}
        for instance in chosen:
            if instance.state in ("routed", "settled"):
                delivered = {each.destination for each in self.of(instance) if each.state == "delivered"}
                wanted = names or {name for name in delivered if self.configured[name]}
                waiting = {each.destination for each in self.of(instance) if each.state in OPEN}
                made[instance.instance_id] = sorted(wanted - waiting)
        total = sum(len(each) for each in made.values())
        assert self.ledger.resend(which, sorted(names), "me", self.now_ms) == total
        for instance in chosen:
            if new := made.get(instance.instance_id):
                instance.state = "routed"
                self.learn(instance, [(name, "ready") for name in new], 0)

    @rule(names=st.sets(st.sampled_from(NAMES)), skipping=st.sets(st.sampled_from(NAMES)))
    def configure(self, names: set[str], skipping: set[str]) -> None:
        held = returned = 0
        for name in NAMES:
            if self.configured[name] and name not in names:
                for each in self.deliveries:
                    if each.destination == name and each.state in OPEN:
                        each.state, each.held_by, held = "held", "unconfigured", held + 1
            elif not self.configured[name] and name in names:
                for each in self.deliveries:
                    waits = each.state == "held" and each.held_by == "unconfigured" and each.of.state == "routed"
                    if each.destination == name and waits:
                        each.state, each.held_by, each.session, each.alone = "ready", "", None, False
                        returned += 1
            self.configured[name] = name in names
            self.skip[name] = name in names & skipping
        skip = {name: self.skip[name] for name in names}
        assert self.ledger.sync_destinations(skip, self.now_ms) == (held, returned)

    @rule(limit=st.integers(1, 3), finish=st.booleans())
    def purge(self, limit: int, finish: bool) -> None:
        items = self.ledger.begin_purge(self.now_ms, limit, self.now_ms)
        by_id = {each.instance_id: each for each in self.instances}
        left = [each for each in self.instances if each.state == "purging"][: max(1, limit // 2)]
        settled = sum(each.state == "settled" and not self.waits(each) for each in self.instances)
        assert [item.instance_id for item in items][: len(left)] == [each.instance_id for each in left]
        assert len(items) == len(left) + min(limit - len(left), settled)
        for item in items:
            assert by_id[item.instance_id].state in ("settled", "purging")
            by_id[item.instance_id].state = "purging"
        if finish:
            self.ledger.finish_purge([item.instance_id for item in items], self.now_ms)
            for item in items:
                by_id[item.instance_id].state = "purged"

    @rule()
    def checkpoint(self) -> None:
        self.ledger.checkpoint()

    # ── what must agree ───────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def states_agree(self) -> None:
        rows = self.ledger.list_instances(InstanceFilter(), 1_000_000)
        assert {row.instance_id: row.state.value for row in rows} == {i.instance_id: i.state for i in self.instances}
        deliveries = self.ledger.deliveries_of([each.instance_id for each in self.instances])
        assert {row.delivery_id: row.state.value for row in deliveries} == {
            each.delivery_id: each.state for each in self.deliveries
        }

    @invariant()
    def counters_agree(self) -> None:
        gauges = self.ledger.gauges()
        assert dict(gauges.instances) == Counter(InstanceState(each.state) for each in self.instances)
        depth = Counter((each.destination, DeliveryState(each.state)) for each in self.deliveries)
        assert dict(gauges.queue_depth) == depth
        assert (gauges.routing_since_ms is not None) == any(each.state == "received" for each in self.instances)
        assert set(gauges.queue_oldest_ms) == {each.destination for each in self.deliveries if each.state in OPEN}

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.ledger.check() == []


# What one finds in the logic, the other would too; each step of PostgreSQL's takes some ten times as long.
EXAMPLES = (
    {"sqlite": 400, "postgres": 400} if os.environ.get("GATEWAY_CHAOS") == "long" else {"sqlite": 50, "postgres": 15}
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", sorted(STORES))
def test_a_ledger_behaves_as_its_model(store: str) -> None:
    class Machine(LedgerModel):
        pass

    Machine.store = store
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[store],
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
