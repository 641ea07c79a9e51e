"""Whether the files of a trail are as they were written: the first record that is not, where it is, and what is wrong.

What cannot be seen from the files alone: that records were cut off at the end. For that there is a `known` head, which
the ledger keeps of each home. And without a key, that somebody has made the whole chain anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.chain import FIRST, TORN, Head, Record, Torn, begins_behind, explains, fault_of, read_line
from gateway.audit.files import lines_of
from gateway.audit.trail import BROKEN
from gateway.errors import TrailError


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong. `line` 0: it is about the files as a whole."""

    file: str
    line: int
    seq: int
    text: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}: record {self.seq}" if self.line else self.file
        return f"{where} {self.text}"


@dataclass(slots=True)
class Verdict:
    """What was found. `notes` are no faults: what a power cut left, where the files begin, what is keyed."""

    records: int = 0
    first_seq: int = 0
    last: Head = field(default_factory=Head)
    keyed: int = 0
    fault: Fault | None = None
    notes: list[str] = field(default_factory=list)


def verify(paths: Sequence[Path], key: bytes = b"", known: Head | None = None) -> Verdict:
    """Look at every record of the files, in this order, up to the first that is wrong.

    :param key: of the chain. Without it keyed records are only held to their neighbours.
    :param known: a record that has to be there. :raises TrailError: a file cannot be read.
    """
    verdict = Verdict()
    for number, path in enumerate(paths):
        try:
            _verify_file(path, number == len(paths) - 1, key, known, verdict)
        except OSError as error:
            raise TrailError(f"{path}: cannot be read: {error.strerror}") from error
        if verdict.fault is not None:
            return verdict
    _look_at_the_whole(paths, key, known, verdict)
    return verdict


def _verify_file(path: Path, is_last: bool, key: bytes, known: Head | None, verdict: Verdict) -> None:
    torn, torn_at = Torn(), 0
    for line in lines_of(path):
        record = read_line(line.raw)
        if record is None:
            torn_at = torn_at if torn else line.number
            torn.add(line.raw)
            continue
        text = _fault_of(record, torn, key, known, verdict)
        if text:
            at = torn_at if torn and not explains(record, torn) else line.number
            verdict.fault = Fault(path.name, at, record.seq, text)
            return
        if torn:
            verdict.notes.append(
                f"{path.name}, line {torn_at}: {torn.length} bytes that were cut off, as record {record.seq} says"
            )
        torn = Torn()
        _count(verdict, record)
    if torn and not is_last:
        verdict.fault = Fault(path.name, torn_at, verdict.last.seq + 1, "is no record")
    elif torn:
        verdict.notes.append(
            f"{path.name}, line {torn_at}: {torn.length} bytes that are no whole record; the next start says so"
        )


def _fault_of(record: Record, torn: Torn, key: bytes, known: Head | None, verdict: Verdict) -> str:
    if torn and not explains(record, torn):
        return "is no record, or a part of one"
    if record.kind == TORN and not torn:
        return "speaks of something cut off that is not there"
    before = verdict.last if verdict.records else None
    if before is None and record.seq == 1 and record.prev != FIRST:
        return "is the first, and says that there was one before it"
    if before is None and known is not None and (text := begins_behind(record, known)):
        return text
    if text := fault_of(record, before, key):
        return text
    if key and verdict.keyed and not record.is_keyed:
        return "is not keyed, though those before it are"
    if record.kind == BROKEN:
        return f"says that the chain was found broken: {record.fields.get('text', '')}"
    if known is not None and record.seq == known.seq and record.digest != known.hash:
        return "is another than the ledger knows of: the trail was made anew"
    return ""


def _count(verdict: Verdict, record: Record) -> None:
    if not verdict.records:
        verdict.first_seq = record.seq
        if record.seq > 1:
            verdict.notes.append(f"begins at record {record.seq}: what was before it is elsewhere")
    verdict.records += 1
    verdict.keyed += record.is_keyed
    verdict.last = Head(record.seq, record.digest)


def _look_at_the_whole(paths: Sequence[Path], key: bytes, known: Head | None, verdict: Verdict) -> None:
    last = paths[-1].name if paths else "the trail"
    if known is not None and verdict.last.seq < known.seq:
        missing = known.seq - verdict.last.seq
        text = f"ends at record {verdict.last.seq}: {missing} more, up to {known.seq}, were written and are not there"
        verdict.fault = Fault(last, 0, verdict.last.seq + 1, text)
    elif key and verdict.records and not verdict.keyed:
        verdict.fault = Fault(last, 0, verdict.last.seq, "has no keyed record, though there is a key")
    elif verdict.keyed and not key:
        verdict.notes.append(f"{verdict.keyed} records are keyed: without the key only their order was looked at")
    elif verdict.keyed and verdict.keyed < verdict.records:
        verdict.notes.append(f"the first {verdict.records - verdict.keyed} records are not keyed")
