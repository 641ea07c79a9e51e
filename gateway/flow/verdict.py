"""What the end of a try means, for the delivery and for its destination: the table of `gateway.flow.dispatch`, applied.

One `Verdicts` a destination. It remembers who got no answer, so that an instance which fails alone while others succeed
is held at last; and whose copy was lost, so that none is made for ever. The memory ends with the process; then such an
instance is tried a few times more.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from gateway.config.values import Destination, Disposition
from gateway.dicom.recoding import Substitute, split, turned
from gateway.errors import AssociationRejected, PeerError
from gateway.flow import dispatch
from gateway.flow.dispatch import RetryPolicy
from gateway.flow.health import Health
from gateway.model import Breaker, DeliveryLease, Outcome

REMEMBERED_FAILURES = 10_000


class Verdicts:
    """Outcomes of tries to one destination; each is told to its `Health`, too."""

    def __init__(self, destination: Destination, health: Health, clock_ms: Callable[[], int]) -> None:
        self._health = health
        self._clock_ms = clock_ms
        # delivery → how many had been answered when it last was not, and how often it failed alone while others were
        self._failed: dict[int, tuple[int, int]] = {}
        self._lost: dict[int, int] = {}  # delivery → how often its copy was not there whole
        self.configure(destination)

    def configure(self, destination: Destination) -> None:
        """Judge by these settings from now on."""
        self._statuses = destination.statuses
        self._policy = RetryPolicy(
            destination.retry_min_s, destination.retry_max_s, destination.give_up_after_s, destination.attempts
        )

    def answered(self, lease: DeliveryLease, status: int) -> Outcome:
        """The destination answered with a C-STORE-RSP status."""
        chosen, outcome = dispatch.answered(lease, status, self._policy, self._statuses, self._clock_ms(), _jitter())
        self._failed.pop(lease.delivery_id, None)
        self._lost.pop(lease.delivery_id, None)
        if chosen is Disposition.THROTTLE:
            self._health.failed(outcome.reason)
        else:
            self._health.answered()
        return outcome

    def unanswered(self, lease: DeliveryLease, error: PeerError, sent_whole: bool) -> Outcome:
        """There was no answer. `sent_whole`: its last fragment left, so that the peer may have stored it."""
        answers = self._health.answers
        answers_then, lone_failures = self._failed.pop(lease.delivery_id, (answers, 0))
        is_lone = lease.alone and answers > answers_then
        # A release starts the attempts afresh, and each earlier lone failure was one.
        lone_failures = min(lone_failures, lease.attempt - 1) + is_lone
        self._failed[lease.delivery_id] = answers, lone_failures
        if len(self._failed) > REMEMBERED_FAILURES:
            del self._failed[next(iter(self._failed))]
        if not lease.alone or self._health.breaker is not Breaker.UP:
            # One that goes alone says nothing of a destination that is up: if that is in trouble, others will tell.
            self._health.failed(str(error), unanswered=True)
        return dispatch.unanswered(
            lease,
            dispatch.trouble_of(error),
            str(error),
            self._policy,
            self._clock_ms(),
            _jitter(),
            lone_failures if is_lone else 0,
            sent_whole,
        )

    def copy_lost(self, lease: DeliveryLease, why: str) -> Outcome:
        """The copy is not there any more, or is damaged: it is made again, a few times."""
        times = self._lost.pop(lease.delivery_id, 0) + 1
        if times >= dispatch.LOST_COPIES:
            return dispatch.copy_unreadable(lease, why, times)
        self._lost[lease.delivery_id] = times
        if len(self._lost) > REMEMBERED_FAILURES:
            del self._lost[next(iter(self._lost))]
        return dispatch.copy_lost(lease, why, self._clock_ms())

    def not_accepted(self, lease: DeliveryLease, instead: Substitute | None = None) -> Outcome:
        """The destination takes associations, but not this SOP class in this transfer syntax.

        :param instead: what it would take, and may get: a copy, or what this one was made of.
        """
        self._health.answered()
        payload = lease.payload
        what = f"{payload.sop_class_uid} in transfer syntax {payload.transfer_syntax_uid}"
        reason = f"the destination does not accept {what}"
        is_recoded = split(lease.chain)[1] is not None
        if instead is None or (is_recoded and lease.attempt >= self._policy.attempts):
            return dispatch.not_accepted(lease, reason)
        gets = "what that was made of" if instead.recoding is None else f"a copy, {instead.recoding.name}"
        reason += f": it gets {gets}"
        return dispatch.recoded(lease, turned(lease.chain, instead), reason, self._clock_ms(), counted=is_recoded)

    def sender_rejected(self, lease: DeliveryLease, error: AssociationRejected) -> Outcome:
        """The destination takes associations, but not from the sender whose AE title is passed on."""
        self._health.answered()
        return dispatch.sender_rejected(lease, str(error), self._policy, self._clock_ms(), _jitter())


def _jitter() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - jitter
