"""A ledger under test, and short words for what happens to it.

`STORES` names each implementation and how to make an empty place for one; the suite runs on all of them. A place can
be opened several times, as several processes do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.ledger.base import InstanceFilter, InstanceRow, Ledger, RoutedInstance
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import (
    Arrival,
    AssociationFacts,
    Decision,
    DeliveryLease,
    DeliveryState,
    InstanceLease,
    InstanceState,
    Outcome,
    Role,
    Routing,
    Session,
    StudyFacts,
)
from tests.harness.ledgers import postgres_url

Opener = Callable[[], Ledger]

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
FACTS = AssociationFacts("association-1", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")


def sqlite_store(folder: Path) -> Opener:
    """A SQLite ledger in a folder."""
    return lambda: SqliteLedger.open(folder / "ledger.db", busy_timeout_s=5)


def postgres_store(folder: Path) -> Opener:
    """A PostgreSQL ledger in a database of its own."""
    url = postgres_url()
    return lambda: PostgresLedger.open(url)


STORES: dict[str, Callable[[Path], Opener]] = {"sqlite": sqlite_store, "postgres": postgres_store}


def arrival(
    instance_id: str,
    uid: str = "",
    content: bytes = b"content",
    facts: AssociationFacts = FACTS,
    transfer_syntax_uid: str = EXPLICIT_LITTLE_ENDIAN,
    received_at_ms: int = 1_000,
) -> Arrival:
    """An arrival whose SOP Instance UID, unless given, is its own."""
    return Arrival(
        instance_id=instance_id,
        path=f"incoming/generation/batch/{instance_id}.dcm",
        offset=1024,
        length=len(content),
        checksum=content.ljust(16, b"\0")[:16],
        sop_class_uid=CT,
        sop_instance_uid=uid or f"1.2.3.{instance_id}",
        transfer_syntax_uid=transfer_syntax_uid,
        received_at_ms=received_at_ms,
        facts=facts,
    )


def decision(*destinations: str, hold: str | None = None, discard: str | None = None) -> Decision:
    """A decision of rule `r` of revision `one`."""
    return Decision("one", 3, ("r",), destinations, hold, discard)


class Scene:
    """A ledger with a worker's and a forwarder's session and two destinations, and a clock in the test's hand."""

    def __init__(self, opener: Opener) -> None:
        self.opener = opener
        self.ledger = opener()
        self.now_ms = 1_000_000
        self.worker = self.session(Role.WORKER)
        self.forwarder = self.session(Role.FORWARDER)
        self.ledger.sync_destinations({"pacs": False, "dr": False}, self.now_ms)

    def session(self, role: Role = Role.FORWARDER, host: str = "host") -> Session:
        """Another process."""
        return self.ledger.open_session(role, host, 4711, self.now_ms)

    def arrive(self, *instance_ids: str, **like: object) -> None:
        """Arrivals, in this order."""
        self.ledger.record_arrivals([arrival(each, **like) for each in instance_ids], self.now_ms)  # type: ignore[arg-type]

    def claim_instances(self, limit: int = 100) -> list[InstanceLease]:
        """What the worker gets."""
        return self.ledger.claim_instances(self.worker, limit, self.now_ms)

    def route(self, what: Decision | None = None, priority: int = 0, study: StudyFacts | None = None) -> list[str]:
        """Claim and route whatever waits, until nothing does. Returns instance_ids in the order of the claims."""
        routed: list[str] = []
        while leases := self.claim_instances():
            routed += [result.instance_id for result in self.record(leases, what, priority, study)]
        return routed

    def record(
        self,
        leases: Sequence[InstanceLease],
        what: Decision | None = None,
        priority: int = 0,
        study: StudyFacts | None = None,
    ) -> list[RoutedInstance]:
        """Route what was claimed; to pacs, unless told otherwise."""
        routings = [
            Routing(lease.instance_id, what or decision("pacs"), study or StudyFacts(), priority) for lease in leases
        ]
        return self.ledger.record_routings(self.worker, routings, self.now_ms)

    def claim(self, destination: str = "pacs", limit: int = 100, session: Session | None = None) -> list[DeliveryLease]:
        """What a forwarder gets."""
        return self.ledger.claim_deliveries(session or self.forwarder, destination, limit, self.now_ms)

    def claimed(self, destination: str = "pacs", limit: int = 100) -> list[str]:
        """The instance_ids of what a forwarder gets."""
        return [lease.instance_id for lease in self.claim(destination, limit)]

    def conclude(
        self, *leases: DeliveryLease, state: DeliveryState = DeliveryState.DELIVERED, **also: object
    ) -> list[int]:
        """Record the same outcome for each lease."""
        outcomes = [Outcome(each.delivery_id, each.token, state, "success", **also) for each in leases]  # type: ignore[arg-type]
        return self.ledger.record_outcomes(self.forwarder, outcomes, self.now_ms)

    def row(self, instance_id: str) -> InstanceRow:
        """An instance as people see it."""
        return self.ledger.list_instances(InstanceFilter(instance_ids=(instance_id,)), 1)[0]

    def state(self, instance_id: str) -> InstanceState:
        """An instance's state."""
        return self.row(instance_id).state

    def deliveries(self, *instance_ids: str) -> list[tuple[str, str, str]]:
        """(instance_id, destination, state) of each delivery."""
        return [(row.instance_id, row.destination, row.state.value) for row in self.ledger.deliveries_of(instance_ids)]

    def close(self) -> None:
        """End of the test: whatever happened, the ledger finds nothing wrong with itself."""
        problems = self.ledger.check()
        self.ledger.close()
        assert problems == []
