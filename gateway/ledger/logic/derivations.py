"""Payloads that transforms have to make again: lost from the spool, or not made before.

A forwarder that finds none defers its delivery with the code `derive`, which puts the payload here. A worker claims it
and makes it; then the deliveries that wait for it are due at once, or held with the reason why it cannot be made. They
come due by themselves after a while too, and are put here anew, so that nothing can wait for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gateway.dicom.recoding import split
from gateway.ledger import queries
from gateway.ledger.base import DerivationLease, DerivationResult
from gateway.ledger.logic import pseudonyms
from gateway.ledger.logic.moves import pick, stop_picked
from gateway.ledger.logic.routing import derive
from gateway.ledger.logic.sessions import require_open
from gateway.ledger.logic.transaction import Transaction
from gateway.model import AssociationFacts, DeliveryState, Derivation, InstanceLease, PayloadFile, Session
from gateway.reasons import Held

FORGOTTEN_AT_ONCE = 1_000

_SQL = queries.load("derivations")


def want(tx: Transaction, delivery_id: int) -> None:
    """A delivery was held because its payload has to be made again."""
    tx.execute(_SQL["want"], (delivery_id,))


def turn_to(tx: Transaction, delivery_id: int, seq: int, chain: str) -> None:
    """A deferred delivery is of another payload of its instance from now on: due at once where that is there."""
    derive(tx, seq, [Derivation(chain, None, again=True)])
    tx.execute(_SQL["turn_to"], {"delivery_id": delivery_id, "chain": chain})
    if not tx.value(_SQL["is_made"], (seq, chain)):
        want(tx, delivery_id)


def waiting_chains(tx: Transaction) -> list[str]:
    """See `Ledger.waiting_chains`."""
    return [chain for (chain,) in tx.execute(_SQL["waiting_chains"])]


def turn_chain(tx: Transaction, old: str, new: str, limit: int, now_ms: int) -> int:
    """See `Ledger.turn_chain`."""
    turned = pick(tx, _SQL["pick_of_chain"], {"chain": old, "limit": limit})
    if turned:
        tx.execute(_SQL["place_payloads"], {"chain": new})
        tx.execute(_SQL["turn_picked"], {"chain": new, "now_ms": now_ms})
    return turned


def turn_picked_back(tx: Transaction) -> None:
    """Picked deliveries of copies in another transfer syntax are of what these were made of."""
    for (chain,) in tx.execute(_SQL["picked_chains"]).fetchall():
        before, recoding = split(chain)
        if recoding is not None:
            arguments = {"chain": chain, "before": before}
            tx.execute(_SQL["place_payloads_before"], arguments)
            tx.execute(_SQL["turn_picked_back"], arguments)


def copies_of(tx: Transaction, instance_ids: Sequence[str]) -> set[str]:
    """See `Ledger.copies_of`."""
    return {path for (path,) in tx.execute(_SQL["copies_of"], (json.dumps(instance_ids),))}


def claim(tx: Transaction, session: Session) -> DerivationLease | None:
    """See `Ledger.claim_derivation`."""
    require_open(tx, session)
    for _ in range(FORGOTTEN_AT_ONCE):
        key = tx.execute(_SQL["next"]).fetchone()
        if key is None:
            return None
        seq, chain = key
        row = tx.execute(_SQL["wanted"], {"seq": seq, "chain": chain}).fetchone()
        if row is None:
            tx.execute(_SQL["forget"], key)  # nobody waits for it any more
            continue
        revision, failed, attempts, instance_id, _seq, received_at_ms = row[:6]
        payload, facts = PayloadFile(*row[6:13]), AssociationFacts(*row[13:])
        tx.execute(_SQL["lease"], (session.session_id, seq, chain))
        instance = InstanceLease(instance_id, seq, attempts + 1, received_at_ms, payload, facts)
        return DerivationLease(instance, chain, revision or "", bool(failed))
    return None


def record(
    tx: Transaction, session: Session, lease: DerivationLease, made: Derivation, now_ms: int
) -> DerivationResult:
    """See `Ledger.record_derivation`."""
    arguments = {"seq": lease.instance.seq, "chain": lease.chain, "session_id": session.session_id}
    if made.again:
        tx.execute(_SQL["give_back"], {**arguments, "now_ms": now_ms})
        return DerivationResult.LATER
    if not tx.execute(_SQL["end"], arguments).rowcount:
        return DerivationResult.LEASE_LOST
    if tx.value(_SQL["is_routed"], (lease.instance.seq,)) is None:
        return DerivationResult.UNWANTED
    pseudonyms.remember(tx, [made], now_ms)
    failed = derive(tx, lease.instance.seq, [made])
    pick(tx, _SQL["pick_waiting"], arguments)
    if failed:
        stop_picked(tx, DeliveryState.HELD, Held.TRANSFORM, failed[made.chain], now_ms)
    else:
        tx.execute(_SQL["become_due"], {"chain": made.chain, "now_ms": now_ms})
    return DerivationResult.RECORDED
