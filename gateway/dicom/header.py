"""Reads what routing needs from a data set, without its pixel data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import HeaderError
from gateway.model import StudyFacts

Path = tuple[int, ...]  # (tag,) at the top level, or (sequence tag, tag) one level down


class ByteSource(Protocol):
    """Random access to a data set's bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`; fewer only where the data set ends."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The paths whose values a header keeps."""

    paths: frozenset[Path]

    @classmethod
    def of(cls, paths: Iterable[Path] = ()) -> Wanted:
        """The given paths and those that are always kept."""
        return cls(frozenset(paths))


class Header:
    """The kept values of one data set."""

    @classmethod
    def of(cls, values: Mapping[Path, tuple[str, ...]]) -> Header:
        """A header made from text."""
        raise HeaderError("not built yet")

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID, "" when absent."""
        return self.text(0x00080016)

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID, "" when absent."""
        return self.text(0x00080018)

    def get(self, path: Path) -> tuple[str, ...] | None:
        """The values: None absent, () present and empty."""
        raise HeaderError("not built yet")

    def text(self, tag: int) -> str:
        """A top-level attribute's values joined by backslashes, "" when absent or empty."""
        return "\\".join(self.get((tag,)) or ())


def read_header(source: ByteSource, transfer_syntax_uid: str, wanted: Wanted) -> Header:
    """Read a data set's header. :raises HeaderError: it cannot be read."""
    raise HeaderError("not built yet")


def study_facts(header: Header) -> StudyFacts:
    """The attributes people search by."""
    return StudyFacts(patient_id=header.text(0x00100020))
