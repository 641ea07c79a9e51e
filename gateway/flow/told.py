"""From what the ledger has to tell to what the audit trail writes: PS3.15 messages, with a few fields for people.

    transfer in            DICOM Instances Transferred, from a source to this gateway (C: it has not had them)
    transfer begin         Begin Transferring DICOM Instances, from this gateway to a destination
    transfer out           DICOM Instances Transferred, to a destination (R: what that had before is not known here)
    held, dead, quarantined    the same, with an outcome that says so
    orders                 DICOM Instances Accessed for each study; without one, Security Alert (a restricted function)
    re-identification      DICOM Instances Accessed, of whoever the pseudonym stands for
    all else               as `gateway.ledger.trail.NoteKind` says

Used by `gateway.flow.keeper`, and by the supervisor for its own start and end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway import telemetry
from gateway.audit import codes, messages
from gateway.audit.chain import Entry
from gateway.audit.codes import KINDS, Action, Code, Result
from gateway.audit.messages import Message, Party, Study
from gateway.audit.trail import Trail
from gateway.audit.xml import TEXT_MAX, document
from gateway.ledger.trail import Movement, Note, NoteKind, NoteTold, StudyTold, TransferTold, Untold

ALERTS: Mapping[str, Code] = {
    "log-in throttled": codes.USE_OF_RESTRICTED_FUNCTION,
    "set-up refused": codes.USE_OF_RESTRICTED_FUNCTION,
    "token refused": codes.USE_OF_RESTRICTED_FUNCTION,
    "forbidden": codes.USE_OF_RESTRICTED_FUNCTION,
    "cross-site request": codes.USE_OF_RESTRICTED_FUNCTION,
    "unknown sender": codes.NODE_AUTHENTICATION,
    "users changed": codes.USER_ATTRIBUTES_CHANGED,
    "rules changed": codes.SOFTWARE_CONFIGURATION,
    "configuration changed": codes.SOFTWARE_CONFIGURATION,
    "trail broken": codes.AUDIT_STOPPED,
}
"""What an alert may be about, and which of the standard's types it is of; others are a restricted function."""

REIDENTIFY, DOWNLOAD = "reidentify", "download"  # orders that are no orders
LISTED_MAX, WORDS_MAX = 20, 1000  # of a filter, in a record: readers take no line of a megabyte
_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_ORDERED = {"cancel": Action.DELETE, "discard": Action.DELETE, "resend": Action.READ, REIDENTIFY: Action.READ}
_ENDS: Mapping[Movement, tuple[Result, str]] = {
    Movement.IN: (Result.SUCCESS, ""),
    Movement.OUT: (Result.SUCCESS, ""),
    Movement.QUARANTINED: (Result.MINOR_FAILURE, "received, and not to be trusted: quarantined"),
    Movement.HELD: (Result.MINOR_FAILURE, "refused: held for a person"),
    Movement.DEAD: (Result.SERIOUS_FAILURE, "tried until it was given up"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """How messages call this gateway and its destinations.

    :param destinations: name → AE title and address.
    """

    host: str
    ae_title: str
    source_id: str
    site_id: str = ""
    trail_dir: str = ""
    destinations: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def process(self) -> Party:
        """This gateway."""
        return Party(f"gateway@{self.host}", name="gateway", ae_title=self.ae_title, address=self.host)

    def person(self, actor: str, address: str = "") -> Party:
        """Who the ledger calls `console:anna`."""
        how, _, name = actor.partition(":")
        login = (name or how or "nobody").partition("/")[0]
        return Party(f"{login}@{self.host}", alternative=actor, name=name or how, address=address)


def entries(untold: Untold, names: Names) -> list[Entry]:
    """A record for each message of a batch, in its order."""
    return [
        _transfer(told, names, f"{untold.batch}/{number}")
        if isinstance(told, TransferTold)
        else noted(told, names, f"{untold.batch}/{number}")
        for number, told in enumerate(untold.told)
    ]


def _transfer(told: TransferTold, names: Names, ref: str) -> Entry:
    study, facts = Study(*_values(told.study)), told.facts
    if told.movement in (Movement.IN, Movement.QUARANTINED):
        sender = Party(facts.source, ae_title=facts.calling_ae_title, address=facts.peer_host)
        receiver = Party(f"gateway@{names.host}", name="gateway", ae_title=facts.called_ae_title, address=names.host)
        action, anonymised = Action.CREATE, None
    else:
        ae_title, address = names.destinations.get(told.destination, ("", ""))
        sender, receiver = names.process, Party(told.destination, ae_title=ae_title, address=address)
        action, anonymised = Action.READ, told.anonymised
    about = {"association": facts.association_id, "movement": told.movement.value}
    if told.movement is Movement.BEGIN:
        message = messages.begin_transferring(told.first_at_ms, sender, receiver, study, told.instances)
    else:
        result, text = _ENDS[told.movement]
        message = messages.transferred(
            told.last_at_ms, sender, receiver, study, told.instances,
            action=action, result=result, text=text, anonymised=anonymised,
        )  # fmt: skip
    return _entry(message, names, ref, sender, receiver.user_id, study, sum(told.instances.values()), about)


def noted(told: NoteTold, names: Names, ref: str = "") -> Entry:
    """The record of a note about one study, or about none."""
    note, study = told.note, Study(*_values(told.study))
    who, process = names.person(note.actor, note.address), names.process
    fields: dict[str, Any] = {"what": note.what} if note.what else {}
    if note.which:
        fields["which"] = bounded(note.which)
    is_export = note.kind is NoteKind.EXPORTED or (note.kind is NoteKind.ORDER and note.what == DOWNLOAD)
    if told.study is not None and is_export:
        message = messages.exported(note.at_ms, who, process, study, told.instances)
    elif told.study is not None and note.kind in (NoteKind.ORDER, NoteKind.VIEWED):
        what = note.what or note.kind.value
        action = _ORDERED.get(what, Action.READ if note.kind is NoteKind.VIEWED else Action.UPDATE)
        message = messages.accessed(
            note.at_ms, who, process, study, told.instances, action=action, what=what, text=note.text
        )
    elif note.kind is NoteKind.ORDER and note.what == REIDENTIFY:
        study = _behind(str(note.which.get("pseudonym", "")))
        message = messages.accessed(
            note.at_ms, who, process, study, 0, action=Action.READ, what=note.what, text=note.text
        )
    else:
        message = _of_the_gateway(note, who, names)
    return _entry(message, names, ref, who, note.subject, study, told.instances, fields, note.text)


def raise_alarm(trail: Trail, names: Names, now_ms: int) -> None:
    """Tell of a chain that was found broken when the trail was opened. :raises TrailError."""
    if trail.fault:
        telemetry.problem("audit_trail_broken", reason=trail.fault)
        note = Note(NoteKind.ALERT, now_ms, what="trail broken", text=trail.fault, failed=True)
        trail.append([noted(NoteTold(note, None, 0), names)])
        trail.fault = ""


def _of_the_gateway(note: Note, who: Party, names: Names) -> Message:
    process = names.process
    if note.kind in (NoteKind.STARTED, NoteKind.STOPPED):
        launcher = who if note.actor else None
        return messages.application(note.at_ms, process, launcher, started=note.kind is NoteKind.STARTED)
    if note.kind in (NoteKind.LOGIN, NoteKind.LOGOUT):
        result = Result.MINOR_FAILURE if note.failed else Result.SUCCESS
        is_login = note.kind is NoteKind.LOGIN
        return messages.authentication(note.at_ms, who, process, login=is_login, result=result, text=note.text)
    if note.kind is NoteKind.QUERY:
        return messages.query(note.at_ms, who, process, json.dumps(bounded(note.which), sort_keys=True))
    if note.kind is NoteKind.TRAIL_READ:
        return messages.trail_read(note.at_ms, who, process, f"file://{names.trail_dir}")
    which = note.which
    subject = note.subject or str(which.get("destination") or which.get("host") or names.host)
    text = note.text if note.kind is NoteKind.ALERT else f"{note.what or note.kind.value}: {note.text}".rstrip(": ")
    return messages.alert(
        note.at_ms,
        process,
        who if note.actor else None,
        kind=ALERTS.get(note.what, codes.USE_OF_RESTRICTED_FUNCTION),
        subject=subject,
        text=text or note.what,
        result=Result.SERIOUS_FAILURE if note.failed else Result.SUCCESS,
    )


def bounded(value: Any) -> Any:
    """What an order or a search was about, short enough for a record of each study: of a long list its beginning and
    how many there were. The order itself stands in the ledger, whole."""
    if isinstance(value, Mapping):
        return {str(name)[:WORDS_MAX]: bounded(each) for name, each in [*value.items()][:LISTED_MAX]}
    if isinstance(value, list | tuple):
        listed = [bounded(each) for each in value[:LISTED_MAX]]
        return listed if len(value) <= LISTED_MAX else [*listed, f"… {len(value)} in all"]
    return value[:WORDS_MAX] if isinstance(value, str) else value


def _behind(pseudonym: str) -> Study:
    """Somebody's pseudonym: all that is known of whom an original was looked up of."""
    if _UID.fullmatch(pseudonym):
        return Study(study_instance_uid=pseudonym)
    return Study(patient_id=pseudonym)


def _values(study: StudyTold | None) -> Sequence[str]:
    if study is None:
        return ()
    return (
        study.study_instance_uid,
        study.patient_id,
        study.patient_name,
        study.issuer_of_patient_id,
        study.accession_number,
        study.study_description,
    )


def _entry(
    message: Message,
    names: Names,
    ref: str,
    who: Party,
    about: str,
    study: Study,
    instances: int,
    more: Mapping[str, Any],
    text: str = "",
) -> Entry:
    fields: dict[str, Any] = {
        "who": who.alternative or who.user_id,
        "address": who.address,
        "about": about,
        "outcome": message.result.value,
        "text": message.text or text,
        "patient": study.patient_id,
        "patient_name": study.patient_name,
        "study": study.study_instance_uid,
        "accession": study.accession_number,
        "instances": instances,
        **more,
    }
    fields = {
        name: value[:TEXT_MAX] if isinstance(value, str) else value for name, value in fields.items() if value != ""
    }
    xml = document(message, names.source_id, names.site_id)
    return Entry(message.at_ms, KINDS[message.event], fields, xml, ref)
