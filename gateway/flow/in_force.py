"""What waits for a transform that de-identifies is sent as its definition of today has it, whenever that changes.

A correction closes a leak; what the old definition had made, or would still make, must not go out after it. Other
transforms are not touched: there the rules that decided about an instance also make its copies.

Called when rules have become current, and at a start: another version of the gateway is another definition too. What a
forwarder has claimed by then (at most a window) goes as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway import telemetry
from gateway.ledger.base import Ledger
from gateway.transform import Rulebook

_CHUNK = 500


def turn_waiting(ledger: Ledger, book: Rulebook, clock_ms: Callable[[], int]) -> int:
    """Turn the deliveries that wait or are stopped. Returns how many.

    :raises LedgerError: some were not turned: call again.
    """
    count = 0
    for old in ledger.waiting_chains():
        new = book.in_force(old)
        while new != old and (turned := ledger.turn_chain(old, new, _CHUNK, clock_ms())):
            count += turned
    if count:
        telemetry.event("copies_to_be_made_anew", count=count, revision=book.revision)
    return count
