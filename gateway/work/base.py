"""The contract of a work queue: it only wakes the next stage up.

What has to be done stands in the ledger, and nowhere else. A wake-up says "look now"; it may be lost, and may come
twice. It may name instances, which tells a person what it was about; nothing is done for that. Whoever waits therefore
also looks at the ledger whenever its wait times out (no more often than once a second when idle), and once when it
starts.

`gateway.work.local` wakes up the processes of this host, `gateway.work.rq` those of every host that has the same Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """Who is woken up."""

    ROUTE = "route"  # workers: instances were received
    DELIVER = "deliver"  # forwarders: deliveries are ready


class WorkQueue(Protocol):
    """One process's end of the queue. It waits for the stages it was opened for, and may wake any."""

    def notify(self, stage: Stage, instance_ids: Sequence[str] = ()) -> None:
        """Wake up everyone who waits for `stage`. Never blocks, never raises, works from any thread.

        `instance_ids` are what it is about, as far as that is known: a hint, of which a queue may leave out any.
        """

    def wake(self) -> None:
        """Wake up who waits on this end, and nobody else. As `notify`, and from a signal handler too."""

    async def wait(self, timeout_s: float) -> bool:
        """Wait until woken up, or for `timeout_s`. True when woken; several wake-ups count as one.

        A wake-up that came since the last wait returns at once. One task waits at a time (RuntimeError otherwise).
        Where Redis is the queue, the wake-ups of workers are jobs (`gateway.work.rq_worker`): who waits for ROUTE here
        is woken only while Redis is away.
        """

    def wait_sync(self, timeout_s: float) -> bool:
        """`wait` for a process without an event loop."""

    def close(self) -> None:
        """No longer be found by `notify`. Does nothing the second time."""
