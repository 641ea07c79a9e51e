"""Part of the workload `console`: what each page of the console takes, asked of the application itself, by no network.

The figures are those of the whole answer: access, looks, the page made of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.harness.console import console

GOAL_MS = 200.0
SEARCHES: Mapping[str, Mapping[str, str]] = {
    "a search by a name": {"patient_name": "wang"},
    "a search that finds nothing": {"patient_name": "*q*^*z?x"},
    "a search by a UID": {"uid": "1.2.3"},
}


async def pages(folder: Path, studies: int, times: int) -> dict[str, list[float]]:
    """Page → milliseconds of each answer, for an administrator; the first one of each does not count.

    :param folder: of a gateway; its ledger is there already.
    """
    async with console(folder) as site:
        client = await site.as_("administrator")
        rows = (await client.get("/api/v1/studies?limit=50")).json()["items"]
        places = {
            "overview": "/",
            "studies": "/studies",
            "studies held": "/studies?state=held",
            "studies of a source that nobody is": "/studies?source=nobody",
            "a study": f"/studies/{rows[-1]['study_key']}",
            "the largest study": f"/studies/{studies // 2}",
            "queue": "/queue",
            "attention": "/attention",
            "rules": "/rules",
            "system": "/system",
            "audit": "/audit",
        }
        for name, fields in SEARCHES.items():
            kept = await client.post("/studies", data={**fields})
            assert kept.status_code == 303, f"{name}: {kept.status_code}"
            places[name] = kept.headers["location"]
        return {name: await _asked(client, name, place, times) for name, place in places.items()}


async def _asked(client: httpx.AsyncClient, name: str, place: str, times: int) -> list[float]:
    found: list[float] = []
    for _ in range(times + 1):
        began_s = time.perf_counter()
        answer = await client.get(place)
        found.append((time.perf_counter() - began_s) * 1000)
        assert answer.status_code == 200, f"{name}: {answer.status_code}"
    return found[1:]
