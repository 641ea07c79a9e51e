"""How many associations a destination gets, and when it is thought to be down: pure arithmetic.

The model is the scheduler of Postfix's queue manager. For a destination with a limit of L associations:

  - The window w begins at min(INITIAL, L).
  - Each success adds FEEDBACK / w, up to L: one association more for each cohort (w deliveries) that succeeds.
    It also forgets the failures counted so far.
  - Each failure of the destination adds 1 / w to the failed cohorts and takes FEEDBACK / w from the window, never
    below 1. After FAILED_COHORTS the destination is **down**.
  - Down: nothing is sent. A probe is due after probe_min, then twice that, up to probe_max, each with a jitter of
    ± 20 %. A permanently rejected association makes the next probe due after probe_max at once.
  - A probe that succeeds makes it **half open**: exactly one delivery is let through. Its success makes the destination
    **up** with the window at INITIAL again; its failure makes it down again. If it was begun and not answered, the
    instance is as suspect as the destination, which did answer the probe: then the next probe is due after probe_min,
    so that a row of instances that the destination cannot bear does not keep it down for long.

Values, not clocks: times are handed in, monotonic seconds. Called by `gateway.flow.health`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.model import Breaker

INITIAL = 2.0
FEEDBACK = 1.0
FAILED_COHORTS = 1.0
PROBE_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Window:
    """A destination's window and breaker. Every change returns a new value.

    :ivar limit: most associations at once.
    :ivar size: the window now, 1 ≤ size ≤ limit.
    :ivar failed_cohorts: failures since the last success, each weighed by 1 / size.
    :ivar probes: probes that failed since it went down.
    :ivar probe_at: when the next probe is due, monotonic seconds; meaningful while down.
    """

    limit: int
    probe_min_s: float
    probe_max_s: float
    size: float = INITIAL
    breaker: Breaker = Breaker.UP
    failed_cohorts: float = 0.0
    probes: int = 0
    probe_at: float = 0.0

    @property
    def associations(self) -> int:
        """How many associations may be open for sending now."""
        if self.breaker is Breaker.DOWN:
            return 0
        if self.breaker is Breaker.HALF_OPEN:
            return 1
        return max(1, min(self.limit, int(self.size)))

    def succeeded(self) -> Window:
        """A delivery was answered: the destination lives."""
        if self.breaker is not Breaker.UP:
            return replace(self, breaker=Breaker.UP, size=min(INITIAL, self.limit), failed_cohorts=0.0, probes=0)
        size = min(float(self.limit), self.size + FEEDBACK / self.size)
        if size == self.size and not self.failed_cohorts:
            return self
        return replace(self, size=size, failed_cohorts=0.0)

    def failed(self, now: float, jitter: float, permanent: bool = False, unanswered: bool = False) -> Window:
        """The destination failed (not the instance).

        :param jitter: a random number in [-1, 1].
        :param permanent: it says that it will not heal by itself: it goes down, and is probed slowly.
        :param unanswered: in the middle of an instance, which may be to blame.
        """
        size = max(1.0, self.size - FEEDBACK / self.size)
        failed = self.failed_cohorts + 1.0 / self.size
        if self.breaker is Breaker.UP and failed < FAILED_COHORTS - 1e-9 and not permanent:
            return replace(self, size=size, failed_cohorts=failed)
        probes = 0 if unanswered and self.breaker is Breaker.HALF_OPEN else self.probes
        return replace(self, size=1.0, failed_cohorts=failed, probes=probes)._down(now, jitter, permanent)

    def probed(self, reachable: bool, now: float, jitter: float, permanent: bool = False) -> Window:
        """A probe of a destination that is down came back."""
        if reachable:
            return replace(self, breaker=Breaker.HALF_OPEN, size=1.0)
        return self._down(now, jitter, permanent)

    def probe_now(self, now: float) -> Window:
        """The same window with its next probe due at once, and those after it soon: what was tried has changed."""
        return replace(self, probe_at=now, probes=0)

    def limited(self, limit: int, probe_min_s: float, probe_max_s: float) -> Window:
        """The same window under a changed configuration."""
        return replace(
            self, limit=limit, probe_min_s=probe_min_s, probe_max_s=probe_max_s, size=min(self.size, float(limit))
        )

    def _down(self, now: float, jitter: float, permanent: bool) -> Window:
        exponent = min(self.probes, 30)
        pause = self.probe_max_s if permanent else min(self.probe_max_s, self.probe_min_s * 2.0**exponent)
        return replace(
            self,
            breaker=Breaker.DOWN,
            probes=self.probes + 1,
            probe_at=now + pause * (1.0 + PROBE_JITTER * jitter),
        )


def initial(limit: int, probe_min_s: float, probe_max_s: float) -> Window:
    """The window of a destination of which nothing is known."""
    return Window(limit, probe_min_s, probe_max_s, size=min(INITIAL, float(limit)))
