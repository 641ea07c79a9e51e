"""Whatever page shows who a patient is, and whatever shows what was done, is told to the audit trail."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.flow.told import Names, noted
from gateway.ledger.base import Ledger
from gateway.ledger.trail import Note, NoteKind, NoteTold, StudyTold
from gateway.model import Role, Routing, StudyFacts
from tests.contract.ledger_scene import arrival, decision
from tests.harness.console import Console, console

DOE = StudyFacts("P1", "DOE^JANE", "", "A1", "1.2.1", "20260101", "HEAD", "1.2.1.1", "1", "AXIAL", "CT", "7")
ADDRESS = "10.1.2.3"


def one_study(ledger: Ledger) -> None:
    """A study of one instance, on its way."""
    ledger.sync_destinations({"pacs": False}, 1)
    worker = ledger.open_session(Role.WORKER, "host", 4711, 1)
    ledger.record_arrivals([arrival("a")], 1)
    leases = ledger.claim_instances(worker, 1, 1)
    ledger.record_routings(worker, [Routing(each.instance_id, decision("pacs"), DOE) for each in leases], 1)


def untold(now_ms: int) -> Callable[[Ledger], list[Note]]:
    """The notes that the ledger has for the trail."""

    def ask(ledger: Ledger) -> list[Note]:
        session = ledger.open_session(Role.CONSOLE, "host", 4712, now_ms, home="home")
        found = ledger.take_untold(session, now_ms, quiet_ms=0, late_ms=0, limit=100)
        return [] if found is None else [each.note for each in found.told if isinstance(each, NoteTold)]

    return ask


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/studies/1/download", NoteKind.VIEWED),
        ("/instances/a/download", NoteKind.VIEWED),
        ("/orders/hold?study=1", NoteKind.VIEWED),
        ("/orders/cancel?instance=a", NoteKind.VIEWED),
        ("/audit", NoteKind.TRAIL_READ),
        ("/api/v1/audit", NoteKind.TRAIL_READ),
    ],
)
def test_who_was_shown_something_of_a_patient_stands_in_the_trail(tmp_path: Path, path: str, kind: NoteKind) -> None:
    async def scenario(site: Console) -> list[Note]:
        await site.context.ledger.call(one_study)
        operator = await site.as_("operator", address=ADDRESS)
        assert (await operator.get(path)).status_code == 200
        assert await site.context.notes.flush()
        return await site.context.ledger.call(untold(site.clock.now_ms()))

    async def whole() -> list[Note]:
        async with console(tmp_path) as site:
            return await scenario(site)

    (note,) = (each for each in asyncio.run(whole()) if each.kind is kind)
    assert (note.actor, note.address) == ("console:operator", ADDRESS)


def test_what_is_taken_out_is_told_with_where_it_goes(tmp_path: Path) -> None:
    async def whole() -> list[Note]:
        async with console(tmp_path) as site:
            await site.context.ledger.call(one_study)
            people = await site.as_("viewer", address=ADDRESS), site.with_token("viewer")
            await people[0].post("/instances/a/download", data={"reason": "for a report"})
            await people[1].get("/api/v1/instances/a/file")
            return await site.context.ledger.call(untold(site.clock.now_ms()))

    taken = [each for each in asyncio.run(whole()) if each.what == "download"]
    assert [(each.actor, each.address) for each in taken] == [
        ("console:viewer", ADDRESS),
        ("api:viewer/t0", "127.0.0.1"),
    ]
    message = noted(NoteTold(taken[0], StudyTold("1.2.1"), 1), Names("host1", "GATEWAY", "gateway-1")).xml
    assert f'NetworkAccessPointID="{ADDRESS}"' in message and f'"https://{ADDRESS}"' in message


def test_an_archive_says_why_something_is_not_in_it(tmp_path: Path) -> None:
    async def whole() -> list[str]:
        async with console(tmp_path) as site:
            await site.context.ledger.call(one_study)
            viewer, lists = await site.as_("viewer"), list[str]()
            for _ in range(2):
                answer = await viewer.post("/studies/1/download", data={"reason": "for a report"})
                with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                    lists.append(archive.read("not-in-this-archive.txt").decode())
                await site.context.ledger.close()
            return lists

    assert asyncio.run(whole()) == [
        "a: its file in the spool cannot be read\n",
        "a: the ledger did not answer; download it again\n",
    ]


def test_a_search_by_the_api_needs_no_patient_in_its_address(tmp_path: Path) -> None:
    async def whole() -> list[Note]:
        async with console(tmp_path) as site:
            await site.context.ledger.call(one_study)
            script = site.with_token("viewer")
            for search, found in (
                ({"patient_id": "P1"}, ["1.2.1"]),
                ({"patient_name": "jane", "state": ["ready"], "limit": 1}, ["1.2.1"]),
                ({"patient_id": "P2"}, []),
            ):
                answer = await script.post("/api/v1/studies/search", json=search)
                assert [each["study_instance_uid"] for each in answer.json()["items"]] == found, search
            assert (await script.post("/api/v1/studies/search", json={"patient": "P1"})).status_code == 422
            assert (await site.with_token("observer").post("/api/v1/studies/search", json={})).status_code == 403
            assert await site.context.notes.flush()
            return await site.context.ledger.call(untold(site.clock.now_ms()))

    notes = [each for each in asyncio.run(whole()) if each.kind is NoteKind.QUERY]
    assert [dict(each.which).get("patient_id") for each in notes] == ["P1", None, "P2"]
