"""What an observer sees holds no patient data, wherever somebody may have written some."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.ledger.base import RuleSet
from gateway.transform import load
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

    async def whole() -> None:
        async with console(tmp_path) as site:
            await scenario(site)

    asyncio.run(whole())
