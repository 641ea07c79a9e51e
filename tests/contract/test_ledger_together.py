"""Many processes at once on one ledger, each with a connection of its own: whatever they do to each other's rows, in
the end everything is settled, every counter is right, and no two versions of an instance were ever in flight together.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.errors import LeaseLost
from gateway.ledger.base import InstanceFilter, Ledger
from gateway.model import DeliveryLease, DeliveryState, InstanceState, Outcome, Role, Routing, Session, StudyFacts
from tests.contract.ledger_scene import Opener, arrival, decision

ARRIVALS, UIDS = 40, 12  # of a receiver, in batches; how many SOP Instance UIDs all of them share
DESTINATIONS = {"pacs": False, "dr": True}  # name -> whether exact duplicates are skipped
DELIVERED, DEFERRED, HELD = DeliveryState.DELIVERED, DeliveryState.DEFERRED, DeliveryState.HELD


class Site:
    """What all threads share: a clock, what is in flight, and what went wrong."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.finished = threading.Event()
        self.in_flight: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []
        self._mutex = threading.Lock()
        self._now_ms = 1_000_000

    def now_ms(self) -> int:
        with self._mutex:
            self._now_ms += 1
            return self._now_ms

    def takes_off(self, leases: list[DeliveryLease]) -> None:
        with self._mutex:
            for lease in leases:
                key = lease.destination, lease.payload.sop_instance_uid
                self.in_flight[key] += 1
                if self.in_flight[key] > 1:
                    self.wrong.append(f"{key} is in flight twice")

    def lands(self, leases: list[DeliveryLease]) -> None:
        with self._mutex:
            for lease in leases:
                self.in_flight[lease.destination, lease.payload.sop_instance_uid] -= 1


def receive(site: Site, ledger: Ledger, chance: random.Random, name: str) -> None:
    for number in range(ARRIVALS):
        batch = [
            arrival(
                f"{name}-{number}-{each}",
                f"1.2.{chance.randrange(UIDS)}" if chance.random() < 0.5 else "",
                chance.choice([b"first", b"second"]),
            )
            for each in range(chance.randint(1, 4))
        ]
        ledger.record_arrivals(batch, site.now_ms())


def route(site: Site, ledger: Ledger, chance: random.Random, name: str) -> None:
    session = ledger.open_session(Role.WORKER, name, 1, site.now_ms())
    while not site.finished.is_set():
        leases = ledger.claim_instances(session, chance.randint(1, 8), site.now_ms())
        if leases and chance.random() < 0.1:
            ledger.void_session(session.session_id, site.now_ms())
            session = ledger.open_session(Role.WORKER, name, 1, site.now_ms())
        routings = [Routing(lease.instance_id, decision("pacs", "dr"), StudyFacts(patient_id=name)) for lease in leases]
        ledger.record_routings(session, routings, site.now_ms())
        if not leases:
            site.finished.wait(0.005)


def forward(site: Site, ledger: Ledger, chance: random.Random, name: str) -> None:
    session = ledger.open_session(Role.FORWARDER, name, 1, site.now_ms())
    flying: deque[list[DeliveryLease]] = deque()
    while flying or not site.finished.is_set():
        leases: list[DeliveryLease] = []
        if not site.finished.is_set():
            destination = chance.choice(sorted(DESTINATIONS))
            leases = ledger.claim_deliveries(session, destination, chance.randint(1, 8), site.now_ms())
            site.takes_off(leases)
            flying.append(leases)
        if len(flying) > 3 or not leases:
            landing = flying.popleft()
            site.lands(landing)  # what is over for us is over before the ledger may give it to somebody else
            conclude(site, ledger, session, landing, chance)
        if chance.random() < 0.03:
            for landing in flying:
                site.lands(landing)
            flying.clear()
            ledger.void_session(session.session_id, site.now_ms())
            session = ledger.open_session(Role.FORWARDER, name, 1, site.now_ms())
        if not leases:
            site.finished.wait(0.002)


def conclude(site: Site, ledger: Ledger, session: Session, leases: list[DeliveryLease], chance: random.Random) -> None:
    """Each lease ends in some way."""
    back, kept = leases[::5], [lease for index, lease in enumerate(leases) if index % 5]
    states = chance.choices([DELIVERED, DEFERRED, HELD], [8, 2, 1], k=len(kept))
    outcomes = [
        Outcome(lease.delivery_id, lease.token, state, "test", due_at_ms=site.now_ms())
        for lease, state in zip(kept, states, strict=True)
    ]
    ledger.record_outcomes(session, outcomes, site.now_ms())
    ledger.release_deliveries(session, back, site.now_ms())


def order(site: Site, ledger: Ledger, chance: random.Random, name: str) -> None:
    while not site.finished.wait(0.02):
        which = InstanceFilter(sop_instance_uid=f"1.2.{chance.randrange(UIDS)}")
        match chance.randrange(5):
            case 0:
                ledger.hold(which, "looked at", name, site.now_ms())
            case 1:
                ledger.release(which, name, site.now_ms())
            case 2:
                ledger.resend(which, [], name, site.now_ms())
            case 3:
                ledger.cancel(which, "wrong", name, site.now_ms())
            case _:
                items = ledger.begin_purge(site.now_ms() - 100, 3, site.now_ms())
                ledger.finish_purge([item.instance_id for item in items], site.now_ms())


def run(site: Site, work: Callable[[Site, Ledger, random.Random, str], None], name: str) -> None:
    ledger = site.opener()
    try:
        work(site, ledger, random.Random(name), name)
    except LeaseLost as error:
        site.wrong.append(f"{name}: {error}")
    finally:
        ledger.close()


def settle(ledger: Ledger, now_ms: Callable[[], int]) -> None:
    """What is left is routed, released and delivered, by one alone, until nothing more happens."""
    ledger.void_all(now_ms(), {})
    worker, forwarder = (ledger.open_session(role, "last", 1, now_ms()) for role in (Role.WORKER, Role.FORWARDER))
    ledger.release(InstanceFilter(), "last", now_ms())
    moved = True
    while moved:
        leases = ledger.claim_instances(worker, 100, now_ms())
        routings = [Routing(lease.instance_id, decision("pacs", "dr"), StudyFacts()) for lease in leases]
        moved = bool(ledger.record_routings(worker, routings, now_ms()))
        for name in DESTINATIONS:
            claimed = ledger.claim_deliveries(forwarder, name, 100, now_ms() + 100_000)
            outcomes = [Outcome(lease.delivery_id, lease.token, DELIVERED, "") for lease in claimed]
            moved |= bool(ledger.record_outcomes(forwarder, outcomes, now_ms()))
        moved |= bool(ledger.release(InstanceFilter(delivery_states=(HELD,)), "last", now_ms()).moved)


def test_whoever_writes_beside_whom_everything_is_settled_and_counted(opener: Opener) -> None:
    ledger = opener()
    site = Site(opener)
    ledger.sync_destinations(DESTINATIONS, site.now_ms())
    others = [(route, "w1"), (route, "w2"), (forward, "f1"), (forward, "f2"), (order, "o1")]
    with ThreadPoolExecutor(7) as pool:
        working = [pool.submit(run, site, work, name) for work, name in others]
        receiving = [pool.submit(run, site, receive, name) for name in ("r1", "r2")]
        try:
            for each in receiving:
                each.result()
        finally:
            site.finished.set()
        for each in working:
            each.result()
    assert site.wrong == []
    assert ledger.check() == []
    settle(ledger, site.now_ms)
    assert ledger.check() == []
    rows = ledger.list_instances(InstanceFilter(), 10_000)
    held = ledger.list_instances(InstanceFilter(delivery_states=(HELD,)), 10_000)
    waiting = [row.instance_id for row in rows if row.state in (InstanceState.RECEIVED, InstanceState.ROUTED)]
    assert waiting == [row.instance_id for row in held], "what is held is what a later version overtook"
    ledger.close()
