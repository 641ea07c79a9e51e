"""The ledger's logic, for whatever database: what each method of the contract does inside its transaction.

::

    transaction.py   what a transaction offers: statements, counters, turns
    ledger.py        SqlLedger: the contract's methods, each one transaction
    sessions.py      processes and what they hold
    arrivals.py      instances come in
    routing.py       instances become deliveries          quarantine.py   instances that must not be sent
    deliveries.py    claims and outcomes                  moves.py        many deliveries by a condition
    derivations.py   copies to be made again              duplicates.py   what stops standing for others
    destinations.py  destination rows                     purge.py        the spool's end
    rules.py         rule sets                            people.py       listings; which.py: filters
    operations.py    operators' orders                    audit.py        what was ordered
    pseudonyms.py    what stands behind them, sealed      history.py      what rules can be tried on
    gauges.py        counters                             check.py        self-examination
    trail.py         what is to be told to the trail      trail_batches.py, trail_methods.py: taken and written

A module's functions work inside a transaction that `SqlLedger` opens for them; none opens its own.
"""
