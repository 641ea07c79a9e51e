"""What happened to an instance or a study, in order, as far as the ledger knows: it keeps where each delivery stands,
and when it was made, released and last moved; not each try.

Of orders that name it those among the newest ORDERS_LOOKED_AT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.paging import anywhere
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import GROUPS_MAX, TIMELINE_MAX, Happening, Moment
from gateway.model import DeliveryState

SQL = queries.load("look")
ORDERS_LOOKED_AT = 100_000
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


def _names(tx: Transaction, of: str | int) -> set[tuple[str, str]]:
    """What an order may have called it, and in which field of its filter."""
    if isinstance(of, int):
        row = tx.execute(SQL["study"], {"study_key": of}).fetchone()
        named = (("study_instance_uid", row[1]), ("patient_id", row[2]), ("accession_number", row[5]))
        return {(field, name) for field, name in named if name}
    row = tx.execute(SQL["instance"], (text(of),)).fetchone()
    above = _names(tx, row[1]) if row[1] is not None else set()
    return {("instance_ids", text(of)), ("sop_instance_uid", row[3])} | above


def _orders(tx: Transaction, names: set[tuple[str, str]]) -> Iterator[Moment]:
    """Orders that name it: those that mean it by its state or its destination only are not among them.

    Looked for in one pass over the newest, as no index leads from a name to its orders.
    """
    arguments: dict[str, Any] = {"looked_at": ORDERS_LOOKED_AT, "limit": GROUPS_MAX}
    lettered = dict(zip(ascii_lowercase, sorted(names), strict=False))
    arguments |= {f"name_{letter}": _as_audited(*name) for letter, name in lettered.items()}
    where = " OR ".join(SQL["names"].replace("{letter}", letter) for letter in lettered) or "FALSE"
    for at_ms, actor, action, which, reason, count in tx.execute(
        SQL["orders_that_name"].replace("{where}", where), arguments
    ).fetchall():
        if _names_one_of(json.loads(which), names):
            yield Moment(at_ms, at_ms, Happening.ORDERED, count, reason=reason, actor=actor, action=action)


def _as_audited(field: str, name: str) -> str:
    """As it stands in the JSON of an order, whatever its case."""
    return anywhere(json.dumps(name) if field == "instance_ids" else json.dumps({field: name})[1:-1])


def _names_one_of(which: Mapping[str, Any], names: set[tuple[str, str]]) -> bool:
    given = {field: which.get(field, ()) for field, _ in names}
    return any(name in given[field] if field == "instance_ids" else name == given[field] for field, name in names)
