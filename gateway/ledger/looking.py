"""Looks at a ledger for an event loop: each is one hop into a thread, and one short read-only transaction there.

Counters have a thread and a connection of their own, so that a scrape never stands behind a search; what people ask for
shares two. More than WAITING_MAX that wait are turned away. What a look is about is written once, for all databases
(`gateway.ledger.logic.look`); an implementation (`gateway.ledger.sqlite.look`, `gateway.ledger.postgres.look`) says how
to open a view of its database.

A look ends at its deadline, and at once or soon after its caller is cancelled; its transaction ends with it, whatever
happens. A view that failed is closed, and the next look opens another. Where nothing answers at all, the caller goes
on after ANSWER_S, and the view is cut off.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from gateway.errors import LedgerAway, LedgerBusy, LedgerError, LookRefused, LookTooWide
from gateway.ledger.base import InstanceFilter, RuleSet
from gateway.ledger.logic import gauges as _gauges
from gateway.ledger.logic.look import instance as _instance
from gateway.ledger.logic.look import search as _search
from gateway.ledger.logic.look import state as _state
from gateway.ledger.logic.look import study as _study
from gateway.ledger.logic.look import timeline as _timeline
from gateway.ledger.logic.look import trouble as _trouble
from gateway.ledger.logic.transaction import Transaction
from gateway.ledger.look import (
    DEADLINE_S,
    Affected,
    AuditFilter,
    AuditPage,
    Cell,
    DestinationQueue,
    HostRow,
    InstanceDetail,
    InstancePage,
    Moment,
    RevisionRow,
    StudyDetail,
    StudyFilter,
    StudyPage,
    Totals,
    Trouble,
    TroubleKind,
    TroublePage,
    Twin,
)
from gateway.model import LedgerGauges

T = TypeVar("T")

ANSWER_S = 10.0
SEARCH_S = 0.08  # how long a search goes on looking before it shows what it has
WAITING_MAX = 32
LOOKERS = 2

TOO_WIDE = "this look at the ledger takes longer than it may: narrow the search"


class Allowance:
    """How long one look may go on. Handed from the event loop to the look's thread, and asked from there."""

    def __init__(self) -> None:
        self._ends_s = math.inf
        self._cut: Callable[[], None] = lambda: None
        self._cancelled = False

    @property
    def is_over(self) -> bool:
        """Whether it has to end now."""
        return self._cancelled or time.monotonic() > self._ends_s

    def begin(self, seconds: float) -> None:
        """In the thread: its time runs from now on."""
        self._ends_s = time.monotonic() + seconds

    def cut_by(self, cut: Callable[[], None]) -> None:
        """In the thread: what ends that which it waits for, called from another thread."""
        self._cut = cut

    def cancel(self, *, cut: bool = False) -> None:
        """In the event loop: nobody waits for it any more; `cut`: it does not end by itself."""
        self._cancelled = True
        if cut:
            self._cut()


class View(Protocol):
    """A read-only connection, used by one thread at a time."""

    def look(self, work: Callable[[Transaction], T], allowance: Allowance) -> T:
        """Do `work` in one transaction, which is over when this returns or raises.

        :raises LookTooWide: the allowance was over. LedgerError: as `Ledger` does.
        """

    def close(self) -> None:
        """Close the connection."""


class Lane:
    """Some threads, and as many views as they need."""

    def __init__(
        self, open_view: Callable[[], View], threads: int, name: str, deadline_s: float, answer_s: float
    ) -> None:
        self._open_view = open_view
        self._deadline_s, self._answer_s = deadline_s, answer_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free: list[View] = []
        self._mutex = threading.Lock()
        self._closed = False
        self._waiting = 0

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """Do it in one of the threads. Raises what `View.look` does."""
        if self._closed:
            raise LedgerError("the ledger is closed for looks")
        if self._waiting >= WAITING_MAX:
            raise LedgerBusy("too many look at the ledger at once: try again")
        allowance = Allowance()
        self._waiting += 1
        future = asyncio.wrap_future(self._pool.submit(self._in_thread, work, allowance))
        future.add_done_callback(self._one_less)
        try:
            async with asyncio.timeout(self._answer_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            allowance.cancel(cut=True)
            raise LedgerAway(f"the ledger: no answer within {self._answer_s:g} s") from error
        except asyncio.CancelledError:
            allowance.cancel()
            raise

    def _one_less(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # nobody may be left to take it

    def _in_thread(self, work: Callable[[Transaction], T], allowance: Allowance) -> T:
        if allowance.is_over:  # cancelled before its turn came
            raise LookTooWide(TOO_WIDE)
        allowance.begin(self._deadline_s)
        with self._mutex:
            view = self._free.pop() if self._free else None
        view = view or self._open_view()
        try:
            result = view.look(work, allowance)
        except (LookTooWide, LookRefused):
            self._give_back(view)
            raise
        except BaseException:
            view.close()
            raise
        self._give_back(view)
        return result

    def _give_back(self, view: View) -> None:
        with self._mutex:
            if not self._closed:
                self._free.append(view)
                return
        view.close()

    def close(self) -> None:
        """Close the views; one that is in use closes when its look is over."""
        with self._mutex:
            self._closed = True
            views, self._free = self._free, []
        for view in views:
            view.close()
        self._pool.shutdown(wait=False)


class Watch(Protocol):
    """Counters, on a connection of their own."""

    async def gauges(self) -> LedgerGauges:
        """See `LedgerLook.gauges`."""

    async def totals(self) -> Totals:
        """See `LedgerLook.totals`."""

    async def close(self) -> None:
        """See `LedgerLook.close`."""


class LaneWatch:
    """A watch by views."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def gauges(self) -> LedgerGauges:
        """See `LedgerLook.gauges`."""
        return await self._lane.look(_gauges.read)

    async def totals(self) -> Totals:
        """See `LedgerLook.totals`."""
        return await self._lane.look(_state.totals)

    async def close(self) -> None:
        """See `LedgerLook.close`."""
        self._lane.close()


class Looks:
    """`LedgerLook` over views, and a watch of its own where the database has one. Times are for tests to change."""

    def __init__(
        self,
        open_view: Callable[[], View],
        watch: Watch | None = None,
        *,
        deadline_s: float = DEADLINE_S,
        answer_s: float = ANSWER_S,
        search_s: float = SEARCH_S,
    ) -> None:
        self._search_s = search_s
        self._people = Lane(open_view, LOOKERS, "look", deadline_s, answer_s)
        self._watch = watch or LaneWatch(Lane(open_view, 1, "watch", deadline_s, answer_s))

    async def close(self) -> None:
        """See `LedgerLook.close`."""
        self._people.close()
        await self._watch.close()

    async def gauges(self) -> LedgerGauges:
        """See `LedgerLook.gauges`."""
        return await self._watch.gauges()

    async def totals(self) -> Totals:
        """See `LedgerLook.totals`."""
        return await self._watch.totals()

    async def studies(self, which: StudyFilter, limit: int, after: str = "") -> StudyPage:
        """See `LedgerLook.studies`."""

        def search(tx: Transaction) -> StudyPage:
            ends_s = time.monotonic() + self._search_s
            return _search.studies(tx, which, limit, after, lambda: time.monotonic() < ends_s)

        return await self._people.look(search)

    async def study(self, study_key: int) -> StudyDetail | None:
        """See `LedgerLook.study`."""
        return await self._people.look(partial(_study.study, study_key=study_key))

    async def study_instances(self, study_key: int, limit: int, after: str = "") -> InstancePage:
        """See `LedgerLook.study_instances`."""
        return await self._people.look(lambda tx: _study.instances(tx, study_key, limit, after))

    async def matrix(self, instance_ids: Sequence[str]) -> Mapping[str, Mapping[str, Cell]]:
        """See `LedgerLook.matrix`."""
        return await self._people.look(lambda tx: _instance.matrix(tx, instance_ids))

    async def instance(self, instance_id: str) -> InstanceDetail | None:
        """See `LedgerLook.instance`."""
        return await self._people.look(lambda tx: _instance.instance(tx, instance_id))

    async def find_instances(self, uid: str) -> list[Twin]:
        """See `LedgerLook.find_instances`."""
        return await self._people.look(lambda tx: _instance.find(tx, uid))

    async def timeline(self, of: str | int) -> list[Moment]:
        """See `LedgerLook.timeline`."""
        return await self._people.look(lambda tx: _timeline.timeline(tx, of))

    async def attention(self) -> list[Trouble]:
        """See `LedgerLook.attention`."""
        return await self._people.look(_trouble.attention)

    async def attention_items(
        self, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str = ""
    ) -> TroublePage:
        """See `LedgerLook.attention_items`."""
        return await self._people.look(lambda tx: _trouble.items(tx, kind, destination, code, reason, limit, after))

    async def affected(self, which: InstanceFilter) -> Affected:
        """See `LedgerLook.affected`."""
        return await self._people.look(lambda tx: _trouble.affected(tx, which))

    async def sent_again(self, which: InstanceFilter) -> Affected:
        """See `LedgerLook.sent_again`."""
        return await self._people.look(lambda tx: _trouble.sent_again(tx, which))

    async def queue(self, bounds_s: Sequence[int], now_ms: int) -> list[DestinationQueue]:
        """See `LedgerLook.queue`."""
        return await self._people.look(lambda tx: _state.queue(tx, bounds_s, now_ms))

    async def rule_matches(self, since_ms: int) -> dict[str, int]:
        """See `LedgerLook.rule_matches`."""
        return await self._people.look(lambda tx: _state.rule_matches(tx, since_ms))

    async def revisions(self, limit: int) -> list[RevisionRow]:
        """See `LedgerLook.revisions`."""
        return await self._people.look(lambda tx: _state.revisions(tx, limit))

    async def rule_files(self, revision: str = "") -> RuleSet | None:
        """See `LedgerLook.rule_files`."""
        return await self._people.look(lambda tx: _state.rule_files(tx, revision))

    async def audit(self, which: AuditFilter, limit: int, after: str = "") -> AuditPage:
        """See `LedgerLook.audit`."""
        return await self._people.look(lambda tx: _state.audit(tx, which, limit, after))

    async def hosts(self) -> list[HostRow]:
        """See `LedgerLook.hosts`."""
        return await self._people.look(_state.hosts_of)
