"""docs/rules.md teaches nothing that is not so, and the example rules do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import load as load_configuration
from gateway.rules.conditions import CONDITIONS, WINDOW_KEYS
from gateway.rules.csvtext import MAX_ROWS
from gateway.rules.patterns import FOLDS
from gateway.rules.subject import FACTS, NAME_COMPONENTS, NAME_GROUPS
from gateway.rules.tables import MAX_TOTAL_BYTES
from gateway.transform import load
from gateway.transform.testing import run_tests
from tests.unit.transform_kit import KEYS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
BLOCKS = {
    DOCUMENT.count("\n", 0, found.start()) + 1: found[1]
    for found in re.finditer(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
}
CSVS = dict(re.findall(r"^```csv (\S+)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
DESTINATIONS = {"pacs", "dr", "research"}


@pytest.mark.parametrize("line", list(BLOCKS))
def test_every_example_in_the_guide_is_a_rule_file_whose_tests_pass(line: int) -> None:
    text = BLOCKS[line]
    results = run_tests(load({"example.yaml": text, **CSVS}, DESTINATIONS, KEYS))
    assert len(results) == len(re.findall(r"^    expect:", text, re.MULTILINE))
    assert [(result.name, result.expected, result.got) for result in results if not result.passed] == []


def test_every_table_in_the_guide_is_named_by_an_example() -> None:
    assert all(any(f"file: {name}" in text for text in BLOCKS.values()) for name in CSVS)


def test_the_bounds_of_tables_are_told() -> None:
    assert f"{MAX_TOTAL_BYTES >> 20} MiB and {MAX_ROWS:,} rows" in DOCUMENT


def test_the_guide_has_examples() -> None:
    assert len(BLOCKS) >= 6


def test_the_example_rules_fit_the_example_configuration() -> None:
    configuration = load_configuration(ROOT / "deploy" / "gateway.yaml", {})
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(configuration.rules.dir.glob("*.yaml"))}
    results = run_tests(load(files, configuration.destinations))
    assert len(results) >= 5
    assert [(result.name, result.expected, result.got) for result in results if not result.passed] == []


def test_the_reference_lists_every_condition_part_and_key_and_no_other() -> None:
    reference = DOCUMENT[DOCUMENT.index("\n## Reference\n") :]

    def listed(heading: str) -> set[str]:
        table = reference[reference.index(f"| {heading} |") :].partition("\n\n")[0]
        return {word for line in table.splitlines()[2:] for word in re.findall(r"`([^`]+)`", line.split("|")[1])}

    assert listed("condition") - {"fold", "[]", "case", "accents", "column"} == set(CONDITIONS)
    assert listed("in a `match`") == {"any", "all", "not", "received"}
    for word in (*NAME_COMPONENTS, *NAME_GROUPS, *WINDOW_KEYS, *FOLDS):
        assert f"`{word}`" in reference, word
    for word in FACTS:
        assert f"`{word}`" in DOCUMENT, word
