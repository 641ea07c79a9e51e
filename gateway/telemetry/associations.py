"""What is told of associations, of either role."""

from __future__ import annotations

from gateway.telemetry import log, registry
from gateway.telemetry.lines import problem
from gateway.telemetry.log import escape
from gateway.telemetry.registry import OTHER, one_of

_active: dict[str, set[str]] = {}


def association_accepted(
    *, role: str, association_id: str, peer_host: str, calling: str, called: str, source: str = "", contexts: int = 0
) -> None:
    """An association is established. `source` is the name of the `sources` entry."""
    active = _active.setdefault(_role(role), set())
    active.add(association_id)
    registry.associations_active.labels(_role(role)).set(len(active))
    fields = _peer(role, association_id, peer_host, calling, called)
    log.emit("info", "association_accepted", fields | {"source": source, "contexts": contexts})


def association_rejected(
    *,
    role: str,
    association_id: str,
    peer_host: str,
    calling: str,
    called: str,
    text: str,
    result: int = 1,
    source: int = 1,
    reason: int = 1,
    label: str = "rejected",
) -> None:
    """An association was rejected, by us (acceptor) or by the peer (requestor).

    `result`, `source`, `reason` are those of PS3.8 Table 9-21, `text` says it in words; `label` is the metric's
    result, one of `registry.ASSOCIATION_RESULTS`.
    """
    registry.associations.labels(_role(role), one_of(label, registry.ASSOCIATION_RESULTS)).inc()
    fields = _peer(role, association_id, peer_host, calling, called)
    problem("association_rejected", None, **fields, result=result, source=source, reason=reason, text=escape(text, 200))


def association_closed(
    *, role: str, association_id: str, result: str, seconds: float, instances: int = 0, text: str = ""
) -> None:
    """An association is over (or was never established). `result` is one of `registry.ASSOCIATION_RESULTS`."""
    registry.associations.labels(_role(role), one_of(result, registry.ASSOCIATION_RESULTS)).inc()
    active = _active.setdefault(_role(role), set())
    active.discard(association_id)
    registry.associations_active.labels(_role(role)).set(len(active))
    fields: dict[str, object] = {"role": role, "association_id": association_id, "result": result}
    fields |= {"seconds": round(seconds, 3), "instances": instances}
    log.emit("info", "association_closed", fields | ({"text": escape(text, 200)} if text else {}))


def _role(role: str) -> str:
    return role if role in ("acceptor", "requestor") else OTHER


def _peer(role: str, association_id: str, peer_host: str, calling: str, called: str) -> dict[str, object]:
    return {
        "role": role,
        "association_id": association_id,
        "peer_host": escape(peer_host),
        "calling": escape(calling),
        "called": escape(called),
    }
