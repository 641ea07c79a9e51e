"""What an association tells its driver: the service indications and confirmations of PS3.8 7 and the messages' parts.

Frozen values, made by `gateway.dicom.reader` and `gateway.dicom.association`; import them from the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gateway.dicom.dimse import Command
from gateway.dicom.negotiation import AcceptedContext
from gateway.dicom.pdu import AssociateAC, AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociationRequested:
    """A-ASSOCIATE indication: answer with `accept` or `reject`."""

    request: AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociationAccepted:
    """A-ASSOCIATE confirmation: the association is established."""

    answer: AssociateAC


@dataclass(frozen=True, slots=True)
class AssociationRejected:
    """The peer rejected the association; or, on the acceptor's side, the request was rejected unasked because PS3.8
    demands it (`negotiation.refusal`)."""

    result: int
    source: int
    reason: int


class CommandReceived(NamedTuple):
    """A whole command set. Its data set's fragments follow if `command.has_data_set`."""

    context: AcceptedContext
    command: Command


class DataSetFragment(NamedTuple):
    """The next bytes of the data set. `data` is valid until the next call; it may be empty where `last` is set."""

    context_id: int
    data: memoryview
    last: bool


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """A-RELEASE indication: answer with `respond_release`."""


@dataclass(frozen=True, slots=True)
class Released:
    """A-RELEASE confirmation: the release this side asked for is done."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The association ended by A-ABORT, the peer's (`by_peer`) or ours. `text` says why, without a peer's values."""

    source: int
    reason: int
    by_peer: bool
    text: str


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The transport connection is gone, or given up by ARTIM, without release or abort."""


Event: TypeAlias = (
    AssociationRequested
    | AssociationAccepted
    | AssociationRejected
    | CommandReceived
    | DataSetFragment
    | ReleaseRequested
    | Released
    | Aborted
    | ConnectionClosed
)
