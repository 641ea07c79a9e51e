"""`PostgresLedger`: the ledger on a PostgreSQL server, for any number of hosts. Used by the thread that opened it.

A server that is away is `LedgerAway`, a kind of busy: whoever calls waits and tries again, and what was received
meanwhile stands in the spool. What a claim has claimed whose commit is in doubt, nobody knows: the session is given up,
which frees it.

A standby that is made primary may lack the newest commits, where it replicates asynchronously: arrivals that were
recorded, outcomes of deliveries that are leased there still, keys that are now given to others. So a process that finds
itself on such a server voids its own session before it does anything else. It then learns what one learns that was
taken for dead: it claims and records no more, ends, and is started again; whoever cleans up after it frees what it
held, and adopts what it has received.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.ledger.logic import sessions
from gateway.ledger.logic.ledger import SqlLedger
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.postgres.database import Database
from gateway.model import Beat, Role, Session


class PostgresLedger(SqlLedger):
    """See `gateway.ledger.base.Ledger`; the docstrings there are the specification."""

    def __init__(self, database: Database, replaced: Callable[[], None] | None = None) -> None:
        super().__init__(database)
        self._opened: list[Session] = []
        self._now_ms = 0
        self._replaced = replaced
        database.replaced = self._give_up

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = True,
        name: str = "gateway",
        committed: Callable[[float], None] | None = None,
        replaced: Callable[[], None] | None = None,
    ) -> PostgresLedger:
        """Open the ledger in the database that the URL names.

        `create` makes it where it is missing, and migrates one of an older schema. `committed` is called after each
        commit, with the seconds since its turn was asked for; `replaced` when the sessions that were opened here are
        given up, because another server may lack commits. Raises `LedgerAway` where the server cannot be reached,
        `LedgerDamaged` for a schema that is too new, `LedgerError`, also where it is missing or older while `create` is
        False.
        """
        return cls(Database(url, name, create=create, committed=committed), replaced)

    def open_session(
        self, role: Role, host: str, pid: int, now_ms: int, generation: str = "", home: str = ""
    ) -> Session:
        """See `Ledger.open_session`."""
        session = super().open_session(role, host, pid, now_ms, generation, home)
        self._opened.append(session)
        self._now_ms = now_ms
        return session

    def beat(self, session: Session, now_ms: int, in_hand: int | None = None) -> Beat:
        """See `Ledger.beat`."""
        self._now_ms = now_ms
        return super().beat(session, now_ms, in_hand)

    def _give_up(self, tx: Transaction) -> None:
        """Void the sessions that were opened here; also one whose number another process has by now: it ends too."""
        for session in self._opened:
            sessions.void(tx, session.session_id, self._now_ms)
        if self._opened and self._replaced is not None:
            self._replaced()

    def checkpoint(self, at_least_bytes: int = 0) -> bool:
        """See `Ledger.checkpoint`: PostgreSQL does that by itself."""
        return False
