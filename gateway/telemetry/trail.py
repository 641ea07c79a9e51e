"""What is told of the audit trail: its files and the syslog server. Never what stands in it."""

from __future__ import annotations

from gateway.telemetry import registry
from gateway.telemetry.lines import event, problem


def audit_written(*, records: int, failed: bool = False) -> None:
    """Records were written into the trail's files, or could not be: they wait in the ledger. No line."""
    registry.audit_records.inc(records)
    registry.audit_trail_up.set(int(not failed))


def audit_syslog_behind(seconds: float) -> None:
    """The oldest audit message that the syslog server has not got is so old; 0 for none. No line."""
    registry.audit_syslog_behind.set(seconds)


def audit_syslog_unsaid() -> None:
    """The syslog server ends connections without saying that it has read all: it is believed, and may not have."""
    problem("audit_syslog_unsaid")


def audit_syslog_again() -> None:
    """The record that was sent last is not where it was: all of the trail is sent again."""
    problem("audit_syslog_again")


def audit_syslog(*, up: bool, reason: str = "") -> None:
    """The syslog server was lost, which loses no message, or takes them again. A line when it changes."""
    registry.audit_syslog_up.set(int(up))
    if up:
        event("audit_syslog_found")
    else:
        problem("audit_syslog_lost", reason=reason)
