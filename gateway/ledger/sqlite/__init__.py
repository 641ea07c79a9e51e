"""The ledger in SQLite, for one machine. `SqliteLedger` implements `gateway.ledger.base.Ledger`.

::

    ledger.py        SqliteLedger: the contract's methods, each one transaction
    database.py      connection, transactions, migrations, checkpoints
    lock.py          the lock that writers take in turn
    sessions.py      processes and what they hold
    arrivals.py      instances come in
    routing.py       instances become deliveries          quarantine.py   instances that must not be sent
    deliveries.py    claims and outcomes                  moves.py        many deliveries by a condition
    destinations.py  destination rows                     purge.py        the spool's end
    rules.py         rule sets                            people.py       listings; which.py: filters
    operations.py    operators' orders                    audit.py        what was ordered
    pseudonyms.py    what stands behind them, sealed
    gauges.py        counters                             check.py        self-examination

A module's functions work inside a transaction that `SqliteLedger` opens for them; none opens its own.
"""

from gateway.ledger.sqlite.ledger import SqliteLedger

__all__ = ["SqliteLedger"]
