"""A strict reader of audit messages, written from the tables of PS3.15 A.5.1 to A.5.3: what they ask for, it asks for.

`violations` says what of a message is not as the standard has it: elements, their order and number, attributes, values,
and what each event has to have (A.5.3.1 to A.5.3.12). Nothing of the gateway's own is used.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from xml.etree import ElementTree

CODED = {"csd-code": True, "codeSystemName": True, "displayName": False, "originalText": True}
# element → (attribute → required, children in order: name → (least, most))
SHAPES: dict[str, tuple[dict[str, bool], dict[str, tuple[int, int | None]]]] = {
    "AuditMessage": (
        {},
        {
            "EventIdentification": (1, 1),
            "ActiveParticipant": (1, None),
            "AuditSourceIdentification": (1, 1),
            "ParticipantObjectIdentification": (0, None),
        },
    ),
    "EventIdentification": (
        {"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True},
        {"EventID": (1, 1), "EventTypeCode": (0, None), "EventOutcomeDescription": (0, 1)},
    ),
    "EventID": (CODED, {}),
    "EventTypeCode": (CODED, {}),
    "EventOutcomeDescription": ({}, {}),
    "ActiveParticipant": (
        {
            "UserID": True, "AlternativeUserID": False, "UserName": False, "UserIsRequestor": True,
            "NetworkAccessPointID": False, "NetworkAccessPointTypeCode": False,
        },
        {"RoleIDCode": (0, None), "MediaIdentifier": (0, 1)},
    ),
    "RoleIDCode": (CODED, {}),
    "MediaIdentifier": ({}, {"MediaType": (1, 1)}),
    "MediaType": (CODED, {}),
    "AuditSourceIdentification": (
        {"AuditEnterpriseSiteID": False, "AuditSourceID": True}, {"AuditSourceTypeCode": (0, None)},
    ),
    "AuditSourceTypeCode": (
        {"csd-code": True, "codeSystemName": False, "displayName": False, "originalText": False}, {},
    ),
    "ParticipantObjectIdentification": (
        {
            "ParticipantObjectID": True, "ParticipantObjectTypeCode": False, "ParticipantObjectTypeCodeRole": False,
            "ParticipantObjectDataLifeCycle": False, "ParticipantObjectSensitivity": False,
        },
        {
            "ParticipantObjectIDTypeCode": (1, 1), "ParticipantObjectName": (0, 1), "ParticipantObjectQuery": (0, 1),
            "ParticipantObjectDetail": (0, None), "ParticipantObjectDescription": (0, None),
        },
    ),
    "ParticipantObjectIDTypeCode": (CODED, {}),
    "ParticipantObjectName": ({}, {}),
    "ParticipantObjectQuery": ({}, {}),
    "ParticipantObjectDetail": ({"type": True, "value": True}, {}),
    "ParticipantObjectDescription": (
        {},
        {
            "MPPS": (0, None), "Accession": (0, None), "SOPClass": (0, None),
            "ParticipantObjectContainsStudy": (0, 1), "Encrypted": (0, 1), "Anonymized": (0, 1),
        },
    ),
    "MPPS": ({"UID": True}, {}),
    "Accession": ({"Number": True}, {}),
    "SOPClass": ({"UID": False, "NumberOfInstances": True}, {"Instance": (0, None)}),
    "Instance": ({"UID": True}, {}),
    "ParticipantObjectContainsStudy": ({}, {"StudyIDs": (0, None)}),
    "StudyIDs": ({"UID": True}, {}),
    "Encrypted": ({}, {}),
    "Anonymized": ({}, {}),
}  # fmt: skip
VALUES = {
    "EventActionCode": r"[CRUDE]",
    "EventOutcomeIndicator": r"0|4|8|12",
    "UserIsRequestor": r"true|false",
    "NetworkAccessPointTypeCode": r"[1-5]",
    "ParticipantObjectTypeCode": r"[1-4]",
    "ParticipantObjectTypeCodeRole": r"[1-9]|1[0-9]|2[0-6]",
    "NumberOfInstances": r"[0-9]+",
    "UID": r"[0-2](\.(0|[1-9][0-9]*))+",
}
TEXTS = {"Encrypted": r"true|false", "Anonymized": r"true|false"}
SOURCE, DESTINATION, MEDIA = "110153", "110152", "110154"
# event → (actions, least and most participants, roles that must be there, types, object id types with least and most)
EVENTS: dict[str, tuple[str, int, int, tuple[str, ...], str, dict[str, tuple[int, int | None]]]] = {
    "110100": ("E", 1, 99, ("110150",), "110120|110121", {}),
    "110101": ("R", 1, 2, (), "", {"12": (1, 1)}),
    "110102": ("E", 2, 99, (SOURCE, DESTINATION), "", {"110180": (1, None), "2": (1, 1)}),
    "110103": ("CRUD", 1, 2, (), "", {"110180": (1, None), "2": (1, 1)}),
    "110104": ("CRU", 2, 99, (SOURCE, DESTINATION), "", {"110180": (1, None), "2": (1, 1)}),
    "110106": ("R", 2, 99, (SOURCE, MEDIA), "", {"110180": (1, None), "2": (1, 1)}),
    "110112": ("E", 2, 99, (SOURCE, DESTINATION), "", {"10": (1, 1)}),
    "110113": ("E", 1, 99, (), r"1101(2[6-9]|3[0-7])", {"110182": (0, None), "12": (0, None)}),
    "110114": ("E", 1, 2, (), "110122|110123", {}),
}
ROLES = {"110180": ("2", "3"), "2": ("1", "1"), "12": ("2", "13"), "110182": ("2", "13"), "10": ("2", "24")}


def violations(xml: str) -> list[str]:
    """What is wrong, in words; empty for a message that is as the standard has it."""
    root = ElementTree.fromstring(xml)  # noqa: S314 - made by a test
    if root.tag != "AuditMessage":
        return [f"the root is {root.tag}"]
    return [*_shape(root), *_event(root)]


def _shape(element: ElementTree.Element) -> Iterator[str]:
    attributes, children = SHAPES[element.tag]
    for name in element.keys() - attributes.keys():
        yield f"{element.tag} has no attribute {name}"
    for name, required in attributes.items():
        value = element.get(name)
        if value is None and required:
            yield f"{element.tag} lacks {name}"
        if value is not None and name in VALUES and not re.fullmatch(VALUES[name], value):
            yield f"{element.tag}.{name} is {value!r}"
    if element.tag in TEXTS and not re.fullmatch(TEXTS[element.tag], element.text or ""):
        yield f"{element.tag} is {element.text!r}"
    order = list(children)
    found = [child.tag for child in element]
    if any(tag not in children for tag in found):
        yield f"{element.tag} holds {found}"
        return
    if found != sorted(found, key=order.index):
        yield f"{element.tag} holds its elements in another order: {found}"
    counts = Counter(found)
    for name, (least, most) in children.items():
        if counts[name] < least or (most is not None and counts[name] > most):
            yield f"{element.tag} holds {counts[name]} of {name}"
    for child in element:
        yield from _shape(child)


def _code(element: ElementTree.Element | None) -> str:
    return "" if element is None else element.get("csd-code", "")


def _event(root: ElementTree.Element) -> Iterator[str]:
    identification = root.find("EventIdentification")
    assert identification is not None
    event = _code(identification.find("EventID"))
    if event not in EVENTS:
        yield f"{event} is no event"
        return
    actions, least, most, roles, types, objects = EVENTS[event]
    when = datetime.fromisoformat(identification.get("EventDateTime", ""))
    if when.tzinfo is None:
        yield "EventDateTime has no time zone"  # A.5.2.5
    if identification.get("EventActionCode", "") not in actions:
        yield f"EventActionCode of {event} is {identification.get('EventActionCode')}"
    kinds = [_code(each) for each in identification.findall("EventTypeCode")]
    if types and not (len(kinds) >= 1 and all(re.fullmatch(types, kind) for kind in kinds)):
        yield f"EventTypeCode of {event} is {kinds}"
    participants = root.findall("ActiveParticipant")
    if not least <= len(participants) <= most:
        yield f"{event} has {len(participants)} participants"
    if sum(each.get("UserIsRequestor") == "true" for each in participants) > 1:
        yield "several participants are the requestor"  # A.5.2, UserIsRequestor
    played = [_code(role) for each in participants for role in each.findall("RoleIDCode")]
    for role in roles:
        if role not in played:
            yield f"{event} has nobody in the role {role}"
    for each in participants:
        if (each.get("NetworkAccessPointID") is None) != (each.get("NetworkAccessPointTypeCode") is None):
            yield "NetworkAccessPointID and its type go together"
    yield from _objects(root, event, objects)


def _objects(root: ElementTree.Element, event: str, objects: dict[str, tuple[int, int | None]]) -> Iterator[str]:
    found = root.findall("ParticipantObjectIdentification")
    counts = Counter(_code(each.find("ParticipantObjectIDTypeCode")) for each in found)
    for kind in counts.keys() - objects.keys():
        yield f"{event} has no objects of type {kind}"
    for kind, (least, most) in objects.items():
        if counts[kind] < least or (most is not None and counts[kind] > most):
            yield f"{event} has {counts[kind]} objects of type {kind}"
    for each in found:
        kind = _code(each.find("ParticipantObjectIDTypeCode"))
        role = (each.get("ParticipantObjectTypeCode"), each.get("ParticipantObjectTypeCodeRole"))
        if kind in ROLES and role != ROLES[kind]:
            yield f"an object of type {kind} has the roles {role}"
        named = [len(each.findall(name)) for name in ("ParticipantObjectName", "ParticipantObjectQuery")]
        if sum(named) != 1:
            yield "an object has neither a name nor a query, or both"
        for detail in each.findall("ParticipantObjectDetail"):
            base64.b64decode(detail.get("value", ""), validate=True)
        for query in each.findall("ParticipantObjectQuery"):
            base64.b64decode(query.text or "", validate=True)
        for description in each.findall("ParticipantObjectDescription"):
            others = [child.tag for child in description if child.tag != "SOPClass"]
            if kind == "110180" and others and description.find("SOPClass") is None:
                yield "a study with an accession number or the like names no SOP class"  # Table A.5.2-1
    if event == "110113":
        details = {detail.get("type") for each in found for detail in each.findall("ParticipantObjectDetail")}
        if found and "Alert Description" not in details:
            yield "an alert without an Alert Description"
