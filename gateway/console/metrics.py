"""One scrape for the whole host: the metrics sockets of all its processes, joined, and the gauges of the host itself.

Every process answers on a socket in `run/` with its own text, each sample labelled with the process
(`gateway.telemetry.exposition`). They are joined family by family; no value is parsed, so a scrape costs the same
whatever the numbers are. The gauges of the host are those of `gateway.console.figures`.

A socket that does not answer in time is left out and counted (`gateway_scrape_sources{state="silent"}`); one that
nobody holds any more is removed. A ledger that cannot be read leaves its gauges out and sets `gateway_ledger_up` to 0.

Called by `gateway.console.app` for /metrics and, for the reasons not to be ready, for /readyz.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway import telemetry
from gateway.console.figures import HostFigures, JobFigures, SpoolFigures, text_of
from gateway.console.lane import Lane, LaneFull, Shared
from gateway.console.notices import Notice, notices
from gateway.errors import SpoolError
from gateway.model import LedgerGauges
from gateway.runfolder import METRICS_SUFFIX, RunFolder

SOURCE_TIMEOUT_S = 2.0
LEDGER_TIMEOUT_S = 2.0
_SOURCE_LIMIT_BYTES = 16 << 20
_FAMILY = b"# HELP "
_CHILD_DOWN = re.compile(rb'^gateway_child_up\{.*?child="([a-z0-9-]+)".*\} 0$', re.MULTILINE)
_NOT_READY = re.compile(rb'^gateway_not_ready\{.*?reason="([a-z_]+)".*\} 1\.0$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the processes of the host answered."""

    texts: tuple[bytes, ...]
    silent: int
    silent_names: tuple[str, ...] = ()  # `receiver-0`: of those, the ones that live


@dataclass(frozen=True, slots=True)
class Health:
    """How a host is.

    :ivar not_ready: why it should get no work, in words of /readyz; () where it is ready.
    :ivar notices: what is wrong all the same.
    """

    not_ready: tuple[str, ...]
    notices: tuple[Notice, ...]


class HostMetrics:
    """Gathers the metrics of a host.

    `gauges` reads the ledger's counters and raises when it cannot; `spool` looks at the filesystem, and `jobs` at the
    queue in Redis, where there is one and it answers (both block, each in its thread); `clock_ms` is the wall clock.
    """

    def __init__(
        self,
        run_folder: Path,
        gauges: Callable[[], Awaitable[LedgerGauges]],
        spool: Callable[[], SpoolFigures],
        clock_ms: Callable[[], int],
        jobs: Callable[[], JobFigures | None] | None = None,
    ) -> None:
        self._run = RunFolder(run_folder)
        self._gauges = gauges
        self._spool = spool
        self._clock_ms = clock_ms
        self._jobs = jobs
        self._spool_lane, self._jobs_lane = Lane("look at spool"), Lane("look at jobs")
        self._shared_look, self._shared_spool = Shared(self._looked), Shared(self._look_at_spool)

    async def exposition(self) -> bytes:
        """The whole host as Prometheus text (format 0.0.4)."""
        (gathered, gauges, spool), jobs = await asyncio.gather(self._look(), self._look_at_jobs())
        ready = not _reasons(gathered, gauges, spool)
        figures = HostFigures(len(gathered.texts), gathered.silent, ready, gauges, spool, jobs)
        return join([*gathered.texts, text_of(figures, self._clock_ms())])

    async def reasons_not_ready(self) -> list[str]:
        """Why the host should get no work now; empty when it is ready."""
        return _reasons(*await self._look())

    async def health(self) -> Health:
        """How the host is, for people."""
        gathered, gauges, spool = await self._look()
        reasons = _reasons(gathered, gauges, spool)
        return Health(tuple(reasons), tuple(notices(gathered.texts, self._clock_ms())))

    async def _look(self) -> tuple[Gathered, LedgerGauges | None, SpoolFigures | None]:
        """One look for all who ask while it goes on: many at once are no more work, and find no lane full."""
        return await self._shared_look.get()

    async def _looked(self) -> tuple[Gathered, LedgerGauges | None, SpoolFigures | None]:
        return await asyncio.gather(self.gather(), self._read_ledger(), self._shared_spool.get())

    async def gather(self) -> Gathered:
        """Ask every metrics socket in `run/`, all at once."""
        names = self._run.names(METRICS_SUFFIX)
        answers = await asyncio.gather(*(self._ask(name) for name in names))
        texts = tuple(text for text in answers if text is not None)
        living = set(self._run.names(METRICS_SUFFIX))
        silent = {name for name, text in zip(names, answers, strict=True) if text is None} & living
        return Gathered(texts, len(names) - len(texts), tuple(name.partition(".")[0] for name in silent))

    async def _ask(self, name: str) -> bytes | None:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._run.address(name), limit=1 << 20)
                try:
                    return await _read_all(reader)
                finally:
                    writer.close()
        except ConnectionRefusedError:
            self._run.remove(name)  # its process is dead, and names are never used again
            return None
        except OSError:  # TimeoutError is one
            return None

    async def _read_ledger(self) -> LedgerGauges | None:
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_S):
                return await self._gauges()
        except Exception as error:  # noqa: BLE001 - whatever the ledger says, the processes' own numbers are shown
            telemetry.problem("ledger_gauges_failed", error=error)
            return None

    async def spool_figures(self) -> SpoolFigures | None:
        """Room for the spool; None where its filesystem does not answer."""
        return await self._shared_spool.get()

    async def _look_at_spool(self) -> SpoolFigures | None:
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_S):
                return await self._spool_lane.run(self._spool)
        except (OSError, SpoolError, LaneFull) as error:
            telemetry.problem("spool_figures_failed", error=error)
            return None

    async def _look_at_jobs(self) -> JobFigures | None:
        if self._jobs is None:
            return None
        try:
            async with asyncio.timeout(LEDGER_TIMEOUT_S):
                return await self._jobs_lane.run(self._jobs)
        except (TimeoutError, LaneFull):  # a Redis that is away is told of by whoever needs it
            return None

    def close(self) -> None:
        """Give the folder's descriptor back."""
        self._run.close()
        self._spool_lane.close()
        self._jobs_lane.close()


def _reasons(gathered: Gathered, gauges: LedgerGauges | None, spool: SpoolFigures | None) -> list[str]:
    """Why a host should get no work."""
    reasons = {word.decode() for text in gathered.texts for word in _NOT_READY.findall(text)}
    reasons |= {f"down: {name.decode()}" for text in gathered.texts for name in _CHILD_DOWN.findall(text)}
    reasons |= {f"silent: {name}" for name in gathered.silent_names}
    if gauges is None:
        reasons.add("ledger_unreachable")
    elif not gauges.rules_revision:
        reasons.add("no_rules")
    if spool is None:
        reasons.add("spool_unreachable")
    elif spool.low:
        reasons.add("spool_low")
    return sorted(reasons)


def join(texts: Iterable[bytes]) -> bytes:
    """Expositions with every family in one piece: a family's head once, then the samples of all. Order is kept."""
    families: dict[bytes, list[bytes]] = {}
    for text in texts:
        for family in (b"\n" + text).split(b"\n" + _FAMILY)[1:]:
            name, _, _ = family.partition(b" ")
            family = family.rstrip(b"\n")
            if name in families:
                lines = family.split(b"\n", 2)  # HELP, TYPE, samples
                if len(lines) == 3:
                    families[name].append(lines[2])
            else:
                families[name] = [_FAMILY + family]
    return b"".join(b"\n".join(parts) + b"\n" for parts in families.values())


async def _read_all(reader: asyncio.StreamReader) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(1 << 18):
        parts.append(part)
        size += len(part)
        if size > _SOURCE_LIMIT_BYTES:
            return None
    text = b"".join(parts)
    return text if text.endswith(b"\n") else None  # cut short: its process died while it answered
