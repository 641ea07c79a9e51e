"""Events of the console's door: who came in, and who was not let in."""

from __future__ import annotations

from gateway.telemetry import log, registry
from gateway.telemetry.registry import series


def access_counted(event: str) -> None:
    """Something happened at the console's door: a word of `gateway.console.access.told`."""
    series(registry.console_access, event).inc()


def access(event: str, *, good: bool, person: str, role: str, how: str, address: str, reason: str) -> None:
    """A line for it. Who, as what, by what and from where; never a password, a token or a cookie."""
    fields = {"person": person, "role": role, "how": how, "address": address, "reason": reason}
    said = {name: value for name, value in fields.items() if value}
    log.emit("info" if good else "warning", f"console_{event}", said)
