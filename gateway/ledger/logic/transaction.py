"""What the ledger's logic works with inside a transaction: statements, counters, keys of rows that never change, and
the turns that transactions take where several of them can run at once.

The statements are those of `sql/common`; a database that wants another text for one has it (`gateway.ledger.queries`).
Whoever opens the transaction calls `write_counters` before its commit, and `publish` after it.

Where a database runs its writers one after the other (SQLite), the `lock_` methods have nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import Enum, auto
from typing import Any, Protocol

from gateway.ledger import queries

INTERNED_MAX = 8192
HOUR_MS = 3_600_000

_SQL = queries.load("counters")
_TRAIL = queries.load("trail")


class Turn(Enum):
    """Which others may write while a transaction does."""

    ALONE = auto()  # none: for whatever moves rows by a condition
    ARRIVALS = auto()  # those of other turns but ALONE: arrivals come in one order
    BESIDE = auto()  # those of other turns but ALONE; what it touches it locks row by row
    FREE = auto()  # all: it touches rows that are its own
    TRAIL = auto()  # all but each other: batches for the audit trail are taken one after the other


class Cursor(Protocol):
    """What a statement gives, as DB-API 2.0 has it."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def close(self) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...


class Transaction:
    """One transaction. Parameters are `?` with a sequence, or `:name` with a mapping."""

    __slots__ = (
        "_decided",
        "_fresh",
        "_interned",
        "_movements",
        "_spool_bytes",
        "_transfers",
        "execute",
        "executemany",
    )

    def __init__(
        self,
        execute: Callable[..., Cursor],
        executemany: Callable[..., Cursor],
        interned: dict[Hashable, int],
    ) -> None:
        self.execute = execute
        self.executemany = executemany
        self._interned = interned
        self._fresh: dict[Hashable, int] = {}
        self._movements: dict[tuple[int | None, str], int] = {}
        self._decided: dict[tuple[int, int], int] = {}
        self._spool_bytes = 0
        self._transfers: dict[tuple[Any, ...], tuple[int, int]] = {}

    def count_instances(self, state: str, change: int) -> None:
        """Add to the counter of instances in a state."""
        key = (None, state)
        self._movements[key] = self._movements.get(key, 0) + change

    def count_deliveries(self, destination_key: int, state: str, change: int) -> None:
        """Add to the counter of a destination's deliveries in a state."""
        key = (destination_key, state)
        self._movements[key] = self._movements.get(key, 0) + change

    def count_decided(self, decision_key: int, now_ms: int) -> None:
        """Add an instance to the counter of a decision, in the hour that it is."""
        key = (now_ms - now_ms % HOUR_MS, decision_key)
        self._decided[key] = self._decided.get(key, 0) + 1

    def count_spool_bytes(self, change: int) -> None:
        """Add to the counter of data set bytes in the spool."""
        self._spool_bytes += change

    def count_transfer(self, key: tuple[Any, ...], change: int, now_ms: int) -> None:
        """Count instances that moved, for the audit trail: (movement, association, series, destination, SOP class,
        anonymised), with 0 for what there is none of."""
        self._transfers[key] = (self._transfers.get(key, (0, 0))[0] + change, now_ms)

    def intern(self, value: Hashable, find_or_insert: Callable[[], int]) -> int:
        """The key of an immutable row, remembered from the commit on that made or first saw it."""
        key = self._interned.get(value) or self._fresh.get(value)
        if key is None:
            key = self._fresh[value] = find_or_insert()
        return key

    def value(self, sql: str, parameters: Any = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.execute(sql, parameters).fetchone()
        return None if row is None else row[0]

    def each(self, sql: str, rows: Sequence[Any]) -> list[Any]:
        """The first row that a statement gives for each of these parameters, or None: all of them in one go, where that
        saves the way there and back."""
        return [self.execute(sql, row).fetchone() for row in rows]

    def lock_destinations_of(self, delivery_ids: Sequence[int]) -> None:
        """Be the only one that claims, gives back or concludes deliveries to the destinations of these."""

    def lock_destination(self, destination_key: int) -> None:
        """The same for one destination."""

    def lock_instances_of(self, delivery_ids: Sequence[int]) -> None:
        """Be the only one that moves the instances of these; what is read of them from now on is as it is."""

    def lock_waiting_for(self, delivery_ids: Sequence[int]) -> None:
        """The same for exact duplicates that these deliveries stand for."""

    def write_counters(self) -> None:
        """Write the counters' changes, always in one order; called once, before COMMIT."""
        if self._spool_bytes:
            self.execute(_SQL["move_spool_bytes"], (self._spool_bytes,))
        moved = [(key or 0, state, n) for (key, state), n in self._movements.items() if n]
        for destination_key, state, change in sorted(moved) if len(moved) > 1 else moved:
            if destination_key == 0:
                self.execute(_SQL["move_instance_count"], (state, change))
            else:
                self.execute(_SQL["move_delivery_count"], (destination_key, state, change))
        for (hour_ms, decision_key), count in sorted(self._decided.items()):
            self.execute(_SQL["move_decision_count"], (hour_ms, decision_key, count))
        if self._transfers:
            counts = sorted(self._transfers.items())
            self.executemany(_TRAIL["count"], [(*key, n, now_ms, now_ms) for key, (n, now_ms) in counts])

    def publish(self) -> None:
        """Remember the keys seen, now that the commit holds."""
        if len(self._interned) + len(self._fresh) > INTERNED_MAX:
            self._interned.clear()
        self._interned.update(self._fresh)
