"""docs/commands.md says what the program does: every command, every option, no other; its examples parse."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import INTERRUPTED, MODULES, NOT_DONE, NOT_WELL, OK, build_parser

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (gateway [a-z ]+)\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))


def _commands(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for name, child in (item for group in groups for item in group.choices.items()):
        if not name.startswith("_"):  # what the supervisor calls
            yield from _commands(child, f"{words} {name}")
    if not groups:
        yield words, parser


COMMANDS = dict(_commands(build_parser(), "gateway"))


def test_every_command_has_a_section_and_no_other() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_in_its_table_and_no_other(words: str) -> None:
    actions = [action for action in COMMANDS[words]._actions if action.dest != "help"]
    real = {max(action.option_strings, key=len) for action in actions if action.option_strings}
    real |= {str(action.metavar or action.dest) for action in actions if not action.option_strings}
    told: set[str] = set()
    for cell in re.findall(r"^\| (`.*?)(?<!\\) \| ", SECTIONS[words], re.MULTILINE):
        for code in re.findall(r"`(.+?)`", cell):
            told.add((code.split()[0] if code.startswith("--") else code).replace("\\|", "|"))
    assert told == real


@pytest.mark.parametrize("words", COMMANDS)
def test_every_section_has_an_example_that_parses(words: str) -> None:
    examples = re.findall(r"^```sh\n(.*?)^```", SECTIONS[words], re.MULTILINE | re.DOTALL)
    lines = [line for example in examples for line in example.splitlines()]
    assert lines
    for line in lines:
        assert line.startswith(words)
        build_parser().parse_args(shlex.split(line)[1:])


def test_every_exit_code_is_told() -> None:
    codes = re.findall(r"^\| (\d+) \| ", DOCUMENT, re.MULTILINE)
    assert set(map(int, codes)) == {OK, NOT_WELL, NOT_DONE, INTERRUPTED}


def test_each_command_is_found_in_the_module_that_has_it() -> None:
    everything = {words.split()[1] for words in COMMANDS}
    assert {name for names in MODULES.values() for name in names if not name.startswith("_")} == everything
    for names in MODULES.values():
        for name in names:
            alone = {words.split()[1] for words, _ in _commands(build_parser(name), "gateway")}
            assert alone == {other for other in names if not other.startswith("_")}
