"""The contract of a ledger. Its docstrings are the specification; one test suite runs on every implementation.

A ledger is **synchronous**: each method is one transaction, one callable, and returns only when it is committed.
Event loops call it through `gateway.ledger.thread.LedgerThread`, one hop into the connection's own thread, so that a
cancelled task can never stand between BEGIN and COMMIT. Everything that arrives or leaves in numbers is a batch.

Time is handed in (`now_ms`, wall clock); nothing is ever decided by the expiry of a wall-clock time, except that a
deferred delivery comes due. Whether a process lives is told by `void_session`, not guessed.

Rules that every implementation keeps:
  - an instance_id is recorded once; recording it again changes nothing (adoption and retries are idempotent);
  - one delivery in flight per destination × SOP Instance UID, in arrival order: a delivery is not claimed while an
    earlier one of the same UID to the same destination is ready, leased or deferred, whatever its priority; and an
    instance is not claimed for routing while an earlier arrival of the same UID is still received;
  - attempts are counted by the claim, before the work; what was claimed by a session that died is claimed again
    alone: a claim of instances returns either fresh ones or exactly one with an earlier attempt, and deliveries are
    marked `alone`;
  - a session that was voided can claim nothing (`LeaseLost`); its outcomes and routings, and any whose lease went to
    somebody else, are left out of the result row by row: those of other rows in the batch are recorded;
  - an instance is settled in the same transaction that settles its last delivery;
  - counters (queue depth by destination and state, instances by state) are kept inside the transactions;
  - a delivery's age counts from its creation, or from its last release by a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from gateway.ledger.trail import TrailLedger
from gateway.model import (
    Arrival,
    AssociationFacts,
    Beat,
    DeliveryLease,
    DeliveryState,
    Derivation,
    DestinationState,
    DuplicateKind,
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
    StepRun,
)

MAX_ROUTING_ATTEMPTS = 5
RETRY_PATIENCE_MS = 15_000
LONE_PATIENCE_MS = 60_000


class RecordedArrival(NamedTuple):
    """What `record_arrivals` says of one arrival; `new` is False when the instance was known already."""

    instance_id: str
    new: bool
    duplicate: DuplicateKind


@dataclass(frozen=True, slots=True)
class Voided:
    """How much work a dead session held."""

    instances: int
    deliveries: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A process that nobody has taken for dead.

    `generation` is what a receiver writes in the spool, `home` the id of the state folder it is of; each is "" where a
    process has none. A start that is under way has one as supervisor. `beat_at_ms` is the time by the process's own
    clock, and only good for showing how clocks differ.
    """

    session: Session
    generation: str
    home: str
    beats: int
    beat_at_ms: int

    @property
    def has_role(self) -> bool:
        """It does work. False of a start that is under way: it may yet be refused."""
        return self.session.role is not Role.SUPERVISOR


class Left(StrEnum):
    """Why an order left deliveries that it means as they are."""

    CLAIMED = "claimed"  # a forwarder has them: they are being sent, or the next ones
    OVERTAKEN = "overtaken"  # a later version was delivered, or is being sent: released only by instance id
    UNCONFIGURED = "unconfigured"  # their destination is not configured
    QUARANTINED = "quarantined"  # the instance is: released only by instance id


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an order did: how many rows it moved, and how many it means and had to leave as they are, by why.

    :ivar left: deliveries, and quarantined instances that have none to go back to.
    """

    moved: int
    left: Mapping[Left, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PurgeItem:
    """An instance whose files may be unlinked: the commit that says so is fully durable."""

    instance_id: str
    paths: tuple[str, ...]


DERIVE = "derive"  # code of a delivery deferred until its payload is made


class DerivationResult(StrEnum):
    """What `record_derivation` did with what was made."""

    RECORDED = "recorded"
    LATER = "later"  # given back, to be tried again
    LEASE_LOST = "lease lost"  # whoever has it now makes it
    UNWANTED = "unwanted"  # its instance is not routed any more: the file is the caller's to remove


class DerivationLease(NamedTuple):
    """A payload to be made again. `instance.attempt` counts from 1, before the work.

    One that was lost is made as it was, by the rules of `revision`. One that could not be made (`failed`) is made by
    what transforms of the same names do now.
    """

    instance: InstanceLease
    chain: str
    revision: str
    failed: bool


class RoutedInstance(NamedTuple):
    """What `record_routings` did with one instance: the deliveries made, or its state when there are none."""

    instance_id: str
    state: InstanceState
    destinations: tuple[str, ...]
    skipped_duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A validated set of rule files: name → text, and the revision (a hash of both) it is stored under."""

    revision: str
    files: Mapping[str, str]


class RevisionsSeen(NamedTuple):
    """What `revisions_of` says; `last_seq` is where to go on, None where there is no more."""

    revisions: frozenset[str]
    last_seq: int | None


class HistoryKeys(NamedTuple):
    """What `record_history` says: the key of each new row, and those of rows to count up that are gone."""

    keys: tuple[int, ...]
    gone: frozenset[int]


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """Instances that were routed alike, as `gateway rules diff --history` looks at them. Patient data: never log it."""

    history_key: int
    series_instance_uid: str
    instance_id: str
    facts: AssociationFacts
    sop_class_uid: str
    transfer_syntax_uid: str
    received_at_ms: int
    instances: int
    header: bytes


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """An instance as people look at it. Patient data: never log it."""

    instance_id: str
    state: InstanceState
    reason: str
    source: str
    calling_ae_title: str
    received_at_ms: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    duplicate: DuplicateKind
    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    study_date: str
    study_description: str
    series_instance_uid: str
    modality: str
    rules: tuple[str, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as people look at it."""

    delivery_id: int
    instance_id: str
    destination: str
    state: DeliveryState
    code: str
    reason: str
    status: int | None
    attempts: int
    created_at_ms: int
    due_at_ms: int
    updated_at_ms: int
    chain: str  # of transforms; "" for the original
    steps: tuple[StepRun, ...] = ()  # that made what is sent; none for the original, and where nothing could be made


class Forwarding(NamedTuple):
    """Who serves the destinations, and who could: the open sessions of forwarders that do not drain, by number."""

    destinations: tuple[DestinationState, ...]
    forwarders: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DrainRow:
    """A role that takes no more work on a host: since when, and who ordered it."""

    host: str
    role: Role
    actor: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process as people look at it, and what it holds."""

    session_id: int
    role: Role
    host: str
    pid: int
    opened_at_ms: int
    beat_at_ms: int  # by its own host's clock
    instances: int  # claimed for routing, or for a copy
    deliveries: int  # claimed for sending
    destinations: tuple[str, ...]  # it owns
    draining: bool  # it is to take no more work
    in_hand: int | None  # what it still has besides, since it knows that; None: it works, or does not know yet

    @property
    def is_drained(self) -> bool:
        """It takes no more work, and has none left."""
        left = (self.instances, self.deliveries, len(self.destinations))
        return self.draining and self.in_hand == 0 and not any(left)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What a person ordered: who, when, what for which rows, why, and how many there were."""

    at_ms: int
    actor: str
    action: str
    which: Mapping[str, Any]
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    """Which instances a listing or an operation means; empty fields do not restrict. Text compares exactly.

    All that is given must hold, except that `states` and `delivery_states` together mean either: an instance in one of
    the states, or with a delivery in one of the delivery states.
    """

    instance_ids: tuple[str, ...] = ()
    states: tuple[InstanceState, ...] = ()
    delivery_states: tuple[DeliveryState, ...] = ()
    destination: str = ""
    source: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    code: str = ""  # of a delivery's last outcome
    # The reason, word for word, up to `look.REASON_MAX` characters of it: of the instance, or of its delivery where the
    # filter names such.
    because: str = ""


@dataclass(frozen=True, slots=True)
class AgeBucket:
    """One cell of `gateway queue`: how many open deliveries of a destination are at most `up_to_s` old."""

    destination: str
    up_to_s: int  # 0 is the bucket without an upper end
    count: int


class Ledger(TrailLedger, Protocol):
    """See the module's docstring. All methods may raise `LedgerBusy`, `LedgerDamaged` and `LedgerError`."""

    def close(self) -> None:
        """Close the connection. Does nothing the second time."""

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────

    def open_session(
        self, role: Role, host: str, pid: int, now_ms: int, generation: str = "", home: str = ""
    ) -> Session:
        """Register a process. Its `session_id` is never used again.

        Those of supervisors come one after the other: whoever has opened one sees all that have lower numbers.

        :param generation: of a receiver: what it writes in the spool is known to be dead only when this session is.
        :param home: the id of the state folder that the process is of.
        """

    def sessions(self) -> list[OpenSession]:
        """The sessions that are open, by number."""

    def dead_generations(self, home: str) -> list[str]:
        """The generations of the receivers of a home whose sessions are voided, the oldest first."""

    def beat(self, session: Session, now_ms: int, in_hand: int | None = None) -> Beat:
        """Count one heartbeat, and learn whether to go on (see `Beat`).

        :param in_hand: of a process that was told to take no more work: how much it still has in its hands, besides
            what is leased to it. None: it works.
        """

    def void_session(
        self, session_id: int, now_ms: int, left: LeftBehind | None = None, beats: int | None = None
    ) -> Voided | None:
        """End a session whose process is known to be dead (or that ends in order) and free what it claimed.

        Instances return to `received`, deliveries to `ready`, marked uncertain and alone. The destinations it owned are
        free in the same transaction, and it asks for none any more. Idempotent.

        :param left: what the process left behind (`gateway.ledger.journal`): recorded first, if it is of this session,
            and as far as its leases hold.
        :param beats: how many it had when it was found silent. One that has beaten since lives, and nothing is done.
        :returns: None where it has beaten since.
        """

    def unknown_generations(self, generations: Iterable[str]) -> set[str]:
        """Those of the generations that no session has ever named."""

    def void_all(
        self, now_ms: int, left: Mapping[int, LeftBehind], home: str | None = None, own: Session | None = None
    ) -> Voided:
        """Void open sessions: a supervisor has just started, and the state lock it holds proves them all dead.

        :param left: by session id, as for `void_session`.
        :param home: void those of this home only, and those that name none; None: all, whatever home they name, for a
            ledger that only the holder of this lock can open (it may have been moved here from another state folder).
        :param own: the supervisor's own session, which stays open. Raises `LeaseLost` where it is not: nothing is done.
        """

    # ── arrivals ──────────────────────────────────────────────────────────────────────────────────────────────

    def record_arrivals(self, arrivals: Sequence[Arrival], now_ms: int) -> list[RecordedArrival]:
        """Insert instances as `received`, with their original payload; find duplicates by SOP Instance UID.

        EXACT: checksum, transfer syntax, calling and called AE title and source equal those of an earlier arrival that
        is not quarantined and has no delivery held, dead or cancelled (and is itself not held). CHANGED: any other
        earlier arrival of that UID. Of a UID that arrived very often only the first and the newest are compared.
        Known instance_ids are left as they are (`new=False`). Order is arrival order.
        """

    def record_recovered(self, arrivals: Sequence[Arrival], now_ms: int) -> int:
        """Insert unknown instances as `held` with reason `recovered` (`gateway recover`). Returns how many."""

    def copies_of(self, instance_ids: Iterable[str]) -> set[str]:
        """The paths of all that transforms made of these instances."""

    def known_instances(self, instance_ids: Iterable[str]) -> set[str]:
        """Those of the ids that the ledger knows, in whatever state."""

    def is_empty(self) -> bool:
        """Whether nothing was ever recorded: rows stay for ever, so such a ledger is new."""

    # ── routing ───────────────────────────────────────────────────────────────────────────────────────────────

    def claim_instances(
        self, session: Session, limit: int, now_ms: int, revision: str | None = None
    ) -> list[InstanceLease]:
        """Claim up to `limit` received instances, oldest first; each attempt is counted here.

        :param revision: claim nothing unless these rules are the current ones.

        An instance comes only when every earlier arrival of its SOP Instance UID is routed, or in the same batch.
        One with an earlier attempt comes alone: when nothing fresh waits, or at an age of attempts² times
        RETRY_PATIENCE_MS. One whose `attempt` is past MAX_ROUTING_ATTEMPTS has ended as many workers: it is to be
        quarantined, not tried.
        """

    def record_routings(self, session: Session, routings: Sequence[Routing], now_ms: int) -> list[RoutedInstance]:
        """Write decision, study/series rows and deliveries of leased instances, and end their lease.

        destinations → `routed` with one `ready` delivery each, or, where `skip_duplicates` is set for a destination
        (see `sync_destinations`) and the instance is an EXACT duplicate whose earlier arrival has a delivery there that
        is not held, dead or cancelled, none; but only when nothing with another content (checksum) arrived in between:
        of v1, v2 and v1 the last one is sent, or the destination would keep v2.
        No delivery at all → `settled`. hold → `held`. discard → `settled`.
        A destination gets what the decision's chain for it made (`Routing.derived`). Where that could not be made, its
        delivery is `held` (code `transform`, with the reason); where that is to be tried again, its payload has no
        path, and who is to send it defers it with the code DERIVE. One that is unknown or not configured gets its
        delivery as `held` (`destination removed from the configuration`). An instance skipped as a duplicate stays in
        the spool until the delivery that stands for it is settled, and gets a delivery of its own when the earlier
        arrival is quarantined, or its delivery cancelled; what stands for it was sent through the same chain, in
        whatever transfer syntax (`gateway.dicom.recoding.alike`).
        Rows whose lease is lost are left out of the result.
        """

    def quarantine(self, session: Session, verdicts: Sequence[Quarantine], now_ms: int) -> int:
        """Instances that must not be sent → `quarantined(reason)`; open deliveries → `held(quarantined: reason)`.

        A received instance must be leased to the session; a routed one may be judged by any session that is not
        voided. What was delivered stays delivered, also when that outcome of a lease comes in only afterwards.
        """

    def claim_derivation(self, session: Session) -> DerivationLease | None:
        """Claim a payload that has to be made: one for which a delivery waits, deferred with the code DERIVE.

        One that ended a worker comes after all others; one whose `attempt` is past MAX_ROUTING_ATTEMPTS has ended as
        many. What nobody waits for any more is forgotten on the way, a thousand of them a call at most: None means that
        there is nothing, or that this is to be called again in a moment. Raises `LeaseLost`.
        """

    def record_derivation(
        self, session: Session, lease: DerivationLease, made: Derivation, now_ms: int
    ) -> DerivationResult:
        """Write what was made, by whichever chain: the deliveries that wait for it are due at once; or, where it could
        not be made, `held` (code `transform`, with the reason). What it remembers is kept where it is RECORDED.
        """

    # ── deliveries ────────────────────────────────────────────────────────────────────────────────────────────

    def claim_deliveries(self, session: Session, destination: str, limit: int, now_ms: int) -> list[DeliveryLease]:
        """Claim up to `limit` deliveries to a destination that are ready, or deferred and due.

        By priority, then in arrival order; those marked `alone` one by one, when nothing else is claimable, or when one
        has not moved for LONE_PATIENCE_MS and no other of the destination is in flight (a busy destination has always
        something else).
        Nothing for a destination that is paused, unconfigured or has no row, or that another session owns (see
        `own_destinations`). Raises `LeaseLost` for a voided session.
        """

    def release_deliveries(self, session: Session, leases: Sequence[DeliveryLease], now_ms: int) -> int:
        """Give back what was claimed and not tried: ready again, the attempt not counted."""

    def record_outcomes(self, session: Session, outcomes: Sequence[Outcome], now_ms: int) -> list[int]:
        """Write outcomes of leased deliveries whose token holds. Returns the delivery_ids that were recorded.

        A try that is not `counted` takes back the attempt that its claim counted. One with the code DERIVE and a
        `chain` is of that chain's payload from now on: due at once where it was made already, else when it is.
        """

    # ── destinations ──────────────────────────────────────────────────────────────────────────────────────────

    def sync_destinations(self, skip_duplicates: Mapping[str, bool], now_ms: int, home: str = "") -> tuple[int, int]:
        """Make the destination rows equal to the configuration: name → whether exact duplicates are skipped.

        A name counts as configured while this home's configuration has it, or that of another home which has open
        sessions, as that one was last told. Where homes differ about duplicates, this one's word counts; where it does
        not have the name, they are skipped only when all others skip them.
        Open deliveries to a name no longer configured become held (`destination removed from the configuration`),
        those in flight too; if they turn out to have been delivered, that outcome is still recorded. Those held for
        that reason return to ready when the name is back. Returns (newly held, returned).
        """

    def restore_destinations(self, now_ms: int) -> int:
        """Configure again what a home that runs names, and another home's sync found nobody to name: its processes had
        not registered yet, or were taken for dead. Returns how many deliveries returned to ready. Mostly a read.
        """

    def destinations(self) -> list[DestinationState]:
        """All destination rows by name."""

    def save_destination(
        self, name: str, breaker: str, window: float, last_error: str, next_probe_at_ms: int, now_ms: int
    ) -> None:
        """Keep a destination's breaker and window for the next start and for people to see."""

    def pause_destination(self, name: str, paused: bool, actor: str, now_ms: int, reason: str = "") -> None:
        """Stop or allow claims for a destination; an audit row is written."""

    def probe_destination(self, name: str, actor: str, now_ms: int, reason: str = "") -> bool:
        """Have a destination that is down probed at once: its owner finds `next_probe_at_ms` 0 and `breaker` down,
        which it never saves together. Audited. False where it is not down: then nothing is to be probed.
        """

    def try_now(self, name: str, actor: str, now_ms: int, reason: str = "", rehearse: bool = False) -> int:
        """Deferred deliveries to a destination are due at once, but for those that wait for a copy; one that is down is
        probed, as by `probe_destination`. Audited. Returns how many deliveries.
        """

    # ── owners ────────────────────────────────────────────────────────────────────────────────────────────────

    def forwarding(self) -> Forwarding:
        """Destinations and forwarders, as one look."""

    def own_destinations(self, session: Session, names: Collection[str]) -> frozenset[str]:
        """Take those of these destinations that nobody owns. Returns all that the session owns now.

        From then on nobody else claims deliveries of them, until they are given up or the session is voided. Raises
        `LeaseLost` for a voided session.
        """

    def ask_for_destinations(self, session: Session, names: Collection[str]) -> None:
        """Ask the owners of these destinations for them (`DestinationState.wanted_by`): the newest wish counts.

        Raises `LeaseLost` for a voided session.
        """

    def disown_destinations(self, session: Session, names: Collection[str]) -> None:
        """Give up those of these destinations that the session owns: whoever asked for one owns it from now on; where
        nobody did, it is free."""

    def free_leases(self, session: Session, names: Collection[str], pending: Collection[int], now_ms: int) -> int:
        """Whatever a session still has leased to these destinations is ready again, marked uncertain and alone: nothing
        of it is being sent any more, and it may have been begun. For whoever could not give it back in order.

        :param pending: delivery_ids whose outcomes are on their way: they stay. Returns how many were freed.
        """

    # ── hosts ─────────────────────────────────────────────────────────────────────────────────────────────────

    def set_draining(
        self, host: str, roles: Collection[Role], draining: bool, actor: str, now_ms: int, reason: str = ""
    ) -> int:
        """Have these roles of a host take no more work, also after a restart of theirs, until this is undone.

        Their processes learn it by `beat`. A host that no session has named yet is taken too. Audited. Returns for how
        many of the roles that was not so already.
        """

    def draining(self) -> list[DrainRow]:
        """Which roles take no more work, by host."""

    def processes(self) -> list[ProcessRow]:
        """The processes whose sessions are open, by host and role, and what they hold. Scans what is held, no more."""

    # ── spool's end ───────────────────────────────────────────────────────────────────────────────────────────

    def begin_purge(self, settled_before_ms: int, limit: int, now_ms: int) -> list[PurgeItem]:
        """Turn settled instances into `purging`, having checked each delivery and payload again.

        What was skipped as an exact duplicate counts as settled from when the delivery that stands for it is.
        Fully durable (`synchronous=FULL`) before it returns. Also returns instances left in `purging`, by a crash or
        because their files could not be removed: at most half of `limit`, so that they hold up no others.
        """

    def finish_purge(self, instance_ids: Sequence[str], now_ms: int) -> int:
        """The files are gone: `purged`. Returns how many became so: another host may have been faster."""

    # ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────

    def store_rules(self, rules: RuleSet, now_ms: int) -> bool:
        """Store a validated set and make it the current one, from now on. False when it was the current one already."""

    def current_revision(self) -> str:
        """The revision to route by, or "" when none was stored yet."""

    def load_rules(self, revision: str) -> RuleSet:
        """A stored set. Raises `LedgerError` for an unknown revision."""

    def superseded_rules(self, before_ms: int) -> list[str]:
        """The revisions in whose place others had come before this time, and that are not current."""

    def revisions_of(self, after_seq: int, limit: int) -> RevisionsSeen:
        """By which rules instances were decided that are not purged: of so many of all that the ledger knows, in the
        order of arrival, from behind `after_seq`.

        Whatever is decided meanwhile is decided by the current rules: those that were not current for long, and that a
        look through all instances has not met, decided about none of them.
        """

    def forget_rules(self, revision: str) -> bool:
        """Remove a stored set, unless it is the current one. Decisions go on naming it."""

    def waiting_chains(self) -> list[str]:
        """The chains of transforms of what is ready, deferred, held or dead, each once."""

    def turn_chain(self, old: str, new: str, limit: int, now_ms: int) -> int:
        """Have deliveries of one chain, of those states, be sent as another makes them; at most so many at once.

        For a chain whose definition was corrected: what the old one has made of them is not sent. Fully durable.
        Returns how many; call again until there are none.
        """

    # ── history ───────────────────────────────────────────────────────────────────────────────────────────────

    def record_history(self, new: Sequence[Remembered], more: Mapping[int, tuple[int, int]]) -> HistoryKeys:
        """Write what workers remember of routed instances. Not durable: it is of use, and nothing rests on it.

        :param new: added up where there is a row already for instances of the same series, decision, facts but for the
            association id, SOP class and transfer syntax; its header stays.
        :param more: how many more were routed like those of a row, and when the last was received, by its key.
        """

    def history(self, since_ms: int, after_key: int, limit: int) -> list[HistoryRow]:
        """What is remembered, by key from behind `after_key`, where the last instance came at `since_ms` or later."""

    def trim_history(self, before_ms: int, most_bytes: int, limit: int) -> int:
        """Forget rows whose last instance was received before `before_ms`, and the oldest of those whose headers hold
        more than `most_bytes` in all; at most `limit` of them. Returns how many. How often something was decided is
        known for a month longer.
        """

    # ── people ────────────────────────────────────────────────────────────────────────────────────────────────

    def list_instances(self, which: InstanceFilter, limit: int, offset: int = 0) -> list[InstanceRow]:
        """Newest first."""

    def deliveries_of(self, instance_ids: Sequence[str]) -> list[DeliveryRow]:
        """All deliveries of these instances, by instance and destination."""

    # `rehearse`: the order is carried out and taken back, its audit row with it: what it would do is returned.

    def hold(self, which: InstanceFilter, reason: str, actor: str, now_ms: int, rehearse: bool = False) -> Ordered:
        """Open deliveries that are not leased → held; received instances → held. Audited.

        Those that are leased are `left`: only the session that has them knows whether they are being sent already. A
        pause of the destination makes it give back what it did not begin.

        In each operation a filter that names a destination or delivery states moves deliveries only.
        """

    def release(
        self, which: InstanceFilter, actor: str, now_ms: int, reason: str = "", rehearse: bool = False
    ) -> Ordered:
        """Held or dead deliveries → ready; held, never routed instances → received (to be routed by the rules of now).

        A delivery that a later version overtook (same SOP Instance UID and destination, another checksum, delivered or
        leased) is released only when named by its instance_id, so that an older version does not land last by mistake.
        A quarantined instance is released only when named by its instance_id: it goes back to its held deliveries, or,
        without any, to received. Deliveries to destinations that are not configured stay as they are. What the order
        means and leaves for one of these reasons is `left`. Attempts and age begin afresh. One of a copy in another
        transfer syntax is of what that was made of from now on (`gateway.dicom.recoding.split`). Audited.
        """

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
        """A new delivery to each destination (or, when empty, to each it was delivered to): through the transforms by
        which it was sent last, or was to be sent, without a built-in one at their end; of the original where no rule
        ever sent it there.

        :param in_force: what such a chain is called now, where it is not to be made as it was (`Rulebook.in_force`).

        Only routed or settled instances: their payload is still in the spool. A settled instance is routed again. Where
        one is still open no second is made. Raises `LedgerError` for a destination that is not configured. Audited.
        Returns the deliveries made.
        """

    def cancel(self, which: InstanceFilter, reason: str, actor: str, now_ms: int, rehearse: bool = False) -> Ordered:
        """Open, held and dead deliveries that are not leased → cancelled; held or quarantined instances → settled.

        An instance that was skipped as an exact duplicate of what is cancelled is given up only when the filter means
        it too; else it gets a delivery of its own (not counted), `held` where a later version overtook it (see
        `release`) or the destination is not configured; as when the earlier arrival is quarantined.

        Those that are leased are `left`, as in `hold`. Fully durable, audited.
        """

    def originals_of(self, pseudonym: str, actor: str, reason: str, now_ms: int) -> list[bytes]:
        """What is kept of a pseudonym, the oldest first, sealed as it came (`Derivation.remembered`).

        Usually there is one; several where one pseudonym stands for several originals, or the public key has changed.
        Audited (`reidentify`), whether there is anything or not: nothing is returned unless that row is durable.
        Neither a purge nor anything else removes an entry.
        """

    def payload_for(
        self, instance_id: str, chain: str, actor: str, reason: str, now_ms: int, address: str = ""
    ) -> PayloadFile | None:
        """Where an instance, or what a chain of transforms made of it, can be read; None where it cannot, or no more.

        For who takes it out of the gateway, to `address`. Audited (`download`), whether there is anything or not:
        nothing is returned unless that row is durable.
        """

    def audited(self, action: str, limit: int) -> list[AuditRow]:
        """Orders of one kind, the newest first."""

    def queue_ages(self, bounds_s: Sequence[int], now_ms: int) -> list[AgeBucket]:
        """Open deliveries by destination and age, for `gateway queue`."""

    # ── watching ──────────────────────────────────────────────────────────────────────────────────────────────

    def gauges(self) -> LedgerGauges:
        """Counters and oldest ages; no scan of deliveries or instances."""

    # ── upkeep ────────────────────────────────────────────────────────────────────────────────────────────────

    def checkpoint(self, at_least_bytes: int = 0) -> bool:
        """Move the write-ahead log into the database, where that does not do it by itself, under the same lock as every
        writer. One process a host calls it.

        :returns: False when less than `at_least_bytes` waited to be moved, or it is not ours to do: nothing was done.
        """

    def check(self, quick: bool = False) -> list[str]:
        """Integrity problems in words; empty when all is well. `quick`: only damage of the database, for each start."""
