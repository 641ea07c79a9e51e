"""The ledger in PostgreSQL, for many machines. `PostgresLedger` implements `gateway.ledger.base.Ledger`.

::

    ledger.py        PostgresLedger: the logic of `gateway.ledger.logic` on a server
    database.py      transactions: turns, retries, what became of a commit
    connection.py    one connection, its settings; errors as the ledger's
    dialect.py       statements as PostgreSQL takes them
    schema.py        migrations
    reader.py        gauges for an event loop
"""

from gateway.ledger.postgres.ledger import PostgresLedger

__all__ = ["PostgresLedger"]
