"""Destination rows: made equal to the configuration, and keeping what must outlive a process. Rows stay for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import LedgerError
from gateway.ledger import queries
from gateway.ledger.base import DERIVE
from gateway.ledger.logic import audit
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.moves import pick, start_picked, stop_picked
from gateway.ledger.logic.transaction import Transaction
from gateway.model import Breaker, DeliveryState, DestinationState, Owner
from gateway.reasons import UNCONFIGURED_REASON, Held

SQL = queries.load("destinations")


def sync(tx: Transaction, own: Mapping[str, bool], now_ms: int, home: str) -> tuple[int, int]:
    """See `Ledger.sync_destinations`.

    Deliveries that are leased are held too; if their outcome turns out to be `delivered`, it is still written.
    """
    skip_duplicates = {**_named_elsewhere(tx, home), **own}
    tx.execute(SQL["forget_named"], (home,))
    tx.executemany(SQL["name"], [{"home": home, "name": name, "skip": int(skip)} for name, skip in own.items()])
    rows = {row[0]: (bool(row[6]), bool(row[7])) for row in tx.execute(SQL["all"]).fetchall()}
    held = returned = 0
    for name, (configured, _) in rows.items():
        if configured and name not in skip_duplicates:
            tx.execute(SQL["unconfigure"], {"name": name, "now_ms": now_ms})
            pick(tx, SQL["pick_open"], {"name": name})
            held += stop_picked(tx, DeliveryState.HELD, Held.UNCONFIGURED, UNCONFIGURED_REASON, now_ms)
    for name, skip in skip_duplicates.items():
        before = rows.get(name)
        if before != (True, skip):
            tx.execute(SQL["configure"], {"name": name, "skip": skip, "now_ms": now_ms})
        if before is not None and not before[0]:
            pick(tx, SQL["pick_unconfigured"], {"name": name})
            returned += start_picked(tx, now_ms)
    return held, returned


def lapsed(tx: Transaction) -> dict[str, bool]:
    """What a home that runs names, and is not configured all the same: name → whether exact duplicates are skipped."""
    return {name: bool(skip) for name, skip in tx.execute(SQL["lapsed"])}


def restore(tx: Transaction, now_ms: int) -> int:
    """See `Ledger.restore_destinations`."""
    returned = 0
    for name, skip in lapsed(tx).items():
        tx.execute(SQL["configure"], {"name": name, "skip": int(skip), "now_ms": now_ms})
        pick(tx, SQL["pick_unconfigured"], {"name": name})
        returned += start_picked(tx, now_ms)
    return returned


def _named_elsewhere(tx: Transaction, home: str) -> dict[str, bool]:
    """What other homes have in their configurations, as far as any process of theirs is open."""
    return {name: bool(skip) for name, skip in tx.execute(SQL["named_elsewhere"], (home,))}


def states(tx: Transaction) -> list[DestinationState]:
    """See `Ledger.destinations`."""
    return [state_of(row) for row in tx.execute(SQL["all"])]


def state_of(row: Sequence[Any]) -> DestinationState:
    """A row of the `all` statement as a value."""
    name, breaker, window, paused, last_error, next_probe_at_ms, configured, _, owner, host, wanted_by = row
    return DestinationState(
        name,
        Breaker(breaker),
        window,
        bool(paused),
        last_error,
        next_probe_at_ms,
        bool(configured),
        owner=None if owner is None else Owner(owner, host),
        wanted_by=wanted_by,
    )


def save(
    tx: Transaction, name: str, breaker: str, window: float, last_error: str, next_probe_at_ms: int, now_ms: int
) -> None:
    """See `Ledger.save_destination`."""
    arguments = {
        "name": name,
        "breaker": Breaker(breaker).value,
        "window": window,
        "last_error": text(last_error),
        "next_probe_at_ms": next_probe_at_ms,
        "now_ms": now_ms,
    }
    if tx.execute(SQL["save"], arguments).rowcount != 1:
        raise LedgerError(f"destination {name!r} has no row: it was never configured")


def pause(tx: Transaction, name: str, paused: bool, actor: str, now_ms: int, reason: str) -> None:
    """See `Ledger.pause_destination`."""
    changed = tx.execute(SQL["pause"], {"name": name, "paused": paused, "now_ms": now_ms}).rowcount
    if changed != 1:
        raise LedgerError(f"destination {name!r} has no row: it was never configured")
    audit.write(tx, actor, "pause" if paused else "unpause", {"destination": name}, reason, changed, now_ms)


def probe(tx: Transaction, name: str, actor: str, now_ms: int, reason: str) -> bool:
    """See `Ledger.probe_destination`."""
    _key_of(tx, name)
    asked = tx.execute(SQL["ask_for_probe"], {"name": name, "now_ms": now_ms}).rowcount
    audit.write(tx, actor, "probe", {"destination": name}, reason, asked, now_ms)
    return bool(asked)


def try_now(tx: Transaction, name: str, actor: str, now_ms: int, reason: str) -> int:
    """See `Ledger.try_now`."""
    arguments = {"destination_key": _key_of(tx, name), "now_ms": now_ms, "derive": DERIVE}
    hastened = tx.execute(SQL["come_due"], arguments).rowcount
    tx.execute(SQL["ask_for_probe"], {"name": name, "now_ms": now_ms})
    audit.write(tx, actor, "retry", {"destination": name}, reason, hastened, now_ms)
    return hastened


def _key_of(tx: Transaction, name: str) -> int:
    key = tx.value(SQL["key"], (name,))
    if key is None:
        raise LedgerError(f"destination {name!r} has no row: it was never configured")
    return int(key)
