"""The frozen values that cross floors.

Names follow DICOM (PS3.3, PS3.7, PS3.8) where DICOM has a name. Wall-clock times are integers, milliseconds since
1970-01-01 UTC, and end in `_ms`; they are handed in, never read here. No value knows where it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a process does: one that the supervisor starts, or itself while it prepares a host."""

    RECEIVER = "receiver"
    WORKER = "worker"
    FORWARDER = "forwarder"
    CONSOLE = "console"
    SUPERVISOR = "supervisor"


STARTED_ROLES = (Role.RECEIVER, Role.WORKER, Role.FORWARDER, Role.CONSOLE)  # by the supervisor


class InstanceState(StrEnum):
    """Where an instance stands. `received → routed | held → settled → purging → purged`, or `quarantined`."""

    RECEIVED = "received"
    ROUTED = "routed"
    HELD = "held"  # never routed: no rule matches, a rule holds it, or it was recovered
    SETTLED = "settled"  # every delivery is delivered or cancelled, or it was discarded on a recorded order
    PURGING = "purging"
    PURGED = "purged"
    QUARANTINED = "quarantined"


class DeliveryState(StrEnum):
    """Where a delivery (payload × destination) stands."""

    READY = "ready"
    LEASED = "leased"
    DEFERRED = "deferred"
    HELD = "held"
    DEAD = "dead"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class DuplicateKind(StrEnum):
    """How an arrival relates to an earlier one with the same SOP Instance UID."""

    NONE = "none"
    EXACT = "exact"  # same data set checksum, transfer syntax and association facts
    CHANGED = "changed"  # same UID, other content or other way here


class AssociationFacts(NamedTuple):
    """What is known of the association that brought an instance. Rules match on these beside attributes."""

    association_id: str
    listener: str
    source: str  # the name of the `sources` entry; "unknown" where the listener accepts unknown senders
    calling_ae_title: str
    called_ae_title: str
    peer_host: str


class Arrival(NamedTuple):
    """A complete, durable instance in the spool, as the ledger is told of it.

    `path` is relative to the spool folder. `checksum` is the xxh3-128 of the data set bytes (16 bytes), `length`
    their number, `offset` where they begin in the file.
    """

    instance_id: str
    path: str
    offset: int
    length: int
    checksum: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_at_ms: int
    facts: AssociationFacts


CHAIN_JOINS, CHAIN_DIGEST = "+", "~"  # a chain of transforms: `first+second~digest`; "" for the original


def transforms_of(chain: str) -> tuple[str, ...]:
    """The names of the transforms of a chain, in order; () for the original."""
    return tuple(chain.partition(CHAIN_DIGEST)[0].split(CHAIN_JOINS)) if chain else ()


class PayloadFile(NamedTuple):
    """Where the bytes to send are: the original, or a derived copy (`path` "" where it could not be made)."""

    path: str
    offset: int
    length: int
    checksum: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Session:
    """A process as the ledger knows it. Leases name a session; a voided session's leases are void."""

    session_id: int
    role: Role
    host: str
    pid: int
    opened_at_ms: int = 0


class Beat(StrEnum):
    """What the ledger answers to a heartbeat."""

    GO_ON = "go on"
    DRAIN = "drain"  # take no more work, and finish what there is
    VOIDED = "voided"  # somebody took this process for dead: what it held is not its own any more


class InstanceLease(NamedTuple):
    """An instance claimed for routing. `attempt` counts from 1 and was counted before the work began."""

    instance_id: str
    seq: int
    attempt: int
    received_at_ms: int
    payload: PayloadFile
    facts: AssociationFacts


@dataclass(frozen=True, slots=True)
class Decision:
    """Why instances were routed as they were; one ledger row for all instances with an equal decision.

    `matched` names the rules that matched, in order. `hold` or `discard` carries the rule's reason. An instance
    that no rule matches has an empty `matched` and `hold="no rule matches"`. `chains` says for each destination, in
    their order, what it gets: "" the original, else a chain of transforms; () where all get the original. It follows
    from revision and matched rules.
    """

    revision: str
    tried: int
    matched: tuple[str, ...]
    destinations: tuple[str, ...]
    hold: str | None = None
    discard: str | None = None
    chains: tuple[str, ...] = ()

    def chain_of(self, index: int) -> str:
        """What the destination at this place gets."""
        return self.chains[index] if self.chains else ""


class StudyFacts(NamedTuple):
    """The attributes people search by, as text ("" when absent). Patient data: ledger and audit trail only."""

    patient_id: str = ""
    patient_name: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    study_date: str = ""
    study_description: str = ""
    series_instance_uid: str = ""
    series_number: str = ""
    series_description: str = ""
    modality: str = ""
    instance_number: str = ""


class Sealed(NamedTuple):
    """What stands behind a pseudonym, for the ledger to keep: only the holder of a private key can read it.

    `mark` tells originals with one pseudonym apart, and those sealed for different keys.
    """

    pseudonym: str
    mark: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class StepRun:
    """One step of a transform, and whether it was done to an instance or left out, as its `when` did not hold."""

    transform: str
    number: int  # counts from 1, as people do
    verb: str
    done: bool = True


class Derivation(NamedTuple):
    """What came of a chain of transforms for one instance: a payload, or None and the reason why there is none.

    `again`: the trouble was the host's (no room on the disk); it is to be tried again. `remembered`: the originals of
    its pseudonyms, as far as they are to be kept and the maker does not know that they are. `steps` are those that made
    the payload, in order.
    """

    chain: str
    payload: PayloadFile | None
    reason: str = ""  # free of patient data
    again: bool = False
    remembered: tuple[Sealed, ...] = ()
    steps: tuple[StepRun, ...] = ()


class Routing(NamedTuple):
    """A worker's result for one leased instance; `derived` has each chain of the decision, once."""

    instance_id: str
    decision: Decision
    study: StudyFacts
    priority: int = 0  # higher goes first
    derived: tuple[Derivation, ...] = ()


class Remembered(NamedTuple):
    """What is kept of instances that were routed alike, to try other rules on them: one for all of a series that came
    the same way and were decided alike.

    `header` is that of the first of them (`gateway.transform.remember`), as are `instance_id` and `received_at_ms`; of
    `facts` the association id means nothing. Patient data: ledger only.
    """

    series_instance_uid: str
    modality: str
    decision: Decision
    facts: AssociationFacts
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_id: str
    received_at_ms: int
    header: bytes
    instances: int = 1
    last_at_ms: int = 0  # when the last of them was received


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A worker's or forwarder's verdict that an instance must not be sent."""

    instance_id: str
    reason: str


class DeliveryLease(NamedTuple):
    """A delivery claimed for sending.

    `token` is the fencing token: an outcome is recorded only while session and token still hold. `attempt` counts
    from 1. `uncertain` says that an earlier try of ours may have reached the peer without our knowing (a lease was
    voided, or the response never came), so that 0x0111 counts as delivered; never where another version of the same
    SOP Instance UID arrived, which the peer may mean as well.
    """

    delivery_id: int
    token: int
    destination: str
    instance_id: str
    attempt: int
    uncertain: bool
    created_at_ms: int
    received_at_ms: int
    chain: str  # "" is the original
    payload: PayloadFile
    calling_ae_title: str  # of the association that brought the instance, for `calling_ae_title: $source`
    priority: int = 0
    alone: bool = False  # an earlier try ended in an abort or silence: it goes last and alone
    original_syntax_uid: str = ""  # the transfer syntax of the original, where the payload is a copy
    before_syntax_uid: str = ""  # that of what a built-in transform at the chain's end was given, where that is there


class Outcome(NamedTuple):
    """What became of one leased delivery.

    `state` is DELIVERED, DEFERRED (with `due_at_ms`), HELD or DEAD. `status` is the DIMSE status when there was
    one. `code` is a short bounded word for metrics and tables (for example `success`, `warning`, `refused`,
    `timeout`, `connection`); `reason` is the sentence for people, free of patient data. `counted` False: the trouble
    was the destination's, and this try is not held against the delivery. `chain`: from now on the delivery is of what
    this chain makes (with the code that has it made).
    """

    delivery_id: int
    token: int
    state: DeliveryState
    code: str
    reason: str = ""
    status: int | None = None
    due_at_ms: int = 0
    uncertain: bool = False
    alone: bool = False
    counted: bool = True
    chain: str | None = None


class LeftBehind(NamedTuple):
    """What a process had delivered, and had not told the ledger when it died."""

    opened_at_ms: int  # of its session: another ledger may have one of the same number
    delivered: tuple[Outcome, ...]


class Breaker(StrEnum):
    """Whether a destination is thought to be reachable."""

    UP = "up"
    DOWN = "down"
    HALF_OPEN = "half_open"


class Owner(NamedTuple):
    """The forwarder's session that has a destination, and its host."""

    session_id: int
    host: str


@dataclass(frozen=True, slots=True)
class DestinationState:
    """What the ledger keeps about a destination between restarts, and shows to people."""

    name: str
    breaker: Breaker = Breaker.UP
    window: float = 0.0
    paused: bool = False
    last_error: str = ""
    next_probe_at_ms: int = 0
    configured: bool = True
    owner: Owner | None = None  # no other session is given anything of it
    wanted_by: int | None = None  # the session that asks its owner for it


class ProcessCount(NamedTuple):
    """How many processes of a role a host runs, and whether they are to take no more work."""

    host: str
    role: Role
    number: int
    draining: bool


@dataclass(frozen=True, slots=True)
class LedgerGauges:
    """One consistent look at the ledger's counters, cheap at any size (no COUNT over rows)."""

    queue_depth: Mapping[tuple[str, DeliveryState], int] = field(default_factory=dict)
    queue_oldest_ms: Mapping[str, int] = field(default_factory=dict)  # created_at of the oldest open delivery
    destinations: tuple[DestinationState, ...] = ()
    instances: Mapping[InstanceState, int] = field(default_factory=dict)
    spool_bytes: int = 0  # data set bytes of all instances that are not purged
    rules_revision: str = ""
    processes: tuple[ProcessCount, ...] = ()
    source_arrivals_ms: Mapping[str, int] = field(default_factory=dict)  # when the newest of each source arrived
    routing_since_ms: int | None = None  # when the oldest instance arrived that no worker has routed yet
