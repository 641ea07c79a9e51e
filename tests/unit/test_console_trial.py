"""An uploaded file that ends the process which reads it ends nothing else, and whoever uploaded it is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from gateway.app.keys import read_keys
from gateway.console.services import trial
from gateway.console.services.explained import Explained, explain_file, sentence
from gateway.console.services.trial import Supposed, Upload, UploadTooLarge, explain
from gateway.errors import UsageError
from gateway.ledger.base import RuleSet
from gateway.model import AssociationFacts
from gateway.transform import load
from gateway.transform.deidentify.pseudonyms import NO_KEYS, Keys
from tests.harness.console import Console, console
from tests.harness.data import make_instance, write_part10
from tests.harness.tools import wait_until

RULES = {"10.yaml": "rules:\n  - name: all\n    send_to: [pacs]\n"}


WITH_A_COPY = {
    "10.yaml": "transforms:\n  mark:\n    - set: {ImageComments: seen}\n"
    "rules:\n  - name: all\n    transform: [mark]\n    send_to: [pacs]\n"
}


async def tried(site: Console, body: bytes, files: Mapping[str, str] = RULES, keys: Keys = NO_KEYS) -> Explained:
    """What the rules in force do with a file."""
    rules = RuleSet(load(files, None, keys).revision, files)
    await site.context.ledger.call(lambda ledger: ledger.store_rules(rules, site.clock.now_ms()))
    with closing(Upload(site.context)) as upload:
        await upload.write(body)
        return await explain(site.context, upload, Supposed())


def a_file(folder: Path) -> bytes:
    return write_part10(folder / "a.dcm", make_instance(seed=5)).read_bytes()


def test_a_file_is_explained_by_the_rules_in_force(tmp_path: Path) -> None:
    async def scenario() -> Explained:
        async with console(tmp_path) as site:
            return await tried(site, a_file(tmp_path))

    assert sentence(asyncio.run(scenario())) == "goes to: pacs"


def test_pseudonyms_that_are_shown_are_made_up_and_chains_are_called_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("0123456789abcdef" * 4)
    rules = {
        "10.yaml": "transforms:\n  trial:\n    - deidentify: {key: site}\n"
        "rules:\n  - name: all\n    transform: [trial]\n    send_to: [pacs]\n"
    }

    async def scenario() -> list[Explained]:
        async with console(tmp_path, pseudonym_keys={"site": {"file": str(tmp_path / "site.key")}}) as site:
            keys = read_keys(site.context.config())
            shown = [await tried(site, a_file(tmp_path), rules, keys) for _ in range(2)]
            real = explain_file(load(rules, None, keys), tmp_path / "a.dcm", shown[0].facts, 1_000, 1_000)
            return [real, *shown]

    found = asyncio.run(scenario())
    ((chain, _),) = found[0].copies.items()
    patients = set()
    for each in found:
        changed = each.copies[chain]
        assert not isinstance(changed, str), changed
        patients |= {after for attribute, _, after in changed if attribute == "PatientID"}
    assert len(patients) == 3, "the real one, and two others"


def test_no_file_is_taken_where_it_would_take_the_room_that_images_need(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with console(tmp_path, spool={"min_free": "1000000 GB"}) as site:
            with pytest.raises(UsageError, match="no room"):
                Upload(site.context)

    asyncio.run(scenario())


def test_copies_are_made_on_the_disk_that_is_said(tmp_path: Path) -> None:
    a_file(tmp_path)
    book, facts = load(WITH_A_COPY, None), AssociationFacts("", "", "", "", "", "")
    assert explain_file(book, tmp_path / "a.dcm", facts, 1_000, 1_000, "", tmp_path).copies
    with pytest.raises(UsageError, match="cannot be read"):
        explain_file(book, tmp_path / "a.dcm", facts, 1_000, 1_000, "", tmp_path / "nowhere")


def readers() -> list[int]:
    """The children of this process that explain a file."""
    mine = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in mine if b"_explain" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_one_that_takes_longer_than_a_worker_may_is_told_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with console(tmp_path, worker={"time": "1 s"}) as site:
            trying = asyncio.create_task(tried(site, a_file(tmp_path)))
            (pid,) = await asyncio.to_thread(wait_until, readers, 30, "the child")
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(UsageError, match="reading it takes too long"):
                await trying
            assert readers() == []

    asyncio.run(scenario())


def test_a_reader_that_is_killed_is_told_of_and_one_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with console(tmp_path) as site:
            for end in (signal.SIGKILL, None):
                trying = asyncio.create_task(tried(site, a_file(tmp_path)))
                (pid,) = await asyncio.to_thread(wait_until, readers, 30, "the child")
                if end is None:
                    trying.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await trying
                else:
                    os.kill(pid, end)
                    with pytest.raises(UsageError, match="ended the process"):
                        await trying
                assert readers() == []

    asyncio.run(scenario())


def test_what_is_too_large_is_refused_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "UPLOAD_MAX_BYTES", 1000)

    async def scenario() -> None:
        async with console(tmp_path) as site:
            with closing(Upload(site.context)) as upload:
                await upload.write(b"x" * 600)
                with pytest.raises(UploadTooLarge):
                    await upload.write(b"x" * 600)

    asyncio.run(scenario())
