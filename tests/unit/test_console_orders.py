"""Orders on the console: each touches what its page names, whatever address led there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from gateway.console.services.advice import group_fields
from gateway.console.services.attention import which_of
from gateway.console.services.orders import Kind, Order, give
from gateway.errors import UsageError
from gateway.ledger.base import InstanceFilter, Ledger, Quarantine
from gateway.ledger.look import StudyFilter, Trouble, TroubleKind
from gateway.model import Decision, InstanceState, Role, Routing, StudyFacts
from gateway.reasons import Held
from tests.contract.ledger_scene import arrival, decision
from tests.harness.console import Console, console

Scenario = Callable[[Console, httpx.AsyncClient], Awaitable[None]]
DOE = StudyFacts("P1", "DOE^JANE", "", "A1", "1.2.1", "20260101", "HEAD", "1.2.1.1", "1", "AXIAL", "CT", "7")


def stopped(ledger: Ledger) -> None:
    """Two instances held by a rule, one by a person, one without a reason, one in quarantine, and one on its way."""
    ledger.sync_destinations({"pacs": False, "dr": False}, 1)
    worker = ledger.open_session(Role.WORKER, "host", 4711, 1)

    def route(what: Decision, *instance_ids: str) -> None:
        ledger.record_arrivals([arrival(each) for each in instance_ids], 1)
        leases = ledger.claim_instances(worker, 10, 1)
        ledger.record_routings(worker, [Routing(each.instance_id, what, DOE) for each in leases], 1)

    route(decision(hold="call the modality"), "r1", "r2")
    route(decision(hold=""), "e1")
    route(decision("pacs"), "s1")
    ledger.record_arrivals([arrival("p1")], 1)
    ledger.hold(InstanceFilter(instance_ids=("p1",)), "wrong patient: DOE^JANE", "console:mia", 1)
    ledger.record_arrivals([arrival("q1")], 1)
    leases = ledger.claim_instances(worker, 10, 1)
    ledger.quarantine(worker, [Quarantine(each.instance_id, "the spool file is damaged") for each in leases], 1)


def states(ledger: Ledger) -> dict[str, InstanceState]:
    return {row.instance_id: row.state for row in ledger.list_instances(InstanceFilter(), 100)}


def run(folder: Path, scenario: Scenario, role: str = "operator") -> None:
    async def whole() -> None:
        async with console(folder) as site:
            await site.context.ledger.call(stopped)
            await scenario(site, await site.as_(role))

    asyncio.run(whole())


async def group_of(site: Console, kind: TroubleKind, reason: str) -> Trouble:
    return next(each for each in await site.context.look.attention() if (each.kind, each.reason) == (kind, reason))


# ── groups ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_half_an_address_orders_nothing(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        before = await site.context.ledger.call(states)
        for cut in ("kind=held", "kind=quarantined", "kind=held&destination=pacs", "kind=held&group=00", "kind=any"):
            assert (await operator.get(f"/orders/cancel?{cut}")).status_code == 404, cut
            sent = await operator.post(f"/orders/cancel?{cut}", data={"reason": "tidy up"})
            assert sent.status_code == 404, cut
        assert await site.context.ledger.call(states) == before

    run(tmp_path, scenario)


def test_an_order_for_a_group_touches_that_group_alone(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        fields = group_fields(await group_of(site, TroubleKind.HELD, "call the modality"))
        asked = await operator.get("/orders/cancel", params=fields)
        assert "call the modality" in asked.text and "2 instances" in asked.text
        done = await operator.post("/orders/cancel", params=fields, data={"reason": "tidy up"})
        assert (done.status_code, done.headers["location"]) == (303, "/attention")
        now = await site.context.ledger.call(states)
        assert {name for name, state in now.items() if state is InstanceState.SETTLED} == {"r1", "r2"}
        assert (await operator.get("/orders/cancel", params=fields)).status_code == 404, "there is none any more"

    run(tmp_path, scenario)


def test_a_group_without_a_reason_has_no_order_for_all_of_it(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        before = await site.context.ledger.call(states)
        fields = group_fields(await group_of(site, TroubleKind.HELD, ""))
        refused = await operator.post("/orders/cancel", params=fields, data={"reason": "tidy up"})
        assert refused.status_code == 400
        assert await site.context.ledger.call(states) == before
        page = (await operator.get("/attention")).text
        assert f"/attention/items?kind=held&amp;group={fields['group']}" in page
        assert f"/orders/cancel?kind=held&amp;group={fields['group']}" not in page

    run(tmp_path, scenario)


def test_who_asks_for_the_head_of_a_page_gets_that_and_orders_nothing(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        before, asked = await site.context.ledger.call(states), 0
        group = urlencode(group_fields(await group_of(site, TroubleKind.HELD, "call the modality")))
        queries = {"pause": "destination=pacs", "cancel": group}
        for route in site.routes:
            if "HEAD" not in route.methods or not route.path.startswith(
                ("/orders", "/instances", "/studies", "/rules")
            ):
                continue
            path = route.path.replace("{id}", "r1").replace("{key}", "1")
            way = f"{path}?{queries.get(path.rpartition('/')[2], 'instance=r1')}"
            page, head = await operator.get(way), await operator.head(way)
            assert head.status_code == page.status_code and head.status_code < 500, way
            assert head.content == b"", way
            asked += 1
        assert asked > 10
        assert await site.context.ledger.call(states) == before

    run(tmp_path, scenario)


# ── rehearsals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rehearsal_of_a_resend_counts_the_instances_that_it_means(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        order = {"order": "resend", "which": {"destination": "pacs"}, "to": ["dr"], "reason": "again", "dry_run": True}
        done = (await operator.post("/api/v1/orders", json=order)).json()
        assert (done["instances"], done["moved"], done["at_least"]) == (1, 1, False)

    run(tmp_path, scenario)


def test_a_resend_says_what_it_does_as_ticked(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        way = "/orders/resend?instance=s1"
        assert "as ticked" not in (await operator.get(way)).text
        again = await operator.post(way, data={"to": ["dr", "nowhere"], "reason": ""})
        assert again.status_code == 400, "there is no reason"
        assert re.search(r"as ticked\W.*1 delivery", again.text, re.DOTALL)

    run(tmp_path, scenario)


NAMELESS = StudyFacts("N-6", "NO^STUDY", "", "", "", "", "", "1.2.6.1", "1", "", "CT", "1")


def test_a_study_without_a_uid_is_ordered_one_by_one(tmp_path: Path) -> None:
    """By its UID it could not be named: an empty one would mean every instance."""

    def arrive(ledger: Ledger) -> None:
        worker = ledger.open_session(Role.WORKER, "host", 4712, 1)
        ledger.record_arrivals([arrival("n1")], 1)
        (lease,) = ledger.claim_instances(worker, 1, 1)
        ledger.record_routings(worker, [Routing(lease.instance_id, decision(hold="no study"), NAMELESS)], 1)

    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        await site.context.ledger.call(arrive)
        (study,) = (await site.context.look.studies(StudyFilter(patient_id="N-6"), 10)).rows
        before = await site.context.ledger.call(states)
        page = await operator.get(f"/studies/{study.study_key}")
        assert "/orders/" not in page.text
        for order in ("hold", "release", "resend", "cancel"):
            asked = await operator.get(f"/orders/{order}?study={study.study_key}")
            given = await operator.post(f"/orders/{order}?study={study.study_key}", data={"reason": "wrong patient"})
            assert (asked.status_code, given.status_code) == (400, 400)
            assert "one by one" in asked.text
        assert await site.context.ledger.call(states) == before

    run(tmp_path, scenario)


def test_an_order_that_names_nothing_is_refused_unless_everything_is_meant(tmp_path: Path) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        before = await site.context.ledger.call(states)
        for dry_run in (True, False):
            with pytest.raises(UsageError, match="say which instances are meant"):
                await give(site.context, Order(Kind.CANCEL, InstanceFilter(), "all"), "console:mia", dry_run=dry_run)
        assert await site.context.ledger.call(states) == before
        done = await give(site.context, Order(Kind.CANCEL, InstanceFilter(), "all", everything=True), "console:mia")
        assert done.moved == 6, "each instance that is held, quarantined or on its way"

    run(tmp_path, scenario)


def test_of_an_order_for_deliveries_no_number_of_instances_is_said(tmp_path: Path) -> None:
    """Not "0 instances", which would read as nothing."""

    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        await site.context.ledger.call(
            lambda ledger: ledger.hold(InstanceFilter(destination="pacs"), "not tonight", "console:mia", 2)
        )
        trouble = next(each for each in await site.context.look.attention() if each.destination == "pacs")
        page = await operator.get(f"/orders/release?{urlencode(group_fields(trouble))}")
        assert page.status_code == 200 and "it touches" in page.text and "it means" not in page.text
        rehearsed = await give(site.context, Order(Kind.RELEASE, which_of(trouble), "now"), "", dry_run=True)
        assert (rehearsed.moved, rehearsed.instances) == (1, None)

    run(tmp_path, scenario)


# ── what a release leaves ─────────────────────────────────────────────────────────────────────────────────────────────


def unsendable(ledger: Ledger) -> None:
    """Two deliveries whose destination leaves the configuration, and one whose instance is quarantined."""
    worker, forwarder = (ledger.open_session(role, "host", 4712, 1) for role in (Role.WORKER, Role.FORWARDER))
    ledger.record_arrivals([arrival(each) for each in ("u1", "u2", "d1")], 1)
    for lease in ledger.claim_instances(worker, 10, 1):
        to = "pacs" if lease.instance_id == "d1" else "dr"
        ledger.record_routings(worker, [Routing(lease.instance_id, decision(to), DOE)], 1)
    ledger.quarantine(forwarder, [Quarantine("d1", "the spool file is damaged")], 1)
    ledger.sync_destinations({"pacs": False}, 1)


@pytest.mark.parametrize(
    ("code", "left", "words"),
    [
        (Held.UNCONFIGURED, 2, "the destination is not configured"),
        (Held.QUARANTINED, 1, "what is quarantined is released one by one, on its own page"),
    ],
)
def test_a_release_of_a_group_that_moves_nothing_says_what_it_leaves_and_why(
    tmp_path: Path, code: Held, left: int, words: str
) -> None:
    async def scenario(site: Console, operator: httpx.AsyncClient) -> None:
        await site.context.ledger.call(unsendable)
        trouble = next(each for each in await site.context.look.attention() if each.code == code)
        way = f"/orders/release?{urlencode(group_fields(trouble))}"
        counted = f"{left} {'delivery' if left == 1 else 'deliveries'}, which are left: {words}"
        assert counted in (await operator.get(way)).text
        assert (await operator.post(way, data={"reason": "try it"})).status_code == 303
        assert f"0 deliveries released. {left} stay as they are: {words}." in (await operator.get("/attention")).text
        which = {"destination": trouble.destination, "code": trouble.code}
        for dry_run in (True, False):
            order = {"order": "release", "which": which, "reason": "try it", "dry_run": dry_run}
            done = (await operator.post("/api/v1/orders", json=order)).json()
            assert (done["moved"], done["left"], done["left_because"]) == (0, left, code)

    run(tmp_path, scenario)
