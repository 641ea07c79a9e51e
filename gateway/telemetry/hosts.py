"""What is told of hosts, processes and what they lean on: other hosts, Redis, the ledger."""

from __future__ import annotations

from pathlib import Path

from gateway.telemetry import log, registry
from gateway.telemetry.certificates import CertificateFile
from gateway.telemetry.lines import event, problem
from gateway.telemetry.log import escape
from gateway.telemetry.registry import one_of, series

_redis_evicts = False


def taken_for_dead(*, host: str, role: str, pid: int, silent_s: float, instances: int, deliveries: int) -> None:
    """A process of another host was heard of no more: its session is voided, and others have what it held."""
    registry.sessions_voided.labels(one_of(role, registry.ROLES)).inc()
    fields: dict[str, object] = {"host": escape(host), "role": str(role), "dead_pid": pid}
    fields |= {"silent_s": round(silent_s, 1), "instances": instances, "deliveries": deliveries}
    problem("taken_for_dead", None, **fields)


def watching() -> None:
    """This process watches over those of other hosts, and over the rules: nothing came of it yet. No line.

    A counter that appears with its first event would have no increase that an alert could see.
    """
    for role in registry.ROLES:
        registry.sessions_voided.labels(role)
    for result in registry.RELOAD_RESULTS:
        registry.rules_reloads.labels(result)


def ledger_committed(seconds: float) -> None:
    """This process committed to the ledger, `seconds` after it had asked for its turn. No line."""
    registry.ledger_commits.inc()
    registry.ledger_commit_seconds.observe(seconds)


def loop_late(seconds: float) -> None:
    """This process's event loop came `seconds` late to its beat. No line but those that tell of what was left out."""
    registry.loop_late_seconds.observe(seconds)
    log.tell_due()


def certificate(*, name: str, file: Path) -> None:
    """A PEM file of certificates that is used here; when they expire shows from now on. No line.

    `name`: `console`, `audit`, `listener-<name>`, `destination-<name>`: never a string of a peer.
    """
    expiry = series(registry.certificate_expiry, registry.CERTIFICATES.value(name))
    expiry.set_function(CertificateFile(file).expires_at_s)


def redis_link(*, link: str, up: bool, reason: str = "") -> None:
    """A connection to Redis was lost, which costs wake-ups and nothing else, or is there again.

    `link` is one of `registry.REDIS_LINKS`.
    """
    link = one_of(link, registry.REDIS_LINKS)
    registry.redis_up.labels(link).set(int(up))
    if up:
        event("redis_found", link=link)
    else:
        problem("redis_lost", link=link, reason=reason)


def redis_evicts(*, reason: str) -> None:
    """Redis throws away what is in it when it is full (`reason` says by which setting), or does not (""). A line only
    when that changes."""
    global _redis_evicts
    before, _redis_evicts = _redis_evicts, bool(reason)
    registry.redis_evicts.set(int(_redis_evicts))
    if _redis_evicts and not before:
        problem("redis_evicts", reason=reason)
    elif before and not _redis_evicts:
        event("redis_keeps")


def job_done() -> None:
    """This worker ran a job. No line."""
    registry.jobs.inc()


def job_refused(*, reason: str, count: int) -> None:
    """A job in Redis was none of ours, and was not run. `reason` is one of `registry.JOB_REFUSALS`.

    `count`: how many are to be told of now; 0 where the next line tells of this one too.
    """
    reason = one_of(reason, registry.JOB_REFUSALS)
    registry.jobs_refused.labels(reason).inc()
    if count:
        problem("job_refused", reason=reason, count=count)
