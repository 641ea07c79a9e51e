"""A study's page, and its instances. Of what it has many of, as many are looked at as there is a bound for."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from gateway.ledger import queries
from gateway.ledger.logic.look.paging import cursor, numbers, require_limit
from gateway.ledger.logic.look.search import rows_of
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import (
    COUNT_MAX,
    GROUPS_MAX,
    DecisionCount,
    InstanceBrief,
    InstancePage,
    SeriesRow,
    StudyDetail,
)
from gateway.model import Decision, DeliveryState, DuplicateKind, InstanceState

SQL = queries.load("look")
DECISIONS_MAX = 50


def study(tx: Transaction, study_key: int) -> StudyDetail | None:
    """See `LedgerLook.study`."""
    row = tx.execute(SQL["study"], {"study_key": study_key}).fetchone()
    if row is None:
        return None
    kinds = _of(tx, "kinds_of", study_key)
    states, decisions = Counter[str](), Counter[int]()
    for state, decision_key, _, _, count, _ in kinds:
        states[state] += count
        if decision_key is not None:
            decisions[decision_key] += count
    deliveries: defaultdict[str, dict[DeliveryState, int]] = defaultdict(dict)
    for name, state, count in _of(tx, "deliveries_of", study_key):
        deliveries[name][DeliveryState(state)] = count
    return StudyDetail(
        study=rows_of(tx, [row])[0],
        series=_series(tx, study_key),
        states={InstanceState(state): count for state, count in states.items()},
        deliveries=deliveries,
        length=sum(int(length) for *_, length in kinds),
        sources=tuple(sorted({source for _, _, source, *_ in kinds})),
        calling_ae_titles=tuple(sorted({title for _, _, _, title, *_ in kinds})),
        decisions=_decisions(tx, decisions),
        same_uid=tuple(key for (key,) in tx.execute(SQL["same_uid"], (row[1], study_key)).fetchall()),
    )


def _decisions(tx: Transaction, counts: Counter[int]) -> tuple[DecisionCount, ...]:
    """The decisions that were made most often."""
    most = dict(counts.most_common(DECISIONS_MAX))
    rows = tx.execute(SQL["decisions"], (json.dumps(list(most)),)).fetchall()
    found = [DecisionCount(decision_of(row), most[row[6]]) for row in rows]
    return tuple(sorted(found, key=lambda each: -each.instances))


def decision_of(row: Sequence[Any]) -> Decision:
    """A decision from its columns, which come first."""
    revision, tried, matched, destinations, hold, discard = row[:6]
    return Decision(revision, tried, tuple(json.loads(matched)), tuple(json.loads(destinations)), hold, discard)


def _of(tx: Transaction, statement: str, study_key: int) -> list[Sequence[Any]]:
    """The rows of a statement about the instances of a study."""
    arguments = {"study_key": study_key, "most": COUNT_MAX}
    return tx.execute(SQL[statement].replace("{of}", SQL["of_study"]), arguments).fetchall()


def _series(tx: Transaction, study_key: int) -> tuple[SeriesRow, ...]:
    arguments = {"study_key": study_key, "most": COUNT_MAX + 1, "limit": GROUPS_MAX}
    rows = [
        SeriesRow(key, uid, number, description, modality, min(count, COUNT_MAX), count > COUNT_MAX)
        for key, uid, number, description, modality, count in tx.execute(SQL["series"], arguments).fetchall()
    ]
    return tuple(sorted(rows, key=lambda row: (_number(row.series_number), row.series_key)))


def _number(text: str) -> float:
    """An Integer String for sorting; what is none comes last."""
    try:
        return float(int(text))
    except ValueError:
        return float("inf")


def instances(tx: Transaction, study_key: int, limit: int, after: str) -> InstancePage:
    """See `LedgerLook.study_instances`. One series after the other, which its index has in order of arrival."""
    require_limit(limit)
    after_series, after_seq = numbers(after, 0, 0)
    found: list[InstanceBrief] = []
    ends: list[str] = []
    for series_key, uid, _ in tx.execute(SQL["series_keys"], {"study_key": study_key}).fetchall():
        if series_key < after_series:
            continue
        behind = after_seq if series_key == after_series else 0
        arguments = {"series_key": series_key, "after_seq": behind, "limit": limit + 1 - len(found)}
        for seq, *row in tx.execute(SQL["instances_of_series"], arguments).fetchall():
            found.append(_brief(row, series_key, uid))
            ends.append(cursor(series_key, seq))
        if len(found) > limit:
            return InstancePage(tuple(found[:limit]), ends[limit - 1])
    return InstancePage(tuple(found), "")


def _brief(row: Sequence[Any], series_key: int, series_instance_uid: str) -> InstanceBrief:
    instance_id, number, sop_class, sop_instance, syntax, length, state, reason, duplicate, source, title, at_ms = row
    return InstanceBrief(
        instance_id=instance_id,
        series_key=series_key,
        series_instance_uid=series_instance_uid,
        instance_number=number,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        transfer_syntax_uid=syntax,
        length=length,
        state=InstanceState(state),
        reason=reason,
        duplicate=DuplicateKind(duplicate),
        source=source,
        calling_ae_title=title,
        received_at_ms=at_ms,
    )
