"""The trail's files: `trail-<number of the first record>.jsonl`, in the order of their names, 0600."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.audit.chain import LINE_MAX

PREFIX, SUFFIX = "trail-", ".jsonl"


class Line(NamedTuple):
    """A line of a file, with its end as far as it has one: where it begins, and its number from 1."""

    offset: int
    number: int
    raw: bytes


def name_of(first_seq: int) -> str:
    """What the file is called that begins with this record."""
    return f"{PREFIX}{first_seq:012d}{SUFFIX}"


def first_seq_of(path: Path) -> int:
    """The number of the first record, by the name; 0 where the name says none."""
    digits = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def files_in(folder: Path) -> list[Path]:
    """The files of a trail, in order."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"), key=lambda path: (first_seq_of(path), path.name))


def lines_of(path: Path, offset: int = 0) -> Iterator[Line]:
    """The lines from a place on; numbers count from 1 there. The last may have no end: it is torn, or being written,
    and what is written meanwhile is not read as another line."""
    with path.open("rb") as file:
        file.seek(offset)
        number = 0
        while raw := file.readline(LINE_MAX):
            number += 1
            yield Line(offset, number, raw)
            offset += len(raw)
            if not raw.endswith(b"\n") and len(raw) < LINE_MAX:
                return
