"""`gateway demo`: success is exit code 0 and a readable table; what an archive does not have unaltered is failure."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.harness.tools import Process, wait_until
from tests.integration.cli_site import ROOT, command


def test_it_ends_well_with_a_table_that_fits_and_nothing_left_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    said = command("demo", cwd=tmp_path, env={"TMPDIR": str(temporary), "COLUMNS": "80"}).check()
    lines = said.stdout.splitlines()
    rows = [line for line in lines if " unaltered " in line]
    assert len(rows) > 150
    assert max(map(len, rows)) <= 80
    assert "…" not in said.stdout
    assert {tuple(line.split()[-5:-2]) for line in rows} >= {("CT", "all-to-pacs", "pacs"), ("CT", "ct-mr-to-dr", "dr")}
    assert re.search(r"^console +http://127\.0\.0\.1:\d+ ", said.stdout, re.MULTILINE)
    assert re.search(r"^metrics +http://127\.0\.0\.1:\d+/metrics$", said.stdout, re.MULTILINE)
    (summary,) = [line for line in lines if " instances sent, " in line]
    sent, received, delivered = map(int, re.findall(r"\d+", summary))
    assert sent == received
    assert delivered >= len(rows)
    assert list(temporary.iterdir()) == []


def _meddle(folder: Path, meddle: Callable[[Path], None], done: threading.Event) -> None:
    """Wait until the archive has files enough for the oldest to be whole; do something to that one."""

    def whole() -> Path | None:
        files = sorted(folder.glob("*.dcm"), key=lambda path: path.stat().st_mtime_ns)
        return files[0] if len(files) > 8 else None

    meddle(wait_until(whole, 90, "the archive to fill", interval_s=0.002))
    done.set()


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(("meddle", "outcome"), [(_append, "ALTERED"), (Path.unlink, "MISSING")])
def test_an_archive_that_does_not_keep_what_it_was_sent_fails_it(
    tmp_path: Path, meddle: Callable[[Path], None], outcome: str
) -> None:
    done = threading.Event()
    thread = threading.Thread(target=_meddle, args=(tmp_path / "demo" / "dr", meddle, done), daemon=True)
    thread.start()
    said = command("demo", "--keep", "demo", cwd=tmp_path)
    thread.join(10)
    assert done.is_set()
    assert said.returncode == 1
    (row,) = [line for line in said.stdout.splitlines() if outcome in line and "ct-mr-to-dr" in line]
    assert " dr " in row
    assert f"1 deliveries {outcome}" in said.stdout
    assert "the gateway's log ends with" in said.stdout


def test_a_gateway_that_cannot_start_fails_it_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "state").write_text("a file where a folder should be")
    said = command("demo", "--keep", "demo", cwd=tmp_path)
    assert said.returncode == 1
    assert "the gateway did not start; its log:" in said.stdout
    assert "state" in said.stdout.split("its log:")[1]
    assert "Traceback" not in said.stdout


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("a file")
    said = command("demo", "--keep", "demo", cwd=tmp_path)
    assert said.returncode == 2
    assert said.stderr.startswith("gateway: the demo cannot work in demo: ")
    assert len(said.stderr.splitlines()) == 1


def test_it_stays_for_a_look_around_when_asked_to_and_studies_flow(tmp_path: Path) -> None:
    process = Process(
        [sys.executable, "-m", "gateway", "demo", "--stay", "--keep", "demo"],
        tmp_path / "out",
        "demo",
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    try:
        process.wait_for_output("Ctrl-C ends it all", 90)
        config = tmp_path / "demo" / "gateway.yaml"
        queue = command("queue", "--config", config, cwd=tmp_path).check().stdout
        assert re.search(r"^pacs +up ", queue, re.MULTILINE)
        found = re.search(
            r"^console +(http://\S+) +log in as (\w+) with the password (\S+)$", process.output(), re.MULTILINE
        )
        assert found, process.output()
        with httpx.Client(base_url=found[1], follow_redirects=True) as browser:
            page = browser.post("/login", data={"name": found[2], "password": found[3]})
            assert "Overview" in page.text and "destinations" in page.text
            before = received(browser)
            assert before > 100
            wait_until(lambda: received(browser) > before, 30, "new studies")
            assert "<tbody>" in browser.get("/studies").text
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "everything is left in" in process.output()
    finally:
        process.stop()


def received(browser: httpx.Client) -> int:
    """How many instances the console says came in."""
    found = re.search(r"received, ever</dt><dd>([\d\u202f]+)<", browser.get("/").text)
    assert found
    return int(found[1].replace("\u202f", ""))
