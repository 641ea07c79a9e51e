"""Whether a trail still has a record that is known to have been written: what the chain cannot show by itself is that
its end was cut off, or that all of it was made anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.audit.chain import Head, Record, begins_behind, read_line
from gateway.audit.files import first_seq_of, lines_of


def fault_of_known(paths: Sequence[Path], end: Head, known: Head) -> str:
    """What is wrong with files that end in `end`, where `known` was written; "" if nothing is. :raises OSError."""
    if end.seq < known.seq:
        return f"the files end at record {end.seq}: {known.seq - end.seq} more, up to {known.seq}, were written"
    if not known.seq or end == known:
        return ""
    earlier = [path for path in paths if first_seq_of(path) <= known.seq]
    if not earlier:
        first = _record(paths[:1])
        text = "" if first is None else begins_behind(first, known)
        return text and f"record {first.seq if first else 0} {text}"
    found = _record([*reversed(earlier)], known.seq)
    if found is None:
        return f"record {known.seq}, which was written, is not there"
    return "" if found.digest == known.hash else f"record {known.seq} is another than was written"


def _record(paths: Sequence[Path], seq: int = 0) -> Record | None:
    """The record with a number (0: any), where there is one: the first in these files."""
    for path in paths:
        for line in lines_of(path):
            record = read_line(line.raw)
            if record is not None and seq in (0, record.seq):
                return record
    return None
