"""Studies that a search means, the newest row first.

Where an index leads to them (a patient ID, an accession number, a UID, states that few are in) it gives their keys.
Else the rows are walked through from the newest on, some thousand keys at a time, for as long as there is time: what
finds nothing among many studies gives a short page, and where to go on.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from gateway.ledger import queries
from gateway.ledger.logic.arrivals import text
from gateway.ledger.logic.look.paging import cursor, glob, is_wild, like, numbers, require_limit, require_short
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import COUNT_MAX, LOOKED_AT_MAX, StudyFilter, StudyPage, StudyRow
from gateway.model import DeliveryState, InstanceState

SQL = queries.load("look")
COUNTERS = queries.load("gauges")

FEW = 20_000  # of instances and deliveries in a state: studies are found by them, not looked at one by one
WIDE, NARROW = (20_000, 50_000), (500, 2_000)  # keys a step, at first and at most: by rows of studies, of instances
KEYS_A_STEP = 500
_BEGINS_A_WORD = r"(?:^|[\s^=.'\-])"
_SEPARATORS = re.compile(r"[\s^=,]+")
_STOPPED_INSTANCES = frozenset({InstanceState.HELD, InstanceState.QUARANTINED})
_STOPPED = frozenset({DeliveryState.HELD, DeliveryState.DEAD})
_WAITING = frozenset({DeliveryState.READY, DeliveryState.LEASED, DeliveryState.DEFERRED})
_BY_INDEX = frozenset(map(str, _STOPPED_INSTANCES | _STOPPED | _WAITING))

Accepts = Callable[[Sequence[Any]], bool]


class _Wanted(NamedTuple):
    """A filter as SQL, and what is looked at again in the rows that this finds."""

    where: str
    arguments: dict[str, Any]
    accepts: Accepts
    looks_at_instances: bool


def studies(tx: Transaction, which: StudyFilter, limit: int, after: str, has_time: Callable[[], bool]) -> StudyPage:
    """See `LedgerLook.studies`. `has_time`: whether to go on."""
    require_limit(limit)
    for value in (which.patient_id, which.patient_name, which.accession_number):
        require_short(value)
    (before_key,) = numbers(after, int(tx.value(SQL["newest_study"])) + 1)
    wanted = _wanted(which)
    keys = _keys(tx, which)
    steps = _walk(tx, wanted, before_key, limit) if keys is None else _visit(tx, wanted, keys, before_key)
    found: list[Sequence[Any]] = []
    for rows, before_key in steps:
        found += rows
        if len(found) > limit:
            return StudyPage(rows_of(tx, found[:limit]), cursor(found[limit - 1][0]))
        if before_key <= 1:
            break
        if not has_time():
            return StudyPage(rows_of(tx, found), cursor(before_key))
    return StudyPage(rows_of(tx, found), "")


def _walk(tx: Transaction, wanted: _Wanted, before_key: int, limit: int) -> Iterator[tuple[list[Sequence[Any]], int]]:
    """Rows step by step, and below which key there are more."""
    size, largest = NARROW if wanted.looks_at_instances else WIDE
    statement = SQL["studies"].replace("{window}", SQL["between_keys"]).replace("{where}", wanted.where)
    most = limit + 1 if wanted.accepts is _everything else max(limit + 1, KEYS_A_STEP)
    while before_key > 1:
        from_key = max(before_key - size, 1)
        window = {"from_key": from_key, "before_key": before_key, "limit": most}
        rows = tx.execute(statement, {**wanted.arguments, **window}).fetchall()
        if len(rows) == most:
            before_key = int(rows[-1][0])
        else:
            before_key, size = from_key, min(size * 2, largest)
        yield [row for row in rows if wanted.accepts(row)], before_key


def _visit(
    tx: Transaction, wanted: _Wanted, keys: Collection[int], before_key: int
) -> Iterator[tuple[list[Sequence[Any]], int]]:
    """The same for keys that are known."""
    statement = SQL["studies"].replace("{window}", SQL["of_keys"]).replace("{where}", wanted.where)
    left = sorted((key for key in keys if key < before_key), reverse=True)
    for start in range(0, len(left), KEYS_A_STEP):
        step = left[start : start + KEYS_A_STEP]
        window = {"keys": json.dumps(step), "before_key": before_key, "limit": KEYS_A_STEP}
        rows = tx.execute(statement, {**wanted.arguments, **window}).fetchall()
        is_last = start + KEYS_A_STEP >= len(left)
        yield [row for row in rows if wanted.accepts(row)], 0 if is_last else step[-1]


def _keys(tx: Transaction, which: StudyFilter) -> set[int] | None:
    """The keys of studies that an index leads to, as far as it does; None: no index does."""
    if which.uid:
        uid = {"uid": text(which.uid)}
        found = _column(tx, "keys_of_study", uid) | _column(tx, "keys_of_instance", uid)
        return found or _column(tx, "keys_of_series", uid)
    if which.accession_number and not is_wild(which.accession_number):
        return _column(tx, "keys_of_accession", {"accession_number": text(which.accession_number)})
    if which.patient_id and not is_wild(which.patient_id):
        return _column(tx, "keys_of_patient", {"patient_id": text(which.patient_id)})
    number = _number_in(tx, which.states) if which.states else None
    if number == 0:
        return set()
    if number is not None and number <= FEW and _BY_INDEX.issuperset(which.states):
        states = {"states": json.dumps(which.states)}
        return set().union(
            *(
                _column(tx, statement, states)
                for statement, those in (
                    ("keys_of_stopped", _STOPPED_INSTANCES),
                    ("keys_of_stopped_deliveries", _STOPPED),
                    ("keys_of_waiting_deliveries", _WAITING),
                )
                if not those.isdisjoint(which.states)
            )
        )
    return None


def _column(tx: Transaction, statement: str, arguments: dict[str, Any]) -> set[int]:
    return {int(key) for (key,) in tx.execute(SQL[statement], arguments).fetchall()}


def _number_in(tx: Transaction, states: Sequence[str]) -> int:
    """How many instances and deliveries are in these states, by the counters."""
    counts = [*tx.execute(COUNTERS["instances"]).fetchall(), *(row[1:] for row in tx.execute(COUNTERS["queue_depth"]))]
    return sum(int(count) for state, count in counts if state in states)


# ── a filter ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _wanted(which: StudyFilter) -> _Wanted:
    parts: list[str] = []
    arguments: dict[str, Any] = {}
    checks: list[Accepts] = []
    for name, value, column in (
        ("patient_id", text(which.patient_id), 2),
        ("accession_number", text(which.accession_number), 5),
    ):
        if is_wild(value):
            parts.append(SQL[f"{name}_like"])
            arguments[name] = like(value)
            checks.append(_whole(column, value))
        elif value:
            parts.append(SQL[name])
            arguments[name] = value
    if which.patient_name.strip():
        parts.append(SQL["patient_name_like"])
        arguments["patient_name"], check = _name(text(which.patient_name))
        checks.append(check)
    for name, value in (
        ("date_from", which.date_from),
        ("date_to", which.date_to),
        ("source", which.source),
        ("modality", which.modality.upper()),
    ):
        if value:
            parts.append(SQL[name])
            arguments[name] = text(value)
    if which.states:
        parts.append(_in_states(which.states))
        arguments["states"] = json.dumps([text(state) for state in which.states])
    accepts = (lambda row: all(check(row) for check in checks)) if checks else _everything
    return _Wanted(" AND ".join(parts) or "TRUE", arguments, accepts, bool(which.states or which.source))


def _in_states(states: Sequence[str]) -> str:
    """That some instance is in one of the states, or some delivery: only what can be is looked for."""
    ways = [
        SQL[name]
        for name, those in (
            ("in_states", frozenset(InstanceState)),
            ("with_unsettled", _STOPPED | _WAITING),
            ("with_settled", frozenset(DeliveryState) - _STOPPED - _WAITING),
        )
        if not those.isdisjoint(states)
    ]
    return f"({' OR '.join(ways)})" if ways else "FALSE"


def _everything(_row: Sequence[Any]) -> bool:
    return True


def _whole(column: int, pattern: str) -> Accepts:
    fits = glob(pattern)
    return lambda row: fits(row[column])


def _name(wanted: str) -> tuple[str, Accepts]:
    """What finds a patient's name, and sees that it is one: a person name of PS3.5 6.2.1, of several groups (`=`) of
    components (`^`), of which the last ones may be empty."""
    if is_wild(wanted):
        fits = glob(wanted)

        def matches(row: Sequence[Any]) -> bool:
            name: str = row[3]
            return any(fits(each) or fits(each.rstrip("^= ")) for each in (name, *name.split("=")))

        return like(wanted), matches
    words = [word for word in _SEPARATORS.split(wanted) if word]
    begins = [re.compile(_BEGINS_A_WORD + re.escape(word), re.IGNORECASE) for word in words]
    longest = max(words, key=len, default="")
    return like(longest), lambda row: all(each.search(row[3]) for each in begins)


# ── a page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_of(tx: Transaction, rows: Sequence[Sequence[Any]]) -> tuple[StudyRow, ...]:
    """Rows of studies with what there is of each. As many looks as there are rows, each with a bound."""
    series: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for key, modality, count in tx.execute(SQL["series_of"], (json.dumps([row[0] for row in rows]),)).fetchall():
        series[key][modality] = count
    return tuple(_row(tx, row, series[row[0]]) for row in rows)


def _row(tx: Transaction, row: Sequence[Any], series: dict[str, int]) -> StudyRow:
    of = SQL["of_study"]
    arguments = {"study_key": row[0], "most": LOOKED_AT_MAX}
    figures = tx.execute(SQL["figures_of"].replace("{of}", of), arguments).fetchall()
    seen = [figure for figure in figures if figure[0] == "instance"]
    looked_at = instances = sum(count for _, _, count, _, _ in seen)
    if looked_at == LOOKED_AT_MAX:
        instances = tx.value(SQL["count_of"].replace("{of}", of), {"study_key": row[0], "most": COUNT_MAX + 1})
    key, uid, patient_id, patient_name, issuer, accession_number, study_date, study_description = row
    return StudyRow(
        study_key=key,
        study_instance_uid=uid,
        patient_id=patient_id,
        patient_name=patient_name,
        issuer_of_patient_id=issuer,
        accession_number=accession_number,
        study_date=study_date,
        study_description=study_description,
        modalities=tuple(modality for modality in series if modality),
        series=sum(series.values()),
        instances=min(instances, COUNT_MAX),
        more=instances > COUNT_MAX,
        states={InstanceState(state): count for _, state, count, _, _ in seen},
        deliveries={DeliveryState(state): count for kind, state, count, _, _ in figures if kind == "delivery"},
        looked_at=looked_at,
        first_received_at_ms=min((first for *_, first, _ in seen), default=0),
        last_received_at_ms=max((last for *_, last in seen), default=0),
    )
