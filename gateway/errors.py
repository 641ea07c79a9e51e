"""The exceptions of the gateway, one tree.

::

    GatewayError
    ├── ConfigurationError      gateway.yaml or a rule file cannot be used; carries every problem found
    ├── UsageError              a command was called in a way that cannot work
    │   └── NotThere            it names what there is not
    ├── AlreadyRunning          another gateway holds the state folder
    ├── ProtocolError           a peer broke PS3.8 or PS3.7; carries the A-ABORT reason to answer with
    ├── HeaderError             a data set's header cannot be read
    ├── TransformError          a step of a transform cannot be done on an instance
    ├── TakesLong               a step of a transform would take longer than there is time now
    ├── SealError               what was sealed cannot be opened, or a key of it cannot be read
    ├── QueueError              the work queue that `queue.url` names cannot be used
    ├── PeerError               the other side of an association, or the way to it, failed
    │   ├── ConnectionFailed    no TCP connection, or it broke
    │   ├── AssociationRejected A-ASSOCIATE-RJ
    │   ├── AssociationAborted  A-ABORT or A-P-ABORT
    │   └── PeerTimeout         a deadline passed without progress
    ├── SpoolError              the spool cannot do what was asked
    │   ├── SpoolFull           no room (watermark, ENOSPC, EDQUOT, no inodes)
    │   ├── SpoolMissing        the file is not there
    │   └── SpoolCorrupt        record, length or checksum do not hold
    ├── TrailError              the audit trail's files cannot be written or read
    │   └── TrailBusy           so many read them that another one would wait too long; try again later
    └── LedgerError             the ledger cannot do what was asked
        ├── LedgerBusy          the lock was not had in time; try again later
        │   └── LedgerAway      its server cannot be reached; try again later
        │       └── LedgerUnsure  it was lost while a commit was on its way, which may hold or not
        ├── LedgerFull          no room for the ledger; try again when there is
        ├── LedgerDamaged       the database is not a ledger, or is corrupt
        ├── LeaseLost           the session that claimed this work is no longer its owner
        ├── LookTooWide         a look would take longer than it may: narrow the search
        └── LookRefused         a look was asked for what cannot be: a cursor or a limit of nobody's making

Every message says what, where and what to do. Messages carry no attribute value of a patient: they may be
logged, stored by a broker or shown on a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class GatewayError(Exception):
    """The root: whatever the gateway raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a file a person wrote. `line` and `column` count from 1; 0 means unknown."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"

    def under(self, folder: object) -> Problem:
        """The same with its file's path: those of rule files are known by their names alone."""
        if "/" in self.file:
            return self
        return Problem(f"{folder}/{self.file}", self.line, self.column, self.message)


class ConfigurationError(GatewayError):
    """A configuration or rule file cannot be used. `problems` holds everything that is wrong, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(GatewayError):
    """A command was called in a way that cannot work."""


class NotThere(UsageError):
    """What was named is not there: a slip of the finger. `what` says without the name what kind of thing it is."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what = what
        super().__init__(f"there is no {what} {name!r} (there are: {', '.join(known) or 'none'})")


class AlreadyRunning(GatewayError):
    """Another gateway holds the lock on the state folder."""


class ProtocolError(GatewayError):
    """A peer broke the protocol.

    `abort_reason` is the A-P-ABORT reason/diagnostic of PS3.8 Table 9-26 to answer with
    (0 not specified, 1 unrecognized PDU, 2 unexpected PDU, 4 unrecognized parameter,
    5 unexpected parameter, 6 invalid parameter value).
    """

    def __init__(self, message: str, abort_reason: int = 0) -> None:
        self.abort_reason = abort_reason
        super().__init__(message)


class HeaderError(GatewayError):
    """A data set's header cannot be read: truncated, nested too deep, or not a DICOM data set."""


class TransformError(GatewayError):
    """A step of a transform cannot be done on an instance. The text names transform, step and attribute, no value."""


class TakesLong(GatewayError):
    """A step of a transform would take longer than there is time now: it is for another time."""


class SealError(GatewayError):
    """What was sealed cannot be opened, or a key cannot be read. The text tells nothing of what is sealed."""


class QueueError(GatewayError):
    """The work queue that `queue.url` names cannot be used. The text repeats nothing of the URL, which may hold a
    password."""


class PeerError(GatewayError):
    """The other side of an association, or the way to it, failed."""


class ConnectionFailed(PeerError):
    """No TCP connection, or it broke."""


class AssociationRejected(PeerError):
    """A-ASSOCIATE-RJ with the result, source and reason of PS3.8 Table 9-21."""

    def __init__(self, result: int, source: int, reason: int, message: str) -> None:
        self.result = result
        self.source = source
        self.reason = reason
        super().__init__(message)

    @property
    def permanent(self) -> bool:
        """True for result 1 (rejected-permanent)."""
        return self.result == 1

    @property
    def unknown_calling_title(self) -> bool:
        """True for the DICOM UL service user's reason 3, calling AE title not recognized."""
        return (self.source, self.reason) == (1, 3)


class AssociationAborted(PeerError):
    """A-ABORT (source 0) or A-P-ABORT (source 2), PS3.8 Table 9-26. `by_us`: we aborted it, for the reason told."""

    def __init__(self, source: int, reason: int, message: str, *, by_us: bool = False) -> None:
        self.source = source
        self.reason = reason
        self.by_us = by_us
        super().__init__(message)


class PeerTimeout(PeerError):
    """A deadline passed without progress."""


class SpoolError(GatewayError):
    """The spool cannot do what was asked."""


class SpoolFull(SpoolError):
    """No room: the watermark, ENOSPC, EDQUOT or no inodes."""


class SpoolMissing(SpoolError):
    """The file is not there."""


class SpoolCorrupt(SpoolError):
    """Record, length or checksum of a spool file do not hold."""


class TrailError(GatewayError):
    """The files of the audit trail cannot be written or read. What was to be written stays in the ledger."""


class TrailBusy(TrailError):
    """So many people read the trail that another one would wait too long: try again later."""


class LedgerError(GatewayError):
    """The ledger cannot do what was asked."""


class LedgerBusy(LedgerError):
    """The ledger's lock was not had in time; the same call may succeed later."""


class LedgerAway(LedgerBusy):
    """The ledger's server cannot be reached, and nothing was changed; the same call may succeed later."""


class LedgerUnsure(LedgerAway):
    """The ledger's server was lost while a commit was on its way: it may hold, or not. What can be repeated can be
    repeated."""


class LedgerFull(LedgerError):
    """There is no room for the ledger; nothing was changed, and the same call succeeds when there is room again."""


class LedgerDamaged(LedgerError):
    """The database is not a ledger, is of a newer schema, or is corrupt. Intake closes; see `gateway recover`."""


class LeaseLost(LedgerError):
    """The session that claimed this work is no longer its owner: what it did must not be recorded."""


class LookTooWide(LedgerError):
    """A look at the ledger would take longer than it may, and was given up: the search is to be narrowed."""


class LookRefused(LedgerError):
    """A look at the ledger was asked for what cannot be: a page behind a cursor, or of a size, of nobody's making."""
