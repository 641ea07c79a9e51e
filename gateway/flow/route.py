"""The worker role: instances in, decisions and deliveries out. One process, one thread, no event loop.

Rules:
  - An instance is routed by exactly one revision of the rules: the one that was current when its batch was claimed.
  - The header is read, never the pixel data. A data set that cannot be read to its end, or whose SOP class or instance
    UID is not the one that the sender's command named, is quarantined with the reason; it is never repaired or sent.
  - The process itself is limited: address space by RLIMIT_AS, time by an alarm whose default action ends the process.
    A hostile object can end only its worker; its instance is claimed again alone, and after `MAX_ROUTING_ATTEMPTS`
    workers (see `gateway.ledger.base`) the next one quarantines it without a look.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway import telemetry
from gateway.dicom.header import read_header, study_facts
from gateway.errors import HeaderError, LedgerBusy, LedgerFull, SpoolCorrupt, SpoolError, SpoolMissing
from gateway.ledger.base import MAX_ROUTING_ATTEMPTS, Ledger, RoutedInstance
from gateway.model import Decision, InstanceLease, InstanceState, Quarantine, Routing, Session
from gateway.rules.plan import Plan, load
from gateway.spool import Spool, SpoolFile
from gateway.work.base import Stage, WorkQueue

BATCH = 64
IDLE_S = 1.0


def limit_process(memory_bytes: int) -> None:
    """Bound this process's address space; what needs more ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


class Route(NamedTuple):
    """What a worker found out about one instance."""

    routing: Routing | None
    quarantine: Quarantine | None


class Router:
    """Routes what the ledger has received.

    :param time_s: for one instance; the process is ended by SIGALRM when it takes longer.
    """

    def __init__(
        self,
        ledger: Ledger,
        session: Session,
        spool: Spool,
        queue: WorkQueue,
        clock_ms: Callable[[], int],
        time_s: float,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._spool = spool
        self._queue = queue
        self._clock_ms = clock_ms
        self._time_s = time_s
        self._plan: Plan | None = None

    def run(self, beat: Callable[[], None], stopping: Callable[[], bool]) -> None:
        """Route until told to stop, waiting for wake-ups in between."""
        while not stopping():
            beat()
            try:
                leases = self._claim()
            except (LedgerBusy, LedgerFull) as error:
                telemetry.problem("routing_waits_for_ledger", reason=str(error))
                leases = []
            if self._plan is not None and leases:
                self._route(self._plan, leases, beat, stopping)
            if len(leases) < BATCH and not any(lease.attempt > 1 for lease in leases):
                # There is hardly anything else; what came since has sent a wake-up, which is not lost. A version whose
                # earlier one another worker had, or one for another try, waits for the next turn.
                self._queue.wait_sync(IDLE_S)

    def _claim(self) -> list[InstanceLease]:
        """A batch, if there is one, and the rules for it. They are read before anything is claimed: what keeps a worker
        from having them is held against no instance."""
        while True:
            if self._plan is not None:
                leases = self._ledger.claim_instances(self._session, BATCH, self._clock_ms(), self._plan.revision)
                if leases:
                    return leases
            revision = self._ledger.current_revision()
            if not revision or (self._plan is not None and self._plan.revision == revision):
                return []
            self._plan = load(self._ledger.load_rules(revision).files, None)
            # This process is the one that counts them.
            telemetry.declare(rules=[rule.name for rule in self._plan.rules])

    def _route(
        self,
        plan: Plan,
        leases: Sequence[InstanceLease],
        beat: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        routings: list[Routing] = []
        quarantines: list[Quarantine] = []
        for lease in leases:
            found = self._look(plan, lease, beat, stopping)
            if found is None:
                return  # stopping: the session ends with this process, and frees them
            if found.routing is not None:
                routings.append(found.routing)
            if found.quarantine is not None:
                quarantines.append(found.quarantine)
        associations = {lease.instance_id: lease.facts.association_id for lease in leases}
        while True:
            try:
                self._record(routings, quarantines, associations)
            except (LedgerBusy, LedgerFull) as error:
                # What was claimed is ours until we say what became of it: nobody else would ever route it.
                telemetry.problem("routing_waits_for_ledger", reason=str(error))
                beat()
                if stopping():
                    return  # the session ends with this process, and frees them
                self._queue.wait_sync(IDLE_S)
            else:
                return

    def _look(
        self, plan: Plan, lease: InstanceLease, beat: Callable[[], None], stopping: Callable[[], bool]
    ) -> Route | None:
        """Decide about one instance, however long the host keeps us from reading it. None when stopping."""
        while True:
            beat()
            signal.setitimer(signal.ITIMER_REAL, self._time_s)
            try:
                return route_instance(plan, self._spool, lease)
            except SpoolError as error:
                # No descriptors, a stale mount: not the instance's fault, so no attempt of it may be lost over this.
                telemetry.problem("spool_read", reason=str(error))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
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


def route_instance(plan: Plan, spool: Spool, lease: InstanceLease) -> Route:
    """Decide about one instance. Reads the spool; writes nothing. :raises SpoolError: the host's trouble."""
    payload = lease.payload

    def bad(reason: str) -> Route:
        return Route(None, Quarantine(lease.instance_id, reason))

    if lease.attempt > MAX_ROUTING_ATTEMPTS:
        return bad(f"routing failed {MAX_ROUTING_ATTEMPTS} times")
    try:
        with SpoolFile.open(spool, payload) as file:
            header = read_header(file, payload.transfer_syntax_uid, plan.wanted)
    except SpoolMissing:
        return bad("the spool file is missing")
    except SpoolCorrupt as error:
        return bad(f"the spool file is damaged: {error}")
    except HeaderError as error:
        return bad(f"the data set cannot be read: {error}")
    # The C-STORE command and the data set name the same instance, PS3.4 B.2.1; else neither can be believed.
    if header.sop_instance_uid != payload.sop_instance_uid:
        return bad("the data set's SOP Instance UID is not the one in the C-STORE command")
    if header.sop_class_uid != payload.sop_class_uid:
        return bad("the data set's SOP Class UID is not the one in the C-STORE command")
    decision = plan.decide(
        header, lease.facts, payload.transfer_syntax_uid, payload.sop_class_uid, lease.received_at_ms
    )
    routing = Routing(lease.instance_id, decision, study_facts(header), plan.priority(decision))
    return Route(routing, None)
