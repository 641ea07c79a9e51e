"""`gateway rules explain`: what the rules do with a file, rule by rule; as text, JSON, or a page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.app.keys import read_keys
from gateway.cli.changes import Change, changes
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
from gateway.cli.suppose import FileData, add_facts, supposed_facts, supposed_time
from gateway.dicom.header import read_header
from gateway.dicom.negotiation import IMPLEMENTATION_VERSION_NAME
from gateway.errors import HeaderError, TransformError, UsageError
from gateway.flow.reload import read_rules
from gateway.flow.scu import FileToSend, look_at
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Explanation
from gateway.rules.subject import Received, uid_names
from gateway.transform import Origin, Rulebook, load

Changed = list[Change] | str  # every attribute that is different in a copy, or why there can be none


@dataclass(frozen=True, slots=True)
class Explained:
    """What a set of rules does with one file. Patient data: for the eyes of who asked."""

    file: FileToSend
    facts: AssociationFacts
    decision: Decision
    priority: int
    groups: Mapping[str, str]  # destination → the group that rules name it by
    rules: Sequence[Explanation]
    copies: dict[str, Changed]  # by chain


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
            found.append(_look(book, path, facts, received))
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


def _look(book: Rulebook, path: Path, facts: AssociationFacts, received: Received) -> Explained:
    """Decide about a file. :raises UsageError: it cannot be read."""
    plan = book.plan
    try:
        file = look_at(path)
        part10 = file.part10
        with closing(FileData(file)) as source:
            header = read_header(source, part10.transfer_syntax_uid, plan.wanted)
        way = (facts, part10.transfer_syntax_uid, part10.sop_class_uid, received)
        decision = plan.decide(header, *way)
        copies = {chain: _copy(book, file, facts, received, chain) for chain in dict.fromkeys(decision.chains) if chain}
    except HeaderError as error:
        raise UsageError(f"{path}: {error}; the gateway would quarantine it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    rules = plan.explain(header, *way, show_values=True)
    return Explained(file, facts, decision, plan.priority(decision), plan.groups(decision), rules, copies)


def _copy(book: Rulebook, file: FileToSend, facts: AssociationFacts, received: Received, chain: str) -> Changed:
    """What a chain of transforms changes, or why it cannot."""
    part10 = file.part10
    uids = (part10.sop_class_uid, part10.sop_instance_uid, part10.transfer_syntax_uid)
    origin = Origin(facts, *uids, received if isinstance(received, int) else now_ms(), received)
    try:
        with closing(FileData(file)) as source:
            return changes(book.chain(chain) or (), source, origin, IMPLEMENTATION_VERSION_NAME)
    except TransformError as error:
        return str(error)


def verdict(item: Explanation) -> str:
    """How a rule met the file."""
    if not item.tried:
        return "not tried"
    return "matches" if item.matched else "does not match"


def sentence(explained: Explained) -> str:
    """What becomes of the file."""
    decision, groups = explained.decision, explained.groups
    if decision.discard is not None:
        return f"discarded: {decision.discard}"
    if decision.hold is not None:
        return f"held: {decision.hold}"
    sent = []
    for name, chain in sent_as(decision):
        how = [f"by the group {groups[name]}"] if name in groups else []
        how += [f"through {chain}"] if chain else []
        sent.append(f"{name} ({', '.join(how)})" if how else name)
    return f"goes to: {', '.join(sent)}"


def sent_as(decision: Decision) -> list[tuple[str, str]]:
    """Each destination with the chain whose copy it gets."""
    return [(name, decision.chain_of(index)) for index, name in enumerate(decision.destinations)]


def known_as(uid: str) -> str:
    """A UID with the name that PS3.6 gives it."""
    names = uid_names(uid)
    return f"{names[2]} ({uid})" if len(names) > 1 else uid


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
