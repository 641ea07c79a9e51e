"""Audit messages of PS3.15 A.5.3: one function an event, plain values in, a `Message` out. One patient a message.

    application            A.5.3.1   the gateway on a host starts or stops
    trail_read             A.5.3.2   somebody looks at the audit trail
    begin_transferring     A.5.3.3   instances are to be sent
    exported               A.5.3.4   somebody downloads a study
    accessed               A.5.3.6   somebody holds, releases, sends again or cancels instances, or is shown them
    transferred            A.5.3.7   instances came in or went out, or a destination refused them for good
    query                  A.5.3.10  somebody searches
    alert                  A.5.3.11  what may be an attack, and what only some people may do
    authentication         A.5.3.12  somebody logs in or out, or may not

What the standard leaves open is said here: a process is called by its host (`gateway@host1`), a DICOM peer by its name
in the configuration, with its AE title as the alternative identifier; a person by `name@host`, with what the ledger
calls them (`console:anna`) as the alternative. Where a study or patient is not known the identifier is NOT_KNOWN.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.audit import codes as c
from gateway.audit.codes import Action, Code, Result

NOT_KNOWN = "(not known)"
CLASSES_MAX = 20  # SOP classes named in one message; the rest are counted as one


class Study(NamedTuple):
    """A study and whose it is; all "" where nothing is known of it."""

    study_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    issuer_of_patient_id: str = ""
    accession_number: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """Who takes part: a person, a process or a DICOM application.

    :param ae_title: of a DICOM application. :param address: an IP address or a host name, "" where it is not known.
    """

    user_id: str
    alternative: str = ""
    name: str = ""
    ae_title: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Participant:
    """A party in its part, as the message has it."""

    party: Party
    is_requestor: bool
    roles: tuple[Code, ...] = ()
    media: Code | None = None


@dataclass(frozen=True, slots=True)
class Object:
    """ParticipantObjectIdentification. `type_code` and `role` by PS3.15 A.5.1.2.2; a query instead of a name."""

    object_id: str
    id_type: Code
    type_code: int
    role: int
    name: str = ""
    query: str | None = None
    details: tuple[tuple[str, str], ...] = ()
    accession_number: str = ""
    instances: Mapping[str, int] = field(default_factory=dict)  # by SOP class UID; "" where that is not known
    anonymised: bool | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One audit message, but for who reports it."""

    event: Code
    action: Action
    result: Result
    at_ms: int
    participants: tuple[Participant, ...]
    types: tuple[Code, ...] = ()
    text: str = ""  # EventOutcomeDescription
    objects: tuple[Object, ...] = ()


def access_point_type(address: str) -> int:
    """NetworkAccessPointTypeCode: 2 for an IP address, 1 for a name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return 1
    return 2


# ── instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin_transferring(
    at_ms: int, sender: Party, receiver: Party, study: Study, instances: Mapping[str, int]
) -> Message:
    """Instances of a study are to be sent from one to the other."""
    return Message(
        c.BEGIN_TRANSFERRING,
        Action.EXECUTE,
        Result.SUCCESS,
        at_ms,
        (Participant(sender, True, (c.SOURCE_ROLE,)), Participant(receiver, False, (c.DESTINATION_ROLE,))),
        objects=_study_and_patient(study, instances),
    )


def transferred(
    at_ms: int,
    sender: Party,
    receiver: Party,
    study: Study,
    instances: Mapping[str, int],
    *,
    action: Action,
    result: Result = Result.SUCCESS,
    text: str = "",
    anonymised: bool | None = None,
) -> Message:
    """Instances of a study went from one to the other, or did not (`result`).

    :param action: CREATE where the receiver is this gateway, READ where it is somebody else, who may have had them.
    """
    return Message(
        c.INSTANCES_TRANSFERRED,
        action,
        result,
        at_ms,
        (Participant(sender, True, (c.SOURCE_ROLE,)), Participant(receiver, False, (c.DESTINATION_ROLE,))),
        text=text,
        objects=_study_and_patient(study, instances, anonymised),
    )


def accessed(
    at_ms: int, who: Party, process: Party, study: Study, count: int, *, action: Action, what: str, text: str = ""
) -> Message:
    """A person did something (`what`) with instances of a study."""
    details = (("Order", what), ("Reason", text)) if text else (("Order", what),)
    return Message(
        c.INSTANCES_ACCESSED,
        action,
        Result.SUCCESS,
        at_ms,
        (Participant(who, True), Participant(process, False)),
        objects=_study_and_patient(study, {"": count} if count else {}, details=details),
    )


def exported(at_ms: int, who: Party, process: Party, study: Study, count: int) -> Message:
    """A person downloaded instances of a study."""
    where = Party(f"https://{who.address}" if who.address else "https:", address=who.address)
    return Message(
        c.EXPORT,
        Action.READ,
        Result.SUCCESS,
        at_ms,
        (
            Participant(process, False, (c.SOURCE_ROLE,)),
            Participant(who, True, (c.SOURCE_ROLE,)),
            Participant(where, False, (c.DESTINATION_MEDIA,), c.MEDIA_URI),
        ),
        objects=_study_and_patient(study, {"": count} if count else {}),
    )


def _study_and_patient(
    study: Study,
    instances: Mapping[str, int],
    anonymised: bool | None = None,
    details: tuple[tuple[str, str], ...] = (),
) -> tuple[Object, ...]:
    uid = study.study_instance_uid or NOT_KNOWN
    issuer = study.issuer_of_patient_id
    return (
        Object(
            uid,
            c.STUDY_INSTANCE_UID,
            2,
            3,
            name=study.description or uid,
            details=details,
            accession_number=study.accession_number,
            instances=_bounded(instances),
            anonymised=anonymised,
        ),
        Object(
            study.patient_id or NOT_KNOWN,
            c.PATIENT_NUMBER,
            1,
            1,
            name=study.patient_name or NOT_KNOWN,
            details=(("IssuerOfPatientID", issuer),) if issuer else (),
        ),
    )


def _bounded(instances: Mapping[str, int]) -> Mapping[str, int]:
    if len(instances) <= CLASSES_MAX:
        return instances
    ordered = sorted(instances.items(), key=lambda item: -item[1])
    kept = dict(ordered[: CLASSES_MAX - 1])
    kept[""] = kept.get("", 0) + sum(count for _, count in ordered[CLASSES_MAX - 1 :])
    return kept


# ── people and the gateway itself ─────────────────────────────────────────────────────────────────────────────────────


def application(at_ms: int, process: Party, launcher: Party | None, *, started: bool) -> Message:
    """The gateway on a host started or stopped."""
    parts = [Participant(process, False, (c.APPLICATION,))]
    if launcher is not None:
        parts.append(Participant(launcher, True, (c.APPLICATION_LAUNCHER,)))
    return Message(
        c.APPLICATION_ACTIVITY,
        Action.EXECUTE,
        Result.SUCCESS,
        at_ms,
        tuple(parts),
        (c.APPLICATION_START if started else c.APPLICATION_STOP,),
    )


def authentication(
    at_ms: int, who: Party, process: Party, *, login: bool, result: Result = Result.SUCCESS, text: str = ""
) -> Message:
    """A person logged in or out, or was refused."""
    return Message(
        c.USER_AUTHENTICATION,
        Action.EXECUTE,
        result,
        at_ms,
        (Participant(who, True), Participant(process, False)),
        (c.LOGIN if login else c.LOGOUT,),
        text,
    )


def query(at_ms: int, who: Party, process: Party, searched: str) -> Message:
    """A person searched; `searched` says for what, as JSON."""
    found = Object("studies", c.SEARCH_CRITERIA, 2, 24, query=searched)
    parts = (Participant(who, True, (c.SOURCE_ROLE,)), Participant(process, False, (c.DESTINATION_ROLE,)))
    return Message(c.QUERY, Action.EXECUTE, Result.SUCCESS, at_ms, parts, objects=(found,))


def trail_read(at_ms: int, who: Party, process: Party, location: str) -> Message:
    """A person looked at the audit trail."""
    trail = Object(location, c.URI, 2, 13, name="Security Audit Log")
    parts = (Participant(who, True), Participant(process, False))
    return Message(c.AUDIT_LOG_USED, Action.READ, Result.SUCCESS, at_ms, parts, objects=(trail,))


def alert(
    at_ms: int,
    process: Party,
    performer: Party | None,
    *,
    kind: Code,
    subject: str,
    text: str,
    result: Result,
    subject_type: Code = c.NODE_ID,
) -> Message:
    """Something that those who look after security want to know. `result` SUCCESS: it is only told."""
    about = Object(
        subject or NOT_KNOWN, subject_type, 2, 13, name=subject or NOT_KNOWN, details=(("Alert Description", text),)
    )
    parts = [Participant(process, performer is None)]
    if performer is not None:
        parts.append(Participant(performer, False))
    return Message(c.SECURITY_ALERT, Action.EXECUTE, result, at_ms, tuple(parts), (kind,), text=text, objects=(about,))
