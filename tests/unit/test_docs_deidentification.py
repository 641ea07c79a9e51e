"""docs/deidentification.md teaches nothing that is not so: its rules and its configuration work, its tests pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load as load_config
from gateway.transform import load
from gateway.transform.deidentify.read import KEYS as STEP_KEYS
from gateway.transform.deidentify.table import Option
from gateway.transform.testing import run_tests
from tests.unit.transform_kit import KEYS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "deidentification.md").read_text(encoding="utf-8")
BLOCKS = [
    (found[2], found[3], "\n".join(line.removeprefix(found[1]) for line in found[4].split("\n")))
    for found in re.finditer(r"^( *)```(yaml|csv) (\S+)\n(.*?)^ *```", DOCUMENT, re.MULTILINE | re.DOTALL)
]
TABLES = {name: text for kind, name, text in BLOCKS if kind == "csv"}
RULES = [text for kind, name, text in BLOCKS if kind == "yaml" and name == "rules"]


@pytest.mark.parametrize("text", RULES)
def test_every_rule_file_works_and_passes_its_tests(text: str) -> None:
    book = load({"10.yaml": text, **TABLES}, None, KEYS)
    assert book.transforms
    assert [result for result in run_tests(book) if not result.passed] == []


def test_the_configuration_is_one(tmp_path: Path) -> None:
    text = "".join(text for kind, name, text in BLOCKS if kind == "yaml" and name == "gateway")
    (tmp_path / "rules").mkdir()
    (tmp_path / "gateway.yaml").write_text(
        "listeners: {main: {host: 127.0.0.1, port: 11112, accept_unknown: true}}\n" + text
    )
    config = load_config(tmp_path / "gateway.yaml", {})
    assert list(config.pseudonym_keys) == ["site"]
    assert config.reidentification.public_key == Path("/etc/gateway/reid.key.pub")


def test_every_option_and_every_key_is_told_of() -> None:
    assert all(f"| `{option}` |" in DOCUMENT for option in Option)
    assert all(f"`{key}`" in DOCUMENT or f"{key}:" in DOCUMENT for key in STEP_KEYS)
