"""Workers, forwarders and the keepers of several hosts at once on PostgreSQL: every instance is told once."""

from __future__ import annotations

import threading
from collections import Counter

from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.trail import TrailHead, TransferTold
from gateway.model import DeliveryState, Outcome, Role, Routing, StudyFacts
from tests.contract.ledger_scene import arrival, decision
from tests.harness.ledgers import postgres_url

COUNT = 240
ANNA = StudyFacts(patient_id="P1", study_instance_uid="1.2.3", series_instance_uid="1.2.3.1")


def test_every_instance_is_told_once_whoever_writes_beside_whom() -> None:
    url = postgres_url()
    first = PostgresLedger.open(url)
    first.sync_destinations({"pacs": False, "dr": False}, 1)
    first.record_arrivals([arrival(f"i{number:03}") for number in range(COUNT)], 1)
    told: Counter[tuple[str, str]] = Counter()
    counting, failures, over = threading.Lock(), list[BaseException](), threading.Event()

    def route() -> None:
        ledger = PostgresLedger.open(url)
        session = ledger.open_session(Role.WORKER, "host", 1, 1)
        while leases := ledger.claim_instances(session, 6, 2):
            routings = [Routing(lease.instance_id, decision("pacs", "dr"), ANNA) for lease in leases]
            ledger.record_routings(session, routings, 2)
        ledger.close()

    def deliver(destination: str) -> None:
        ledger = PostgresLedger.open(url)
        session = ledger.open_session(Role.FORWARDER, "host", 1, 1)
        done = 0
        while done < COUNT:
            leases = ledger.claim_deliveries(session, destination, 5, 3)
            ends = [Outcome(each.delivery_id, each.token, DeliveryState.DELIVERED, "success") for each in leases]
            done += len(ledger.record_outcomes(session, ends, 3))
        ledger.close()

    def keep(home: str) -> None:
        ledger = PostgresLedger.open(url)
        session = ledger.open_session(Role.CONSOLE, home, 1, 1, home=home)
        while True:
            last = over.is_set()
            untold = ledger.take_untold(session, 10, quiet_ms=0, late_ms=0, limit=3)
            if untold is not None:
                with counting:
                    for each in untold.told:
                        assert isinstance(each, TransferTold)
                        told[each.movement.value, each.destination] += sum(each.instances.values())
                assert ledger.told(session, untold.batch, TrailHead(1, "", 1))
            elif last:
                break
        ledger.close()

    def guarded(work: object, *given: str) -> None:
        try:
            work(*given)  # type: ignore[operator]
        except BaseException as error:  # told by the test
            failures.append(error)

    keepers = [threading.Thread(target=guarded, args=(keep, home)) for home in ("one", "other")]
    workers = [threading.Thread(target=guarded, args=(route,)) for _ in range(2)]
    forwarders = [threading.Thread(target=guarded, args=(deliver, name)) for name in ("pacs", "dr")]
    for thread in (*keepers, *workers, *forwarders):
        thread.start()
    for thread in (*workers, *forwarders):
        thread.join(60)
    over.set()
    for thread in keepers:
        thread.join(60)
    assert failures == []
    expected = [("in", ""), *((what, name) for what in ("begin", "out") for name in ("pacs", "dr"))]
    assert told == dict.fromkeys(expected, COUNT)
    assert first.check() == []
    first.close()
