"""What the ledger has to tell the audit trail: the part of the contract that `gateway.ledger.base.Ledger` takes in.

The trail's files stand beside the ledger (`gateway.audit`), so nothing can be in both in one step. Therefore what has
to be told is written into the ledger in the transaction that did it, and stays there until a host has it in its files:

  - instances that move are counted, by association, study, destination and what became of them. Such a count grows
    until nothing was added for a while; what comes later begins another;
  - all else is a note: orders of people (written with their audit row), and whatever a process tells (`tell`).

One host at a time takes a batch of what is ripe, writes it and says so. A batch that was taken stays as it is, in
content and order: whoever has to write it again (because it died before it could say so, or because the ledger was
away) finds in its files which messages of it are there. So each message is written once, but where another host takes
over from one that died between the two: then some are there twice, and none is lost.

The values hold patient data: never log them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from gateway.model import AssociationFacts, Session


class Movement(StrEnum):
    """What happened to instances."""

    IN = "in"  # received from a sender, and routed for the first time
    QUARANTINED = "quarantined"  # received, and not to be trusted: of which study is not known
    BEGIN = "begin"  # to be sent to a destination
    OUT = "out"  # a destination has them
    HELD = "held"  # a destination refused them: a person has to look
    DEAD = "dead"  # tried for longer than they were to be tried


UNKNOWN = "not known to this version"
"""`what` of an alert that stands for what only a newer gateway on the same ledger knows: `subject` says what it is,
`which` what was said of it."""


class NoteKind(StrEnum):
    """What a note tells of. The words stand in the ledger."""

    STARTED = "started"  # the gateway on a host; `subject`: the host
    STOPPED = "stopped"
    LOGIN = "login"  # `actor` from `address`; `failed` where it was refused
    LOGOUT = "logout"
    ALERT = "alert"  # `what`: one of `gateway.audit.events.ALERTS`; `text` says it in words
    ORDER = "order"  # `what`: the order, `which`: the filter, `count`: how many rows it moved
    QUERY = "query"  # `actor` searched; `which`: for what
    VIEWED = "viewed"  # `actor` was shown `studies`
    EXPORTED = "exported"  # `actor` downloaded `studies`, to `address`
    TRAIL_READ = "trail read"  # `actor` looked at the audit trail


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the audit trail that is no transfer.

    :param actor: who: `console:anna`, `api:nightly`, `cli:root`, or a calling AE title.
    :param address: where the actor is, as an IP address or a host name; "" where that is not known.
    :param subject: what it is about: a destination, a host, a user, a file.
    :param studies: (study_key, instances) of the ledger; several studies may be of several patients.
    """

    kind: NoteKind
    at_ms: int
    actor: str = ""
    address: str = ""
    what: str = ""
    subject: str = ""
    text: str = ""
    which: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    failed: bool = False
    studies: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StudyTold:
    """A study as a message names it; all "" where nothing is known of it."""

    study_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    study_description: str = ""


@dataclass(frozen=True, slots=True)
class TransferTold:
    """Instances of one study, one association and one destination that moved alike: one message."""

    movement: Movement
    facts: AssociationFacts  # of the association that brought them
    destination: str  # "" for what came in
    anonymised: bool
    study: StudyTold
    instances: Mapping[str, int]  # by SOP class UID
    first_at_ms: int
    last_at_ms: int


@dataclass(frozen=True, slots=True)
class NoteTold:
    """A note, and one of the studies it is about (None: it is about none): one message."""

    note: Note
    study: StudyTold | None
    instances: int


@dataclass(frozen=True, slots=True)
class Untold:
    """A batch to be written: its name, used by no other, and what is in it, always in this order."""

    batch: str
    told: tuple[TransferTold | NoteTold, ...]


@dataclass(frozen=True, slots=True)
class TrailHead:
    """How far the files of a home have got: the last record that the ledger was told of."""

    seq: int
    hash: str
    at_ms: int


class TrailLedger(Protocol):
    """See the module's docstring."""

    def tell(self, notes: Sequence[Note]) -> None:
        """Keep notes for the trail; they are durable when this returns."""

    def take_untold(self, session: Session, now_ms: int, *, quiet_ms: int, late_ms: int, limit: int) -> Untold | None:
        """Take a batch of what is ripe, to be written to this host's files; None where nothing is. Durable.

        Batches that were taken and never said to be written come first: this session's own, those of dead sessions of
        its home, and those of other homes whose session is voided for longer than ADOPT_MS.

        :param quiet_ms: how long nothing was added to a count; :param late_ms: or how old it may get.
        :param limit: most messages, and as many studies of orders.
        :raises LeaseLost: the session was voided.
        """

    def told(self, session: Session, batch: str, head: TrailHead) -> bool:
        """A batch is in the files, durable, and these end in `head`. False: it is somebody else's now, who has it too.

        The head that is kept never goes back: by it is seen that records were cut off. With the batch "" only the head
        is kept, and as it is: of files that were found to lack some, when that was told.
        """

    def trail_heads(self) -> dict[str, TrailHead]:
        """How far the files of each home are known to have got."""


ADOPT_MS = 60_000
"""How long a batch of another home is left to that: it finds in its files what of it is there."""
