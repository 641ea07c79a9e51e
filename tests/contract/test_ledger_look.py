"""What every ledger shows people: studies, instances, trouble, the queue, rules, orders and hosts."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import LookRefused
from gateway.ledger.base import InstanceFilter, RuleSet
from gateway.ledger.logic.look import timeline
from gateway.ledger.look import (
    NO_RULE,
    AuditFilter,
    Happening,
    StudyFilter,
    TroubleItem,
    TroubleKind,
    TroubleOf,
)
from gateway.model import (
    Decision,
    DeliveryState,
    Derivation,
    DuplicateKind,
    InstanceState,
    Outcome,
    PayloadFile,
    Quarantine,
    Role,
    Routing,
    StepRun,
    StudyFacts,
)
from tests.contract.ledger_scene import CT, EXPLICIT_LITTLE_ENDIAN, FACTS, Scene, decision
from tests.contract.look_scene import looks_at, seen

HOUR_MS = 3_600_000
DOE = StudyFacts("P1", "DOE^JANE^^DR", "", "A1", "1.2.1", "20260101", "HEAD", "1.2.1.1", "1", "AXIAL", "CT", "7")
ROE = StudyFacts("P2", "van der Roe^Jan", "", "A2", "1.2.2", "20260202", "KNEE", "1.2.2.1", "1", "SAG", "MR", "1")
SCHAEFER = StudyFacts("P3", "SCHÄFER^ÖRN=山田^太郎", "", "A3", "1.2.3", "", "THORAX", "1.2.3.1", "1", "PA", "CR", "1")


def route(scene: Scene, study: StudyFacts, *instance_ids: str, what: Decision | None = None, **like: object) -> None:
    """Instances of a study arrive and are routed."""
    scene.arrive(*instance_ids, **like)
    scene.route(what, study=study)


def found(scene: Scene, **which: object) -> list[str]:
    """The patient IDs of the studies that a search finds."""
    page = seen(scene.ledger, lambda look: look.studies(StudyFilter(**which), 50))  # type: ignore[arg-type]
    assert page.next == ""
    return [row.patient_id for row in page.rows]


@pytest.fixture
def three(scene: Scene) -> Scene:
    """Three studies, the last of which is the newest."""
    route(scene, DOE, "d1", "d2", what=decision("pacs", "dr"))
    route(scene, ROE, "r1", facts=FACTS._replace(source="mr1"))
    route(scene, SCHAEFER, "s1", what=decision(hold="no rule matches"))
    return scene


# ── studies ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_studies_come_newest_first_with_what_there_is_of_them(three: Scene) -> None:
    page = seen(three.ledger, lambda look: look.studies(StudyFilter(), 50))
    assert [(row.patient_id, row.modalities, row.series, row.instances, row.more) for row in page.rows] == [
        ("P3", ("CR",), 1, 1, False),
        ("P2", ("MR",), 1, 1, False),
        ("P1", ("CT",), 1, 2, False),
    ]
    held, _, routed = page.rows
    assert held.states == {InstanceState.HELD: 1} and held.deliveries == {}
    assert routed.states == {InstanceState.ROUTED: 2} and routed.deliveries == {DeliveryState.READY: 4}
    assert (routed.looked_at, routed.first_received_at_ms, routed.last_received_at_ms) == (2, 1_000, 1_000)


def test_a_name_is_found_by_the_beginnings_of_its_words_or_by_wildcards_in_any_case(three: Scene) -> None:
    wanted = {
        "doe": ["P1"],
        "DOE JANE": ["P1"],
        "jane, doe": ["P1"],
        "ja": ["P2", "P1"],
        "roe": ["P2"],
        "oe": [],
        "schäfer": ["P3"],
        "Örn": ["P3"],
        "山田": ["P3"],
        "doe^j*": ["P1"],
        "D?E^JANE^^DR": ["P1"],
        "D?E^JANE": [],
        "*roe*": ["P2"],
        "SCH?FER^*": ["P3"],
        "schÄfer^*": ["P3"],
        "山田^*": ["P3"],
        "*ä*^*=*": ["P3"],
        "*^?????=*": [],
        "*": ["P3", "P2", "P1"],
        "?*^?*^^*": ["P1"],
        "100%": [],
        "d_e": [],
    }

    async def scenario() -> dict[str, list[str]]:
        look = looks_at(three.ledger)
        pages = {name: await look.studies(StudyFilter(patient_name=name), 50) for name in wanted}
        await look.close()
        return {name: [row.patient_id for row in page.rows] for name, page in pages.items()}

    assert asyncio.run(scenario()) == wanted


def test_whatever_else_is_given_restricts_the_search(three: Scene) -> None:
    assert found(three, patient_id="P1") == ["P1"]
    assert found(three, patient_id="p1") == []
    assert found(three, patient_id="p?") == ["P3", "P2", "P1"]
    assert found(three, accession_number="A2") == ["P2"]
    assert found(three, accession_number="a*", modality="ct") == ["P1"]
    assert found(three, accession_number="?3", patient_id="*") == ["P3"]
    assert found(three, date_from="20260101", date_to="20260131") == ["P1"]
    assert found(three, date_to="20261231") == ["P2", "P1"]
    assert found(three, source="mr1") == ["P2"]
    assert found(three, source="mr1", patient_id="P1") == []


def test_a_study_is_found_by_its_own_uid_or_that_of_a_series_or_an_instance_of_it_or_our_id(three: Scene) -> None:
    for uid in ("1.2.1", "1.2.1.1", "1.2.3.d2", "d2"):
        assert found(three, uid=uid) == ["P1"]
    assert found(three, uid="1.2.1.9") == []


def test_a_study_is_found_by_the_state_of_an_instance_or_a_delivery_of_it(three: Scene) -> None:
    lease = three.claim("dr", 1)[0]
    three.conclude(lease, state=DeliveryState.DEAD)
    assert found(three, states=("held",)) == ["P3"]
    assert found(three, states=("dead",)) == ["P1"]
    assert found(three, states=("dead", "held")) == ["P3", "P1"]
    assert found(three, states=("ready",)) == ["P2", "P1"]
    assert found(three, states=("routed",)) == ["P2", "P1"]
    assert found(three, states=("delivered",)) == []
    assert found(three, states=("ready",), modality="MR") == ["P2"]


def test_pages_of_studies_follow_each_other_and_miss_none(scene: Scene) -> None:
    for number in range(7):
        route(scene, DOE._replace(patient_id=f"P{number}"), f"i{number}")
    pages: list[list[str]] = []

    async def scenario() -> None:
        look = looks_at(scene.ledger)
        for which in (StudyFilter(), StudyFilter(patient_name="doe"), StudyFilter(states=("ready",))):
            after, pages[:] = "", []
            while True:
                page = await look.studies(which, 3, after)
                pages.append([row.patient_id for row in page.rows])
                after = page.next
                if not after:
                    break
            assert pages == [["P6", "P5", "P4"], ["P3", "P2", "P1"], ["P0"]]
        await look.close()

    asyncio.run(scenario())


def test_a_page_of_nobodys_making_is_refused(scene: Scene) -> None:
    async def scenario() -> None:
        look = looks_at(scene.ledger)
        for limit, after in ((0, ""), (1001, ""), (5, "x"), (5, "1.2"), (5, "9" * 19), (5, "-")):
            with pytest.raises(LookRefused):
                await look.studies(StudyFilter(), limit, after)
        await look.close()

    asyncio.run(scenario())


def test_many_wildcards_on_a_name_that_nearly_fits_come_to_an_end(scene: Scene) -> None:
    route(scene, DOE._replace(patient_name="A" * 900), "a")
    assert found(scene, patient_name="*a" * 60 + "*b") == []
    assert found(scene, patient_name="*a" * 60 + "*") == ["P1"]
    with pytest.raises(LookRefused, match="longer than 512"):
        found(scene, patient_name="*a" * 400)


def test_text_that_no_database_takes_finds_nothing(three: Scene) -> None:
    odd = "P1\0\udcff"
    for name in ("patient_id", "patient_name", "accession_number", "uid", "source", "modality"):
        assert found(three, **{name: odd}) == []
    assert seen(three.ledger, lambda look: look.instance(odd)) is None
    assert seen(three.ledger, lambda look: look.matrix([odd])) == {}


def test_a_studys_page_says_what_became_of_its_instances(three: Scene) -> None:
    leases = three.claim("dr")
    three.conclude(*leases[:1])
    (row,) = seen(three.ledger, lambda look: look.studies(StudyFilter(patient_id="P1"), 1)).rows
    detail = seen(three.ledger, lambda look: look.study(row.study_key))
    assert detail is not None
    assert detail.study.patient_name == "DOE^JANE^^DR"
    (series,) = detail.series
    assert (series.series_instance_uid, series.modality, series.instances) == ("1.2.1.1", "CT", 2)
    assert detail.states == {InstanceState.ROUTED: 2}
    assert detail.deliveries == {
        "dr": {DeliveryState.DELIVERED: 1, DeliveryState.LEASED: 1},
        "pacs": {DeliveryState.READY: 2},
    }
    assert (detail.length, detail.sources, detail.calling_ae_titles) == (14, ("ct1",), ("CT1",))
    ((made, count),) = [(each.decision, each.instances) for each in detail.decisions]
    assert (made, count) == (decision("pacs", "dr"), 2)
    assert detail.same_uid == ()
    assert seen(three.ledger, lambda look: look.study(row.study_key + 1000)) is None


def test_unequal_attributes_of_one_study_uid_are_rows_that_know_each_other(three: Scene) -> None:
    route(three, DOE._replace(patient_id="P9"), "d3")
    rows = seen(three.ledger, lambda look: look.studies(StudyFilter(uid="1.2.1"), 5)).rows
    assert [row.patient_id for row in rows] == ["P9", "P1"]
    detail = seen(three.ledger, lambda look: look.study(rows[0].study_key))
    assert detail is not None and detail.same_uid == (rows[1].study_key,)


def test_the_instances_of_a_study_come_series_by_series_and_page_by_page(scene: Scene) -> None:
    route(scene, DOE, "a1", "a2", "a3")
    route(scene, DOE._replace(series_instance_uid="1.2.1.2", series_number="2"), "b1", "b2")
    route(scene, DOE, "a4")

    async def scenario() -> list[list[str]]:
        look = looks_at(scene.ledger)
        (row,) = (await look.studies(StudyFilter(), 5)).rows
        pages, after = [], ""
        while True:
            page = await look.study_instances(row.study_key, 2, after)
            pages.append([each.instance_id for each in page.rows])
            after = page.next
            if not after:
                break
        whole = await look.study_instances(row.study_key, 100)
        (first, *_) = whole.rows
        assert (first.instance_number, first.sop_class_uid, first.source, first.length) == ("7", CT, "ct1", 7)
        await look.close()
        return pages

    assert asyncio.run(scenario()) == [["a1", "a2"], ["a3", "a4"], ["b1", "b2"]]


# ── instances ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_matrix_has_a_cell_for_each_destination_and_says_what_stands_for_a_duplicate(scene: Scene) -> None:
    scene.ledger.sync_destinations({"pacs": True, "dr": False}, scene.now_ms)
    route(scene, DOE, "a", uid="1.2.3", what=decision("pacs", "dr"))
    route(scene, DOE, "again", uid="1.2.3", what=decision("pacs", "dr"))
    scene.conclude(*scene.claim("pacs"))
    scene.ledger.resend(InstanceFilter(instance_ids=("a",)), ["pacs"], "me", scene.now_ms)
    cells = seen(scene.ledger, lambda look: look.matrix(["a", "again", "nothing"]))
    assert {key: list(each) for key, each in cells.items()} == {"a": ["dr", "pacs"], "again": ["dr", "pacs"]}
    assert [each.state for each in cells["a"]["pacs"].deliveries] == [DeliveryState.DELIVERED, DeliveryState.READY]
    assert (cells["again"]["pacs"].deliveries, cells["again"]["pacs"].skipped_for) == ((), "a")
    assert cells["again"]["dr"].skipped_for == ""


def test_an_instances_page_says_where_it_came_from_how_it_was_decided_and_what_was_made_of_it(scene: Scene) -> None:
    scene.arrive("a", uid="1.2.3")
    scene.now_ms += 500
    (lease,) = scene.claim_instances()
    steps = (StepRun("anon", 1, "deidentify"), StepRun("anon", 2, "set", done=False))
    file = PayloadFile("derived/a.dcm", 10, 5, b"x" * 16, CT, "1.2.4", EXPLICIT_LITTLE_ENDIAN)
    made = Decision("one", 3, ("r",), ("pacs", "dr"), chains=("", "anon~1"))
    routing = Routing("a", made, DOE, derived=(Derivation("anon~1", file, steps=steps),))
    scene.ledger.record_routings(scene.worker, [routing], scene.now_ms)
    scene.arrive("again", uid="1.2.3")
    detail = seen(scene.ledger, lambda look: look.instance("a"))
    assert detail is not None
    assert (detail.row.patient_id, detail.row.state, detail.instance_number) == ("P1", InstanceState.ROUTED, "7")
    assert (detail.facts, detail.attempts, detail.recorded_at_ms) == (FACTS, 1, scene.now_ms - 500)
    assert detail.decision == decision("pacs", "dr")
    original, copy = detail.payloads
    assert (original.chain, original.file, original.steps) == ("", lease.payload, ())
    assert (copy.chain, copy.file, copy.steps) == ("anon~1", file, steps)
    assert {name: cell.deliveries[0].chain for name, cell in detail.cells.items()} == {"dr": "anon~1", "pacs": ""}
    (twin,) = detail.twins
    assert (twin.instance_id, twin.state, twin.duplicate) == ("again", InstanceState.RECEIVED, DuplicateKind.EXACT)
    (row,) = seen(scene.ledger, lambda look: look.studies(StudyFilter(), 5)).rows
    assert detail.study_key == row.study_key


def test_an_instance_that_was_not_routed_yet_is_of_no_study_and_found_all_the_same(scene: Scene) -> None:
    scene.arrive("a", uid="1.2.3")
    detail = seen(scene.ledger, lambda look: look.instance("a"))
    assert detail is not None and detail.study_key is None and detail.decision is None and detail.cells == {}
    assert [each.instance_id for each in seen(scene.ledger, lambda look: look.find_instances("1.2.3"))] == ["a"]
    assert [each.instance_id for each in seen(scene.ledger, lambda look: look.find_instances("a"))] == ["a"]
    assert seen(scene.ledger, lambda look: look.find_instances("1.2.4")) == []
    assert seen(scene.ledger, lambda look: look.instance("b")) is None


def test_a_timeline_tells_in_order_what_happened_to_an_instance(scene: Scene) -> None:
    scene.arrive("a")
    scene.now_ms += 1
    scene.route(decision("pacs", "dr"), study=DOE)
    scene.now_ms += 1
    scene.conclude(*scene.claim("dr"), state=DeliveryState.HELD, reason="0x0110")
    scene.now_ms += 1
    scene.ledger.release(InstanceFilter(instance_ids=("a",)), "ann", scene.now_ms)
    scene.now_ms += 1
    scene.conclude(*scene.claim("dr"), *scene.claim("pacs"))
    scene.now_ms += 1
    scene.ledger.resend(InstanceFilter(study_instance_uid="1.2.1"), ["dr"], "bob", scene.now_ms)
    moments = seen(scene.ledger, lambda look: look.timeline("a"))
    assert [(each.at_ms - 1_000_000, each.what, each.destination, each.actor) for each in moments[1:]] == [
        (0, Happening.RECORDED, "", ""),
        (1, Happening.ROUTED, "", ""),
        (3, Happening.ORDERED, "", "ann"),
        (3, Happening.RELEASED, "dr", ""),
        (4, Happening.DELIVERED, "dr", ""),
        (4, Happening.DELIVERED, "pacs", ""),
        (5, Happening.ORDERED, "", "bob"),
        (5, Happening.SENT_AGAIN, "dr", ""),
    ]  # fmt: skip
    assert moments[0].what is Happening.RECEIVED
    assert [each.action for each in moments if each.action] == ["release", "resend"]
    assert seen(scene.ledger, lambda look: look.timeline("nothing")) == []


def test_a_studys_timeline_tells_as_one_what_happened_to_its_instances_alike(scene: Scene) -> None:
    route(scene, DOE, *(f"i{number}" for number in range(5)))
    for lease in scene.claim():
        scene.now_ms += 10
        scene.conclude(lease)
    scene.arrive("late")
    scene.route(study=DOE)
    scene.conclude(*scene.claim(), state=DeliveryState.DEAD, reason="given up")
    (row,) = seen(scene.ledger, lambda look: look.studies(StudyFilter(), 5)).rows
    moments = seen(scene.ledger, lambda look: look.timeline(row.study_key))
    told = {(each.what, each.state): (each.count, each.until_ms - each.at_ms, each.reason) for each in moments}
    assert told[Happening.RECEIVED, ""] == (6, 0, "")
    assert told[Happening.ROUTED, ""] == (6, 50, "")
    assert told[Happening.DELIVERED, "delivered"] == (5, 40, "")
    assert told[Happening.STOPPED, "dead"] == (1, 0, "given up")
    assert told[Happening.SETTLED, ""] == (5, 40, "")
    assert seen(scene.ledger, lambda look: look.timeline(row.study_key + 1000)) == []


def test_a_timeline_has_the_orders_that_name_it_among_the_newest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    route(scene, DOE._replace(patient_id="pacs"), "a", what=decision("pacs"))
    scene.ledger.hold(InstanceFilter(destination="pacs"), "another thing", "ann", 2)
    scene.ledger.hold(InstanceFilter(patient_id="PACS"), "another patient", "ann", 3)
    scene.ledger.hold(InstanceFilter(patient_id="pacs"), "the patient", "bob", 4)
    scene.ledger.hold(InstanceFilter(instance_ids=("b", "a")), "the instance", "bob", 5)
    row = seen(scene.ledger, lambda look: look.studies(StudyFilter(), 1)).rows[0]

    def orders(of: str | int) -> list[str]:
        moments = seen(scene.ledger, lambda look: look.timeline(of))
        return [each.reason for each in moments if each.what is Happening.ORDERED]

    assert orders("a") == ["the patient", "the instance"]
    assert orders(row.study_key) == ["the patient"]
    monkeypatch.setattr(timeline, "ORDERS_LOOKED_AT", 1)
    assert orders("a") == ["the instance"] and orders(row.study_key) == []


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────────────


def in_trouble(scene: Scene) -> None:
    """Deliveries held for two reasons at one destination and one at another, dead ones, held and quarantined ones."""
    route(scene, DOE, *"abcdefg", what=decision("pacs", "dr"))
    leases = {lease.instance_id: lease for lease in scene.claim("pacs")}
    for instance_id, (state, code, reason) in {
        "a": (DeliveryState.HELD, "failed", "0x0110"),
        "b": (DeliveryState.HELD, "failed", "0xC001"),
        "c": (DeliveryState.HELD, "failed", "0xC001"),
        "d": (DeliveryState.DEAD, "gave_up", "after 7 d"),
    }.items():
        scene.now_ms += 1
        lease = leases[instance_id]
        outcome = Outcome(lease.delivery_id, lease.token, state, code, reason)
        scene.ledger.record_outcomes(scene.forwarder, [outcome], scene.now_ms)
    scene.now_ms += 1
    scene.conclude(scene.claim("dr", 1)[0], state=DeliveryState.HELD, reason="r" * 300)
    scene.ledger.quarantine(scene.worker, [Quarantine("g", "truncated")], scene.now_ms)
    route(scene, ROE, "h1", "h2", what=decision(hold="no rule matches"))


def test_trouble_is_told_by_reason_with_how_many_and_since_when(scene: Scene) -> None:
    in_trouble(scene)
    trouble = seen(scene.ledger, lambda look: look.attention())
    told = {(each.kind, each.of, each.destination, each.code, each.reason[:20]): each for each in trouble}
    counts = {key: each.count for key, each in told.items()}
    held, dead, quarantined = TroubleKind.HELD, TroubleKind.DEAD, TroubleKind.QUARANTINED
    assert counts == {
        (held, TroubleOf.DELIVERY, "pacs", "failed", "0x0110"): 1,
        (held, TroubleOf.DELIVERY, "pacs", "failed", "0xC001"): 2,
        (held, TroubleOf.DELIVERY, "dr", "success", "r" * 20): 1,
        (held, TroubleOf.DELIVERY, "pacs", "quarantined", "quarantined: truncat"): 1,
        (held, TroubleOf.DELIVERY, "dr", "quarantined", "quarantined: truncat"): 1,
        (dead, TroubleOf.DELIVERY, "pacs", "gave_up", "after 7 d"): 1,
        (held, TroubleOf.INSTANCE, "", "", "no rule matches"): 2,
        (quarantined, TroubleOf.INSTANCE, "", "", "truncated"): 1,
    }
    assert not any(each.by_person for each in trouble if each.kind is held)
    twice = told[held, TroubleOf.DELIVERY, "pacs", "failed", "0xC001"]
    assert (twice.oldest_ms, twice.newest_ms, twice.more) == (1_000_002, 1_000_003, False)
    assert [each.newest_ms for each in trouble] == sorted((each.newest_ms for each in trouble), reverse=True)


def test_trouble_knows_whether_a_person_gave_the_reason(scene: Scene) -> None:
    route(scene, DOE, "rule", what=decision(hold="ask the ward " * 20))
    route(scene, DOE, "none", what=decision(hold="no rule matches"))
    route(scene, DOE, "sent")
    scene.arrive("new")
    scene.ledger.hold(InstanceFilter(instance_ids=("sent", "new")), "DOE is ROE", "mia", scene.now_ms)
    trouble = seen(scene.ledger, lambda look: look.attention())
    assert {(each.code, each.reason[:15]): each.by_person for each in trouble} == {
        ("", "ask the ward as"): False,
        ("", "no rule matches"): False,
        ("operator", "DOE is ROE"): True,
        ("", "DOE is ROE"): True,
    }


def test_the_items_of_a_trouble_come_newest_first_and_page_by_page(scene: Scene) -> None:
    in_trouble(scene)

    async def scenario() -> None:
        look = looks_at(scene.ledger)
        for trouble in await look.attention():
            rows: list[TroubleItem] = []
            after = ""
            while True:
                page = await look.attention_items(
                    trouble.kind, trouble.destination, trouble.code, trouble.reason, 1, after
                )
                rows += page.rows
                after = page.next
                if not after:
                    break
            assert len(rows) == trouble.count
            assert all(each.reason.startswith(trouble.reason) for each in rows)
            assert (rows[0].at_ms, rows[-1].at_ms) == (trouble.newest_ms, trouble.oldest_ms)
            assert all((each.delivery_id is None) == (trouble.of is TroubleOf.INSTANCE) for each in rows)
        page = await look.attention_items(TroubleKind.HELD, "pacs", "failed", "0xC001", 10)
        assert [(each.instance_id, each.patient_name) for each in page.rows] == [("c", DOE[1]), ("b", DOE[1])]
        page = await look.attention_items(TroubleKind.HELD, "", "", "no rule matches", 10)
        assert [(each.instance_id, each.patient_id) for each in page.rows] == [("h2", "P2"), ("h1", "P2")]
        await look.close()

    asyncio.run(scenario())


def test_what_an_order_would_look_at_is_counted_before_it_is_given(scene: Scene) -> None:
    in_trouble(scene)

    def affected(**which: object) -> tuple[dict[InstanceState, int] | None, dict[DeliveryState, int]]:
        told = seen(scene.ledger, lambda look: look.affected(InstanceFilter(**which)))  # type: ignore[arg-type]
        assert not told.more
        return told.instances and dict(told.instances), dict(told.deliveries)

    assert affected(instance_ids=("a",)) == (
        {InstanceState.ROUTED: 1},
        {DeliveryState.HELD: 2},
    )
    assert affected(patient_id="P2") == ({InstanceState.HELD: 2}, {})
    assert affected(destination="pacs", delivery_states=(DeliveryState.HELD,))[1] == {DeliveryState.HELD: 4}
    assert affected(states=(InstanceState.QUARANTINED,))[0] == {InstanceState.QUARANTINED: 1}
    assert affected(source="ct1") == affected()
    assert affected(source="ct1", destination="dr", delivery_states=(DeliveryState.READY,)) == (
        None,
        {DeliveryState.READY: 5},
    )
    assert affected(states=(InstanceState.HELD,), delivery_states=(DeliveryState.HELD,)) == (
        {InstanceState.HELD: 2},
        {DeliveryState.HELD: 6},
    )
    assert affected(delivery_states=(DeliveryState.DELIVERED,)) == (None, {})
    everything = affected()
    assert everything[0] is not None and sum(everything[0].values()) == 9
    assert everything[1] == {
        DeliveryState.READY: 5,
        DeliveryState.LEASED: 2,
        DeliveryState.HELD: 6,
        DeliveryState.DEAD: 1,
    }


def test_what_would_be_sent_again_is_counted_by_instances_whatever_names_them(scene: Scene) -> None:
    in_trouble(scene)
    scene.conclude(*(lease for lease in scene.claim("dr")))
    held = (DeliveryState.HELD,)
    for which in (
        InstanceFilter(),
        InstanceFilter(destination="dr"),
        InstanceFilter(destination="dr", delivery_states=(DeliveryState.DELIVERED,)),
        InstanceFilter(destination="pacs", code="failed", delivery_states=held),
        InstanceFilter(states=(InstanceState.ROUTED,), delivery_states=held),
        InstanceFilter(source="ct1"),
    ):
        told = seen(scene.ledger, lambda look, which=which: look.sent_again(which))  # type: ignore[misc]
        sent = scene.ledger.resend(which, ["dr"], "mia", scene.now_ms, rehearse=True)
        again = [row.instance_id for row in scene.ledger.list_instances(which, 100)]
        rows = [row for row in again if scene.state(row) in (InstanceState.ROUTED, InstanceState.SETTLED)]
        assert sum(told.instances.values()) == len(rows) >= sent > 0, which
        assert (told.deliveries, told.more) == ({}, False)


def test_an_order_about_all_of_a_trouble_looks_at_as_many_as_that_has(scene: Scene) -> None:
    in_trouble(scene)

    async def scenario() -> None:
        look = looks_at(scene.ledger)
        for trouble in await look.attention():
            if trouble.of is TroubleOf.DELIVERY:
                which = InstanceFilter(
                    delivery_states=(DeliveryState(trouble.kind),),
                    destination=trouble.destination,
                    code=trouble.code,
                    because=trouble.reason,
                )
                assert (await look.affected(which)).deliveries == {DeliveryState(trouble.kind): trouble.count}
            else:
                which = InstanceFilter(states=(InstanceState(trouble.kind),), because=trouble.reason)
                assert (await look.affected(which)).instances == {InstanceState(trouble.kind): trouble.count}
        await look.close()

    asyncio.run(scenario())


# ── queue, rules, audit, hosts, counters ──────────────────────────────────────────────────────────────────────────


def test_the_queue_tells_what_waits_by_age_and_how_each_destination_stands(scene: Scene) -> None:
    route(scene, DOE, "old")
    scene.now_ms += 90_000
    route(scene, DOE, "new", "newer")
    scene.ledger.save_destination("pacs", "down", 2.5, "connection refused", 77, scene.now_ms)
    dr, pacs = seen(scene.ledger, lambda look: look.queue((10, 60), scene.now_ms))
    assert [(cell.up_to_s, cell.count, cell.more) for cell in pacs.cells] == [
        (10, 2, False),
        (60, 0, False),
        (0, 1, False),
    ]
    assert pacs.states == {DeliveryState.READY: 3} and pacs.waiting == 3
    assert pacs.oldest_ms == scene.now_ms - 90_000
    assert (pacs.destination.window, pacs.destination.last_error) == (2.5, "connection refused")
    assert dr.states == {} and dr.oldest_ms is None and {cell.count for cell in dr.cells} == {0}


def test_counters_for_live_figures_are_those_of_the_ledger(scene: Scene) -> None:
    in_trouble(scene)
    totals = seen(scene.ledger, lambda look: look.totals())
    assert totals.received == 9 and totals.instances[InstanceState.ROUTED] == 6
    assert totals.delivered == {"dr": 0, "pacs": 0}
    assert totals.waiting == {"dr": 5, "pacs": 2}
    assert totals.stopped == {"dr": 2, "pacs": 5}
    assert totals.spool_bytes == 9 * len(b"content")
    assert seen(scene.ledger, lambda look: look.gauges()) == scene.ledger.gauges()


def test_rules_are_counted_by_the_hour_in_which_they_decided(scene: Scene) -> None:
    scene.now_ms = 100 * HOUR_MS + 5
    route(scene, DOE, "a", "b", what=Decision("one", 3, ("ct", "all"), ("pacs",)))
    route(scene, DOE, "c", what=Decision("one", 3, (), (), hold="no rule matches"))
    scene.now_ms += HOUR_MS
    route(scene, DOE, "d", what=Decision("two", 3, ("all",), ("pacs",)))

    def matches(since_ms: int) -> dict[str, int]:
        return seen(scene.ledger, lambda look: look.rule_matches(since_ms))

    assert matches(0) == {"ct": 2, "all": 3, NO_RULE: 1}
    assert matches(101 * HOUR_MS + 3) == {"all": 1}
    assert matches(102 * HOUR_MS) == {}
    month_ms = 31 * 24 * HOUR_MS
    scene.ledger.trim_history(101 * HOUR_MS + month_ms, 0, 10)
    assert matches(0) == {"all": 1}


def test_stored_rules_are_listed_newest_first_and_can_be_read(scene: Scene) -> None:
    assert seen(scene.ledger, lambda look: look.rule_files()) is None
    one, two = RuleSet("one", {"a.yaml": "rules: []"}), RuleSet("two", {"a.yaml": "rules: []", "b.yaml": ""})
    scene.ledger.store_rules(one, 5)
    scene.ledger.store_rules(two, 6)
    rows = seen(scene.ledger, lambda look: look.revisions(10))
    assert [(row.revision, row.stored_at_ms, row.current, row.files) for row in rows] == [
        ("two", 6, True, ("a.yaml", "b.yaml")),
        ("one", 5, False, ("a.yaml",)),
    ]
    assert seen(scene.ledger, lambda look: look.rule_files()) == two
    assert seen(scene.ledger, lambda look: look.rule_files("one")) == one
    assert seen(scene.ledger, lambda look: look.rule_files("three")) is None


def test_orders_are_listed_newest_first_and_found_by_who_what_when_and_about_what(scene: Scene) -> None:
    route(scene, DOE, "a", "b")
    scene.ledger.hold(InstanceFilter(instance_ids=("a",)), "a call", "ann", 10)
    scene.ledger.release(InstanceFilter(patient_id="P1"), "bob", 20)
    scene.ledger.pause_destination("pacs", True, "ann", 30)

    async def scenario() -> None:
        look = looks_at(scene.ledger)

        async def actions(**which: object) -> list[str]:
            page = await look.audit(AuditFilter(**which), 50)  # type: ignore[arg-type]
            return [row.action for row in page.rows]

        assert await actions() == ["pause", "release", "hold"]
        assert await actions(actor="ann") == ["pause", "hold"]
        assert await actions(action="hold") == ["hold"]
        assert await actions(about="P1") == ["release"]
        assert await actions(about="pacs") == ["pause"]
        assert await actions(since_ms=20, until_ms=30) == ["release"]
        first = await look.audit(AuditFilter(), 2)
        second = await look.audit(AuditFilter(), 2, first.next)
        assert [row.action for row in (*first.rows, *second.rows)] == ["pause", "release", "hold"]
        assert second.next == ""
        assert (second.rows[0].actor, second.rows[0].reason, second.rows[0].count) == ("ann", "a call", 1)
        assert second.rows[0].which == {"instance_ids": ["a"]}
        await look.close()

    asyncio.run(scenario())


def test_hosts_are_told_with_their_processes_and_what_takes_no_more_work(scene: Scene) -> None:
    scene.session(Role.WORKER, "other")
    scene.ledger.set_draining("other", [Role.WORKER], True, "ann", 5)
    scene.ledger.set_draining("third", [Role.FORWARDER], True, "ann", 6)
    rows = {row.host: row for row in seen(scene.ledger, lambda look: look.hosts())}
    assert list(rows) == ["host", "other", "third"]
    assert [each.role for each in rows["host"].processes] == [Role.FORWARDER, Role.WORKER]
    assert rows["other"].processes[0].draining
    assert [each.role for each in rows["third"].draining] == [Role.FORWARDER] and rows["third"].processes == ()
