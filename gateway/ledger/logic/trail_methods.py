"""`TrailMethods`: the methods of `gateway.ledger.trail` as transactions, for `SqlLedger`.

Notes are durable: nobody else knows of them. What was counted follows from what the ledger holds anyway, and is as
durable as that. A batch is durable before it goes into the files, which are flushed: else a power cut would leave it
there, and in the ledger under another name, to be told again. It is forgotten only after it is in the files; an unknown
commit leaves it, to be taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gateway.ledger.logic import trail, trail_batches
from gateway.ledger.logic.transaction import Transaction, Turn
from gateway.ledger.trail import Note, TrailHead, Untold
from gateway.model import Session

T = TypeVar("T")


class _Database(Protocol):
    def write(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = False,
        turn: Turn = Turn.ALONE,
        fleeting: bool = False,
    ) -> T: ...
    def read(self, work: Callable[[Transaction], T]) -> T: ...


class TrailMethods:
    """See `gateway.ledger.trail.TrailLedger`; the docstrings there are the specification."""

    _database: _Database

    def tell(self, notes: Sequence[Note]) -> None:
        def keep(tx: Transaction) -> None:
            for each in notes:
                trail.note(tx, each)

        self._database.write(keep, durable=True, turn=Turn.FREE)

    def take_untold(self, session: Session, now_ms: int, *, quiet_ms: int, late_ms: int, limit: int) -> Untold | None:
        if not self._database.read(lambda tx: trail_batches.anything(tx, now_ms - quiet_ms, now_ms - late_ms)):
            return None
        return self._database.write(
            lambda tx: trail_batches.take(tx, session, now_ms, quiet_ms, late_ms, limit), durable=True, turn=Turn.TRAIL
        )

    def told(self, session: Session, batch: str, head: TrailHead) -> bool:
        return self._database.write(lambda tx: trail_batches.told(tx, session, batch, head), turn=Turn.TRAIL)

    def trail_heads(self) -> dict[str, TrailHead]:
        return self._database.read(trail_batches.heads)
