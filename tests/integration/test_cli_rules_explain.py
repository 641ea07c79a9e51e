"""`gateway rules explain` of several files, and as a page: it holds all it shows, and what a sender wrote is text."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tests.harness.data import make_instance, write_part10
from tests.harness.gatewayprocess import GatewayConfig
from tests.harness.tools import Completed, free_port, program
from tests.integration.cli_site import command

RULES = {
    "transforms": {
        "mark": [{"set": {"StationName": "<b>seen</b>"}}, {"remove": ["StudyID"]}, {"record": "false"}],
        "long": [{"set": {"AccessionNumber": "{SOPInstanceUID}"}}],
    },
    "rules": [
        {"name": "mr", "match": {"Modality": "MR", "StudyDescription": "*HEAD*"}, "send_to": ["dr"]},
        {"name": "phantoms", "match": {"PatientID": "QA*"}, "hold": "<i>a phantom</i>"},
        {"name": "all", "send_to": ["pacs", {"destination": "dr", "transform": "mark"}]},
    ],
}
HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "a\u202eb\x1b[31mc", "{{ 7*7 }}{% raw %}")
VOID = frozenset({"meta", "br", "img", "link", "input", "base"})


class Page(HTMLParser):
    """A page as a browser takes it: its elements, its text by element, and whether all that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    rules = {"10.yaml": yaml.safe_dump(RULES, sort_keys=False)}
    config = GatewayConfig(tmp_path, {"pacs": free_port(), "dr": free_port()}, rules=rules)
    config.write()
    return config


def explain(config: GatewayConfig, *words: str | Path) -> Completed:
    return command("rules", "explain", *words, "--config", config.path, cwd=config.folder)


def page_of(config: GatewayConfig, *words: str | Path) -> tuple[Page, str]:
    path = config.folder / "page.html"
    path.unlink(missing_ok=True)
    explain(config, *words, "--html", path).check()
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return page, text


def test_several_files_are_explained_one_after_the_other(config: GatewayConfig, tmp_path: Path) -> None:
    one = write_part10(tmp_path / "one.dcm", make_instance(seed=1))
    two = write_part10(tmp_path / "two.dcm", make_instance(seed=2, PatientID="QA1"))
    said = explain(config, one, two).check().stdout
    assert said.index(str(one)) < said.index("goes to: pacs, dr (through mark~") < said.index(str(two))
    assert said.endswith("held: <i>a phantom</i>\n")
    report = json.loads(explain(config, one, two, "--json").check().stdout)
    assert [(each["file"], each["hold"]) for each in report] == [(str(one), None), (str(two), "<i>a phantom</i>")]
    (tmp_path / "none.txt").write_text("no DICOM")
    partly = explain(config, one, tmp_path / "none.txt")
    assert partly.returncode == 1
    assert "goes to: pacs" in partly.stdout
    assert partly.stderr.startswith(f"not explained: {tmp_path / 'none.txt'}: ")


def test_the_page_says_all_that_the_command_says(config: GatewayConfig, tmp_path: Path) -> None:
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=3, Modality="CT", StudyID="77"))
    page, _ = page_of(config, image, "--calling", "CT1", "--source", "ct1")
    rows = {row[0]: row[1:] for row in page.rows}
    assert str(image) in page.text
    assert "goes to: pacs, dr (through mark~" in page.text
    assert rows["mr"][0] == "does not match"
    assert "'CT'" in rows["mr"][1]
    assert rows["all"] == ["matches", ""]
    assert rows["pacs"] == ["the original"]
    assert rows["dr"][0].startswith("mark~")
    assert rows["StudyID"] == ["77", "absent"]
    assert rows["StationName"] == ["absent", "<b>seen</b>"]
    assert rows["transfer syntax"] == ["Explicit VR Little Endian (1.2.840.10008.1.2.1)"]
    assert (rows["calling AE title"], rows["source"]) == (["CT1"], ["ct1"])


def test_the_page_says_what_is_held_or_cannot_be_made(config: GatewayConfig, tmp_path: Path) -> None:
    phantom = write_part10(tmp_path / "qa.dcm", make_instance(seed=4, PatientID="QA7"))
    page, _ = page_of(config, phantom)
    assert "held: <i>a phantom</i>" in page.text
    assert ["all", "not tried", ""] in page.rows
    failing = {**RULES, "rules": [{"name": "all", "send_to": "dr", "transform": "long"}]}
    config.rules = {"10.yaml": yaml.safe_dump(failing)}
    config.write()
    page, _ = page_of(config, phantom)
    assert "It cannot be made, so that it would be held: transform long, step 1 (set): AccessionNumber" in page.text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_sender_wrote_is_text_wherever_it_stands(config: GatewayConfig, tmp_path: Path, hostile: str) -> None:
    words = ("--calling", "CT1", "--host", "h")
    like = make_instance(seed=5, Modality="MR", StudyDescription="x", StudyID="1", PatientID="1")
    plain, _ = page_of(config, write_part10(tmp_path / "a.dcm", like), *words)
    name = re.sub(r"[/\x1b]", "_", hostile)
    image = write_part10(
        tmp_path / f"{name}.dcm",
        make_instance(seed=5, Modality="MR", StudyDescription=hostile, StudyID=hostile[:16], PatientID=hostile),
    )
    page, text = page_of(config, image, "--calling", hostile[:16], "--host", hostile)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    shown = "".join(cell for row in page.rows for cell in row)
    if hostile.isprintable():
        assert hostile in shown
    else:
        assert "a\\u202eb\\x1b[31mc" in shown
    assert "49" not in {cell for row in page.rows for cell in row}


def test_the_page_asks_nobody_for_anything_and_runs_nothing(config: GatewayConfig, tmp_path: Path) -> None:
    page, text = page_of(config, write_part10(tmp_path / "ct.dcm", make_instance(seed=6)))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "a", "audio", "video"}
    for _, attributes in page.tags:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "style", "action")}
    assert "url(" not in text and "@import" not in text and "http://" not in text and "https://" not in text
    policy = [each["content"] for tag, each in page.tags if tag == "meta" and "http-equiv" in each]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert "prefers-color-scheme: dark" in text


def test_the_page_is_its_owners_alone_and_overwrites_nothing(config: GatewayConfig, tmp_path: Path) -> None:
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=7))
    path = tmp_path / "page.html"
    said = explain(config, image, "--html", path).check()
    assert said.stdout == f"{path}: 1 file explained; it holds patient data\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine")
    again = explain(config, image, "--html", path)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert path.read_text() == "mine"
    (tmp_path / "link.html").symlink_to(tmp_path / "elsewhere.html")
    assert explain(config, image, "--html", tmp_path / "link.html").returncode == 2
    assert not (tmp_path / "elsewhere.html").exists()
    assert explain(config, image, "--html", tmp_path / "no" / "page.html").returncode == 2


def test_a_browser_shows_the_page(config: GatewayConfig, tmp_path: Path) -> None:
    browser = program("chromium")
    image = write_part10(tmp_path / "ct.dcm", make_instance(seed=8, Modality="MR", StudyDescription=HOSTILE[0]))
    page_of(config, image)
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", *quiet, "--dump-dom"]
    argv.append(f"--user-data-dir={tmp_path / 'b'}")
    shown = subprocess.run(
        [*argv, f"file://{config.folder / 'page.html'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ,
    ).stdout
    assert "goes to: pacs, dr (through mark~" in Page(shown).text
    assert "script" not in {tag for tag, _ in Page(shown).tags}
