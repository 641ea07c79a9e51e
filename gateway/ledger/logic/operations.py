"""Operators' orders: hold, release, resend, cancel. Each is one transaction with its audit row, and fully durable.

What the contract leaves open:
  - a filter that speaks of deliveries (destination, delivery_states) moves deliveries only, no instance's own state;
  - nothing is released or sent to a destination that is not configured;
  - a quarantined instance that had been routed goes back to its deliveries when it is released by name; one that had
    not is routed anew;
  - a release starts a delivery's attempts and age afresh, and gives an instance's routing one counted attempt;
  - an exact duplicate that was skipped ends with the delivery that stood for it where a cancel means it too; as it has
    no delivery of its own, what the filter says of states and destinations is true of it as of that delivery;
  - what is released or sent again goes as it would have gone first: of a copy in another transfer syntax what that was
    made of, as the destination may take now what it did not;
  - a resend makes no second delivery beside one that is still open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.dicom.recoding import split
from gateway.errors import LedgerError
from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter, Left, Ordered
from gateway.ledger.logic import audit
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.derivations import turn_picked_back
from gateway.ledger.logic.duplicates import deliver_instead
from gateway.ledger.logic.moves import end_waits_for_picked, pick, route_owners, start_picked, stop_picked
from gateway.ledger.logic.routing import derive, insert_delivery
from gateway.ledger.logic.trail import studies_of_picked
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.logic.which import Which
from gateway.model import DeliveryState, Derivation, InstanceState
from gateway.reasons import Held

_SQL = queries.load("operations")


def hold(tx: Transaction, which: InstanceFilter, reason: str, actor: str, now_ms: int) -> Ordered:
    """See `Ledger.hold`."""
    wanted, why = Which(which), text(reason)
    claimed = _pick_deliveries(tx, wanted, "that_are_claimed")
    _pick_deliveries(tx, wanted, "that_wait")
    studies = Counter(studies_of_picked(tx, "deliveries"))
    count = stop_picked(tx, DeliveryState.HELD, Held.OPERATOR, why, now_ms)
    if not wanted.names_deliveries:
        _pick_instances(tx, wanted.instance_itself(), "that_are_received", wanted.arguments)
        studies.update(studies_of_picked(tx, "instances"))
        count += _move_instances(tx, "hold_instances", InstanceState.HELD, {"reason": why})
    audit.write(tx, actor, "hold", wanted.as_audited, reason, count, now_ms, studies)
    return _ordered(count, {Left.CLAIMED: claimed})


def release(tx: Transaction, which: InstanceFilter, actor: str, now_ms: int, reason: str = "") -> Ordered:
    """See `Ledger.release`."""
    wanted = Which(which)
    by_name = wanted.names_instances and not wanted.names_deliveries
    count = 0
    studies: Counter[int] = Counter()
    if not wanted.names_deliveries:
        count += _receive(tx, wanted, "that_are_held", studies)
    if by_name:  # first those with nothing to go back to: what is released below makes its instance routed
        count += _receive(tx, wanted, "that_are_quarantined", studies)
    left = {Left.QUARANTINED: 0 if by_name else _quarantined(tx, wanted)}
    stopped = ("that_are_stopped", "of_what_is_routed_or_quarantined" if by_name else "of_what_is_routed")
    left[Left.UNCONFIGURED] = _pick_deliveries(tx, wanted, *stopped, "to_what_is_not_configured")
    meant = picked = _pick_deliveries(tx, wanted, *stopped, "to_what_is_configured")
    if not wanted.names_instances:
        picked = _pick_deliveries(tx, wanted, *stopped, "to_what_is_configured", "that_no_later_version_overtook")
    left[Left.OVERTAKEN] = meant - picked
    studies.update(studies_of_picked(tx, "deliveries"))
    turn_picked_back(tx)
    count += start_picked(tx, now_ms)
    route_owners(tx, InstanceState.QUARANTINED)
    audit.write(tx, actor, "release", wanted.as_audited, reason, count, now_ms, studies)
    return _ordered(count, left)


def resend(
    tx: Transaction,
    which: InstanceFilter,
    destinations: Sequence[str],
    actor: str,
    now_ms: int,
    in_force: Callable[[str], str] = str,
    reason: str = "",
) -> int:
    """See `Ledger.resend`. Raises `LedgerError` for a destination that is not configured."""
    wanted = Which(which)
    keys: list[int] = []
    for name in dict.fromkeys(destinations):
        key = tx.value(_SQL["configured"], (name,))
        if key is None:
            raise LedgerError(f"destination {name!r} is not configured: nothing was sent again")
        keys.append(key)
    _pick_instances(tx, wanted.instance_with_delivery(), "that_can_be_sent", wanted.arguments)
    studies = studies_of_picked(tx, "instances")
    # From now on there can be two deliveries of one instance to one destination: they have to keep their order.
    tx.execute(_SQL["become_twins_deliveries"])
    tx.execute(_SQL["become_twins_instances"])
    count = 0
    for seq, first_seq in tx.execute(_SQL["picked_to_send"]).fetchall():
        count += _send_again(tx, seq, first_seq, keys, now_ms, in_force)
    filtered = {**wanted.as_audited, "to": list(destinations)}
    audit.write(tx, actor, "resend", filtered, reason, count, now_ms, studies)
    return count


def cancel(tx: Transaction, which: InstanceFilter, reason: str, actor: str, now_ms: int) -> Ordered:
    """See `Ledger.cancel`."""
    wanted, why = Which(which), text(reason)
    claimed = _pick_deliveries(tx, wanted, "that_are_claimed")
    _pick_deliveries(tx, wanted, "that_are_not_settled")
    studies = Counter(studies_of_picked(tx, "deliveries"))
    count = stop_picked(tx, DeliveryState.CANCELLED, Held.OPERATOR, why, now_ms)
    deliver_instead(tx, now_ms, unless=wanted.instance_in_any_state(), arguments=wanted.arguments)
    end_waits_for_picked(tx, now_ms)
    if not wanted.names_deliveries:
        _pick_instances(tx, wanted.instance_itself(), "that_are_held_or_quarantined", wanted.arguments)
        studies.update(studies_of_picked(tx, "instances"))
        arguments = {"reason": f"cancelled: {why}", "now_ms": now_ms}
        count += _move_instances(tx, "settle_instances", InstanceState.SETTLED, arguments)
    audit.write(tx, actor, "cancel", wanted.as_audited, reason, count, now_ms, studies)
    return _ordered(count, {Left.CLAIMED: claimed})


def _ordered(moved: int, left: Mapping[Left, int]) -> Ordered:
    return Ordered(moved, {why: count for why, count in left.items() if count})


def _quarantined(tx: Transaction, wanted: Which) -> int:
    """How many stopped deliveries of quarantined instances an order means, and such instances without any."""
    count = _pick_deliveries(tx, wanted, "that_are_stopped", "of_what_is_quarantined")
    if not wanted.names_deliveries:
        count += _pick_instances(tx, wanted.instance_itself(), "that_are_quarantined", wanted.arguments)
    return count


def _pick_deliveries(tx: Transaction, wanted: Which, *conditions: str) -> int:
    where = " AND ".join(["WHERE TRUE", wanted.instance(), wanted.delivery(), *(_SQL[each] for each in conditions)])
    return pick(tx, f"{_SQL['pick_deliveries']} {where}", wanted.arguments)


def _pick_instances(tx: Transaction, which: str, condition: str, arguments: Mapping[str, Any]) -> int:
    return pick(tx, f"{_SQL['pick_instances']} WHERE {which} AND {_SQL[condition]}", arguments)


def _receive(tx: Transaction, wanted: Which, condition: str, studies: Counter[int]) -> int:
    _pick_instances(tx, wanted.instance_itself(), condition, wanted.arguments)
    studies.update(studies_of_picked(tx, "instances"))
    tx.execute(_SQL["forget_skipped"])  # its new routing says where something stands for it
    return _move_instances(tx, "receive_instances", InstanceState.RECEIVED, {})


def _move_instances(tx: Transaction, statement: str, state: InstanceState, arguments: Mapping[str, Any]) -> int:
    total = 0
    for from_state, count in tx.execute(_SQL["count_picked_instances"]).fetchall():
        tx.count_instances(from_state, -count)
        tx.count_instances(state.value, count)
        total += count
    tx.execute(_SQL[statement], arguments)
    return total


def _send_again(
    tx: Transaction, seq: int, first_seq: int, keys: Sequence[int], now_ms: int, in_force: Callable[[str], str]
) -> int:
    open_keys: set[int] = set()
    delivered: list[int] = []
    for key, configured, was_delivered, is_open in tx.execute(_SQL["destinations_of"], (seq,)).fetchall():
        if is_open:
            open_keys.add(key)
        if configured and was_delivered:
            delivered.append(key)
    made = [key for key in (keys or delivered) if key not in open_keys]
    for key in made:
        last = tx.value(_SQL["last_chain"], {"seq": seq, "destination_key": key})
        chain = in_force(split(last)[0])
        if chain != last:
            derive(tx, seq, [Derivation(chain, None, again=True)])
        insert_delivery(tx, seq, key, chain, "", 0, first_seq, now_ms)
    if made and tx.execute(_SQL["route_one"], (seq,)).rowcount:
        tx.count_instances(InstanceState.SETTLED.value, -1)
        tx.count_instances(InstanceState.ROUTED.value, 1)
    return len(made)
