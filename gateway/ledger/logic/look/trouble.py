"""What is held, dead or quarantined, by reason: found by going from one reason to the next in an index that is in their
order, so that 10^6 instances with one reason cost one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.base import InstanceFilter
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.paging import EVER, cursor, numbers, require_limit
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.logic.which import Which
from gateway.ledger.look import (
    COUNT_MAX,
    GROUPS_MAX,
    OPEN,
    REASON_MAX,
    Affected,
    Trouble,
    TroubleItem,
    TroubleKind,
    TroubleOf,
    TroublePage,
)
from gateway.model import DeliveryState, InstanceState
from gateway.reasons import Held, why_distrusted, why_unrouted

SQL = queries.load("look")
_ORDERS = queries.load("operations")
_INSTANCES = (TroubleKind.HELD, TroubleKind.QUARANTINED)
_STOPPED = frozenset({InstanceState.HELD, InstanceState.QUARANTINED})
_OF_THE_INDEX = " AND i.state IN ('held', 'quarantined')"
_FEW_OF = ("instance_ids", "patient_id", "accession_number", "study_instance_uid", "sop_instance_uid")


def attention(tx: Transaction) -> list[Trouble]:
    """See `LedgerLook.attention`."""
    found = [*_of_deliveries(tx), *_of_instances(tx)]
    return sorted(found, key=lambda each: -each.newest_ms)


def _of_deliveries(tx: Transaction) -> Iterator[Trouble]:
    left = {TroubleKind.HELD: GROUPS_MAX, TroubleKind.DEAD: GROUPS_MAX}
    for destination_key, name, state in tx.execute(SQL["stopped_counts"]).fetchall():
        kind, group = TroubleKind(state), {"destination_key": destination_key, "state": state}
        at = tx.execute(SQL["first_code"], group).fetchone()
        while at is not None and left[kind]:
            code, reason = at
            arguments = {**group, "code": code, "reason": reason}
            figures = tx.execute(SQL["stopped_deliveries"], {**arguments, "most": COUNT_MAX + 1}).fetchone()
            yield _trouble(kind, TroubleOf.DELIVERY, name, code, reason, figures, code == Held.OPERATOR)
            left[kind] -= 1
            at = tx.execute(SQL["next_reason"], arguments).fetchone()
            if at is None:
                at = tx.execute(SQL["next_code"], {**group, "code": code}).fetchone()


def _of_instances(tx: Transaction) -> Iterator[Trouble]:
    for kind in _INSTANCES:
        at = tx.execute(SQL["first_instance_reason"], {"state": kind.value}).fetchone()
        for _ in range(GROUPS_MAX):
            if at is None:
                break
            arguments = {"state": kind.value, "reason": at[0]}
            figures = tx.execute(SQL["stopped_instances"], {**arguments, "most": COUNT_MAX + 1}).fetchone()
            ours = why_unrouted(at[0]) if kind is TroubleKind.HELD else why_distrusted(at[0])
            by_person = ours is None and not tx.value(SQL["stopped_by_a_rule"], arguments)
            yield _trouble(kind, TroubleOf.INSTANCE, "", "", at[0], figures, by_person)
            at = tx.execute(SQL["next_instance_reason"], arguments).fetchone()


def _trouble(
    kind: TroubleKind,
    of: TroubleOf,
    destination: str,
    code: str,
    reason: str,
    figures: Sequence[int],
    by_person: bool,
) -> Trouble:
    count, oldest_ms, newest_ms = figures
    return Trouble(
        kind=kind,
        of=of,
        destination=destination,
        code=code,
        reason=reason,
        count=min(count, COUNT_MAX),
        more=count > COUNT_MAX,
        oldest_ms=oldest_ms,
        newest_ms=newest_ms,
        by_person=by_person,
    )


def items(
    tx: Transaction, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str
) -> TroublePage:
    """See `LedgerLook.attention_items`."""
    require_limit(limit)
    before_ms, before_key = numbers(after, EVER, EVER)
    arguments: dict[str, Any] = {
        "state": TroubleKind(kind).value,
        "reason": text(reason)[:REASON_MAX],
        "before_key": before_key,
        "limit": limit + 1,
    }
    if destination:
        arguments |= {"destination": text(destination), "code": text(code), "before_ms": before_ms}
    rows = tx.execute(SQL["items_of_deliveries" if destination else "items_of_instances"], arguments).fetchall()
    shown = rows[:limit]
    return TroublePage(tuple(TroubleItem(*row[:14]) for row in shown), cursor(*shown[-1][14:]) if shown != rows else "")


def affected(tx: Transaction, which: InstanceFilter) -> Affected:
    """See `LedgerLook.affected`."""
    wanted = Which(which)
    arguments = {**wanted.arguments, "most": COUNT_MAX + 1}
    of_instances, of_deliveries = wanted.instance_itself(), f"{wanted.instance()} AND {wanted.delivery()}"
    few = any(getattr(which, name) for name in _FEW_OF)
    if which.states and _STOPPED.issuperset(which.states):
        of_instances += _OF_THE_INDEX
        if not which.delivery_states:
            of_deliveries += _OF_THE_INDEX
            few = True
    instances: list[Sequence[Any]] | None = None
    if not wanted.names_deliveries:
        instances = tx.execute(SQL["affected_instances"].replace("{where}", of_instances), arguments).fetchall()
    statement = SQL["affected_of_instances"] if few else _of_stopped_and_waiting(which, wanted)
    deliveries = tx.execute(statement.replace("{where}", of_deliveries), arguments).fetchall()
    return Affected(
        instances=None if instances is None else {InstanceState(state): count for state, count in instances},
        deliveries={DeliveryState(state): count for state, count in deliveries},
        more=any(sum(count for _, count in rows) > COUNT_MAX for rows in (instances or (), deliveries)),
    )


def _of_stopped_and_waiting(which: InstanceFilter, wanted: Which) -> str:
    """What counts deliveries by the two indices of those that an order moves, as far as they are asked for."""
    states = which.delivery_states or tuple(DeliveryState)
    parts = [
        SQL[name]
        for name, those in (("waiting_deliveries", OPEN), ("those_stopped", (DeliveryState.HELD, DeliveryState.DEAD)))
        if not set(those).isdisjoint(states)
    ]
    join = "" if wanted.instance() == "TRUE" else SQL["with_instance"]
    deliveries = "\nUNION ALL\n".join(parts) or "SELECT '' AS state WHERE FALSE"
    return SQL["affected_of_deliveries"].replace("{deliveries}", deliveries).replace("{join}", join)


def sent_again(tx: Transaction, which: InstanceFilter) -> Affected:
    """See `LedgerLook.sent_again`."""
    wanted = Which(which)
    where = f"{wanted.instance_with_delivery()} AND {_ORDERS['that_can_be_sent']}"
    arguments = {**wanted.arguments, "most": COUNT_MAX + 1}
    rows = tx.execute(SQL["affected_instances"].replace("{where}", where), arguments).fetchall()
    counts = {InstanceState(state): count for state, count in rows}
    return Affected(counts, {}, sum(counts.values()) > COUNT_MAX)
