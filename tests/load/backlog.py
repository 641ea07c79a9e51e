"""A ledger with many deliveries waiting, filled through `gateway.ledger` while no gateway runs on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Arrival, AssociationFacts, Decision, Role, Routing, StudyFacts

BATCH = 1000
CHECKPOINT_EVERY = 20_000
INSTANCES_A_STUDY = 500


NO_FILE = Arrival(
    instance_id=f"{0:032x}",
    path=f"incoming/00000000-0000/000000/{0:032x}.dcm",
    offset=1200,
    length=525_000,
    checksum=bytes(16),
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="2.25.0",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    received_at_ms=0,
    facts=AssociationFacts("", "main", "loopback", "BACKLOG", "GATEWAY", "127.0.0.1"),
)


def fill(ledger_path: Path, destinations: Sequence[str], waiting: int, spooled: Arrival = NO_FILE) -> None:
    """Have `waiting` deliveries more, spread evenly over the destinations.

    :param spooled: whose file in the spool they share. By default there is none, so that nothing can be delivered.
    """
    ledger = SqliteLedger.open(ledger_path)
    now_ms = time.time_ns() // 1_000_000
    ledger.sync_destinations(dict.fromkeys(destinations, False), now_ms)
    worker = ledger.open_session(Role.WORKER, "backlog", 1, now_ms)
    decision = Decision("backlog", 1, ("everything",), tuple(destinations))
    left = waiting // len(destinations)
    while left:
        numbers = range(left - min(BATCH, left), left)
        ledger.record_arrivals([_arrival(spooled, number, now_ms) for number in numbers], now_ms)
        leases = ledger.claim_instances(worker, BATCH, now_ms)
        routings = [Routing(lease.instance_id, decision, _study(lease.instance_id), 0) for lease in leases]
        ledger.record_routings(worker, routings, now_ms)
        left -= len(numbers)
        if left % CHECKPOINT_EVERY == 0:
            ledger.checkpoint()
    ledger.void_session(worker.session_id, now_ms)
    ledger.close()


def _arrival(spooled: Arrival, number: int, now_ms: int) -> Arrival:
    return spooled._replace(
        instance_id=f"{number:032x}",
        sop_instance_uid=f"2.25.{10**37 + number}",
        received_at_ms=now_ms,
        facts=spooled.facts._replace(association_id=f"{number // 500:016x}"),
    )


def _study(instance_id: str) -> StudyFacts:
    number = int(instance_id, 16)
    study = number // INSTANCES_A_STUDY
    return StudyFacts(
        patient_id=f"P{study}",
        patient_name=f"NAME^{study}",
        issuer_of_patient_id="",
        accession_number=f"A{study}",
        study_instance_uid=f"1.2.3.{study}",
        study_date="20260101",
        study_description="CHEST",
        series_instance_uid=f"1.2.3.{study}.1",
        series_number="1",
        series_description="AXIAL",
        modality="CT",
        instance_number=str(number % INSTANCES_A_STUDY),
    )
