"""What the scripted archive is told, and what it tells: values, and the two simplest scripts. See `archive`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.harness import wire


@dataclass(frozen=True, slots=True)
class Stored:
    """One data set that came in whole and was kept. `at_s` is time.monotonic()."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    length: int
    calling: str
    called: str
    at_s: float


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """A C-STORE-RQ as a script sees it. `attempt` counts the requests for this UID from 1, `number` all of them."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attempt: int
    number: int
    association: int
    calling: str


@dataclass(frozen=True, slots=True)
class Admission:
    """How an association is answered.

    `accept` names the transfer syntaxes that are accepted (None: any), `refuse_classes` abstract syntaxes answered
    with result 3, `refuse_verification` the same for C-ECHO. `silent` never answers; `close` ends the connection.
    """

    reject: tuple[int, int, int] | None = None  # result, source, reason
    abort: tuple[int, int] | None = None  # source, reason
    silent: bool = False
    close: Literal["", "fin", "rst"] = ""
    accept: frozenset[str] | None = None
    refuse_classes: frozenset[str] = frozenset()
    refuse_verification: bool = False
    max_pdu: int | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is done with one instance. The default stores it and answers Success.

    Cuts (`cut_after` data set bytes, then `cut`), `stop_reading_after` and `early_response_after` (answered when so
    many bytes are in, and not again) happen while it comes in, the rest when it is complete. `wait_for` holds the
    response until the event is set. `end` happens after the response (or, with `respond=False`, instead of it).
    """

    status: int = 0x0000
    store: bool = True
    respond: bool = True
    delay_s: float = 0.0
    wait_for: threading.Event | None = None
    message_id_offset: int = 0
    command_field: int = wire.C_STORE_RSP
    omit_uids: bool = False
    sop_instance_uid: str | None = None
    sop_class_uid: str | None = None
    cut: Literal["", "abort", "p-abort", "fin", "rst"] = ""
    cut_after: int = 0
    stop_reading_after: int | None = None
    early_response_after: int | None = None
    bytes_per_s: float = 0.0
    end: Literal["", "abort", "p-abort", "fin", "rst"] = ""


SUCCESS = Behaviour()
ACCEPT = Admission()


def by_uid(behaviours: Mapping[str, Behaviour], otherwise: Behaviour = SUCCESS) -> Callable[[StoreFacts], Behaviour]:
    """A script that looks the instance up."""
    return lambda facts: behaviours.get(facts.sop_instance_uid, otherwise)


def first(count: int, behaviour: Behaviour, then: Behaviour = SUCCESS) -> Callable[[StoreFacts], Behaviour]:
    """A script that treats the first `count` tries of each instance in one way, later ones in another."""
    return lambda facts: behaviour if facts.attempt <= count else then
