"""What is told of routing: rules, copies, and what is held, discarded or quarantined."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.model import Derivation
from gateway.telemetry import log, registry
from gateway.telemetry.lines import event, problem
from gateway.telemetry.registry import RULES, one_of, series


def instance_routed(
    *, instance_id: str, rules: Sequence[str], destinations: Sequence[str], revision: str = "", association_id: str = ""
) -> None:
    """Rules matched, and the instance goes to `destinations`."""
    _count_rules(rules)
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id, "revision": revision}
    log.emit("info", "instance_routed", fields | {"rules": tuple(rules), "destinations": tuple(destinations)})


def copy_made(*, instance_id: str, made: Derivation) -> None:
    """A chain of transforms made a copy, or could not: then its deliveries are held, or it is tried again."""
    result = "made" if made.payload is not None else "waits" if made.again else "failed"
    registry.copies.labels(result).inc()
    if made.payload is None:
        problem("copy_not_made", instance_id=instance_id, chain=made.chain, reason=made.reason)


def instance_held(*, instance_id: str, reason: str, rules: Sequence[str] = (), association_id: str = "") -> None:
    """An instance was held at routing; empty `rules` means that none matched, else the last of them holds it."""
    _count_rules(rules)
    registry.instances_held.labels(RULES.value(rules[-1]) if rules else registry.NO_RULE).inc()
    if not rules:
        registry.instances_unmatched.inc()
    fields = {"instance_id": instance_id, "association_id": association_id, "reason": reason}
    problem("instance_held", None, **fields, rules=tuple(rules))


def instance_discarded(*, instance_id: str, reason: str, rules: Sequence[str], association_id: str = "") -> None:
    """A rule discarded an instance: a person's recorded order."""
    _count_rules(rules)
    registry.instances_discarded.inc()
    fields: dict[str, object] = {"instance_id": instance_id, "association_id": association_id, "reason": reason}
    log.emit("info", "instance_discarded", fields | {"rules": tuple(rules)})


def quarantined(*, instance_id: str, reason: str, association_id: str = "") -> None:
    """An instance must not be sent: its header or its file cannot be trusted."""
    registry.instances_quarantined.inc()
    problem("quarantined", instance_id=instance_id, association_id=association_id, reason=reason)


def rules_reloaded(*, result: str, revision: str = "", problems: Sequence[object] = ()) -> None:
    """The rule files were read. `result` is loaded, unchanged or refused; `problems` have file, line and column."""
    registry.rules_reloads.labels(one_of(result, registry.RELOAD_RESULTS)).inc()
    if result in ("loaded", "unchanged", "refused"):
        registry.rules_refused.set(result == "refused")
    if result == "refused":
        problem("rules_refused", revision_in_force=revision, problems=tuple(str(item) for item in problems))
    elif result == "loaded":
        event("rules_loaded", revision=revision)


def _count_rules(rules: Sequence[str]) -> None:
    for rule in rules:
        series(registry.instances_routed, RULES.value(rule)).inc()
