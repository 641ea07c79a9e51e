"""What `gateway check` finds, for those who may not see patient data: where something is wrong, not what."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.harness.console import Console, console

RULES = """
rules:
  - name: secret
    match: {PatientName: SECRET^DOE}
    send_to: [SECRETDEST]
"""


def test_what_stands_in_rules_is_for_those_who_may_see_patients(tmp_path: Path) -> None:
    async def told(site: Console, role: str) -> str:
        person = await site.as_(role)
        page = (await person.get("/system")).text
        return page + (await person.get("/api/v1/system/check")).text

    async def scenario() -> tuple[str, str]:
        async with console(tmp_path) as site:
            (site.context.config().rules.dir / "10-all.yaml").write_text(RULES)
            return await told(site, "observer"), await told(site, "viewer")

    observer, viewer = asyncio.run(scenario())
    assert "SECRET" not in observer and "10-all.yaml:" in observer and "may see patient data" in observer
    assert "SECRETDEST" in viewer and "10-all.yaml:" in viewer


def test_a_check_is_made_anew_after_the_clock_went_back(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int]:
        async with console(tmp_path) as site:
            first = await site.context.checker.result(echo=False)
            site.clock.pass_(-3600)
            return first.at_ms, (await site.context.checker.result(echo=False)).at_ms

    first_ms, second_ms = asyncio.run(scenario())
    assert second_ms == first_ms - 3_600_000
