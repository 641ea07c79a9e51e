"""What has no function of its own: a line of level info, and one of level warning that counts as a problem."""

from __future__ import annotations

from gateway.telemetry import log


def event(name: str, /, **fields: object) -> None:
    """A line of level info for what has no function of its own."""
    log.emit("info", name, fields)


def problem(name: str, /, error: BaseException | None = None, **fields: object) -> None:
    """A line of level warning. Of `error` only what cannot hold patient data is written (see `log.describe`)."""
    log.emit("warning", name, fields if error is None else fields | log.describe(error))
