"""A clock of one's own, to judge by how long nothing was heard."""

from __future__ import annotations

import time


def uptime_s() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
