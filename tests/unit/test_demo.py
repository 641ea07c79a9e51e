"""What the demo shows while somebody looks: an archive that is off and on again, and studies that are new."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydicom import dcmread

from gateway.demo.archive import Archive
from gateway.demo.show import samples
from gateway.demo.traffic import new_study
from gateway.demo.visit import USER, make_user
from tests.harness.console import console


def test_an_archive_that_was_off_is_found_again_where_it_was(tmp_path: Path) -> None:
    async def answers(port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def scenario() -> list[bool]:
        archive = Archive("dr", tmp_path, lambda stored: None)
        found = []
        for turn in (archive.start, archive.stop, archive.start, archive.stop):
            going = turn()
            if going is not None:
                await going
            found.append(await answers(archive.port))
        return found

    assert asyncio.run(scenario()) == [True, False, True, False]


def test_a_study_of_the_demo_is_a_new_one_each_time(tmp_path: Path) -> None:
    sample = next(each.file for each in samples() if each.modality == "CT" and each.file.size_bytes < 100_000)
    first = new_study(sample, tmp_path)
    uids = {dcmread(file.path).StudyInstanceUID for file in first}
    again = {dcmread(file.path).StudyInstanceUID for file in new_study(sample, tmp_path)}
    assert len(uids) == len(again) == 1 and uids != again
    assert len({file.part10.sop_instance_uid for file in first}) == len(first)


def test_the_user_of_the_demo_gets_in_and_may_operate(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, int]:
        async with console(tmp_path, users=False) as site:
            password = make_user(site.context.config().console.users)
            browser = site.client()
            answer = await browser.post("/login", data={"name": USER, "password": password})
            page = await browser.get("/orders/pause?destination=pacs")
            return answer.status_code, page.status_code

    assert asyncio.run(scenario()) == (303, 200)
