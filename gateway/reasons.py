"""Why something stands still and waits for a person: every reason that the gateway itself gives, in one place.

A delivery is *held* or *dead* with a code, which the ledger keeps, metrics count and people are shown. An instance is
*held* without a route with a sentence: one of the gateway's, the words of a rule, or those of an operator. It is
*quarantined* with a sentence that begins as one of `Distrusted` says. What to do about each stands in
docs/operations.md, in the sections named below; a test holds both lists equal.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Held(StrEnum):
    """Codes of deliveries that are held."""

    REFUSED = "refused"  # the destination refused this instance, `attempts` times, or its `statuses` say so
    NOT_ACCEPTED = "not_accepted"  # no presentation context for its SOP class and transfer syntax
    CONNECTION = "connection"  # these three: it failed alone, again and again, while others succeed
    TIMEOUT = "timeout"
    ABORTED = "aborted"
    REJECTED = "rejected"  # the same, or the AE title of its sender is rejected
    TRANSFORM_REQUIRED = "transform_required"  # the destination takes only what a transform made
    TRANSFORM = "transform"  # a step failed: never sent as it was
    COPY_UNREADABLE = "copy_unreadable"  # the copy was lost or damaged each time it was to be sent
    UNCONFIGURED = "unconfigured"  # its destination left the configuration
    OVERTAKEN = "overtaken"  # it would put an older version after a later one
    QUARANTINED = "quarantined"  # its instance is
    OPERATOR = "operator"  # a person ordered it
    ERROR = "error"  # an error of the gateway kept it from being tried


class Dead(StrEnum):
    """Codes of deliveries that are dead."""

    GIVEN_UP = "given_up"  # a try failed past `give_up_after`


class Unrouted(StrEnum):
    """Sentences of the gateway for instances that are held without a route. Any other is a rule's or an operator's."""

    NO_RULE_MATCHES = "no rule matches"
    RECOVERED = "recovered"


class Distrusted(StrEnum):
    """How the reason of a quarantined instance begins."""

    UNREADABLE = "the data set cannot be read"
    OTHER_INSTANCE = "the data set's SOP Instance UID is not the one in the C-STORE command"
    OTHER_CLASS = "the data set's SOP Class UID is not the one in the C-STORE command"
    FILE_MISSING = "the spool file is missing"
    FILE_DAMAGED = "the spool file is damaged"
    SPOOL = "spool"  # as it was sent, the file was gone or did not give back what was written
    ORIGINAL = "the original cannot be read"  # the same, as a copy was made of it
    ROUTING_FAILED = "routing failed"


UNCONFIGURED_REASON = "destination removed from the configuration"
OVERTAKEN_REASON = "a later version was delivered before it"


def why_distrusted(reason: str) -> Distrusted | None:
    """What a quarantined instance's reason is of; None where it was given by an operator, or another version."""
    return next((each for each in Distrusted if reason.startswith(each)), None)


def why_unrouted(reason: str) -> Unrouted | None:
    """What the reason of an instance held without a route is of; None where a rule or an operator gave it."""
    return next((each for each in Unrouted if reason == each), None)


# Anchors of docs/operations.md.
HELD_SECTION, DEAD_SECTION = "deliveries-are-held", "deliveries-are-dead"
UNROUTED_SECTION, QUARANTINE_SECTION = "instances-are-held-without-a-route", "instances-are-quarantined"
RECOVER_SECTION = "the-ledger-is-lost-or-damaged"

_PATH = re.compile(r"(?:incoming|derived)/\S+?\.dcm")


def of_file(error: object) -> str:
    """What is wrong with a file of the spool, without its path: that names an instance, and would make each reason a
    group of its own."""
    return _PATH.sub("its file", str(error))
