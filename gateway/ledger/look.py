"""What people look at in a ledger: the contract of a look, and the values it gives. Its docstrings are the
specification; one test suite runs on every implementation. The console's services call it, from their event loop.

A look is **asynchronous and read-only**: it takes no lock, makes no writer wait, and each call is one short look at one
consistent state. A call that is cancelled leaves nothing open. What would take longer than DEADLINE_S is given up with
`LookTooWide`, which says to narrow the search: a slow question holds nobody else up, and no write-ahead log back.

Rules that every implementation keeps:
  - a page has at most `limit` rows, and `next` is where the next one begins ("" where there is none): handed back as
    `after`, which begins at the first row where it is "". Anything else as `after` raises `LookRefused`;
  - what would count without an end counts to COUNT_MAX and says that there are `more`;
  - a study is a row of the ledger: instances of one Study Instance UID whose attributes differ (another patient ID, for
    example) are of several, and each is shown with what it says itself;
  - an instance that was not routed yet is of no study;
  - times are milliseconds since 1970-01-01 UTC, ages are for the caller.

Values hold patient data, but for those that say otherwise: never log them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway.ledger.base import (
    AuditRow,
    DeliveryRow,
    DrainRow,
    InstanceFilter,
    InstanceRow,
    ProcessRow,
    RuleSet,
)
from gateway.model import (
    AssociationFacts,
    Decision,
    DeliveryState,
    DestinationState,
    DuplicateKind,
    InstanceState,
    LedgerGauges,
    PayloadFile,
    StepRun,
)

DEADLINE_S = 2.0
LIMIT_MAX = 1000
COUNT_MAX = 10_000
TIMELINE_MAX = 5_000  # instances of a study, for its timeline
LOOKED_AT_MAX = 500  # instances of a study in a list, for its states
GROUPS_MAX = 500  # of trouble; moments of a timeline; series of a study
REASON_MAX = 200  # characters of a reason that trouble is grouped by
OPEN = (DeliveryState.READY, DeliveryState.LEASED, DeliveryState.DEFERRED)
NO_RULE = ""  # what `rule_matches` calls instances that no rule matched


# ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies a search means; empty fields do not restrict, and all that is given must hold.

    `*` stands for any characters and `?` for one (PS3.4 C.2.2.2.4) in patient ID, name and accession number; upper and
    lower case are then the same.
    """

    patient_id: str = ""  # as a whole, letter by letter, where it has no wildcard
    patient_name: str = ""  # without wildcards: the beginnings of words of any component, in any order and case
    accession_number: str = ""  # as patient_id
    uid: str = ""  # of the study, a series or an instance of it, as a whole; or an instance id of ours
    date_from: str = ""  # YYYYMMDD, Study Date; a study without one is in no range
    date_to: str = ""
    source: str = ""  # some instance of it came from there
    states: tuple[str, ...] = ()  # some instance of it is in one of these states, or a delivery of one: words of either
    modality: str = ""  # of some series, in any case


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study in a list."""

    study_key: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    issuer_of_patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: tuple[str, ...]
    series: int
    instances: int  # COUNT_MAX at most
    more: bool  # than that
    states: Mapping[InstanceState, int]  # of the first LOOKED_AT_MAX instances of each study, as are the next
    deliveries: Mapping[DeliveryState, int]  # of those instances that are routed: what is under way, or stopped
    looked_at: int  # how many instances these two are of
    first_received_at_ms: int
    last_received_at_ms: int


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Studies, the newest row first. A page may be short, or empty, and have a `next` all the same: nothing else was
    found in as many studies as there was time for."""

    rows: tuple[StudyRow, ...]
    next: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series of a study's page."""

    series_key: int
    series_instance_uid: str
    series_number: str
    series_description: str
    modality: str
    instances: int
    more: bool


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """A study's page. Counts are of its first COUNT_MAX instances; there are `study.more`."""

    study: StudyRow
    series: tuple[SeriesRow, ...]  # by number; GROUPS_MAX at most
    states: Mapping[InstanceState, int]
    deliveries: Mapping[str, Mapping[DeliveryState, int]]  # by destination
    length: int  # data set bytes of the originals
    sources: tuple[str, ...]
    calling_ae_titles: tuple[str, ...]
    decisions: tuple[DecisionCount, ...]  # the most frequent first
    same_uid: tuple[int, ...]  # keys of other rows with this Study Instance UID


@dataclass(frozen=True, slots=True)
class DecisionCount:
    """A decision, and for how many instances of a study it was made. Holds no patient data but what a rule's name or
    reason says."""

    decision: Decision
    instances: int


@dataclass(frozen=True, slots=True)
class InstanceBrief:
    """An instance in a study's list."""

    instance_id: str
    series_key: int
    series_instance_uid: str
    instance_number: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    state: InstanceState
    reason: str
    duplicate: DuplicateKind
    source: str
    calling_ae_title: str
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Instances of a study, by series and order of arrival."""

    rows: tuple[InstanceBrief, ...]
    next: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What a destination gets of an instance: its deliveries, the oldest first; the last one is what counts.

    `skipped_for`: none was made, as this is an exact duplicate, and the delivery of the instance of this id stands for
    it.
    """

    deliveries: tuple[DeliveryRow, ...] = ()
    skipped_for: str = ""


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """What there is of an instance: the original, or what a chain of transforms made of it."""

    chain: str  # "" for the original
    file: PayloadFile  # `path` "" where it could not be made, or was not yet
    steps: tuple[StepRun, ...]


@dataclass(frozen=True, slots=True)
class Twin:
    """Another arrival of the same SOP Instance UID."""

    instance_id: str
    state: InstanceState
    duplicate: DuplicateKind
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class InstanceDetail:
    """An instance's page."""

    row: InstanceRow
    study_key: int | None  # None: not routed yet
    instance_number: str
    facts: AssociationFacts
    decision: Decision | None  # None: not routed yet. Its `chains` are those of the deliveries
    attempts: int  # at routing it
    recorded_at_ms: int
    settled_at_ms: int | None
    payloads: tuple[PayloadRow, ...]  # the original first
    cells: Mapping[str, Cell]  # by destination
    twins: tuple[Twin, ...]  # the newest first, 50 at most


class Happening(StrEnum):
    """What a moment of a timeline is."""

    RECEIVED = "received"  # the last byte was in the spool
    RECORDED = "recorded"  # the ledger had it
    ROUTED = "routed"  # its first deliveries were made
    ORDERED = "ordered"  # by a person, who named it, its study or its patient
    SENT_AGAIN = "sent again"  # a delivery was made later than that
    RELEASED = "released"  # a delivery's age began afresh
    TRIED = "tried"  # a delivery that is deferred or under way moved last
    DELIVERED = "delivered"
    STOPPED = "stopped"  # held or dead
    CANCELLED = "cancelled"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened to an instance, or to `count` instances of a study in the same way from `at_ms` until `until_ms`.

    The ledger keeps where each delivery stands, not each try of it: tries are in the log.
    """

    at_ms: int
    until_ms: int
    what: Happening
    count: int = 1
    destination: str = ""
    state: str = ""  # of the delivery
    code: str = ""
    reason: str = ""
    actor: str = ""  # who ordered it
    action: str = ""  # what was ordered


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class TroubleKind(StrEnum):
    """What somebody has to look after."""

    HELD = "held"
    DEAD = "dead"
    QUARANTINED = "quarantined"


class TroubleOf(StrEnum):
    """What is held: an instance as a whole, or one delivery of it. Dead are deliveries, quarantined are instances."""

    INSTANCE = "instance"
    DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stopped for one reason. Holds no patient data but what the reason says: `by_person`, of an operator.

    Times are those of the oldest and newest of them: of instances when they were received, of deliveries when they
    stopped. `reason` is the first REASON_MAX characters.
    """

    kind: TroubleKind
    of: TroubleOf
    destination: str  # "" of instances
    code: str  # "" of instances
    reason: str
    count: int
    more: bool
    oldest_ms: int
    newest_ms: int
    by_person: bool = False  # the reason is neither the gateway's nor a rule's


@dataclass(frozen=True, slots=True)
class TroubleItem:
    """One instance or delivery of a `Trouble`. Patient fields are empty for what was not routed yet."""

    instance_id: str
    delivery_id: int | None
    at_ms: int
    reason: str
    attempts: int
    status: int | None
    sop_class_uid: str
    study_key: int | None
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    modality: str


@dataclass(frozen=True, slots=True)
class TroublePage:
    """What a `Trouble` is of, the newest first."""

    rows: tuple[TroubleItem, ...]
    next: str


# ── queue, rules, audit, hosts: no patient data but in the audit rows ─────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AgeCell:
    """How many open deliveries of a destination are at most `up_to_s` old, and older than the cell before says."""

    up_to_s: int  # 0 is the cell without an upper end
    count: int
    more: bool


@dataclass(frozen=True, slots=True)
class DestinationQueue:
    """A destination and what waits for it. Its counts are exact; a cell counts to COUNT_MAX."""

    destination: DestinationState
    states: Mapping[DeliveryState, int]  # of every delivery that was ever made to it
    oldest_ms: int | None  # of what waits: when it was made, or released
    cells: tuple[AgeCell, ...]

    @property
    def waiting(self) -> int:
        """How many deliveries are open."""
        return sum(self.states.get(state, 0) for state in OPEN)


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A stored set of rules."""

    revision: str
    stored_at_ms: int
    current: bool
    files: tuple[str, ...]  # their names


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which orders a list means; empty fields do not restrict. Text compares exactly, `about` anywhere in the order."""

    actor: str = ""
    action: str = ""
    about: str = ""  # an instance id, a UID, the name of a destination
    since_ms: int = 0
    until_ms: int = 0  # 0: now


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Orders, the newest first."""

    rows: tuple[AuditRow, ...]
    next: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host with open sessions, or with roles that are to take no more work."""

    host: str
    processes: tuple[ProcessRow, ...]
    draining: tuple[DrainRow, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters for live figures: rates are their differences. Read from counters, whatever there is in the ledger."""

    received: int  # ever
    instances: Mapping[InstanceState, int]
    delivered: Mapping[str, int]  # by destination, ever
    waiting: Mapping[str, int]
    stopped: Mapping[str, int]  # held or dead
    spool_bytes: int


@dataclass(frozen=True, slots=True)
class Affected:
    """How much an order with a filter would look at: counted to COUNT_MAX each.

    :ivar instances: None where deliveries are meant.
    """

    instances: Mapping[InstanceState, int] | None
    deliveries: Mapping[DeliveryState, int]
    more: bool


class LedgerLook(Protocol):
    """See the module's docstring. All methods may raise `LookTooWide`, `LookRefused`, `LedgerBusy` (of which
    `LedgerAway` is one), `LedgerDamaged` and `LedgerError`."""

    async def close(self) -> None:
        """Close what is open. Does nothing the second time."""

    async def gauges(self) -> LedgerGauges:
        """As `Ledger.gauges`."""

    async def totals(self) -> Totals:
        """Counters for live figures."""

    # ── studies ───────────────────────────────────────────────────────────────────────────────────────────────

    async def studies(self, which: StudyFilter, limit: int, after: str = "") -> StudyPage:
        """Studies that a search means, the newest row first."""

    async def study(self, study_key: int) -> StudyDetail | None:
        """A study's page; None where there is no such row."""

    async def study_instances(self, study_key: int, limit: int, after: str = "") -> InstancePage:
        """The instances of a study, by series and order of arrival."""

    async def matrix(self, instance_ids: Sequence[str]) -> Mapping[str, Mapping[str, Cell]]:
        """What each destination gets of these instances (LIMIT_MAX at most): instance id → destination → cell. An
        instance that nothing is sent of is not in it."""

    async def instance(self, instance_id: str) -> InstanceDetail | None:
        """An instance's page; None where there is none of this id."""

    async def find_instances(self, uid: str) -> list[Twin]:
        """The arrivals of a SOP Instance UID, or the instance of an id, the newest first, 50 at most: those too that
        are of no study yet."""

    async def timeline(self, of: str | int) -> list[Moment]:
        """What happened to an instance (its id) or a study (its key), in order; empty where there is none. Of a study's
        first TIMELINE_MAX instances, those that went the same way as one moment; GROUPS_MAX moments at most."""

    # ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────

    async def attention(self) -> list[Trouble]:
        """What is held, dead and quarantined, by reason, the newest first; GROUPS_MAX of each kind at most."""

    async def attention_items(
        self, kind: TroubleKind, destination: str, code: str, reason: str, limit: int, after: str = ""
    ) -> TroublePage:
        """What one `Trouble` is of: with a destination deliveries, with "" instances; `reason` as there."""

    async def affected(self, which: InstanceFilter) -> Affected:
        """What an order with this filter would look at: instances by state (none, where the filter names a destination
        or delivery states: it moves deliveries only), and deliveries that are open, held or dead. For the question
        before an order, not a promise."""

    async def sent_again(self, which: InstanceFilter) -> Affected:
        """What a resend with this filter would make deliveries of: instances by state, whatever the filter names."""

    # ── queue, rules, audit, hosts ────────────────────────────────────────────────────────────────────────────

    async def queue(self, bounds_s: Sequence[int], now_ms: int) -> list[DestinationQueue]:
        """All destinations by name, with what waits by age: one cell for each bound, and one without."""

    async def rule_matches(self, since_ms: int) -> dict[str, int]:
        """How many instances each rule matched, by its name, in the hours that began at `since_ms` or later, and in the
        one it is in. `NO_RULE` counts those that no rule matched."""

    async def revisions(self, limit: int) -> list[RevisionRow]:
        """The stored sets of rules, the newest first."""

    async def rule_files(self, revision: str = "") -> RuleSet | None:
        """A stored set of rules, or the current one; None where there is none."""

    async def audit(self, which: AuditFilter, limit: int, after: str = "") -> AuditPage:
        """What people ordered, the newest first."""

    async def hosts(self) -> list[HostRow]:
        """The hosts by name, and their processes."""
