"""How long a worker may be at one thing without getting on: then an alarm ends the process (SIGALRM, by default).

Whoever gets on says so (`renew`): what a hostile object can make it do at one time is bounded, not the size of the
object. Where the disk is waited for, no alarm runs (`rest`): a disk that stands still is held against no instance.
Both are beats for the supervisor, which sees to a worker that stands still for another reason.
"""

from __future__ import annotations

import signal
from collections.abc import Callable


class Watch:
    """The alarm of one worker. `time_s` is what one thing may take; `rested` may wait, while no alarm runs."""

    def __init__(self, beat: Callable[[], None], time_s: float, rested: Callable[[], None] = lambda: None) -> None:
        self._beat = beat
        self._time_s = time_s
        self._rested = rested

    def renew(self) -> None:
        """The process gets on: from now on it has all of its time again."""
        self._beat()
        signal.setitimer(signal.ITIMER_REAL, self._time_s)

    def rest(self) -> None:
        """Nothing is done now that an instance could make take long."""
        self._beat()
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._rested()


class GivingWay(Watch):
    """A watch over what takes long and can wait: each time that it gets on, others may have their turn."""

    def __init__(self, watch: Watch, others: Callable[[], None]) -> None:
        self._watch = watch
        self._others = others

    def renew(self) -> None:
        """See `Watch.renew`."""
        self._others()
        self._watch.renew()

    def rest(self) -> None:
        """See `Watch.rest`."""
        self._watch.rest()
