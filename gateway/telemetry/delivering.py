"""What is told of delivering, and of how destinations fare."""

from __future__ import annotations

from gateway.telemetry import log, registry
from gateway.telemetry.lines import event, problem
from gateway.telemetry.registry import DESTINATIONS, one_of, series


def delivery_outcome(
    *,
    destination: str,
    code: str,
    state: str,
    instance_id: str,
    size_bytes: int,
    attempt: int,
    seconds: float | None = None,
    status: int | None = None,
    reason: str = "",
    association_id: str = "",
) -> None:
    """A try to deliver came to an end. `code` and `state` as in `model.Outcome`.

    `seconds` is the time from received to now, given when `state` is delivered.
    """
    name = DESTINATIONS.value(destination)
    series(registry.deliveries, name, registry.CODES.value(code), one_of(state, registry.DELIVERY_STATES)).inc()
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id}
    fields |= {"destination": destination, "state": str(state), "code": code, "attempt": attempt}
    if status is not None:
        fields["status"] = f"0x{status:04X}"
        if status:
            series(registry.answers, name, registry.answer_status(status)).inc()
            series(registry.answered_at, name, registry.answer_status(status)).set_to_current_time()
    if reason:
        fields["reason"] = reason
    if state == "delivered":
        series(registry.delivered_bytes, name).inc(size_bytes)
        if seconds is not None:
            series(registry.delivery_seconds, name).observe(seconds)
            fields["ms"] = round(seconds * 1000)
        log.emit("info", "delivered", fields)
    elif state == "deferred":
        log.emit("info", "delivery_deferred", fields)
    else:
        problem(f"delivery_{state}", None, **fields)


def destination_changed(*, name: str, breaker: str, reason: str = "") -> None:
    """A destination's breaker changed: up, down or half_open (`model.Breaker`)."""
    registry.destination_up.labels(DESTINATIONS.value(name)).set(int(breaker == "up"))
    fields = {"destination": name, "breaker": str(breaker), "reason": reason}
    if breaker == "down":
        problem("destination_down", None, **fields)
    else:
        event("destination_changed", **fields)


def destination_given_up(*, name: str) -> None:
    """This process serves a destination no more; its metrics of how that is doing are another's now."""
    registry.drop_series([DESTINATIONS.value(name)], registry.destination_up, registry.destination_window)
    event("destination_given_up", destination=name)


def window(*, destination: str, value: float) -> None:
    """A destination's concurrency window is `value` now. No line."""
    series(registry.destination_window, DESTINATIONS.value(destination)).set(value)
