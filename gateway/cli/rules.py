"""`gateway rules test` and `gateway rules explain`: what the rules say, before they say it in production."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from gateway.app.keys import read_keys
from gateway.cli.changes import Change, changes
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    named_in,
    now_ms,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.diff import add_diff
from gateway.cli.suppose import FileData, add_facts, supposed_facts, supposed_time
from gateway.dicom.header import read_header
from gateway.dicom.negotiation import IMPLEMENTATION_VERSION_NAME
from gateway.errors import HeaderError, TransformError, UsageError
from gateway.flow.reload import read_rules
from gateway.flow.scu import FileToSend, look_at
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Explanation
from gateway.transform import Origin, Rulebook, load
from gateway.transform.testing import run_tests


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    group = commands.add_parser("rules", help="test rules, and explain what they do with a file")
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    test = add_command(actions, "test", _test, "run the tests in the rule files", "gateway rules test")
    explain = add_command(
        actions,
        "explain",
        _explain,
        "what the rules do with a file, rule by rule",
        "gateway rules explain image.dcm --calling CT1 --source ct1",
    )
    explain.add_argument("file", type=Path, metavar="FILE", help="a DICOM Part 10 file")
    add_facts(explain)
    add_diff(actions)
    for parser in (test, explain):
        add_config(parser)
        add_json(parser)
        parser.add_argument("--rules", type=Path, metavar="FOLDER", help="rules in this folder (default: rules.dir)")


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


def _explain(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    folder = arguments.rules or config.rules.dir
    with named_in(folder):
        book = load(read_rules(folder), config.destinations, read_keys(config))
    plan = book.plan
    try:
        file = look_at(arguments.file)
        with closing(FileData(file)) as source:
            header = read_header(source, file.part10.transfer_syntax_uid, plan.wanted)
    except HeaderError as error:
        raise UsageError(f"{arguments.file}: {error}; the gateway would quarantine it") from None
    except OSError as error:
        raise UsageError(f"{arguments.file}: cannot be read: {error.strerror}") from None
    facts = supposed_facts(arguments, config)
    received = supposed_time(arguments.received)
    way = (facts, file.part10.transfer_syntax_uid, file.part10.sop_class_uid, received)
    decision = plan.decide(header, *way)
    explained = plan.explain(header, *way, show_values=True)
    copies = {chain: _copy(book, file, facts, chain) for chain in dict.fromkeys(decision.chains) if chain}
    if arguments.json:
        show_json(
            {
                "revision": decision.revision,
                "destinations": decision.destinations,
                "groups": plan.groups(decision),
                "chains": decision.chains,
                "changes": copies,
                "hold": decision.hold,
                "discard": decision.discard,
                "rules": [
                    {"rule": e.rule, "tried": e.tried, "matched": e.matched, "because": e.failing} for e in explained
                ],
            }
        )
        return 0
    rows = [(item.rule, _verdict(item), item.failing) for item in explained]
    show_table("rules, in order", ("rule", "", "because"), rows, "there are no rules")
    print(_sentence(decision, plan.groups(decision)))
    for chain, changed in copies.items():
        print()
        if isinstance(changed, str):
            print(f"{chain} cannot be made, so that it would be held: {changed}")
        else:
            show_table(f"changed by {chain}", ("attribute", "before", "after"), changed, "nothing")
    return 0


def _copy(book: Rulebook, file: FileToSend, facts: AssociationFacts, chain: str) -> list[Change] | str:
    """What a chain of transforms changes, or why it cannot."""
    part10 = file.part10
    uids = (part10.sop_class_uid, part10.sop_instance_uid, part10.transfer_syntax_uid)
    try:
        with closing(FileData(file)) as source:
            return changes(book.chain(chain) or (), source, Origin(facts, *uids, now_ms()), IMPLEMENTATION_VERSION_NAME)
    except TransformError as error:
        return str(error)


def _verdict(item: Explanation) -> str:
    if not item.tried:
        return "not tried"
    return "matches" if item.matched else "does not match"


def _sentence(decision: Decision, groups: Mapping[str, str]) -> str:
    if decision.discard is not None:
        return f"discarded: {decision.discard}"
    if decision.hold is not None:
        return f"held: {decision.hold}"
    sent = []
    for index, name in enumerate(decision.destinations):
        how = [f"by the group {groups[name]}"] if name in groups else []
        how += [f"through {decision.chain_of(index)}"] if decision.chain_of(index) else []
        sent.append(f"{name} ({', '.join(how)})" if how else name)
    return f"goes to: {', '.join(sent)}"
