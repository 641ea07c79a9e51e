"""Processes for the ledger's tests: one that writes until it is killed, and one that fights for the lock.

    python -m tests.unit.ledger_processes write FOLDER SEED
    python -m tests.unit.ledger_processes contend FOLDER SECONDS
    python -m tests.unit.ledger_processes hold FOLDER

`write` prints one line for each batch after its commit: the instance_ids recorded, then those concluded.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from pathlib import Path

from gateway.ledger.sqlite import SqliteLedger
from gateway.model import DeliveryState, Outcome, Role, Routing, Session, StudyFacts
from tests.contract.ledger_scene import arrival, decision


def write(folder: Path, seed: int) -> None:
    """Record, route and deliver batches, telling each commit."""
    chance = random.Random(seed)
    ledger = SqliteLedger.open(folder / "ledger.db")
    session = ledger.open_session(Role.WORKER, "host", 1, 0)
    for number in itertools.count():
        ids = [f"{seed}-{number}-{each}" for each in range(chance.randint(1, 20))]
        uids = [chance.choice(["1.9", f"1.2.{each}"]) for each in ids]
        ledger.record_arrivals([arrival(each, uid) for each, uid in zip(ids, uids, strict=True)], number)
        print("recorded", *ids, flush=True)
        print("concluded", *_deliver(ledger, session, chance, number), flush=True)
        if chance.random() < 0.1:
            ledger.checkpoint()
        for item in ledger.begin_purge(number, 3, number):
            ledger.finish_purge([item.instance_id], number)


def _deliver(ledger: SqliteLedger, session: Session, chance: random.Random, now_ms: int) -> list[str]:
    leases = ledger.claim_instances(session, 20, now_ms)
    routings = [Routing(each.instance_id, decision("pacs", "dr"), StudyFacts()) for each in leases]
    ledger.record_routings(session, routings, now_ms)
    concluded: list[str] = []
    for name in ("pacs", "dr"):
        claimed = ledger.claim_deliveries(session, name, 20, now_ms)
        states = [chance.choice([DeliveryState.DELIVERED, DeliveryState.DEFERRED, DeliveryState.HELD]) for _ in claimed]
        outcomes = [
            Outcome(each.delivery_id, each.token, state, "test", due_at_ms=now_ms + 1)
            for each, state in zip(claimed, states, strict=True)
        ]
        ledger.record_outcomes(session, outcomes, now_ms)
        concluded += [
            str(each.delivery_id) for each, state in zip(claimed, states, strict=True) if state == "delivered"
        ]
    return concluded


def contend(folder: Path, seconds: float) -> None:
    """Write as fast as the lock allows; print how often, and the longest wait in seconds."""
    ledger = SqliteLedger.open(folder / "ledger.db")
    session = ledger.open_session(Role.WORKER, "host", 1, 0)
    print("ready", flush=True)
    sys.stdin.readline()
    count, longest = 0, 0.0
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        ledger.record_arrivals([arrival(f"{session.session_id}-{count}-{each}") for each in range(20)], 0)
        longest = max(longest, time.monotonic() - start)
        count += 1
    print(count, longest, flush=True)


def hold(folder: Path) -> None:
    """Take the writers' lock, say so, and keep it until stdin ends."""
    ledger = SqliteLedger.open(folder / "ledger.db")

    def keep(_: object) -> None:
        print("held", flush=True)
        sys.stdin.read()

    ledger._database.write(keep)


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    if command == "write":
        write(Path(where), int(rest[0]))
    elif command == "contend":
        contend(Path(where), float(rest[0]))
    else:
        hold(Path(where))
