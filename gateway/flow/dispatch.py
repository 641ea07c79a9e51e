"""What an answer, or its absence, means for a delivery and for its destination: pure.

The table (a destination's `statuses` in the configuration goes before it):

=========================================================  ==========================================================
what came back                                             disposition
=========================================================  ==========================================================
0x0000                                                     DELIVERED
0xB000, 0xB006, 0xB007, 0x0107, 0x0116 (warnings)          DELIVERED, counted as a warning
0x0111 duplicate SOP instance, after an uncertain try      DELIVERED (the earlier try did arrive)
0xA7xx, 0x0213 (out of resources)                          THROTTLE: the destination is in trouble
refused connection, time-out, transport error, A-ABORT,    THROTTLE (during an instance: it goes last and alone)
association rejected
0x0110, unknown codes, 0xA9xx, 0xCxxx, 0x0117, 0x0122,     RETRY: this instance is in trouble; `attempts` times, then
0x0124, 0x0111 at the first try                            held
context or transfer syntax not accepted                    held, at once, with the reason; or, where the destination has
                                                           `transcode`, a copy goes in a syntax that it accepts
association rejected for the sender's calling AE title     RETRY: the deliveries of that sender are in trouble
(where `$source` passes it on)
=========================================================  ==========================================================

What is the destination's trouble is not counted against the instance: only answers that refuse it, and failures alone
while others succeed, are (`Outcome.counted`).

Backoff follows the age of the delivery: the next try is due after clamp(age, retry_min, retry_max), with a jitter of
± 20 %, so that what has waited an hour is not tried each second, and a fresh one is not kept waiting. Nothing is given
up before `give_up_after`; past it, a failing try makes the delivery dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.config.values import Disposition
from gateway.dicom.status import describe
from gateway.errors import AssociationAborted, AssociationRejected, ConnectionFailed, PeerError, PeerTimeout
from gateway.ledger.base import DERIVE
from gateway.model import Breaker, DeliveryLease, DeliveryState, Outcome
from gateway.reasons import Dead, Held

COPY_PATIENCE_MS = 60_000
COPY_PATIENCE_MAX_MS = 3_600_000
RETRY_JITTER = 0.2
LONE_FAILURES = 5
LOST_COPIES = 3

WARNINGS = frozenset({0xB000, 0xB006, 0xB007, 0x0107, 0x0116})
DUPLICATE_INSTANCE = 0x0111
OUT_OF_RESOURCES = 0x0213


class Trouble(StrEnum):
    """Why there was no answer. The values are metric labels."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    ABORTED = "aborted"


def trouble_of(error: PeerError) -> Trouble:
    """What an error of the other side is called."""
    if isinstance(error, PeerTimeout):
        return Trouble.TIMEOUT
    if isinstance(error, AssociationAborted):
        return Trouble.ABORTED
    if isinstance(error, AssociationRejected):
        return Trouble.REJECTED
    return Trouble.CONNECTION


def ended_by_peer(error: PeerError) -> bool:
    """Whether it was the peer, or the network, that ended an association: not we."""
    return isinstance(error, ConnectionFailed) or (isinstance(error, AssociationAborted) and not error.by_us)


def blames_delivery(error: PeerError, alone: bool, breaker: Breaker) -> bool:
    """Whether a delivery is to blame that there was no association for it: then that was a try of it.

    So it is when only it asked: marked `alone`, or as the one delivery after an answered probe. Else one context that
    the peer cannot bear would keep the destination down for ever. A rejection for now (congestion, too many
    associations) blames nobody; while the destination is up, neither does a silence or a cut line.
    """
    if isinstance(error, AssociationRejected):
        return error.permanent and (alone or breaker is Breaker.HALF_OPEN)
    return breaker is Breaker.HALF_OPEN or (alone and isinstance(error, AssociationAborted))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A destination's patience; seconds, and tries for an instance that is refused for its own sake."""

    retry_min_s: float
    retry_max_s: float
    give_up_after_s: float
    attempts: int


def disposition(status: int, uncertain: bool, overrides: Mapping[str, Disposition]) -> Disposition:
    """What a C-STORE-RSP status means.

    :param uncertain: an earlier try may have reached the peer without our knowing.
    :param overrides: pattern such as `0xA7xx` → disposition; the most specific one wins.
    """
    override = _override(status, overrides)
    if override is not None:
        return override
    if status == 0 or status in WARNINGS or (status == DUPLICATE_INSTANCE and uncertain):
        return Disposition.DELIVERED
    if status & 0xFF00 == 0xA700 or status == OUT_OF_RESOURCES:
        return Disposition.THROTTLE
    return Disposition.RETRY


def _override(status: int, overrides: Mapping[str, Disposition]) -> Disposition | None:
    best: tuple[int, Disposition] | None = None
    text = f"{status:04x}"
    for pattern, chosen in overrides.items():
        digits = pattern.lower().removeprefix("0x")
        if len(digits) == 4 and all(d in ("x", t) for d, t in zip(digits, text, strict=True)):
            wild = digits.count("x")
            if best is None or wild < best[0]:
                best = (wild, chosen)
    return None if best is None else best[1]


def answered(
    lease: DeliveryLease,
    status: int,
    policy: RetryPolicy,
    overrides: Mapping[str, Disposition],
    now_ms: int,
    jitter: float,
) -> tuple[Disposition, Outcome]:
    """The outcome of a delivery that was answered with a status."""
    chosen = disposition(status, lease.uncertain, overrides)
    if chosen is Disposition.DELIVERED:
        code = "success" if status == 0 else "warning" if status in WARNINGS else "accepted"
        reason = "" if status == 0 else describe(status)
        return chosen, _outcome(lease, DeliveryState.DELIVERED, code, reason, status)
    reason = f"the destination answered {describe(status)}"
    if chosen is Disposition.HOLD:
        return chosen, _held(lease, Held.REFUSED, reason, status)
    if chosen is Disposition.RETRY and lease.attempt >= policy.attempts:
        text = f"{reason}, {lease.attempt} times"
        return chosen, _held(lease, Held.REFUSED, text, status)
    if chosen is Disposition.THROTTLE:
        return chosen, deferred(lease, "throttled", reason, policy, now_ms, jitter, status=status, counted=False)
    return chosen, deferred(lease, "refused", reason, policy, now_ms, jitter, status=status)


def unanswered(
    lease: DeliveryLease,
    trouble: Trouble,
    reason: str,
    policy: RetryPolicy,
    now_ms: int,
    jitter: float,
    lone_failures: int,
    sent_whole: bool,
) -> Outcome:
    """The outcome of a delivery that was begun and got no answer: last and alone from now on.

    :param lone_failures: how many times it has failed alone while others succeeded, this time included; 0 where this
        time is none of those. Not the lease's `attempt`: that counts refusals as well.
    :param sent_whole: its last fragment left, so that the peer may have stored it.
    """
    if lone_failures >= LONE_FAILURES:
        text = f"failed {lone_failures} times, alone, while other instances succeed; last: {reason}"
        return _held(lease, Held(trouble.value), text, uncertain=sent_whole)
    return deferred(
        lease,
        trouble.value,
        reason,
        policy,
        now_ms,
        jitter,
        uncertain=sent_whole,
        alone=True,
        counted=lone_failures > 0,
    )


def sender_rejected(lease: DeliveryLease, reason: str, policy: RetryPolicy, now_ms: int, jitter: float) -> Outcome:
    """The outcome of a delivery whose sender's AE title, passed on as the calling one, the destination rejects."""
    if lease.attempt >= policy.attempts:
        return _held(lease, Held.REJECTED, f"{reason}, {lease.attempt} times")
    return deferred(lease, "rejected", reason, policy, now_ms, jitter)


def impossible(lease: DeliveryLease, reason: str) -> Outcome:
    """The outcome of a delivery that an error of the gateway itself kept from being tried."""
    return _held(lease, Held.ERROR, reason)


def transform_required(lease: DeliveryLease, transform: str) -> Outcome:
    """The outcome of a delivery to a destination that is never sent what did not go through a transform."""
    reason = f"the destination requires the transform {transform!r}, and this instance did not go through it"
    return _held(lease, Held.TRANSFORM_REQUIRED, reason)


def copy_lost(lease: DeliveryLease, why: str, now_ms: int) -> Outcome:
    """The outcome of a delivery whose copy, made by transforms, is not there or is damaged: a worker makes it.

    Then it is due at once. By itself it comes due after its age, at least COPY_PATIENCE_MS and at most an hour, when a
    worker is asked for it anew: however many wait so, they leave room for those that can go.
    """
    return _derive(lease, lease.chain, f"the copy is made again: {why}", now_ms, counted=False)


def copy_unreadable(lease: DeliveryLease, why: str, times: int) -> Outcome:
    """The outcome of a delivery whose copy was made again and again, and never was there whole to be sent."""
    reason = f"the copy could not be read back, {times} times; last: {why}"
    return _held(lease, Held.COPY_UNREADABLE, reason)


def recoded(lease: DeliveryLease, chain: str, reason: str, now_ms: int, *, counted: bool) -> Outcome:
    """The outcome of a delivery that is to be one of a copy in another transfer syntax, or of what that was made of: a
    worker makes it.

    :param counted: it was such a copy already; a destination that takes now this, now that is not served for ever.
    """
    return _derive(lease, chain, reason, now_ms, counted=counted)


def _derive(lease: DeliveryLease, chain: str, reason: str, now_ms: int, *, counted: bool) -> Outcome:
    age_ms = now_ms - lease.created_at_ms
    return Outcome(
        delivery_id=lease.delivery_id,
        token=lease.token,
        state=DeliveryState.DEFERRED,
        code=DERIVE,
        reason=reason,
        due_at_ms=now_ms + min(max(age_ms, COPY_PATIENCE_MS), COPY_PATIENCE_MAX_MS),
        uncertain=lease.uncertain,
        alone=lease.alone,
        counted=counted,
        chain=None if chain == lease.chain else chain,
    )


def not_accepted(lease: DeliveryLease, reason: str) -> Outcome:
    """The outcome of a delivery whose SOP class or transfer syntax the destination does not take."""
    return _held(lease, Held.NOT_ACCEPTED, reason)


def deferred(
    lease: DeliveryLease,
    code: str,
    reason: str,
    policy: RetryPolicy,
    now_ms: int,
    jitter: float,
    *,
    status: int | None = None,
    uncertain: bool = False,
    alone: bool = False,
    counted: bool = True,
) -> Outcome:
    """A failed try: due again by age, or dead when it is too old. `jitter` is a random number in [-1, 1]."""
    age_s = max(0.0, (now_ms - lease.created_at_ms) / 1000)
    if age_s >= policy.give_up_after_s:
        text = f"given up after {policy.give_up_after_s:g} s; last: {reason}"
        return _outcome(lease, DeliveryState.DEAD, Dead.GIVEN_UP.value, text, status, uncertain=uncertain)
    pause_s = min(max(age_s, policy.retry_min_s), policy.retry_max_s) * (1.0 + RETRY_JITTER * jitter)
    return Outcome(
        delivery_id=lease.delivery_id,
        token=lease.token,
        state=DeliveryState.DEFERRED,
        code=code,
        reason=reason,
        status=status,
        due_at_ms=now_ms + int(pause_s * 1000),
        uncertain=uncertain or lease.uncertain,
        alone=alone or lease.alone,
        counted=counted,
    )


def _held(
    lease: DeliveryLease, why: Held, reason: str, status: int | None = None, *, uncertain: bool = False
) -> Outcome:
    return _outcome(lease, DeliveryState.HELD, why.value, reason, status, uncertain=uncertain)


def _outcome(
    lease: DeliveryLease, state: DeliveryState, code: str, reason: str, status: int | None, uncertain: bool = False
) -> Outcome:
    return Outcome(
        delivery_id=lease.delivery_id,
        token=lease.token,
        state=state,
        code=code,
        reason=reason,
        status=status,
        uncertain=uncertain or lease.uncertain,
    )
