"""The worker role: instances in, decisions and deliveries out. One process, one thread, no event loop.

Rules:
  - An instance is routed by exactly one revision of the rules: the one that was current when its batch was claimed.
  - Rules in force that cannot be loaded end no worker: all waits, and once a minute that is told.
  - The header is read, never the pixel data. A data set that cannot be read to its end, or whose SOP class or instance
    UID is not the one that the sender's command named, is quarantined with the reason; it is never repaired or sent.
  - The process itself is limited: address space by RLIMIT_AS, time by an alarm (`watch`). A hostile object can end only
    its worker; its instance is claimed again alone, and after `MAX_ROUTING_ATTEMPTS` workers (see
    `gateway.ledger.base`) the next one quarantines it without a look.
  - All of a batch is looked at and recorded before the first copy is made, which may take long. What is large, what has
    ended a worker, and what there is no time for is recorded without its copies, and these are made in between, as are
    those that are lost (`remake`).
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from gateway import telemetry
from gateway.errors import ConfigurationError, LedgerBusy, LedgerError, LedgerFull, SpoolError
from gateway.flow.decide import Decided, copied, decide
from gateway.flow.history import History
from gateway.flow.remake import Remaker
from gateway.flow.seal import Sealer
from gateway.flow.trouble import Trouble
from gateway.flow.watch import Watch
from gateway.ledger.base import Ledger, RoutedInstance
from gateway.model import Decision, InstanceLease, InstanceState, Quarantine, Routing, Session
from gateway.spool import Spool
from gateway.transform import NO_KEYS, Keys, Rulebook, load
from gateway.work.base import Stage, WorkQueue

BATCH = 64
IDLE_S = 1.0
GIVE_WAY_MS = 1000
COPYING_MS = 5000  # of a batch; what is not begun then is left for later
TELL_MS = 60_000  # between two tries to load rules that cannot be
NO_MEMORY = "there is no room in memory for them: is worker.memory too small?"

_Found = TypeVar("_Found")


def limit_process(memory_bytes: int) -> None:
    """Bound this process's address space; what needs more ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


class Router:
    """Routes what the ledger has received.

    :param time_s: for one instance; the process is ended by SIGALRM when it takes longer.
    :param history: what remembers them; None where nothing is to be.

    While `draining`, nothing more is claimed.
    """

    def __init__(
        self,
        ledger: Ledger,
        session: Session,
        spool: Spool,
        queue: WorkQueue,
        clock_ms: Callable[[], int],
        time_s: float,
        keys: Keys = NO_KEYS,
        sealer: Sealer | None = None,
        history: History | None = None,
    ) -> None:
        self.draining = False
        self.rested: Callable[[], None] = lambda: None
        self._history = history
        self._trouble = Trouble("routing_waits_for_ledger")
        self._history_waits = False
        self._ledger = ledger
        self._session = session
        self._spool = spool
        self._queue = queue
        self._clock_ms = clock_ms
        self._time_s = time_s
        self._keys = keys
        self._sealer = sealer
        self._book: Rulebook | None = None
        self._gave_way_at_ms = 0
        self._failed: Exception | None = None  # while it gave way
        self._refused, self._refused_at_ms = "", 0  # a revision that could not be loaded
        self._remaker = Remaker(
            ledger,
            session,
            spool,
            clock_ms,
            lambda: queue.notify(Stage.DELIVER),
            lambda: queue.wait_sync(IDLE_S),
            keys,
            sealer,
            self._give_way,
        )

    def run(
        self,
        beat: Callable[[], None],
        stopping: Callable[[], bool],
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        """Route until told to stop, waiting for wake-ups in between.

        :param beat: called very often.
        :param rested: called whenever nothing is held up by it, where it may wait for the ledger too.
        """
        watch = Watch(beat, self._time_s, rested)
        self.rested = rested
        while not stopping():
            beat()
            rested()
            if not self.turn(watch, stopping):
                # What came since has sent a wake-up, which is not lost.
                self._queue.wait_sync(IDLE_S)
        self.finish()

    def turn(self, watch: Watch, stopping: Callable[[], bool]) -> bool:
        """Route a batch, make copies for a while. True when there is more to do at once."""
        try:
            leases = self._claim()
            self._trouble.over()
        except (LedgerBusy, LedgerFull) as error:
            self._trouble.tell(reason=str(error))
            leases = []
        if self._book is not None and leases:
            self._route(self._book, leases, watch, stopping)
        more_copies = False
        try:
            more_copies = not self.draining and self._remaker.turn(self._book, watch, stopping)
        except (LedgerBusy, LedgerFull) as error:
            self._trouble.tell(reason=str(error))
        if self._failed is not None:
            raise self._failed
        self._remember(at_once=False)
        # A version whose earlier one another worker had, or one for another try, waits for the next turn.
        return len(leases) >= BATCH or more_copies or any(lease.attempt > 1 for lease in leases)

    def finish(self) -> None:
        """No more turns: what is still to be remembered is."""
        self._remember(at_once=True)

    def _give_way(self, watch: Watch, stopping: Callable[[], bool]) -> None:
        """Route what has come while a large copy is made; its own copies wait. Looked for once in GIVE_WAY_MS."""
        now_ms = self._clock_ms()
        if self._failed is not None or abs(now_ms - self._gave_way_at_ms) < GIVE_WAY_MS:
            return
        self._gave_way_at_ms = now_ms
        self.rested()
        try:
            leases = self._claim()
            if self._book is not None and leases:
                self._route(self._book, leases, watch, stopping, makes_copies=False)
        except (LedgerBusy, LedgerFull) as error:
            self._trouble.tell(reason=str(error))
        except Exception as error:  # noqa: BLE001 - it ends this process, as it would elsewhere; the copy has no part in it
            self._failed = error

    def _remember(self, at_once: bool) -> None:
        if self._history is None:
            return
        try:
            if self._history.flush() if at_once else self._history.turn():
                self._history_waits = False
        except LedgerError as error:
            if not self._history_waits:  # a disk may be full for a weekend
                telemetry.problem("history_waits_for_ledger", reason=str(error))
            self._history_waits = True

    def _claim(self) -> list[InstanceLease]:
        """A batch, if there is one, and the rules for it. They are read before anything is claimed: what keeps a worker
        from having them is held against no instance."""
        while not self.draining:
            if self._book is not None:
                leases = self._ledger.claim_instances(self._session, BATCH, self._clock_ms(), self._book.revision)
                if leases:
                    return leases
            revision = self._ledger.current_revision()
            if not revision or (self._book is not None and self._book.revision == revision):
                return []
            if not self._load(revision):
                return []
        return []

    def _load(self, revision: str) -> bool:
        """Take the rules of a revision, if they can be had; else all waits for others, and they are tried again."""
        now_ms = self._clock_ms()
        if revision == self._refused and abs(now_ms - self._refused_at_ms) < TELL_MS:
            return False
        self._book = None  # its tables and the next ones may have no room beside each other
        try:
            self._book = load(self._ledger.load_rules(revision).files, None, self._keys)
        except (ConfigurationError, MemoryError) as error:
            told = [str(each) for each in error.problems] if isinstance(error, ConfigurationError) else [NO_MEMORY]
            telemetry.problem("rules_in_force_not_loaded", revision=revision, problems=told)
            self._refused, self._refused_at_ms = revision, now_ms
            return False
        # This process is the one that counts them.
        telemetry.declare(rules=[rule.name for rule in self._book.plan.rules])
        return True

    def _route(
        self,
        book: Rulebook,
        leases: Sequence[InstanceLease],
        watch: Watch,
        stopping: Callable[[], bool],
        makes_copies: bool = True,
    ) -> None:
        routings: list[Routing] = []
        quarantines: list[Quarantine] = []
        with_copies: list[Decided] = []
        kept_back: set[str] = set()
        associations = {lease.instance_id: lease.facts.association_id for lease in leases}
        for lease in leases:
            found = self._try(partial(decide, book, self._spool, lease, self._history), watch, stopping)
            if found is None:
                return  # stopping: the session ends with this process, and frees them
            if isinstance(found, Quarantine):
                quarantines.append(found)
            elif (makes_copies and found.is_for_now) or lease.payload.sop_instance_uid in kept_back:
                # A later version of the same instance is recorded after it, or it might be sent before it.
                with_copies.append(found)
                kept_back.add(lease.payload.sop_instance_uid)
            else:
                routings.append(found.routing())
        if self._tell_ledger(routings, quarantines, associations, watch, stopping):
            self._route_with_copies(book, with_copies, associations, watch, stopping)

    def _route_with_copies(
        self,
        book: Rulebook,
        decided: Sequence[Decided],
        associations: Mapping[str, str],
        watch: Watch,
        stopping: Callable[[], bool],
    ) -> None:
        """Copies take their time and room: each is recorded at once, and what is too many is left for later."""
        began_ms = self._clock_ms()
        session_id = self._session.session_id
        for each in decided:
            found: Routing | Quarantine | None = each.routing()
            if each.is_for_now and not stopping() and abs(self._clock_ms() - began_ms) < COPYING_MS:
                make = partial(copied, book, self._spool, each, watch, session_id, self._sealer)
                found = self._try(make, watch, stopping)
            if found is None:
                return
            routings = [found] if isinstance(found, Routing) else []
            quarantines = [found] if isinstance(found, Quarantine) else []
            if not self._tell_ledger(routings, quarantines, associations, watch, stopping):
                return

    def _tell_ledger(
        self,
        routings: Sequence[Routing],
        quarantines: list[Quarantine],
        associations: Mapping[str, str],
        watch: Watch,
        stopping: Callable[[], bool],
    ) -> bool:
        """Record, however long that takes. False when stopping: the session ends with this process, and frees them."""
        while True:
            try:
                self._record(routings, quarantines, associations)
            except (LedgerBusy, LedgerFull) as error:
                # What was claimed is ours until we say what became of it: nobody else would ever route it.
                self._trouble.tell(reason=str(error))
                watch.rest()
                if stopping():
                    return False
                self._queue.wait_sync(IDLE_S)
            else:
                return True

    def _try(self, what: Callable[[], _Found], watch: Watch, stopping: Callable[[], bool]) -> _Found | None:
        """Do something about one instance, however long the host keeps us from reading it. None when stopping."""
        while True:
            watch.renew()
            try:
                return what()
            except SpoolError as error:
                # No descriptors, a stale mount: not the instance's fault, so no attempt of it may be lost over this.
                telemetry.problem("spool_read", reason=str(error))
            finally:
                watch.rest()
            if stopping():
                return None
            self._queue.wait_sync(IDLE_S)

    def _record(
        self, routings: Sequence[Routing], quarantines: list[Quarantine], associations: Mapping[str, str]
    ) -> None:
        if quarantines:
            self._ledger.quarantine(self._session, quarantines, self._clock_ms())
            for verdict in quarantines:
                telemetry.quarantined(
                    instance_id=verdict.instance_id,
                    association_id=associations[verdict.instance_id],
                    reason=verdict.reason,
                )
            quarantines.clear()
        if not routings:
            return
        results = self._ledger.record_routings(self._session, routings, self._clock_ms())
        decisions = {routing.instance_id: routing.decision for routing in routings}
        recorded = {result.instance_id for result in results}
        for routing in routings:
            for made in routing.derived:
                if self._sealer is not None and routing.instance_id in recorded:
                    self._sealer.recorded(made.remembered)
                if made.payload is not None or made.reason:  # else it is left for later, of which nothing is to be told
                    telemetry.copy_made(instance_id=routing.instance_id, made=made)
        if any(result.destinations for result in results):
            self._queue.notify(Stage.DELIVER)
        for result in results:
            _tell(result, decisions[result.instance_id], associations[result.instance_id])


def _tell(result: RoutedInstance, decision: Decision, association_id: str) -> None:
    told: dict[str, str] = {"instance_id": result.instance_id, "association_id": association_id}
    if result.state is InstanceState.HELD:
        telemetry.instance_held(**told, rules=decision.matched, reason=decision.hold or "")
    elif decision.discard is not None:
        telemetry.instance_discarded(**told, rules=decision.matched, reason=decision.discard)
    else:
        telemetry.instance_routed(
            **told, rules=decision.matched, destinations=result.destinations, revision=decision.revision
        )
