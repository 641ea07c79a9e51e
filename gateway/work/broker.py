"""What a look at Redis finds (`gateway.work.redis_look`), as a value: known also where redis-py is not installed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broker:
    """What is to be said of a Redis. Empty texts and tuples are good news.

    `away`: it cannot be used now; `evicts`: it must not be used; `errors`: it cannot do all that is needed; `warnings`
    are for whoever runs it.
    """

    version: str = ""
    away: str = ""
    evicts: str = ""
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
