"""`gateway rules test` and `gateway rules explain`: what the rules say, before they say it in production."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    named_in,
    read_config,
    show_json,
    show_table,
)
from gateway.dicom.header import read_header
from gateway.errors import HeaderError, UsageError
from gateway.flow.reload import read_rules
from gateway.flow.scu import FileToSend, look_at
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Explanation, load
from gateway.rules.subject import Received
from gateway.rules.testing import run_tests
from gateway.rules.windows import read_received


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
    explain.add_argument("--calling", default="", metavar="AET", help="calling AE title to suppose")
    explain.add_argument("--called", default="", metavar="AET", help="called AE title (default: the gateway's)")
    explain.add_argument("--source", default="", metavar="NAME", help="entry of `sources` to suppose")
    explain.add_argument("--host", default="", metavar="ADDRESS", help="address of the sender to suppose")
    explain.add_argument("--listener", default="", metavar="NAME", help="listener to suppose")
    explain.add_argument(
        "--received",
        default="",
        metavar="TIME",
        help="when to suppose it came, as in '2026-01-31 19:30' (default: now)",
    )
    for parser in (test, explain):
        add_config(parser)
        add_json(parser)
        parser.add_argument("--rules", type=Path, metavar="FOLDER", help="rules in this folder (default: rules.dir)")


def _test(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    folder = arguments.rules or config.rules.dir
    with named_in(folder):
        plan = load(read_rules(folder), config.destinations)
    results = run_tests(plan)
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


class _File:
    """A Part 10 file's data set, for the header reader."""

    def __init__(self, file: FileToSend) -> None:
        self._handle = file.path.open("rb")
        self._offset = file.part10.offset
        self.length = file.size_bytes - file.part10.offset

    def read(self, offset: int, length: int) -> bytes:
        self._handle.seek(self._offset + offset)
        return self._handle.read(length)

    def close(self) -> None:
        self._handle.close()


def _explain(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    folder = arguments.rules or config.rules.dir
    with named_in(folder):
        plan = load(read_rules(folder), config.destinations)
    try:
        file = look_at(arguments.file)
        source = _File(file)
        try:
            header = read_header(source, file.part10.transfer_syntax_uid, plan.wanted)
        finally:
            source.close()
    except HeaderError as error:
        raise UsageError(f"{arguments.file}: {error}; the gateway would quarantine it") from None
    except OSError as error:
        raise UsageError(f"{arguments.file}: cannot be read: {error.strerror}") from None
    facts = AssociationFacts(
        association_id="",
        listener=arguments.listener,
        source=arguments.source,
        calling_ae_title=arguments.calling,
        called_ae_title=arguments.called or config.ae_title,
        peer_host=arguments.host,
    )
    received = _received(arguments.received)
    way = (facts, file.part10.transfer_syntax_uid, file.part10.sop_class_uid, received)
    decision = plan.decide(header, *way)
    explained = plan.explain(header, *way, show_values=True)
    if arguments.json:
        show_json(
            {
                "revision": decision.revision,
                "destinations": decision.destinations,
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
    print(_sentence(decision))
    return 0


def _received(text: str) -> Received:
    if not text:
        return time.time_ns() // 1_000_000
    received = read_received(text)
    if received is None:
        raise UsageError(
            f"--received {text}: not a date and time, as in '2026-01-31 19:30' or '2026-01-31 19:30+01:00'"
        )
    return received


def _verdict(item: Explanation) -> str:
    if not item.tried:
        return "not tried"
    return "matches" if item.matched else "does not match"


def _sentence(decision: Decision) -> str:
    if decision.discard is not None:
        return f"discarded: {decision.discard}"
    if decision.hold is not None:
        return f"held: {decision.hold}"
    return f"goes to: {', '.join(decision.destinations)}"
