"""Flushes for tests and benchmarks that have no event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gateway.errors import SpoolError
from gateway.spool import Flusher, SpoolWriter


def flush(writers: Sequence[SpoolWriter]) -> list[SpoolError | None]:
    """Make finished writers durable, as the receiver does: None for each that is, else why not."""
    with contextlib.closing(Flusher()) as flusher:
        return flusher.flush(writers)
