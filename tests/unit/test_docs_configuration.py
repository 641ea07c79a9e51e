"""docs/configuration.md and deploy/gateway.yaml say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.kinds import name_complaint
from gateway.config.reference import default, rewrite, sections
from gateway.config.tables import DESTINATION_DEFAULTS, TOP_KEYS
from gateway.config.units import SIZE_UNITS, TIME_UNITS_MS
from gateway.document import Table, parse
from gateway.net.driver import MIN_PROGRESS_BYTES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
CELL = re.compile(r"(?<!\\)\|")


def rows(name: str) -> dict[str, tuple[str, str]]:
    """key → (default, meaning) as the document tells them."""
    found = re.search(rf"<!-- keys: {name} -->\n(.*?)<!-- end -->", DOCUMENT, re.DOTALL)
    assert found, f"the document has no table of {name}"
    result = {}
    for line in found[1].splitlines()[2:]:
        key, _, value, meaning = (cell.strip() for cell in CELL.split(line)[1:-1])
        result[key.strip("`")] = (value, meaning)
    return result


@pytest.mark.parametrize("name", list(sections()))
def test_every_key_and_default_is_in_the_document_and_no_other(name: str) -> None:
    section = sections()[name]
    assert rows(name) == {key.name: (default(section, key), key.words) for key in section.keys}


def test_no_other_table_of_keys_is_in_the_document() -> None:
    assert re.findall(r"<!-- keys: (.+?) -->", DOCUMENT) == list(sections())
    assert rewrite(DOCUMENT) == DOCUMENT, "run: python -m gateway.config.reference docs/configuration.md"


@pytest.mark.parametrize("name", ["listeners", "destinations"])
def test_what_counts_as_progress_is_told(name: str) -> None:
    _, meaning = rows(name)["progress_timeout"]
    assert f"at least {MIN_PROGRESS_BYTES // 1024} KiB" in meaning


def test_every_top_level_key_is_told_of() -> None:
    for key in TOP_KEYS:
        assert f"`{key}`" in DOCUMENT, key


def test_every_unit_is_told_of() -> None:
    for unit in (*SIZE_UNITS, *TIME_UNITS_MS):
        assert f"`{unit}`" in DOCUMENT, unit


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_a_configuration(block: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    given = parse(block, "example")
    assert isinstance(given, Table)
    smallest = parse(BLOCKS[0], "smallest")
    assert isinstance(smallest, Table)
    lines = BLOCKS[0].splitlines(keepends=True)
    # The example, and of the smallest file the sections that the example does not have.
    rest = [line for n, line in enumerate(lines) if lines[n - n % 2].split(":")[0] not in given.entries]
    path = tmp_path / "gateway.yaml"
    path.write_text(block + "".join(rest))
    load(path, {})


def test_the_examples_of_variables_work(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    path = tmp_path / "gateway.yaml"
    path.write_text(BLOCKS[0])
    env = dict(re.findall(r'^(GATEWAY__\w+)="?(.*?)"?$', DOCUMENT, re.MULTILINE))
    config = load(path, env)
    assert len(env) == 4
    assert config.spool.min_free_bytes == 20 * 2**30
    assert config.destinations["pacs"].host == "10.1.2.3"
    assert len(config.sources["mr2"].hosts) == 2
    assert config.destinations["dr"].ae_title == "DR"


def test_the_example_in_deploy_works_as_it_stands() -> None:
    config = load(ROOT / "deploy" / "gateway.yaml", {})
    assert config.state_dir == ROOT / "state"
    assert config.spool.dir == ROOT / "state" / "spool"
    assert config.rules.dir == ROOT / "rules"
    assert list(config.destinations) == ["pacs", "dr"]
    assert config.listeners["main"].port == 11112
    assert all(name_complaint(name) is None for name in config.sources)
    assert config.metrics.host == config.console.host == "127.0.0.1"


def test_the_variables_named_in_deploy_work() -> None:
    text = (ROOT / "deploy" / "gateway.yaml").read_text(encoding="utf-8")
    env = dict(re.findall(r'(GATEWAY__\w+)="?(.*?)"?(?:  |$)', text, re.MULTILINE))
    config = load(ROOT / "deploy" / "gateway.yaml", env)
    assert config.spool.min_free_bytes == 5 * 2**30
    assert config.destinations["pacs"].host == "pacs.example.org"
    assert DESTINATION_DEFAULTS in text
