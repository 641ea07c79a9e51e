"""`gateway rules`: what the rules say, before they say it in production. Here is `test`."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.app.keys import read_keys
from gateway.cli.common import Commands, add_command, add_config, add_json, named_in, read_config, show_json
from gateway.cli.diff import add_diff
from gateway.cli.explain import add_explain
from gateway.flow.reload import read_rules
from gateway.transform import load
from gateway.transform.testing import run_tests


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    group = commands.add_parser("rules", help="test rules, and explain what they do with a file")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = add_command(actions, "test", _test, "run the tests in the rule files", "gateway rules test")
    add_explain(actions)
    add_diff(actions)
    add_config(test)
    add_json(test)
    test.add_argument("--rules", type=Path, metavar="FOLDER", help="rules in this folder (default: rules.dir)")


def _test(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    folder = arguments.rules or config.rules.dir
    with named_in(folder):
        book = load(read_rules(folder), config.destinations, read_keys(config))
    results = run_tests(book)
    failed = [result for result in results if not result.passed]
    if arguments.json:
        show_json(
            [
                {"test": r.name, "place": str(r.place), "passed": r.passed, "expected": r.expected, "got": r.got}
                for r in results
            ]
        )
        return 1 if failed else 0
    for result in failed:
        place = result.place
        where = f"{folder / place.file}:{place.line}:{place.column}"
        print(f"{where}: {result.name}: expected {result.expected}, got {result.got}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0
