"""What every ledger tells the audit trail: all that moved and was ordered, once, whoever dies when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import LeaseLost
from gateway.ledger.base import InstanceFilter, RuleSet
from gateway.ledger.trail import ADOPT_MS, UNKNOWN, Movement, Note, NoteKind, NoteTold, TrailHead, TransferTold, Untold
from gateway.model import (
    DeliveryState,
    Derivation,
    LeftBehind,
    Outcome,
    Quarantine,
    Role,
    Routing,
    Session,
    StepRun,
    StudyFacts,
)
from tests.contract.ledger_scene import CT, FACTS, Scene, decision
from tests.contract.test_ledger_derived import CHAIN, made

QUIET_MS, LATE_MS = 10_000, 300_000
ANNA = StudyFacts("P1", "ANNA", "HOSPITAL", "A1", "1.2.3", "20260101", "CHEST", "1.2.3.1", "1", "AXIAL", "CT", "1")
BERTA = ANNA._replace(patient_id="P2", patient_name="BERTA", study_instance_uid="1.2.4", series_instance_uid="1.2.4.1")
HEAD = TrailHead(7, "ab" * 32, 1)


def keeper(scene: Scene, home: str = "home") -> Session:
    return scene.ledger.open_session(Role.CONSOLE, "host", 1, scene.now_ms, home=home)


def take(scene: Scene, session: Session, limit: int = 100, after_ms: int = QUIET_MS) -> Untold | None:
    scene.now_ms += after_ms
    return scene.ledger.take_untold(session, scene.now_ms, quiet_ms=QUIET_MS, late_ms=LATE_MS, limit=limit)


def taken(scene: Scene, session: Session | None = None) -> list[TransferTold | NoteTold]:
    """All there is, written."""
    session = session or keeper(scene)
    found: list[TransferTold | NoteTold] = []
    while (batch := take(scene, session)) is not None:
        found += batch.told
        assert scene.ledger.told(session, batch.batch, HEAD)
    return found


def moved(told: list[TransferTold | NoteTold]) -> list[tuple[Movement, str, str, int]]:
    """(movement, destination, patient, instances) of each transfer, sorted."""
    rows = [each for each in told if isinstance(each, TransferTold)]
    return sorted((row.movement, row.destination, row.study.patient_id, sum(row.instances.values())) for row in rows)


def orders(told: list[TransferTold | NoteTold]) -> list[tuple[str, str, int]]:
    """(order, patient, instances) of each message about an order."""
    notes = [each for each in told if isinstance(each, NoteTold)]
    return [(each.note.what, each.study.patient_id if each.study else "", each.instances) for each in notes]


def test_what_came_in_and_went_out_is_told_by_association_study_and_destination(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route(decision("pacs", "dr"), study=ANNA)
    scene.arrive("c", facts=FACTS._replace(association_id="association-2", calling_ae_title="CT2"))
    scene.route(decision("pacs"), study=BERTA)
    scene.conclude(*scene.claim("pacs"))
    told = taken(scene)
    assert moved(told) == [
        (Movement.BEGIN, "dr", "P1", 2),
        (Movement.BEGIN, "pacs", "P1", 2),
        (Movement.BEGIN, "pacs", "P2", 1),
        (Movement.IN, "", "P1", 2),
        (Movement.IN, "", "P2", 1),
        (Movement.OUT, "pacs", "P1", 2),
        (Movement.OUT, "pacs", "P2", 1),
    ]
    (anna,) = [each for each in told if isinstance(each, TransferTold) and each.movement is Movement.OUT][:1]
    assert anna.instances == {CT: 2} and anna.facts == FACTS and not anna.anonymised
    assert (anna.study.patient_name, anna.study.accession_number, anna.study.study_instance_uid) == (
        "ANNA",
        "A1",
        "1.2.3",
    )
    assert taken(scene) == []


def test_one_message_tells_of_a_transfer_however_many_transactions_it_took(scene: Scene) -> None:
    for name in "abcde":
        scene.arrive(name)
        scene.route(study=ANNA._replace(series_instance_uid=f"1.2.3.{name}"))
        scene.conclude(*scene.claim())
        scene.now_ms += 1_000
    (came,) = [each for each in taken(scene) if isinstance(each, TransferTold) and each.movement is Movement.IN]
    assert came.instances == {CT: 5}
    assert came.last_at_ms - came.first_at_ms == 4_000


def test_a_transfer_that_goes_on_is_told_when_it_is_quiet_or_late(scene: Scene) -> None:
    session = keeper(scene)
    began = scene.now_ms
    number = 0
    while scene.now_ms - began < LATE_MS:
        assert take(scene, session, after_ms=QUIET_MS // 2) is None
        scene.arrive(f"i{number}")
        scene.route(decision(hold="look"), study=ANNA)
        number += 1
    batch = take(scene, session, after_ms=QUIET_MS // 2)
    assert batch is not None and moved(list(batch.told)) == [(Movement.IN, "", "P1", number)]
    assert scene.ledger.told(session, batch.batch, HEAD)
    scene.arrive("later")
    scene.route(decision(hold="look"), study=ANNA)
    assert take(scene, session, after_ms=1) is None
    assert moved(taken(scene, session)) == [(Movement.IN, "", "P1", 1)]


def test_what_a_destination_refused_for_good_is_told_apart_from_what_it_has(scene: Scene) -> None:
    scene.arrive("a", "b", "c", "d")
    scene.route(study=ANNA)
    first, second, third, fourth = scene.claim()
    states = (DeliveryState.DELIVERED, DeliveryState.HELD, DeliveryState.DEAD, DeliveryState.DEFERRED)
    leases = (first, second, third, fourth)
    outcomes = [
        Outcome(each.delivery_id, each.token, state, "code") for each, state in zip(leases, states, strict=True)
    ]
    scene.ledger.record_outcomes(scene.forwarder, outcomes, scene.now_ms)
    ended = [row for row in moved(taken(scene)) if row[0] not in (Movement.IN, Movement.BEGIN)]
    assert ended == [
        (Movement.DEAD, "pacs", "P1", 1),
        (Movement.HELD, "pacs", "P1", 1),
        (Movement.OUT, "pacs", "P1", 1),
    ]


def test_what_left_without_the_patients_name_is_told_as_such(scene: Scene) -> None:
    scene.arrive("a")
    (lease,) = scene.claim_instances()
    chained = replace(decision("dr", "pacs"), chains=(CHAIN, ""))
    derived = Derivation(CHAIN, made("a"), steps=(StepRun("research", 1, "deidentify"),))
    routing = Routing(lease.instance_id, chained, ANNA, 0, (derived,))
    scene.ledger.record_routings(scene.worker, [routing], scene.now_ms)
    scene.conclude(*scene.claim("dr"), *scene.claim("pacs"))
    out = [each for each in taken(scene) if isinstance(each, TransferTold) and each.movement is Movement.OUT]
    assert sorted((each.destination, each.anonymised) for each in out) == [("dr", True), ("pacs", False)]


def test_an_instance_comes_in_once_however_often_it_is_routed(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(decision(hold="look"), study=ANNA)
    scene.ledger.release(InstanceFilter(instance_ids=("a",)), "me", scene.now_ms)
    scene.route(study=ANNA)
    assert [row for row in moved(taken(scene)) if row[0] is Movement.IN] == [(Movement.IN, "", "P1", 1)]


def test_what_is_sent_again_begins_again(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(study=ANNA)
    scene.conclude(*scene.claim())
    taken(scene)
    scene.ledger.resend(InstanceFilter(), [], "me", scene.now_ms)
    scene.conclude(*scene.claim())
    again = taken(scene)
    assert moved(again) == [(Movement.BEGIN, "pacs", "P1", 1), (Movement.OUT, "pacs", "P1", 1)]
    assert orders(again) == [("resend", "P1", 1)]


def test_an_order_is_told_once_for_each_study_that_it_touched(scene: Scene) -> None:
    scene.arrive("a", "b")
    scene.route(study=ANNA)
    scene.arrive("c")
    scene.route(study=BERTA)
    taken(scene)
    scene.ledger.hold(InstanceFilter(), "wrong patient", "cli:root", scene.now_ms)
    scene.ledger.cancel(InstanceFilter(patient_id="P2"), "consent withdrawn", "console:anna", scene.now_ms)
    told = taken(scene)
    assert orders(told) == [("hold", "P1", 2), ("hold", "P2", 1), ("cancel", "P2", 1)]
    note = told[-1].note  # type: ignore[union-attr]
    assert (note.actor, note.text, note.which, note.count) == (
        "console:anna", "consent withdrawn", {"patient_id": "P2"}, 1,
    )  # fmt: skip


def test_an_order_that_touches_nothing_known_is_told_all_the_same(scene: Scene) -> None:
    scene.arrive("a")
    scene.ledger.hold(InstanceFilter(), "wait", "cli:root", scene.now_ms)
    scene.ledger.pause_destination("pacs", True, "cli:root", scene.now_ms)
    scene.ledger.originals_of("7M3K", "cli:root", "a finding", scene.now_ms)
    assert orders(taken(scene)) == [("hold", "", 1), ("pause", "", 0), ("reidentify", "", 0)]


def test_what_is_taken_out_is_told_with_where_it_goes(scene: Scene) -> None:
    scene.arrive("a")
    scene.ledger.payload_for("a", "", "console:anna", "for a report", scene.now_ms, "10.1.2.3")
    scene.ledger.payload_for("a", "", "cli:root", "for a report", scene.now_ms)
    told = [each.note for each in taken(scene) if isinstance(each, NoteTold)]
    assert [(note.actor, note.address) for note in told] == [("console:anna", "10.1.2.3"), ("cli:root", "")]


def test_a_change_of_the_rules_is_told_once(scene: Scene) -> None:
    for revision in ("one", "one", "two"):
        scene.ledger.store_rules(RuleSet(revision, {"10.yaml": "rules: []"}), scene.now_ms)
    told = [each.note.text for each in taken(scene) if isinstance(each, NoteTold)]
    assert told == ["revision one is in force: 10.yaml", "revision two is in force: 10.yaml"]


def test_notes_of_processes_are_told_in_order(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(study=ANNA)
    taken(scene)
    study_key = 1
    notes = [
        Note(NoteKind.LOGIN, 5, "console:anna", "10.0.0.9", failed=True, text="wrong password"),
        Note(NoteKind.EXPORTED, 6, "console:anna", "10.0.0.9", studies=((study_key, 3),)),
        Note(NoteKind.QUERY, 7, "console:anna", which={"patient_id": "P\x001"}),
    ]
    scene.ledger.tell(notes)
    told = [each for each in taken(scene) if isinstance(each, NoteTold)]
    assert [each.note.kind for each in told] == [NoteKind.LOGIN, NoteKind.EXPORTED, NoteKind.QUERY]
    assert told[0].note == notes[0] and told[0].study is None
    assert told[1].study is not None and (told[1].study.patient_id, told[1].instances) == ("P1", 3)


def test_a_batch_stays_as_it_is_until_it_is_written(scene: Scene) -> None:
    session = keeper(scene)
    scene.arrive("a")
    scene.route(study=ANNA)
    first = take(scene, session)
    scene.arrive("b")
    scene.route(study=ANNA)
    assert first is not None and take(scene, session) == first
    assert scene.ledger.told(session, first.batch, HEAD)
    assert not scene.ledger.told(session, first.batch, HEAD)
    assert moved(taken(scene, session)) == [(Movement.BEGIN, "pacs", "P1", 1), (Movement.IN, "", "P1", 1)]


def test_what_a_dead_process_had_taken_its_home_takes_at_once_and_others_later(scene: Scene) -> None:
    dead, other = keeper(scene, "home"), keeper(scene, "elsewhere")
    scene.arrive("a")
    scene.route(study=ANNA)
    batch = take(scene, dead)
    scene.ledger.void_session(dead.session_id, scene.now_ms)
    assert take(scene, other, after_ms=0) is None
    assert take(scene, keeper(scene, "home"), after_ms=0) == batch
    assert take(scene, other) is None
    for session in scene.ledger.sessions():
        if session.home == "home":
            scene.ledger.void_session(session.session.session_id, scene.now_ms)
    assert take(scene, other, after_ms=ADOPT_MS) == batch


def test_a_batch_is_of_one_host_at_a_time(scene: Scene) -> None:
    one, other = keeper(scene, "one"), keeper(scene, "other")
    scene.arrive("a")
    scene.route(study=ANNA)
    batch = take(scene, one)
    assert batch is not None and take(scene, other) is None
    scene.ledger.void_session(one.session_id, scene.now_ms)
    assert take(scene, other, after_ms=ADOPT_MS) == batch
    assert not scene.ledger.told(one, batch.batch, HEAD)
    assert scene.ledger.told(other, batch.batch, HEAD)
    with pytest.raises(LeaseLost):
        scene.arrive("b")
        scene.route(study=ANNA)
        take(scene, one)


def test_a_long_order_is_written_in_pieces(scene: Scene) -> None:
    for number in range(5):
        scene.arrive(f"i{number}")
        scene.route(study=ANNA._replace(patient_id=f"P{number}", study_instance_uid=f"1.2.{number}"))
    taken(scene)
    scene.ledger.hold(InstanceFilter(), "wait", "me", scene.now_ms)
    session = keeper(scene)
    sizes = []
    while (batch := take(scene, session, limit=2)) is not None:
        sizes.append(len(batch.told))
        scene.ledger.told(session, batch.batch, HEAD)
    assert sizes == [2, 2, 1]


def test_how_far_the_files_of_each_home_have_got_is_known(scene: Scene) -> None:
    assert scene.ledger.trail_heads() == {}
    scene.ledger.told(keeper(scene, "one"), "", HEAD)
    scene.ledger.told(keeper(scene, "other"), "", TrailHead(1, "cd", 2))
    scene.ledger.told(keeper(scene, "one"), "", TrailHead(8, "ef", 3))
    assert scene.ledger.trail_heads() == {"one": TrailHead(8, "ef", 3), "other": TrailHead(1, "cd", 2)}


def test_how_far_the_files_have_got_goes_back_only_when_it_is_told_by_itself(scene: Scene) -> None:
    session = keeper(scene)
    scene.ledger.told(session, "", replace(HEAD, seq=70))
    scene.arrive("a")
    scene.route(study=ANNA)
    assert taken(scene, session)  # and told with a head that is lower
    assert scene.ledger.trail_heads() == {"home": replace(HEAD, seq=70)}
    scene.ledger.told(session, "", HEAD)
    assert scene.ledger.trail_heads() == {"home": HEAD}


def test_what_only_a_newer_version_knows_of_is_told_as_an_alert(scene: Scene) -> None:
    scene.ledger.tell([Note(NoteKind.VIEWED, 1, "console:anna", text=word) for word in ("old", "kind", "more")])
    scene.arrive("a")
    scene.route(study=ANNA)
    changes = (
        "UPDATE audit_note SET kind = 'dreamt' WHERE body LIKE '%\"kind\"%'",
        'UPDATE audit_note SET body = \'{"actor": "console:anna", "mood": 5}\' WHERE body LIKE \'%"more"%\'',
        "UPDATE transfer SET movement = 'beamed' WHERE movement = 'in'",
    )
    for change in changes:
        scene.ledger._database.write(lambda tx, change=change: tx.execute(change, ()))  # type: ignore[attr-defined]
    told = [each for each in taken(scene) if isinstance(each, NoteTold)]
    said = [(each.note.kind, each.note.what, each.note.subject, each.note.actor) for each in told]
    assert sorted(said) == [
        (NoteKind.ALERT, UNKNOWN, "movement beamed", ""),
        (NoteKind.ALERT, UNKNOWN, "note dreamt", "console:anna"),
        (NoteKind.ALERT, UNKNOWN, "note viewed", "console:anna"),
        (NoteKind.VIEWED, "", "", "console:anna"),
    ]
    by_subject = {each.note.subject: each for each in told}
    assert by_subject["note viewed"].note.which == {"actor": "console:anna", "mood": 5}
    moved_ = by_subject["movement beamed"]
    assert moved_.study is not None and (moved_.study.patient_id, moved_.instances) == ("P1", 1)


def test_what_a_killed_forwarder_had_delivered_is_told_too(scene: Scene) -> None:
    scene.arrive("a")
    scene.route(study=ANNA)
    (lease,) = scene.claim()
    outcome = Outcome(lease.delivery_id, lease.token, DeliveryState.DELIVERED, "success")
    opened = next(
        each.session for each in scene.ledger.sessions() if each.session.session_id == scene.forwarder.session_id
    )
    left = LeftBehind(opened.opened_at_ms, (outcome,))
    scene.ledger.void_session(scene.forwarder.session_id, scene.now_ms, left)
    assert (Movement.OUT, "pacs", "P1", 1) in moved(taken(scene))


def test_of_lost_leases_nothing_is_counted(scene: Scene) -> None:
    scene.arrive("a")
    (lease,) = scene.claim_instances()
    dead = scene.worker
    scene.ledger.void_session(dead.session_id, scene.now_ms)
    scene.ledger.record_routings(dead, [Routing(lease.instance_id, decision("pacs"), ANNA)], scene.now_ms)
    assert taken(scene) == []


def test_what_cannot_be_trusted_came_in_all_the_same(scene: Scene) -> None:
    scene.arrive("a")
    scene.claim_instances()
    scene.ledger.quarantine(scene.worker, [Quarantine("a", "header cut short")], scene.now_ms)
    (told,) = taken(scene)
    assert isinstance(told, TransferTold) and told.movement is Movement.QUARANTINED
    assert (told.study.patient_id, told.instances) == ("", {CT: 1})
