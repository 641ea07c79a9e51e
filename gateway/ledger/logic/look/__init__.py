"""What people look at, over a read-only transaction: the logic of `gateway.ledger.look`, once for all databases.

`search` finds studies, `study` and `instance` are pages of one, `timeline` says what happened to it; `trouble` is what
somebody has to look after, `state` the queue, rules, orders, hosts and counters. `paging` has cursors and bounds.
"""
