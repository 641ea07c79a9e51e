"""What happened to an instance or a study, in order, as far as the ledger knows: it keeps where each delivery stands,
and when it was made, released and last moved; not each try."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.paging import EVER, anywhere
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import GROUPS_MAX, TIMELINE_MAX, Happening, Moment
from gateway.model import DeliveryState

SQL = queries.load("look")
_MADE = {"routed": Happening.ROUTED, "sent again": Happening.SENT_AGAIN, "released": Happening.RELEASED}
_MOVED = {
    DeliveryState.READY: Happening.TRIED,
    DeliveryState.LEASED: Happening.TRIED,
    DeliveryState.DEFERRED: Happening.TRIED,
    DeliveryState.DELIVERED: Happening.DELIVERED,
    DeliveryState.HELD: Happening.STOPPED,
    DeliveryState.DEAD: Happening.STOPPED,
    DeliveryState.CANCELLED: Happening.CANCELLED,
}
_RANK = {each: rank for rank, each in enumerate(Happening)}


def timeline(tx: Transaction, of: str | int) -> list[Moment]:
    """See `LedgerLook.timeline`."""
    if isinstance(of, str):
        instances = SQL["of_instance"]
        arguments: dict[str, Any] = {"instance_id": text(of), "most": 1}
    else:
        instances, arguments = SQL["of_study"], {"study_key": of, "most": TIMELINE_MAX}
    moments = list(_of_instances(tx, instances, arguments))
    if not moments:
        return []
    rows = tx.execute(
        SQL["moments_of_deliveries"].replace("{of}", instances), {**arguments, "groups": GROUPS_MAX}
    ).fetchall()
    moments += [_of_delivery(row) for row in rows]
    moments += _orders(tx, _names(tx, of))
    return sorted(moments, key=_in_order)[:GROUPS_MAX]


def _in_order(moment: Moment) -> tuple[int, int, str, int]:
    return moment.at_ms, _RANK[moment.what], moment.destination, moment.until_ms


def _of_instances(tx: Transaction, instances: str, arguments: dict[str, Any]) -> Iterator[Moment]:
    row = tx.execute(SQL["moments_of_instances"].replace("{of}", instances), arguments).fetchone()
    count, received, received_last, recorded, recorded_last, settled_count, settled, settled_last = row
    if count:
        yield Moment(received, received_last, Happening.RECEIVED, count)
        yield Moment(recorded, recorded_last, Happening.RECORDED, count)
    if settled_count:
        yield Moment(settled, settled_last, Happening.SETTLED, settled_count)


def _of_delivery(row: Sequence[Any]) -> Moment:
    what, destination, state, code, reason, count, at_ms, until_ms = row
    happening = _MADE.get(what) or _MOVED[DeliveryState(state)]
    return Moment(at_ms, until_ms, happening, count, destination, state, code, reason)


def _names(tx: Transaction, of: str | int) -> set[str]:
    """What an order may have called it."""
    if isinstance(of, int):
        row = tx.execute(SQL["study"], {"study_key": of}).fetchone()
        return {each for each in (row[1], row[2], row[5]) if each}
    row = tx.execute(SQL["instance"], (text(of),)).fetchone()
    return {text(of), row[3]} | (_names(tx, row[1]) if row[1] is not None else set())


def _orders(tx: Transaction, names: set[str]) -> Iterator[Moment]:
    """Orders that name it: those that mean it by its state or its destination only are not among them."""
    seen: set[int] = set()
    statement = SQL["orders"].replace("{where}", SQL["about"])
    for name in sorted(names):
        # As it stands in the JSON of an order.
        arguments = {"before_key": EVER, "limit": GROUPS_MAX, "about": anywhere(json.dumps(name))}
        for key, at_ms, actor, action, _, reason, count in tx.execute(statement, arguments).fetchall():
            if key not in seen:
                seen.add(key)
                yield Moment(at_ms, at_ms, Happening.ORDERED, count, reason=reason, actor=actor, action=action)
