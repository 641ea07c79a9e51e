"""An audit message as the XML of PS3.15 A.5.1, in ASCII: what is outside it becomes a character reference.

So a syslog message needs no byte order mark (RFC 5424 6.4), and no receiver has to guess an encoding. What XML cannot
say at all (control characters, lone surrogates) is written as a backslash escape: nothing that a peer sent can break a
message, end an attribute or add a line.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime

from gateway.audit.codes import Code
from gateway.audit.messages import Message, Object, Participant, access_point_type

TEXT_MAX = 1024  # characters of one value: a message stays below what receivers have to take
APPLICATION_SERVER = "4"  # AuditSourceTypeCode

_SPECIAL = re.compile(r"[^ !#-%'-;=?-~]")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def document(message: Message, source_id: str, site_id: str = "") -> str:
    """The message as one line. `source_id` names the gateway that reports it, `site_id` its site ("": none)."""
    event = (
        f'<EventIdentification EventActionCode="{message.action.value}" EventDateTime="{timestamp(message.at_ms)}" '
        f'EventOutcomeIndicator="{message.result.value}">'
        + _coded("EventID", message.event)
        + "".join(_coded("EventTypeCode", each) for each in message.types)
        + (f"<EventOutcomeDescription>{_text(message.text)}</EventOutcomeDescription>" if message.text else "")
        + "</EventIdentification>"
    )
    site = _attribute("AuditEnterpriseSiteID", site_id)
    source = (
        f'<AuditSourceIdentification{site} AuditSourceID="{_text(source_id)}">'
        f'<AuditSourceTypeCode csd-code="{APPLICATION_SERVER}"/></AuditSourceIdentification>'
    )
    parts = "".join(_participant(each) for each in message.participants)
    objects = "".join(_object(each) for each in message.objects)
    return f'<?xml version="1.0" encoding="UTF-8"?><AuditMessage>{event}{parts}{source}{objects}</AuditMessage>'


def timestamp(at_ms: int) -> str:
    """A time as xsd:dateTime and RFC 3339 have it, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _participant(part: Participant) -> str:
    party = part.party
    alternative = f"AETITLES={party.ae_title}" if party.ae_title else party.alternative
    reached = (
        f' NetworkAccessPointID="{_text(party.address)}" '
        f'NetworkAccessPointTypeCode="{access_point_type(party.address)}"'
        if party.address
        else ""
    )
    media = f"<MediaIdentifier>{_coded('MediaType', part.media)}</MediaIdentifier>" if part.media is not None else ""
    return (
        f'<ActiveParticipant UserID="{_text(party.user_id)}"{_attribute("AlternativeUserID", alternative)}'
        f'{_attribute("UserName", party.name)} UserIsRequestor="{"true" if part.is_requestor else "false"}"{reached}>'
        + "".join(_coded("RoleIDCode", each) for each in part.roles)
        + media
        + "</ActiveParticipant>"
    )


def _object(found: Object) -> str:
    if found.query is None:
        named = f"<ParticipantObjectName>{_text(found.name)}</ParticipantObjectName>"
    else:
        named = f"<ParticipantObjectQuery>{_base64(found.query)}</ParticipantObjectQuery>"
    details = "".join(
        f'<ParticipantObjectDetail type="{_text(kind)}" value="{_base64(value)}"/>' for kind, value in found.details
    )
    return (
        f'<ParticipantObjectIdentification ParticipantObjectID="{_text(found.object_id)}" '
        f'ParticipantObjectTypeCode="{found.type_code}" ParticipantObjectTypeCodeRole="{found.role}">'
        + _coded("ParticipantObjectIDTypeCode", found.id_type)
        + named
        + details
        + _description(found)
        + "</ParticipantObjectIdentification>"
    )


def _description(found: Object) -> str:
    accession = f'<Accession Number="{_text(found.accession_number)}"/>' if found.accession_number else ""
    instances = found.instances or ({"": 0} if accession or found.anonymised is not None else {})
    classes = "".join(
        f'<SOPClass{_attribute("UID", uid)} NumberOfInstances="{count}"/>' for uid, count in instances.items()
    )
    anonymised = ""
    if found.anonymised is not None:
        anonymised = f"<Anonymized>{'true' if found.anonymised else 'false'}</Anonymized>"
    inside = accession + classes + anonymised
    return f"<ParticipantObjectDescription>{inside}</ParticipantObjectDescription>" if inside else ""


def _coded(element: str, code: Code) -> str:
    meaning = _text(code.meaning)
    return (
        f'<{element} csd-code="{code.value}" codeSystemName="{code.scheme}" displayName="{meaning}" '
        f'originalText="{meaning}"/>'
    )


def _attribute(name: str, value: str) -> str:
    return f' {name}="{_text(value)}"' if value else ""


def _text(value: str) -> str:
    return _SPECIAL.sub(_escaped, value[:TEXT_MAX])


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    number = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if number < 0x20 or number == 0x7F or 0xD800 <= number <= 0xDFFF or number in (0xFFFE, 0xFFFF):
        return character.encode("unicode_escape").decode("ascii")
    return f"&#{number};"


def _base64(value: str) -> str:
    return b64encode(value[:TEXT_MAX].encode("utf-8", "backslashreplace")).decode("ascii")
