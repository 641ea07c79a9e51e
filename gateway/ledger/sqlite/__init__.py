"""The ledger in SQLite, for one machine. `SqliteLedger` implements `gateway.ledger.base.Ledger`.

::

    ledger.py        SqliteLedger: the logic of `gateway.ledger.logic` on a file
    database.py      connection, transactions, migrations, checkpoints
    lock.py          the lock that writers take in turn
"""

from gateway.ledger.sqlite.ledger import SqliteLedger

__all__ = ["SqliteLedger"]
