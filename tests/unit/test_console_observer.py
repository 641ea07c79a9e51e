"""What an observer sees holds no patient data, wherever somebody may have written some."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.console.services.attention import BY_A_PERSON
from gateway.ledger.base import InstanceFilter, Ledger, RuleSet
from gateway.model import Role, Routing, StudyFacts
from gateway.transform import load
from tests.contract.ledger_scene import arrival, decision
from tests.harness.console import Console, console

CANARY = "ZQ-4711-CANARY"
RULES = {
    "10.yaml": f"""\
tables:
  trial: {{file: trial.csv, key: patient_id}}
rules:
  - name: of-the-trial
    match: {{PatientID: {{table: trial}}}}
    send_to: [pacs]
  - name: one-patient
    match: {{PatientID: {CANARY}}}
    hold: "ask first"
""",
    "trial.csv": f"patient_id,subject\n{CANARY},7\n",
}


def run(folder: Path, scenario: Callable[[Console], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with console(folder) as site:
            await scenario(site)

    asyncio.run(whole())


def held_by_a_person(ledger: Ledger) -> None:
    """An instance and a delivery that an operator held, in words, and an instance that a rule held."""
    ledger.sync_destinations({"pacs": False}, 1)
    worker = ledger.open_session(Role.WORKER, "host", 4711, 1)
    for instance_id, what in (("d1", decision("pacs")), ("r1", decision(hold="call the modality"))):
        ledger.record_arrivals([arrival(instance_id)], 1)
        leases = ledger.claim_instances(worker, 1, 1)
        ledger.record_routings(worker, [Routing(each.instance_id, what, StudyFacts()) for each in leases], 1)
    ledger.record_arrivals([arrival("p1")], 1)
    which = InstanceFilter(instance_ids=("p1", "d1"))
    ledger.hold(which, f"wrong patient: DOE^JANE, is {CANARY}", "console:mia", 1)


def test_what_stands_in_rules_and_tables_is_for_who_may_see_patients(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        revision = load(RULES, None).revision
        rules = RuleSet(revision, RULES)
        await site.context.ledger.call(lambda ledger: ledger.store_rules(rules, site.clock.now_ms()))
        ways = ("/rules", f"/rules?revision={revision}")
        resources = ("/api/v1/rules", f"/api/v1/rules/revisions/{revision}")
        observer, viewer = await site.as_("observer"), await site.as_("viewer")
        for path in (*ways, *resources):
            assert CANARY in (await viewer.get(path)).text, path
            hidden = await observer.get(path)
            assert hidden.status_code == 200 and "trial.csv" in hidden.text and CANARY not in hidden.text, path
        files = (await observer.get(resources[0])).json()["files"]
        assert {file["name"]: (file["lines"], file["text"]) for file in files} == {
            "10.yaml": (9, None),
            "trial.csv": (2, None),
        }

    run(tmp_path, scenario)


def test_what_an_operator_wrote_about_a_hold_is_for_who_may_see_patients(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        await site.context.ledger.call(held_by_a_person)
        observer, viewer = await site.as_("observer"), await site.as_("viewer")
        for path in ("/", "/attention", "/api/v1/overview", "/api/v1/attention"):
            assert CANARY in (await viewer.get(path)).text, path
            hidden = await observer.get(path)
            assert hidden.status_code == 200 and BY_A_PERSON in hidden.text and CANARY not in hidden.text, path
            assert "call the modality" in hidden.text, "what a rule says is told"
        for path in ("/queue", "/api/v1/destinations", "/api/v1/live"):
            assert CANARY not in (await observer.get(path)).text, path
        groups = (await viewer.get("/api/v1/attention")).json()["items"]
        (group,) = (each for each in groups if each["of"] == "instance" and CANARY in each["reason"])
        named = {name: group[name] for name in ("kind", "destination", "code", "group")}
        (item,) = (await viewer.get("/api/v1/attention/items", params=named)).json()["items"]
        assert item["instance_id"] == "p1"
        ways = re.findall(r'href="([^"]*)"', (await viewer.get("/attention")).text)
        assert ways and not [way for way in ways if "CANARY" in way], "no address names anybody"

    run(tmp_path, scenario)
