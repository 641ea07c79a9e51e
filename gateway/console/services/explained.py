"""What a set of rules does with a DICOM file, rule by rule, and what each copy has differently.

The command (`gateway rules explain`) does it in its own process. The console has it done by a child that is limited
(`gateway.console.services.trial`), which tells what it found as JSON: `to_document` and `from_document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.console.services.changes import Change, changes
from gateway.dicom.header import read_header
from gateway.dicom.negotiation import IMPLEMENTATION_VERSION_NAME
from gateway.dicom.part10 import Part10
from gateway.errors import HeaderError, TransformError, UsageError
from gateway.flow.scu import FileToSend, look_at
from gateway.model import AssociationFacts, Decision
from gateway.rules.plan import Explanation
from gateway.rules.subject import Received, uid_names
from gateway.transform import Origin, Rulebook

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
    copies: Mapping[str, Changed]  # by chain


class FileData:
    """The data set of a Part 10 file, as a `ByteSource`. :raises OSError: no reading it."""

    def __init__(self, file: FileToSend) -> None:
        self._handle = file.path.open("rb")
        self._offset = file.part10.offset

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteSource`."""
        self._handle.seek(self._offset + offset)
        return self._handle.read(length)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def explain_file(
    book: Rulebook,
    path: Path,
    facts: AssociationFacts,
    received: Received,
    now_ms: int,
    name: str = "",
    folder: Path | None = None,
) -> Explained:
    """Decide about a file as if it came so. Copies are on the disk of `folder` for the while.

    :raises UsageError: it cannot be read; it is called `name` there.
    """
    plan = book.plan
    try:
        file = look_at(path)
        part10 = file.part10
        with closing(FileData(file)) as source:
            header = read_header(source, part10.transfer_syntax_uid, plan.wanted)
        way = (facts, part10.transfer_syntax_uid, part10.sop_class_uid, received)
        decision = plan.decide(header, *way)
        copies = {
            chain: _copy(book, file, facts, received, now_ms, chain, folder)
            for chain in dict.fromkeys(decision.chains)
            if chain
        }
    except HeaderError as error:
        raise UsageError(f"{name or path}: {error}; the gateway would quarantine it") from None
    except OSError as error:
        raise UsageError(f"{name or path}: cannot be read: {error.strerror}") from None
    rules = plan.explain(header, *way, show_values=True)
    return Explained(file, facts, decision, plan.priority(decision), plan.groups(decision), rules, copies)


def _copy(
    book: Rulebook,
    file: FileToSend,
    facts: AssociationFacts,
    received: Received,
    now_ms: int,
    chain: str,
    folder: Path | None,
) -> Changed:
    """What a chain of transforms changes, or why it cannot."""
    part10 = file.part10
    uids = (part10.sop_class_uid, part10.sop_instance_uid, part10.transfer_syntax_uid)
    origin = Origin(facts, *uids, received if isinstance(received, int) else now_ms, received)
    try:
        with closing(FileData(file)) as source:
            return changes(book.chain(chain) or (), source, origin, IMPLEMENTATION_VERSION_NAME, folder)
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


def to_document(explained: Explained) -> dict[str, Any]:
    """All of it as JSON can hold it, but for the file's path."""
    part10, decision = explained.file.part10, explained.decision
    return {
        "part10": [part10.sop_class_uid, part10.sop_instance_uid, part10.transfer_syntax_uid, part10.offset],
        "size_bytes": explained.file.size_bytes,
        "facts": list(explained.facts),
        "decision": {
            "revision": decision.revision,
            "tried": decision.tried,
            "matched": decision.matched,
            "destinations": decision.destinations,
            "hold": decision.hold,
            "discard": decision.discard,
            "chains": decision.chains,
        },
        "priority": explained.priority,
        "groups": dict(explained.groups),
        "rules": [[item.rule, item.tried, item.matched, item.failing] for item in explained.rules],
        "copies": dict(explained.copies),
    }


def from_document(document: Mapping[str, Any], name: str) -> Explained:
    """What `to_document` gave. :raises KeyError, TypeError, ValueError: it is something else."""
    decided = document["decision"]
    return Explained(
        file=FileToSend(Path(name), Part10(*document["part10"]), int(document["size_bytes"])),
        facts=AssociationFacts(*document["facts"]),
        decision=Decision(
            revision=str(decided["revision"]),
            tried=int(decided["tried"]),
            matched=tuple(map(str, decided["matched"])),
            destinations=tuple(map(str, decided["destinations"])),
            hold=None if decided["hold"] is None else str(decided["hold"]),
            discard=None if decided["discard"] is None else str(decided["discard"]),
            chains=tuple(map(str, decided["chains"])),
        ),
        priority=int(document["priority"]),
        groups=dict(document["groups"]),
        rules=[Explanation(*item) for item in document["rules"]],
        copies={
            chain: changed if isinstance(changed, str) else [(str(a), str(b), str(c)) for a, b, c in changed]
            for chain, changed in document["copies"].items()
        },
    )
