"""Trouble that lasts is told when it begins, and once a minute while it goes on: a ledger that is away for a weekend
makes no gigabytes of log. Used by whoever tries again and again.
"""

from __future__ import annotations

import time

from gateway import telemetry

TELL_S = 60.0


class Trouble:
    """One kind of trouble of one process. `name`: of the log event, a warning."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told_at_s = float("-inf")

    def tell(self, **fields: object) -> None:
        """It is there, or still there."""
        now_s = time.monotonic()
        if now_s - self._told_at_s >= TELL_S:
            self._told_at_s = now_s
            telemetry.problem(self._name, None, **fields)

    def over(self) -> None:
        """It is gone: the next is told at once."""
        self._told_at_s = float("-inf")
