"""`gateway rules explain`: what the rules do with a file, rule by rule; as text, JSON, or a page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
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
    plain,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.suppose import add_facts, supposed_facts, supposed_time
from gateway.console.services.explained import Explained, explain_file, sentence, verdict
from gateway.errors import UsageError
from gateway.flow.reload import read_rules
from gateway.transform import load


def add_explain(actions: Commands) -> None:
    """Add the command."""
    explain = add_command(
        actions,
        "explain",
        _explain,
        "what the rules do with a file, rule by rule",
        "gateway rules explain image.dcm --calling CT1 --source ct1",
    )
    explain.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a DICOM Part 10 file")
    explain.add_argument("--html", type=Path, metavar="PAGE", help="write a page into this new file instead")
    add_facts(explain)
    add_config(explain)
    add_json(explain)
    explain.add_argument("--rules", type=Path, metavar="FOLDER", help="rules in this folder (default: rules.dir)")


def _explain(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    folder = arguments.rules or config.rules.dir
    with named_in(folder):
        book = load(read_rules(folder), config.destinations, read_keys(config))
    facts, received = supposed_facts(arguments, config), supposed_time(arguments.received)
    found: list[Explained] = []
    refused: list[str] = []
    for path in arguments.files:
        try:
            found.append(explain_file(book, path, facts, received, now_ms()))
        except UsageError as error:
            refused.append(str(error))
    if not found:
        raise UsageError("; ".join(refused))
    for text in refused:
        print(f"not explained: {plain(text)}", file=sys.stderr)
    if arguments.html is not None:
        _write_page(arguments.html, found)
        if not arguments.json:
            print(f"{arguments.html}: {counted(len(found), 'file')} explained; it holds patient data")
    if arguments.json:
        documents = [_as_json(each) for each in found]
        show_json(documents[0] if len(arguments.files) == 1 else documents)
    elif arguments.html is None:
        for number, each in enumerate(found):
            _show(each, number, len(found))
    return 1 if refused else 0


def _show(explained: Explained, number: int, of: int) -> None:
    if of > 1:
        print(f"{chr(10) if number else ''}{plain(explained.file.path)}")
    rows = [(item.rule, verdict(item), item.failing) for item in explained.rules]
    show_table("rules, in order", ("rule", "", "because"), rows, "there are no rules")
    print(sentence(explained))
    for chain, changed in explained.copies.items():
        print()
        if isinstance(changed, str):
            print(f"{chain} cannot be made, so that it would be held: {changed}")
        else:
            show_table(f"changed by {chain}", ("attribute", "before", "after"), changed, "nothing")


def _as_json(explained: Explained) -> dict[str, object]:
    decision = explained.decision
    return {
        "file": str(explained.file.path),
        "revision": decision.revision,
        "destinations": decision.destinations,
        "groups": explained.groups,
        "chains": decision.chains,
        "changes": explained.copies,
        "hold": decision.hold,
        "discard": decision.discard,
        "rules": [
            {"rule": item.rule, "tried": item.tried, "matched": item.matched, "because": item.failing}
            for item in explained.rules
        ],
    }


def _write_page(path: Path, explained: Sequence[Explained]) -> None:
    """Write the page into a file that is not there yet, for its owner alone. :raises UsageError: it cannot be."""
    from gateway.cli.page import page

    text = page(explained)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"--html {path}: is there already: name another file, or remove it") from None
    except OSError as error:
        raise UsageError(f"--html {path}: cannot be written: {error.strerror}") from None
