"""`gateway rules diff`: what a change of the rules would re-route, before it does."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from gateway.app.keys import read_keys
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    counted,
    named_in,
    now_ms,
    open_ledger,
    plain,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.suppose import FACTS, Bytes, add_facts, supposed_facts, supposed_time
from gateway.config import Config
from gateway.config.units import parse_duration
from gateway.console.services.explained import FileData
from gateway.errors import HeaderError, UsageError
from gateway.flow.reload import read_rules
from gateway.flow.scu import find_files
from gateway.model import transforms_of
from gateway.transform import Keys, Rulebook, load
from gateway.transform.deidentify.pseudonyms import KeysAtHand
from gateway.transform.remember import encoding_of, unpack
from gateway.transform.reroute import Comparison, Group, Seen, Way
from gateway.transform.testing import run_tests

EXAMPLES = 3
_PAGE = 200
_PRIORITIES = {1: "high priority", -1: "low priority"}

Refused = tuple[str, str]  # what, and why


def add_diff(actions: Commands) -> None:
    """Add the command."""
    diff = add_command(
        actions,
        "diff",
        _diff,
        "what a change of the rules would re-route",
        "gateway rules diff --history --since '2 d'\n  gateway rules diff --new ./rules.new images/ --source ct1",
        "Decides about each instance by the rules in force and by changed ones, and counts what would go another way, "
        "by source, modality and destinations. Nothing is changed or sent.",
    )
    diff.add_argument("files", nargs="*", metavar="FILE|FOLDER", help="DICOM Part 10 files, folders, or patterns")
    diff.add_argument(
        "--history", action="store_true", help="what the gateway has routed of late, as the ledger remembers it"
    )
    diff.add_argument(
        "--since", default="", metavar="TIME", help="with --history: no longer ago than this, as in '1 d'"
    )
    diff.add_argument("--old", type=Path, metavar="FOLDER", help="rules in this folder (default: those in force)")
    diff.add_argument("--new", type=Path, metavar="FOLDER", help="rules in this folder (default: rules.dir)")
    diff.add_argument(
        "--examples", type=int, default=EXAMPLES, metavar="N", help=f"most instances to name of each kind ({EXAMPLES})"
    )
    diff.add_argument("--exit-code", action="store_true", help="exit code 1 when an instance would go another way")
    add_facts(diff)
    add_config(diff)
    add_json(diff)


def _diff(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    if bool(arguments.files) == arguments.history:
        raise UsageError("name the files to decide about, or say --history")
    if arguments.since and not arguments.history:
        raise UsageError("--since goes with --history")
    if arguments.history and any(getattr(arguments, name) for name in FACTS):
        raise UsageError("what the ledger remembers came as it came: suppose nothing with --history")
    new_folder = arguments.new or config.rules.dir
    keys = read_keys(config)
    with named_in(new_folder):
        new = load(read_rules(new_folder), config.destinations, keys)
    old = _old(arguments, config, keys)
    comparison = Comparison(old, new, max(0, arguments.examples))
    if arguments.history:
        refused = _over_history(config, comparison, _since(arguments.since))
    else:
        refused = _over_files(arguments, config, comparison)
    return _tell(arguments, new_folder, old, new, comparison, refused)


def _over_files(arguments: argparse.Namespace, config: Config, comparison: Comparison) -> list[Refused]:
    """Decide about files as if they came so. Returns those that could not be decided about."""
    received = supposed_time(arguments.received)
    refused: list[Refused] = []
    facts = supposed_facts(arguments, config)
    for path in _paths(arguments.files):
        for file in find_files([path], lambda path, why: refused.append((str(path), why))):
            syntax, sop_class = file.part10.transfer_syntax_uid, file.part10.sop_class_uid
            try:
                with closing(FileData(file)) as data:
                    comparison.add(Seen(str(file.path), facts, syntax, sop_class, received), data)
            except HeaderError as error:
                refused.append((str(file.path), f"{error}; the gateway would quarantine it"))
            except OSError as error:
                refused.append((str(file.path), f"cannot be read: {error.strerror}"))
    return refused


def _over_history(config: Config, comparison: Comparison, since_ms: int) -> list[Refused]:
    """Decide about what the ledger remembers. Returns what could not be decided about."""
    refused: list[Refused] = []
    with open_ledger(config) as ledger:
        after_key = 0
        while rows := ledger.history(since_ms, after_key, _PAGE):
            after_key = rows[-1].history_key
            for row in rows:
                name = f"{row.instance_id} of series {row.series_instance_uid or '(without UID)'}"
                syntax = row.transfer_syntax_uid
                seen = Seen(name, row.facts, syntax, row.sop_class_uid, row.received_at_ms, encoding_of(syntax))
                try:
                    comparison.add(seen, Bytes(unpack(row.header)), row.instances)
                except HeaderError as error:
                    refused.append((name, str(error)))
    return refused


def _since(text: str) -> int:
    """When a time ago was, in milliseconds since 1970; "" is ever. :raises UsageError: it is none."""
    if not text:
        return 0
    try:
        return now_ms() - int(parse_duration(text) * 1000)
    except ValueError as error:
        raise UsageError(f"--since {text}: {error}") from None


def _old(arguments: argparse.Namespace, config: Config, keys: Keys) -> Rulebook:
    """The rules to compare with. Their destinations need not be there any more: they may have been taken out since."""
    if arguments.old is not None:
        with named_in(arguments.old):
            return load(read_rules(arguments.old), None, KeysAtHand(keys))
    with open_ledger(config) as ledger:
        revision = ledger.current_revision()
        if not revision:
            raise UsageError("no rules are in force yet: name a folder with --old")
        return load(ledger.load_rules(revision).files, None, KeysAtHand(keys))


def _paths(patterns: Sequence[str]) -> Iterator[Path]:
    """Files and folders; of what is neither, all that fit it as a pattern."""
    for pattern in patterns:
        path = Path(pattern)
        fitting = [] if path.exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - also absolute
        yield from [Path(name) for name in fitting] or [path]


def _tell(
    arguments: argparse.Namespace,
    folder: Path,
    old: Rulebook,
    new: Rulebook,
    comparison: Comparison,
    refused: Sequence[Refused],
) -> int:
    """Show what was found; returns the exit code."""
    failing = [result for result in run_tests(new) if not result.passed]
    for name, why in refused:
        print(f"not decided: {plain(name)}: {plain(why)}", file=sys.stderr)
    for result in failing:
        text = f"the test {result.name!r} of the new rules fails: they would not be taken"
        print(result.place.problem(plain(text)).under(folder), file=sys.stderr)
    if arguments.json:
        show_json(_as_json(old, new, comparison, refused, len(failing)))
    else:
        _show(comparison)
    return 1 if refused or failing or (arguments.exit_code and comparison.changed) else 0


def _show(comparison: Comparison) -> None:
    if not comparison.changed:
        print(f"{counted(comparison.looked_at, 'instance')}, none of which would go another way")
        return
    rows, examples = [], []
    for number, group in enumerate(comparison.groups, 1):
        rows.append((number, group.count, group.source, group.modality, *_words(group)))
        examples += [
            (number, each.name, ", ".join(each.old_rules) or "none", ", ".join(each.new_rules) or "none")
            for each in group.examples
        ]
    show_table("what would go another way", ("#", "instances", "source", "modality", "now", "then"), rows, "")
    destinations = [
        (name, change.gained or "", change.lost or "", change.other or "")
        for name, change in sorted(comparison.destinations.items())
    ]
    if destinations:
        print()
        show_table("by destination", ("destination", "gains", "loses", "other copy"), destinations, "")
    if examples:
        print()
        show_table("for example", ("#", "instance", "rules now", "rules then"), examples, "")
    print(f"{comparison.changed} of {counted(comparison.looked_at, 'instance')} would go another way")


def _words(group: Group) -> tuple[str, str]:
    """Both ways in words; transforms by their names, and where that makes no difference by what they do."""
    old, new = _way(group.old, False), _way(group.new, False)
    return (old, new) if old != new else (_way(group.old, True), _way(group.new, True))


def _way(way: Way, whole: bool) -> str:
    if way.discard is not None:
        return f"discarded: {way.discard}"
    if way.hold is not None:
        return f"held: {way.hold}"
    sent = []
    for name, _ in way.sent:
        chain = way.chains[name]
        through = chain if whole else ", ".join(transforms_of(chain))
        sent.append(f"{name} (through {through})" if through else name)
    return ", ".join([*sent, _PRIORITIES[way.priority]] if way.priority else sent)


def _as_json(
    old: Rulebook, new: Rulebook, comparison: Comparison, refused: Sequence[Refused], failing: int
) -> dict[str, object]:
    return {
        "old": old.revision,
        "new": new.revision,
        "instances": comparison.looked_at,
        "changed": comparison.changed,
        "failing_tests": failing,
        "not_decided": [{"instance": name, "because": why} for name, why in refused],
        "destinations": {
            name: {"gained": change.gained, "lost": change.lost, "other_copy": change.other}
            for name, change in sorted(comparison.destinations.items())
        },
        "groups": [
            {
                "source": group.source,
                "modality": group.modality,
                "instances": group.count,
                "now": _way_as_json(group.old),
                "then": _way_as_json(group.new),
                "examples": [
                    {"instance": each.name, "rules_now": each.old_rules, "rules_then": each.new_rules}
                    for each in group.examples
                ],
            }
            for group in comparison.groups
        ],
    }


def _way_as_json(way: Way) -> dict[str, object]:
    return {
        "destinations": {name: way.chains[name] for name, _ in way.sent},
        "hold": way.hold,
        "discard": way.discard,
        "priority": way.priority,
    }
