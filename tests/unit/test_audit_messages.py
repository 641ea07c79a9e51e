"""Every message is one that PS3.15 A.5 describes, whatever a peer or a person put into it."""

from __future__ import annotations

import base64
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from gateway.audit import codes
from gateway.audit.chain import Head, line_of, read_line
from gateway.audit.codes import KINDS, Code
from gateway.audit.messages import CLASSES_MAX
from gateway.flow.told import ALERTS, Names, entries
from gateway.ledger.trail import Movement, Note, NoteKind, NoteTold, StudyTold, TransferTold, Untold
from gateway.model import AssociationFacts
from tests.unit.audit_schema import violations

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
FACTS = AssociationFacts("a1", "main", "ct1", "CT1", "GATEWAY", "10.0.0.7")
ANNA = StudyTold("1.2.3", "P1", "MÜLLER^ANNA", "HOSPITAL", "A1", "CHEST")
NAMES = Names("host1", "GATEWAY", "gateway-1", "site", "/state/audit", {"pacs": ("PACS", "pacs.example")})


def transfer(movement: Movement = Movement.IN, **other: Any) -> TransferTold:
    given: dict[str, Any] = {
        "facts": FACTS, "destination": "" if movement is Movement.IN else "pacs", "anonymised": False, "study": ANNA,
        "instances": {CT: 3}, "first_at_ms": 1_000, "last_at_ms": 2_000,
    }  # fmt: skip
    return TransferTold(movement, **(given | other))


def made(*told: TransferTold | NoteTold) -> list[tuple[dict[str, Any], ElementTree.Element]]:
    """(fields, message) of each, found to be as the standard has it."""
    found = []
    for entry in entries(Untold("b", told), NAMES):
        assert violations(entry.xml) == []
        assert entry.xml.isascii() and "\n" not in entry.xml
        message = ElementTree.fromstring(entry.xml)  # noqa: S314 - made here
        found.append((dict(entry.fields) | {"kind": entry.kind}, message))
    return found


def code_of(message: ElementTree.Element, path: str) -> str:
    return message.find(path).get("csd-code")  # type: ignore[union-attr, return-value]


def participants(message: ElementTree.Element) -> list[tuple[str | None, ...]]:
    return [
        (
            each.get("UserID"),
            each.get("AlternativeUserID"),
            each.get("UserIsRequestor"),
            each.get("NetworkAccessPointID"),
        )
        for each in message.findall("ActiveParticipant")
    ]


# ── transfers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_came_in_is_transferred_from_the_source_to_the_gateway() -> None:
    ((fields, message),) = made(transfer(instances={CT: 3, MR: 1}))
    assert code_of(message, "EventIdentification/EventID") == "110104"
    assert message.find("EventIdentification").attrib == {  # type: ignore[union-attr]
        "EventActionCode": "C", "EventDateTime": "1970-01-01T00:00:02.000Z", "EventOutcomeIndicator": "0",
    }  # fmt: skip
    assert participants(message) == [
        ("ct1", "AETITLES=CT1", "true", "10.0.0.7"),
        ("gateway@host1", "AETITLES=GATEWAY", "false", "host1"),
    ]
    study, patient = message.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == "1.2.3"
    assert study.find("ParticipantObjectDescription/Accession").get("Number") == "A1"  # type: ignore[union-attr]
    classes = study.findall("ParticipantObjectDescription/SOPClass")
    assert [(each.get("UID"), each.get("NumberOfInstances")) for each in classes] == [(CT, "3"), (MR, "1")]
    assert patient.get("ParticipantObjectID") == "P1"
    assert patient.findtext("ParticipantObjectName") == "MÜLLER^ANNA"
    assert (fields["kind"], fields["who"], fields["patient"], fields["instances"]) == ("transferred", "ct1", "P1", 4)


def test_what_is_to_go_out_begins_and_what_went_out_is_transferred() -> None:
    (_, begin), (fields, out) = made(transfer(Movement.BEGIN), transfer(Movement.OUT, anonymised=True))
    assert code_of(begin, "EventIdentification/EventID") == "110102"
    assert code_of(out, "EventIdentification/EventID") == "110104"
    assert out.find("EventIdentification").get("EventActionCode") == "R"  # type: ignore[union-attr]
    for message in (begin, out):
        assert participants(message)[1] == ("pacs", "AETITLES=PACS", "false", "pacs.example")
    assert out.findtext(".//Anonymized") == "true"
    assert fields["about"] == "pacs"


@pytest.mark.parametrize(
    ("movement", "outcome"), [(Movement.HELD, "4"), (Movement.DEAD, "8"), (Movement.QUARANTINED, "4")]
)
def test_what_did_not_go_well_says_so(movement: Movement, outcome: str) -> None:
    ((fields, message),) = made(transfer(movement))
    identification = message.find("EventIdentification")
    assert identification is not None and identification.get("EventOutcomeIndicator") == outcome
    assert identification.findtext("EventOutcomeDescription") == fields["text"]


def test_a_study_of_which_nothing_is_known_is_told_too() -> None:
    ((fields, message),) = made(transfer(Movement.QUARANTINED, study=StudyTold()))
    objects = message.findall("ParticipantObjectIdentification")
    assert [each.get("ParticipantObjectID") for each in objects] == ["(not known)", "(not known)"]
    assert "patient" not in fields


def test_a_message_stays_short_however_many_kinds_of_instances_there_are() -> None:
    many = {f"1.2.3.{number}": number + 1 for number in range(500)}
    ((_, message),) = made(transfer(instances=many))
    classes = message.findall(".//SOPClass")
    assert len(classes) == CLASSES_MAX
    assert sum(int(each.get("NumberOfInstances", "")) for each in classes) == sum(many.values())


def test_messages_are_named_by_their_batch_and_place() -> None:
    told = (transfer(), transfer(Movement.BEGIN))
    assert [each.ref for each in entries(Untold("b", told), NAMES)] == ["b/0", "b/1"]


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def note(kind: NoteKind, study: StudyTold | None = None, instances: int = 0, **other: Any) -> NoteTold:
    return NoteTold(Note(kind, 5_000, **({"actor": "console:anna", "address": "10.0.0.9"} | other)), study, instances)


@pytest.mark.parametrize(
    ("order", "action"), [("hold", "U"), ("release", "U"), ("resend", "R"), ("cancel", "D"), ("discard", "D")]
)
def test_an_order_is_an_access_to_the_instances_of_a_study(order: str, action: str) -> None:
    ((fields, message),) = made(note(NoteKind.ORDER, ANNA, 4, what=order, text="wrong patient"))
    assert code_of(message, "EventIdentification/EventID") == "110103"
    assert message.find("EventIdentification").get("EventActionCode") == action  # type: ignore[union-attr]
    assert participants(message)[0] == ("anna@host1", "console:anna", "true", "10.0.0.9")
    details = {
        each.get("type"): base64.b64decode(each.get("value", "")) for each in message.iter("ParticipantObjectDetail")
    }
    assert (details["Order"], details["Reason"]) == (order.encode(), b"wrong patient")
    assert (fields["who"], fields["what"], fields["text"]) == ("console:anna", order, "wrong patient")


@pytest.mark.parametrize("order", ["pause", "drain", "hold"])
def test_an_order_about_nobody_is_the_use_of_a_restricted_function(order: str) -> None:
    ((_, message),) = made(note(NoteKind.ORDER, what=order, which={"destination": "pacs"}))
    assert code_of(message, "EventIdentification/EventID") == "110113"
    assert code_of(message, "EventIdentification/EventTypeCode") == "110132"
    assert message.find("ParticipantObjectIdentification").get("ParticipantObjectID") == "pacs"  # type: ignore[union-attr]


@pytest.mark.parametrize(("pseudonym", "place"), [("7M3K0QW5", 1), ("2.25.7", 0)])
def test_a_look_behind_a_pseudonym_is_an_access_of_whoever_that_is(pseudonym: str, place: int) -> None:
    ((_, message),) = made(note(NoteKind.ORDER, what="reidentify", which={"pseudonym": pseudonym}, text="a finding"))
    assert code_of(message, "EventIdentification/EventID") == "110103"
    objects = message.findall("ParticipantObjectIdentification")
    assert objects[place].get("ParticipantObjectID") == pseudonym
    assert objects[1 - place].get("ParticipantObjectID") == "(not known)"


@pytest.mark.parametrize("kind", [NoteKind.EXPORTED, NoteKind.ORDER])
def test_a_download_is_an_export_to_an_address(kind: NoteKind) -> None:
    ((fields, message),) = made(note(kind, ANNA, 1, what="download"))
    assert fields["kind"] == "exported"
    assert code_of(message, "ActiveParticipant/MediaIdentifier/MediaType") == "110037"


def test_log_ins_searches_and_looks_at_the_trail_are_told() -> None:
    told = made(
        note(NoteKind.LOGIN, what="session"),
        note(NoteKind.LOGIN, failed=True, text="wrong password"),
        note(NoteKind.LOGOUT),
        note(NoteKind.QUERY, which={"patient_id": "P1"}),
        note(NoteKind.VIEWED, ANNA, 3),
        note(NoteKind.TRAIL_READ),
        note(NoteKind.STARTED, actor="host:root"),
        note(NoteKind.STOPPED, actor=""),
    )
    assert [fields["kind"] for fields, _ in told] == [
        "authentication", "authentication", "authentication", "query", "accessed", "trail-read", "application",
        "application",
    ]  # fmt: skip
    assert told[1][0]["outcome"] == 4
    query = told[3][1].findtext(".//ParticipantObjectQuery") or ""
    assert json.loads(base64.b64decode(query)) == {"patient_id": "P1"}


@pytest.mark.parametrize("what", [*ALERTS, "something else"])
def test_every_alert_is_one_of_the_standards(what: str) -> None:
    ((fields, message),) = made(note(NoteKind.ALERT, what=what, text="words", failed=True, subject="users"))
    assert fields["kind"] == "alert"
    assert message.find("EventIdentification").get("EventOutcomeIndicator") == "8"  # type: ignore[union-attr]


# ── anything at all ───────────────────────────────────────────────────────────────────────────────────────────────────


ANY = st.text(st.characters(), max_size=80)


@settings(max_examples=50, deadline=None)
@given(ANY, ANY, ANY, ANY, ANY)
def test_nothing_that_a_peer_sends_breaks_a_message(uid: str, patient: str, name: str, title: str, host: str) -> None:
    facts = AssociationFacts("a", "main", title, title, title, host)
    study = StudyTold(uid, patient, name, patient, uid, name)
    ((_, message),) = made(transfer(facts=facts, study=study))
    shown = message.findall("ParticipantObjectIdentification")[1].findtext("ParticipantObjectName")
    if name and all(letter.isprintable() for letter in name):
        assert shown == name


@settings(max_examples=50, deadline=None)
@given(ANY, ANY, ANY)
def test_nothing_that_a_person_writes_breaks_a_message(actor: str, reason: str, value: str) -> None:
    for kind in NoteKind:
        made(note(kind, actor=actor, text=reason, what=value, which={"patient_id": value}, subject=value))
        made(note(kind, ANNA, 1, actor=actor, text=reason, what=value, which={"patient_id": value}))


def test_the_codes_are_those_of_ps316() -> None:
    known = {code: meanings for names in concepts["DCM"].values() for code, meanings in names.items()}
    ours = [value for value in vars(codes).values() if isinstance(value, Code) and value.scheme == "DCM"]
    assert len(ours) > 20
    for code in ours:
        assert known[code.value][0].lower() == code.meaning.lower(), code
    assert len({code.value for code in KINDS}) == len(KINDS)


def test_the_checker_finds_what_is_not_as_it_should_be() -> None:
    (entry,) = entries(Untold("b", (transfer(),)), NAMES)
    assert violations(entry.xml) == []
    for old, new in (
        ('EventActionCode="C"', 'EventActionCode="E"'),
        ('csd-code="110153"', 'csd-code="110152"'),
        ('ParticipantObjectTypeCodeRole="3"', 'ParticipantObjectTypeCodeRole="4"'),
        (' AuditSourceID="gateway-1"', ""),
        ('UserIsRequestor="false"', 'UserIsRequestor="true"'),
        (f'<SOPClass UID="{CT}" NumberOfInstances="3"/>', ""),
    ):
        assert old in entry.xml
        changed = entry.xml.replace(old, new, 1)
        assert violations(changed) != [], old


def test_values_that_no_standard_allows_are_cut_and_the_record_is_still_one() -> None:
    far_too_long = "\u00e9" * 65_000
    study = StudyTold("1.2.3", far_too_long, far_too_long, "", far_too_long)
    (entry,) = entries(Untold("b", (transfer(study=study),)), NAMES)
    record = read_line(line_of(entry, Head(), b"")[0])
    assert record is not None and record.fields["patient"] == far_too_long[:1024]
    assert len(record.body) < 40_000 and violations(entry.xml) == []
