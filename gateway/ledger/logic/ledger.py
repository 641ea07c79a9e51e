"""`SqlLedger`: each method of the contract as one transaction, and which others may run beside it.

Durable are those whose loss in a power cut could lose an instance, break an operator's order,
hide a look at an original, or give a session's id away twice; the rest is made up for by the spool. Turns: what is not
hot takes its turn alone, so that nobody has to think of what else may happen meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar, cast

from gateway.errors import LeaseLost, LedgerDamaged, LedgerUnsure
from gateway.ledger.base import (
    AgeBucket,
    AuditRow,
    DeliveryRow,
    DerivationLease,
    DerivationResult,
    DrainRow,
    Forwarding,
    HistoryKeys,
    HistoryRow,
    InstanceFilter,
    InstanceRow,
    OpenSession,
    Ordered,
    ProcessRow,
    PurgeItem,
    RecordedArrival,
    RevisionsSeen,
    RoutedInstance,
    RuleSet,
    Voided,
)
from gateway.ledger.logic import arrivals as _arrivals
from gateway.ledger.logic import audit as _audit
from gateway.ledger.logic import check as _check
from gateway.ledger.logic import deliveries as _deliveries
from gateway.ledger.logic import derivations as _derivations
from gateway.ledger.logic import destinations as _destinations
from gateway.ledger.logic import downloads as _downloads
from gateway.ledger.logic import gauges as _gauges
from gateway.ledger.logic import history as _history
from gateway.ledger.logic import hosts as _hosts
from gateway.ledger.logic import operations as _operations
from gateway.ledger.logic import owners as _owners
from gateway.ledger.logic import people as _people
from gateway.ledger.logic import pseudonyms as _pseudonyms
from gateway.ledger.logic import purge as _purge
from gateway.ledger.logic import quarantine as _quarantine
from gateway.ledger.logic import routing as _routing
from gateway.ledger.logic import rules as _rules
from gateway.ledger.logic import sessions as _sessions
from gateway.ledger.logic.trail_methods import TrailMethods
from gateway.ledger.logic.transaction import Transaction, Turn
from gateway.model import (
    Arrival,
    Beat,
    DeliveryLease,
    Derivation,
    DestinationState,
    InstanceLease,
    InstanceState,
    LedgerGauges,
    LeftBehind,
    Outcome,
    PayloadFile,
    Quarantine,
    Remembered,
    Role,
    Routing,
    Session,
)
from gateway.reasons import Unrouted

T = TypeVar("T")


@contextlib.contextmanager
def _claiming() -> Iterator[None]:
    """What a commit claimed of which nobody knows whether it holds is freed with the session: its process ends."""
    try:
        yield
    except LedgerUnsure as error:
        raise LeaseLost(f"{error}; what this process has claimed is given back by its end") from error


class _Rehearsed(Exception):
    """Ends the transaction of an order that was only to be rehearsed, with what it would have returned."""

    def __init__(self, result: object) -> None:
        self.result = result
        super().__init__()


class Database(Protocol):
    """What runs the transactions: a connection, used by the thread that opened it."""

    def write(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = False,
        turn: Turn = Turn.ALONE,
        fleeting: bool = False,
    ) -> T:
        """Run `work` in one write transaction, in its turn, and commit it.

        :param durable: it reaches the disk before this returns.
        :param fleeting: a crash of the database may take it, though this process goes on: nothing rests on it.

        `work` may be run again from its beginning, where the database asks for that: it changes nothing else.
        """

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent view, in nobody's way."""

    def damage(self, quick: bool) -> list[str]:
        """What is wrong with the database itself, in words."""

    def close(self) -> None:
        """Close the connection."""


class SqlLedger(TrailMethods):
    """See `gateway.ledger.base.Ledger`; the docstrings there are the specification."""

    def __init__(self, database: Database) -> None:
        self._database: Database = database

    def close(self) -> None:
        self._database.close()

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────

    def open_session(
        self, role: Role, host: str, pid: int, now_ms: int, generation: str = "", home: str = ""
    ) -> Session:
        return self._database.write(
            lambda tx: _sessions.open_session(tx, role, host, pid, now_ms, generation, home),
            durable=True,
            turn=Turn.ALONE if role is Role.SUPERVISOR else Turn.FREE,
        )

    def sessions(self) -> list[OpenSession]:
        return self._database.read(_sessions.open_sessions)

    def dead_generations(self, home: str) -> list[str]:
        return self._database.read(lambda tx: _sessions.dead_generations(tx, home))

    def unknown_generations(self, generations: Iterable[str]) -> set[str]:
        return self._database.read(lambda tx: _sessions.unknown_generations(tx, generations))

    def beat(self, session: Session, now_ms: int, in_hand: int | None = None) -> Beat:
        return self._database.write(
            lambda tx: _sessions.beat(tx, session, now_ms, in_hand), turn=Turn.FREE, fleeting=True
        )

    def void_session(
        self, session_id: int, now_ms: int, left: LeftBehind | None = None, beats: int | None = None
    ) -> Voided | None:
        def void(tx: Transaction) -> Voided | None:
            if beats is not None and _sessions.beats_of(tx, session_id) != beats:
                return None
            if left is not None and _sessions.opened_at(tx, session_id) == left.opened_at_ms:
                _deliveries.record(tx, session_id, left.delivered, now_ms)
            return _sessions.void(tx, session_id, now_ms)

        return self._database.write(void)

    def void_all(
        self, now_ms: int, left: Mapping[int, LeftBehind], home: str | None = None, own: Session | None = None
    ) -> Voided:
        def void(tx: Transaction) -> Voided:
            if own is not None:
                _sessions.require_open(tx, own)
            for session_id, each in left.items():
                if _sessions.opened_at(tx, session_id) == each.opened_at_ms:
                    _deliveries.record(tx, session_id, each.delivered, now_ms)
            return _sessions.void_all(tx, now_ms, home, own)

        return self._database.write(void)

    # ── arrivals ──────────────────────────────────────────────────────────────────────────────────────────────

    def record_arrivals(self, arrivals: Sequence[Arrival], now_ms: int) -> list[RecordedArrival]:
        return self._database.write(
            lambda tx: _arrivals.record(tx, arrivals, InstanceState.RECEIVED, "", now_ms), turn=Turn.ARRIVALS
        )

    def record_recovered(self, arrivals: Sequence[Arrival], now_ms: int) -> int:
        recorded = self._database.write(
            lambda tx: _arrivals.record(tx, arrivals, InstanceState.HELD, Unrouted.RECOVERED.value, now_ms)
        )
        return sum(each.new for each in recorded)

    def copies_of(self, instance_ids: Iterable[str]) -> set[str]:
        ids = list(instance_ids)
        return self._database.read(lambda tx: _derivations.copies_of(tx, ids))

    def known_instances(self, instance_ids: Iterable[str]) -> set[str]:
        ids = list(instance_ids)  # the database may begin again, and an iterator would not
        return self._database.read(lambda tx: _arrivals.known(tx, ids))

    def is_empty(self) -> bool:
        return self._database.read(_arrivals.none)

    # ── routing ───────────────────────────────────────────────────────────────────────────────────────────────

    def claim_instances(
        self, session: Session, limit: int, now_ms: int, revision: str | None = None
    ) -> list[InstanceLease]:
        with _claiming():
            return self._database.write(
                lambda tx: _routing.claim(tx, session, limit, now_ms, revision), turn=Turn.BESIDE, fleeting=True
            )

    def record_routings(self, session: Session, routings: Sequence[Routing], now_ms: int) -> list[RoutedInstance]:
        # An order to discard must not be forgotten after the instance is gone.
        durable = any(each.decision.discard is not None for each in routings)
        return self._database.write(
            lambda tx: _routing.record(tx, session, routings, now_ms), durable=durable, turn=Turn.BESIDE
        )

    def claim_derivation(self, session: Session) -> DerivationLease | None:
        with _claiming():
            return self._database.write(lambda tx: _derivations.claim(tx, session))

    def record_derivation(
        self, session: Session, lease: DerivationLease, made: Derivation, now_ms: int
    ) -> DerivationResult:
        return self._database.write(lambda tx: _derivations.record(tx, session, lease, made, now_ms))

    def quarantine(self, session: Session, verdicts: Sequence[Quarantine], now_ms: int) -> int:
        return self._database.write(lambda tx: _quarantine.quarantine(tx, session, verdicts, now_ms))

    # ── deliveries ────────────────────────────────────────────────────────────────────────────────────────────

    def claim_deliveries(self, session: Session, destination: str, limit: int, now_ms: int) -> list[DeliveryLease]:
        with _claiming():
            # Not fleeting: what is forgotten is claimed again, while the process that had it sends it.
            return self._database.write(
                lambda tx: _deliveries.claim(tx, session, destination, limit, now_ms), turn=Turn.BESIDE
            )

    def release_deliveries(self, session: Session, leases: Sequence[DeliveryLease], now_ms: int) -> int:
        return self._database.write(
            lambda tx: _deliveries.release(tx, session, leases, now_ms),
            turn=Turn.BESIDE,
        )

    def record_outcomes(self, session: Session, outcomes: Sequence[Outcome], now_ms: int) -> list[int]:
        return self._database.write(
            lambda tx: _deliveries.record(tx, session.session_id, outcomes, now_ms), turn=Turn.BESIDE
        )

    # ── destinations ──────────────────────────────────────────────────────────────────────────────────────────

    def sync_destinations(self, skip_duplicates: Mapping[str, bool], now_ms: int, home: str = "") -> tuple[int, int]:
        return self._database.write(lambda tx: _destinations.sync(tx, skip_duplicates, now_ms, home))

    def restore_destinations(self, now_ms: int) -> int:
        if not self._database.read(_destinations.lapsed):
            return 0
        return self._database.write(lambda tx: _destinations.restore(tx, now_ms))

    def destinations(self) -> list[DestinationState]:
        return self._database.read(_destinations.states)

    def save_destination(
        self, name: str, breaker: str, window: float, last_error: str, next_probe_at_ms: int, now_ms: int
    ) -> None:
        self._database.write(
            lambda tx: _destinations.save(tx, name, breaker, window, last_error, next_probe_at_ms, now_ms),
            turn=Turn.FREE,
            fleeting=True,
        )

    def pause_destination(self, name: str, paused: bool, actor: str, now_ms: int, reason: str = "") -> None:
        self._database.write(lambda tx: _destinations.pause(tx, name, paused, actor, now_ms, reason), durable=True)

    def probe_destination(self, name: str, actor: str, now_ms: int, reason: str = "") -> bool:
        return self._database.write(lambda tx: _destinations.probe(tx, name, actor, now_ms, reason), durable=True)

    def try_now(self, name: str, actor: str, now_ms: int, reason: str = "", rehearse: bool = False) -> int:
        return self._order(lambda tx: _destinations.try_now(tx, name, actor, now_ms, reason), rehearse)

    # ── owners ────────────────────────────────────────────────────────────────────────────────────────────────

    def forwarding(self) -> Forwarding:
        return self._database.read(_owners.forwarding)

    def own_destinations(self, session: Session, names: Collection[str]) -> frozenset[str]:
        return self._database.write(lambda tx: _owners.own(tx, session, names))

    def ask_for_destinations(self, session: Session, names: Collection[str]) -> None:
        self._database.write(lambda tx: _owners.ask_for(tx, session, names))

    def disown_destinations(self, session: Session, names: Collection[str]) -> None:
        self._database.write(lambda tx: _owners.disown(tx, session, names))

    def free_leases(self, session: Session, names: Collection[str], pending: Collection[int], now_ms: int) -> int:
        return self._database.write(lambda tx: _owners.free_leases(tx, session, names, pending, now_ms))

    # ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────

    def set_draining(
        self, host: str, roles: Collection[Role], draining: bool, actor: str, now_ms: int, reason: str = ""
    ) -> int:
        return self._database.write(
            lambda tx: _hosts.set_draining(tx, host, roles, draining, actor, now_ms, reason), durable=True
        )

    def draining(self) -> list[DrainRow]:
        return self._database.read(_hosts.draining)

    def processes(self) -> list[ProcessRow]:
        return self._database.read(_hosts.processes)

    # ── spool's end ───────────────────────────────────────────────────────────────────────────────────────────

    def begin_purge(self, settled_before_ms: int, limit: int, now_ms: int) -> list[PurgeItem]:
        return self._database.write(lambda tx: _purge.begin(tx, settled_before_ms, limit), durable=True)

    def finish_purge(self, instance_ids: Sequence[str], now_ms: int) -> int:
        return self._database.write(lambda tx: _purge.finish(tx, instance_ids))

    # ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────

    def store_rules(self, rules: RuleSet, now_ms: int) -> bool:
        return self._database.write(lambda tx: _rules.store(tx, rules, now_ms), durable=True)

    def current_revision(self) -> str:
        return self._database.read(_rules.current)

    def load_rules(self, revision: str) -> RuleSet:
        return self._database.read(lambda tx: _rules.load(tx, revision))

    def superseded_rules(self, before_ms: int) -> list[str]:
        return self._database.read(lambda tx: _rules.superseded(tx, before_ms))

    def revisions_of(self, after_seq: int, limit: int) -> RevisionsSeen:
        return self._database.read(lambda tx: _rules.revisions_of(tx, after_seq, limit))

    def forget_rules(self, revision: str) -> bool:
        return self._database.write(lambda tx: _rules.forget(tx, revision))

    def waiting_chains(self) -> list[str]:
        return self._database.read(_derivations.waiting_chains)

    def turn_chain(self, old: str, new: str, limit: int, now_ms: int) -> int:
        return self._database.write(lambda tx: _derivations.turn_chain(tx, old, new, limit, now_ms), durable=True)

    # ── history ───────────────────────────────────────────────────────────────────────────────────────────────

    def record_history(self, new: Sequence[Remembered], more: Mapping[int, tuple[int, int]]) -> HistoryKeys:
        return self._database.write(
            lambda tx: _history.record(tx, new, more),
            turn=Turn.FREE,
            fleeting=True,
        )

    def history(self, since_ms: int, after_key: int, limit: int) -> list[HistoryRow]:
        return self._database.read(lambda tx: _history.since(tx, since_ms, after_key, limit))

    def trim_history(self, before_ms: int, most_bytes: int, limit: int) -> int:
        return self._database.write(lambda tx: _history.trim(tx, before_ms, most_bytes, limit))

    # ── people ────────────────────────────────────────────────────────────────────────────────────────────────

    def list_instances(self, which: InstanceFilter, limit: int, offset: int = 0) -> list[InstanceRow]:
        return self._database.read(lambda tx: _people.instances(tx, which, limit, offset))

    def deliveries_of(self, instance_ids: Sequence[str]) -> list[DeliveryRow]:
        return self._database.read(lambda tx: _people.deliveries(tx, instance_ids))

    def _order(self, work: Callable[[Transaction], T], rehearse: bool) -> T:
        """Carry an order out, durably; or, as a rehearsal, only to learn what it would do."""
        if not rehearse:
            return self._database.write(work, durable=True)

        def only_rehearsed(tx: Transaction) -> T:
            raise _Rehearsed(work(tx))

        try:
            return self._database.write(only_rehearsed)
        except _Rehearsed as rehearsed:
            return cast(T, rehearsed.result)

    def hold(self, which: InstanceFilter, reason: str, actor: str, now_ms: int, rehearse: bool = False) -> Ordered:
        return self._order(lambda tx: _operations.hold(tx, which, reason, actor, now_ms), rehearse)

    def release(
        self, which: InstanceFilter, actor: str, now_ms: int, reason: str = "", rehearse: bool = False
    ) -> Ordered:
        return self._order(lambda tx: _operations.release(tx, which, actor, now_ms, reason), rehearse)

    def resend(
        self,
        which: InstanceFilter,
        destinations: Sequence[str],
        actor: str,
        now_ms: int,
        in_force: Callable[[str], str] = str,
        reason: str = "",
        rehearse: bool = False,
    ) -> int:
        return self._order(
            lambda tx: _operations.resend(tx, which, destinations, actor, now_ms, in_force, reason), rehearse
        )

    def cancel(self, which: InstanceFilter, reason: str, actor: str, now_ms: int, rehearse: bool = False) -> Ordered:
        return self._order(lambda tx: _operations.cancel(tx, which, reason, actor, now_ms), rehearse)

    def originals_of(self, pseudonym: str, actor: str, reason: str, now_ms: int) -> list[bytes]:
        return self._database.write(
            lambda tx: _pseudonyms.originals(tx, pseudonym, actor, reason, now_ms), durable=True
        )

    def payload_for(
        self, instance_id: str, chain: str, actor: str, reason: str, now_ms: int, address: str = ""
    ) -> PayloadFile | None:
        return self._database.write(
            lambda tx: _downloads.payload(tx, instance_id, chain, actor, reason, now_ms, address), durable=True
        )

    def audited(self, action: str, limit: int) -> list[AuditRow]:
        return self._database.read(lambda tx: _audit.of_action(tx, action, limit))

    def queue_ages(self, bounds_s: Sequence[int], now_ms: int) -> list[AgeBucket]:
        return self._database.read(lambda tx: _people.queue_ages(tx, bounds_s, now_ms))

    # ── watching and upkeep ───────────────────────────────────────────────────────────────────────────────────

    def gauges(self) -> LedgerGauges:
        return self._database.read(_gauges.read)

    def check(self, quick: bool = False) -> list[str]:
        found = self._database.damage(quick)
        if quick:
            return found
        try:
            return found + self._database.read(_check.problems)
        except LedgerDamaged as error:
            return [*found, f"damaged: {error}"]
