"""Data sets with a canary in every place that may tell of a patient: text, a UID, a date, a number that is there once.

Each canary has a number of its own. `found_in` reads the numbers back out of any bytes, so that a test says which
attributes came through, and which had no business to.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from gateway.transform.deidentify.table import PLAIN, Row, rows
from gateway.transform.names import standard_vr
from gateway.transform.tree import LONG_VRS
from gateway.transform.values import TEXT
from tests.unit.samples import BIG_ENDIAN, EXPLICIT, IMPLICIT

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
UID_ROOT = "1.2.826.0.1.3680043.9999."
FIRST_DAY = date(1700, 1, 1)  # canaries lie in the 18th century; moved by `SHIFT_DAYS`, before it
SHIFT_DAYS = 20_000

_TEXT = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_MARKS = {
    "text": rb"CNRY(\d{5})",
    "uid": re.escape(UID_ROOT.encode()) + rb"(\d+)",
    "date": rb"(?<![\d.])(17[0-3]\d{5})",
    "time": rb"123456\.(\d{6})",
    "age": rb"(?<![0-9A-Z])(\d{3})W(?![0-9A-Z])",
    "decimal": rb"77\.(\d{5})",
    "integer": rb"(?<![\d.])770(\d{5})",
}
_FINDERS = {kind: re.compile(mark) for kind, mark in _MARKS.items()}
Mark = tuple[str, int]


def found_in(data: bytes) -> set[Mark]:
    """The kind and number of every canary in some bytes."""
    return {
        (kind, _day(match) if kind == "date" else int(match))
        for kind, finder in _FINDERS.items()
        for match in finder.findall(data)
    }


def _day(match: bytes) -> int:
    try:
        return (date.fromisoformat(match.decode()) - FIRST_DAY).days
    except ValueError:
        return -1


@dataclass(frozen=True)
class Encoding:
    """How a data set is written."""

    transfer_syntax_uid: str = EXPLICIT
    of_undefined_length: bool = False
    is_unknown: Callable[[int], bool] = lambda tag: False  # which known attributes come as UN
    lie: Callable[[int, str], str] = lambda tag, vr: vr  # the VR that is written in place of the true one

    @property
    def order(self) -> str:
        return ">" if self.transfer_syntax_uid == BIG_ENDIAN else "<"

    @property
    def is_implicit(self) -> bool:
        return self.transfer_syntax_uid == IMPLICIT

    @property
    def tells_vrs(self) -> bool:
        """Whether the VR of an attribute that no dictionary has can be seen."""
        return not self.is_implicit and not self.is_unknown(0xFFFFFFFF)


@dataclass
class Leaf:
    """An attribute with a value of bytes."""

    tag: int
    vr: str
    value: bytes

    def write(self, encoding: Encoding) -> bytes:
        return _element(encoding, self.tag, self.vr, self.value)


@dataclass
class Sequence:
    """A sequence and its items."""

    tag: int
    items: list[list[Node]] = field(default_factory=list)

    def write(self, encoding: Encoding) -> bytes:
        content = b"".join(_item(encoding, written(each, encoding)) for each in self.items)
        if not encoding.of_undefined_length:
            return _element(encoding, self.tag, "SQ", content)
        head = _element(encoding, self.tag, "SQ", b"")[:-4] + b"\xff\xff\xff\xff"
        return head + content + struct.pack(encoding.order + "HHI", 0xFFFE, 0xE0DD, 0)


Node = Leaf | Sequence


def written(nodes: Iterable[Node], encoding: Encoding) -> bytes:
    """A data set or the content of an item, in the order of its tags."""
    return b"".join(node.write(encoding) for node in sorted(nodes, key=lambda node: node.tag))


def _element(encoding: Encoding, tag: int, vr: str, value: bytes) -> bytes:
    order = encoding.order
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if encoding.is_implicit:
        return head + struct.pack(order + "I", len(value)) + value
    if vr != "SQ" and encoding.is_unknown(tag):
        vr = "UN"
    vr = encoding.lie(tag, vr)
    if vr in LONG_VRS:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def _item(encoding: Encoding, content: bytes) -> bytes:
    order = encoding.order
    if not encoding.of_undefined_length:
        return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(content)) + content
    end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + content + end


@dataclass(frozen=True)
class Canary:
    """One canary: where it stands, and who must let it through (`fate`)."""

    number: int
    tag: int
    vr: str
    fate: Fate
    note: str = ""

    def marks(self) -> set[Mark]:
        """All that can be found of it."""
        return {(kind, self.number) for kind in kinds_of(self.vr)}


def kinds_of(vr: str) -> tuple[str, ...]:
    """The kinds of marks that a canary of this VR has."""
    special = {"UI": "uid", "DA": "date", "TM": "time", "AS": "age", "DS": "decimal", "IS": "integer"}
    return ("date", "time") if vr == "DT" else (special.get(vr, "text"),)


def value_of(vr: str, number: int, prefix: bytes = b"") -> bytes:
    """The encoded value of a canary."""
    day = f"{FIRST_DAY + timedelta(days=number):%Y%m%d}".encode()
    text = {
        "UI": f"{UID_ROOT}{number}".encode(),
        "DA": day,
        "TM": f"123456.{number:06d}".encode(),
        "DT": day + f"123456.{number:06d}".encode(),
        "AS": f"{number:03d}W".encode(),
        "DS": f"77.{number:05d}".encode(),
        "IS": f"770{number:05d}".encode(),
    }.get(vr)
    if text is not None:
        return text + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)
    text = prefix + f"CNRY{number:05d}".encode()
    if vr in _TEXT:
        return text + b" " * (len(text) % 2)
    return text + bytes(-len(text) % 8)


Fate = Callable[["Verdicts"], Collection[str] | None]
"""From what a set of options does to the kinds of marks that must be found; None: of no concern."""


class Verdicts:
    """What a set of options does with the rows of the table, said by whoever reads the table: "K", "C" or other."""

    def __init__(self, options: Collection[str], code_of: Callable[[Row], str], *, tells_vrs: bool) -> None:
        self.tells_vrs = tells_vrs
        self.options = frozenset(options)
        self.codes = {(row.tag, row.mask): code_of(row) for row in rows()}

    def of(self, row: Row) -> str:
        return self.codes[(row.tag, row.mask)]


def vr_of(row: Row) -> str:
    """The VR of a row; for what pydicom's dictionary does not have yet, one that fits its name."""
    vr = standard_vr(row.tag) if row.mask == PLAIN else "OW" if row.tag == 0x60003000 else "LT"
    if vr:
        return vr
    return "SQ" if row.name.endswith("Sequence") else "DT" if row.name.endswith("DateTime") else "LO"


class Aviary:
    """Plants canaries and remembers them."""

    def __init__(self, prefix: bytes = b"") -> None:
        self.canaries: list[Canary] = []
        self._prefix = prefix
        self._ages = iter(range(100, 1000))

    def leaf(self, tag: int, vr: str, fate: Fate, note: str = "") -> Leaf:
        """An attribute that is a canary."""
        number = next(self._ages) if vr == "AS" else 1000 + len(self.canaries)
        self.canaries.append(Canary(number, tag, vr, fate, note))
        has_prefix = vr in TEXT and tag != 0x00100020  # what that has must be understood
        prefix = self._prefix if has_prefix else b""
        return Leaf(tag, vr, value_of(vr, number, prefix))

    def row(self, row: Row) -> Node:
        """A row of the table: an attribute, or a sequence full of other things."""
        vr = vr_of(row)
        tag = row.tag if row.mask & 0xFFFF else row.tag | 0x3000
        if vr == "SQ":
            second = self.leaf(0x00181160, "LO", text_within(row), f"in the second item of {row.name}")
            return Sequence(tag, [list(self._inhabitants(row)), [second]])
        return self.leaf(tag, vr, of_row(row, vr), row.name)

    def _inhabitants(self, row: Row) -> Iterator[Node]:
        """What may stand in the items of a row's sequence, and three levels deeper."""
        yield from self._inner(row)
        deep = Sequence(0x00081115, [[Sequence(0x00081115, [list(self._inner(row))])]])
        yield Sequence(0x00081115, [[self.leaf(0x00181160, "LO", text_within(row), f"in {row.name}"), deep]])

    def _inner(self, row: Row) -> Iterator[Node]:
        name = f"in {row.name}"
        for tag, vr in ((0x00080100, "SH"), (0x00080102, "SH"), (0x00080104, "LO"), (0x00181160, "LO")):
            yield self.leaf(tag, vr, text_within(row), name)
        for tag, vr in ((0x00100010, "PN"), (0x00100020, "LO"), (0x0040A067, "PN"), (0x00189FFE, "LO")):
            yield self.leaf(tag, vr, never, name)
        yield self.leaf(0x0070031B, "UI", lambda verdicts: uid_within(verdicts, row), name)
        for tag, vr in ((0x00189087, "FD"), (0x00282000, "OB"), (0x00180091, "IS"), (0x00180080, "DS")):
            yield self.leaf(tag, vr, number_within(row), name)


def never(verdicts: Verdicts) -> Collection[str] | None:
    """No option keeps it."""
    return ()


def of_row(row: Row, vr: str) -> Fate:
    """As the table says: found where it is kept; of a date that is moved the time of day stays."""
    is_unknown = not standard_vr(row.tag)

    def fate(verdicts: Verdicts) -> Collection[str] | None:
        code = verdicts.of(row)
        if code == "K":
            return kinds_of(vr)
        if code == "C" and vr in ("DT", "TM"):
            return () if is_unknown and not verdicts.tells_vrs else ("time",)
        return ()

    return fate


def text_within(row: Row) -> Fate:
    """Text without a row, in a sequence that has one."""
    return lambda verdicts: {"K": ("text",), "X/Z/U*": None}.get(verdicts.of(row), ())


def number_within(row: Row) -> Fate:
    """A number without a row, in a sequence that has one: a dummy has none of it; what is cleaned may have it."""

    def fate(verdicts: Verdicts) -> Collection[str] | None:
        code = verdicts.of(row)
        return () if code not in ("K", "C", "X/Z/U*") else None

    return fate


def uid_within(verdicts: Verdicts, row: Row) -> Collection[str] | None:
    """A UID without a row, in a sequence that has one."""
    if "retain-uids" not in verdicts.options:
        return ()
    if not verdicts.tells_vrs and not standard_vr(row.tag):
        return None  # that it is a sequence can be seen only where its length is not defined
    return ("uid",) if verdicts.of(row) in ("K", "C") else None
