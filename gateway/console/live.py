"""Live figures: cheap totals each SAMPLE_S, kept for an hour; and those of now, for whoever watches.

Counts come from the ledger's counters, whatever there is in it, and are of all hosts on that ledger. Bytes come from
the metrics of this host's own processes, and count from when this process started; a counter that begins anew, with
another process in its place, takes nothing away.

A sample costs a few milliseconds of all processes together. One that cannot be had (the ledger is away) is left out:
the figures then have a gap. The ring is for one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.console.metrics import HostMetrics
from gateway.errors import LedgerError
from gateway.ledger.look import Totals

SAMPLE_S = 10.0
KEPT_S = 3600.0
FRESH_S = 1.9
_BYTES = re.compile(
    rb'^gateway_(received|delivered)_bytes_total\{process="([^"]*)",(?:source|destination)="([^"]*)"\} (\S+)$', re.M
)

Key = tuple[bytes, bytes, bytes]  # which, process, label


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at a moment: rates are their differences. Holds no patient data.

    :ivar received: instances that the ledger was told of, ever.
    :ivar delivered: deliveries by destination, ever; `waiting` and `stopped` (held or dead) are now.
    :ivar unrouted, held, quarantined: instances in these states now.
    :ivar received_bytes, delivered_bytes: by this host, since its console started.
    :ivar spool_free_bytes: None where the file system does not answer.
    """

    at_ms: int
    received: int
    delivered: Mapping[str, int]
    waiting: Mapping[str, int]
    stopped: Mapping[str, int]
    unrouted: int
    held: int
    quarantined: int
    received_bytes: float
    delivered_bytes: Mapping[str, float]
    spool_bytes: int
    spool_free_bytes: int | None


class Bytes:
    """Byte counters of many processes as totals that never fall."""

    def __init__(self) -> None:
        self._last: dict[Key, float] = {}
        self._known: set[bytes] = set()
        self._sums: dict[tuple[bytes, bytes], float] = {}

    def add(self, texts: Iterable[bytes]) -> None:
        """What the processes say now. What each had counted before it was first heard is not ours."""
        now = {
            (which, process, label): float(value)
            for text in texts
            for which, process, label, value in _BYTES.findall(text)
        }
        for key, value in now.items():
            before = self._last.get(key, 0.0 if key[1] in self._known else value)
            gained = value - before if value >= before else value
            self._sums[key[0], key[2]] = self._sums.get((key[0], key[2]), 0.0) + gained
        self._last.update(now)
        self._known.update(process for _, process, _ in now)

    @property
    def received(self) -> float:
        """From all sources."""
        return sum(value for (which, _), value in self._sums.items() if which == b"received")

    @property
    def delivered(self) -> Mapping[str, float]:
        """By destination."""
        found = {label.decode(): value for (which, label), value in self._sums.items() if which == b"delivered"}
        return MappingProxyType(found)


class Live:
    """The ring, and the sample of now that everybody who watches shares.

    :param totals: the ledger's counters (`LedgerLook.totals`).
    """

    def __init__(self, totals: Callable[[], Awaitable[Totals]], host: HostMetrics, clock_ms: Callable[[], int]) -> None:
        self._totals = totals
        self._host = host
        self._clock_ms = clock_ms
        self._ring: deque[Sample] = deque(maxlen=int(KEPT_S / SAMPLE_S) + 1)
        self._bytes = Bytes()
        self._newest: Sample | None = None
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            # Told by whoever needs the ledger, or descriptors; here is a gap.
            with contextlib.suppress(LedgerError, OSError):
                self._keep(await self.now())
            await asyncio.sleep(SAMPLE_S)

    def _keep(self, sample: Sample) -> None:
        if self._ring and self._ring[-1].at_ms >= sample.at_ms:  # the clock went back: what was before is no past
            self._ring.clear()
        self._ring.append(sample)

    async def now(self) -> Sample:
        """A sample that is FRESH_S old at most. :raises LedgerError."""
        async with self._one_at_a_time:
            if self._newest is None or not 0 <= self._clock_ms() - self._newest.at_ms < FRESH_S * 1000:
                self._newest = await self._take()
            return self._newest

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those of the last hour, the oldest first."""
        since_ms = self._clock_ms() - KEPT_S * 1000
        return tuple(sample for sample in self._ring if sample.at_ms >= since_ms)

    def delivered_per_s(self, destination: str, over_s: float) -> float | None:
        """How many deliveries a second of late; None where too little is known."""
        since_ms = self._clock_ms() - over_s * 1000
        late = [sample for sample in self._ring if sample.at_ms >= since_ms and destination in sample.delivered]
        if len(late) < 2 or late[-1].at_ms <= late[0].at_ms:
            return None
        gained = late[-1].delivered[destination] - late[0].delivered[destination]
        return max(0, gained) / ((late[-1].at_ms - late[0].at_ms) / 1000)

    async def _take(self) -> Sample:
        totals, gathered, figures = await asyncio.gather(
            self._totals(), self._host.gather(), self._host.spool_figures()
        )
        self._bytes.add(gathered.texts)
        states = {state.value: count for state, count in totals.instances.items()}
        return Sample(
            at_ms=self._clock_ms(),
            received=totals.received,
            delivered=totals.delivered,
            waiting=totals.waiting,
            stopped=totals.stopped,
            unrouted=states.get("received", 0),
            held=states.get("held", 0),
            quarantined=states.get("quarantined", 0),
            received_bytes=self._bytes.received,
            delivered_bytes=self._bytes.delivered,
            spool_bytes=totals.spool_bytes,
            spool_free_bytes=None if figures is None else figures.free_bytes,
        )
