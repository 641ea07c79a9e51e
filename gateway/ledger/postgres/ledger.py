"""`PostgresLedger`: the ledger on a PostgreSQL server, for any number of hosts. Used by the thread that opened it.

A server that is away is `LedgerAway`, a kind of busy: whoever calls waits and tries again, and what was received
meanwhile stands in the spool. What a claim has claimed whose commit is in doubt, nobody knows: the session is given up,
which frees it.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.ledger.logic.ledger import SqlLedger
from gateway.ledger.postgres.database import Database


class PostgresLedger(SqlLedger):
    """See `gateway.ledger.base.Ledger`; the docstrings there are the specification."""

    @classmethod
    def open(
        cls, url: str, *, create: bool = True, name: str = "gateway", committed: Callable[[float], None] | None = None
    ) -> PostgresLedger:
        """Open the ledger in the database that the URL names.

        `create` makes it where it is missing, and migrates one of an older schema. `committed` is called after each
        commit, with the seconds since its turn was asked for. Raises `LedgerAway` where the server cannot be reached,
        `LedgerDamaged` for a schema that is too new, `LedgerError`, also where it is missing or older while `create` is
        False.
        """
        return cls(Database(url, name, create=create, committed=committed))

    def checkpoint(self, at_least_bytes: int = 0) -> bool:
        """See `Ledger.checkpoint`: PostgreSQL does that by itself."""
        return False
