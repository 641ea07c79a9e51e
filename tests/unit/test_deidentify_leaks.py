"""Nothing that may tell of a patient comes through: a canary in every place, under every choice of options.

What must come out is worked out here, from the file of Table E.1-1, and not by what the engine asks.
"""

from __future__ import annotations

import csv
import random
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pytest

from gateway.transform.deidentify.profile import Profile
from gateway.transform.deidentify.table import PLAIN, Option, Row, rows
from gateway.transform.tree import LONG_VRS
from tests.unit.canaries import (
    CT_IMAGE,
    SHIFT_DAYS,
    Aviary,
    Canary,
    Encoding,
    Fate,
    Leaf,
    Mark,
    Node,
    Sequence,
    Verdicts,
    found_in,
    never,
    of_row,
    vr_of,
    written,
)
from tests.unit.deidentify_kit import (
    ALL,
    FULL_DATES,
    MODIFIED_DATES,
    deidentified,
    profile,
    step_of,
)
from tests.unit.samples import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from tests.unit.transform_kit import run_all, transform

EXPLICIT_VR = Encoding(EXPLICIT)
CLEANING = frozenset({Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_GRAPHICS})
GRAPHICS = {"CurveData", "OverlayData", "OverlayComments", "ContentSequence"}  # planted in groups of their own
KINDS_OF_OPTIONS = [frozenset(), *(frozenset({option}) for option in Option), ALL, frozenset(Option) - {MODIFIED_DATES}]
SITE = tuple(("SITE 1", 0x00290000 | number) for number in (0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E))


# ── what must come out ────────────────────────────────────────────────────────────────────────────────────────


@cache
def lines() -> dict[str, dict[str, str]]:
    """The file's lines by tag, each with the columns that say something."""
    file = resources.files("gateway.transform.deidentify") / "data" / "confidentiality.csv"
    found = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return {line["tag"]: {column: text for column, text in line.items() if text} for line in found}


@cache
def line_of(tag: int, mask: int) -> dict[str, str]:
    (row,) = (row for row in rows() if (row.tag, row.mask) == (tag, mask))
    return lines()[row.number.strip("()").replace(",", "")]


def code_of(row: Row, options: Collection[str]) -> str:
    """The code of a row: an option's, the one that cleans before the one that keeps; or the Basic Profile's."""
    line = line_of(row.tag, row.mask)
    codes = {line[option] for option in options if option in line}
    return "C" if "C" in codes else "K" if "K" in codes else line["basic"]


def verdicts_of(options: Collection[Option], *, tells_vrs: bool = True) -> Verdicts:
    return Verdicts(options, lambda row: code_of(row, options), tells_vrs=tells_vrs)


def asked(options: Collection[Option]) -> Profile:
    return profile(options, shift_days=(SHIFT_DAYS, SHIFT_DAYS), safe_private=SITE)


def assert_right(planted: Planted, options: Collection[Option]) -> bytes:
    """De-identify, and look for every canary: those that must be there, and no others."""
    encoding = planted.encoding
    output, _ = deidentified(planted.data, asked(options), encoding.transfer_syntax_uid)
    if encoding.transfer_syntax_uid == DEFLATED:
        output = zlib.decompress(output, wbits=-zlib.MAX_WBITS)
    verdicts = verdicts_of(options, tells_vrs=encoding.tells_vrs)
    found = found_in(output)
    must: set[Mark] = set()
    may: set[Mark] = set()
    for canary in planted.canaries:
        kinds = canary.fate(verdicts)
        if kinds is None:
            may |= canary.marks()
        else:
            must.update((kind, canary.number) for kind in kinds)
    leaks, missing = found - must - may, must - found
    if leaks or missing:
        assert (planted.named(leaks), planted.named(missing)) == ([], []), sorted(options)
    assert not [each for each in (b"C\0N\0R\0Y", b"\0C\0N\0R\0Y") if each in output]
    return output


# ── what is planted ───────────────────────────────────────────────────────────────────────────────────────────


def every_row(aviary: Aviary) -> list[Node]:
    """Every attribute of the table, at the top level and three sequences deep."""
    top = [
        aviary.row(row) for row in rows() if row.tag >> 16 and row.tag >> 24 != 0x60 and row.name != "ContentSequence"
    ]
    plain = [row for row in rows() if vr_of(row) != "SQ" and row.mask == PLAIN]
    inner = [aviary.leaf(row.tag, vr_of(row), of_row(row, vr_of(row)), row.name) for row in plain]
    return [*top, Sequence(0x00081115, [[Sequence(0x00081115, [[Sequence(0x00081115, [inner])]])]])]


def private(aviary: Aviary) -> list[Node]:
    """Blocks of private attributes: of nobody, of a safe creator, of the site's; a creator that is a canary."""
    safe: Fate = lambda verdicts: ("text",) if "retain-safe-private" in verdicts.options else ()  # noqa: E731
    in_safe_sequence: list[Node] = [
        aviary.leaf(0x00181160, "LO", safe, "in a safe sequence"),
        aviary.leaf(0x00100010, "PN", never, "in a safe sequence"),
        aviary.leaf(0x00181000, "LO", device, "in a safe sequence"),
    ]
    return [
        aviary.leaf(0x00090010, "LO", never, "creator"),
        aviary.leaf(0x00091001, "LO", never, "of an unknown creator"),
        Sequence(0x00091002, [[aviary.leaf(0x00181160, "LO", never, "in a private sequence")]]),
        aviary.leaf(0x00091101, "UN", never, "of no creator"),
        aviary.leaf(0x000900FF, "LO", never, "a creator of nothing"),
        aviary.leaf(0x00190010, "LO", never, "the first of two creators"),
        Leaf(0x00190010, "LO", b"GEMS_ACQU_01"),
        aviary.leaf(0x00191002, "LO", never, "beside the safe"),
        aviary.leaf(0x00191024, "UN", never, "safe, but no number as its creator says"),
        aviary.leaf(0x0019109E, "LO", safe, "safe"),
        Leaf(0x00290011, "LO", b"SITE 1"),
        aviary.leaf(0x00291108, "LO", safe, "safe on this site"),
        Sequence(0x00291109, [in_safe_sequence]),
        aviary.leaf(0x0029110A, "LO", never, "beside the site's"),
        aviary.leaf(0x0029110B, "UN", safe, "safe, of VR UN"),
        aviary.leaf(0x0029110C, "DA", safe_date, "a safe date"),
        aviary.leaf(0x0029110D, "UI", safe_uid, "a safe UID"),
        aviary.leaf(0x0029110E, "PN", safe_name, "a safe name"),
        aviary.leaf(0x00010011, "LO", never, "of an odd group below 0008"),
        aviary.leaf(0xFFFF0011, "LO", never, "of the last group"),
    ]


def safe_date(verdicts: Verdicts) -> Collection[str]:
    return ("date",) if {"retain-safe-private", FULL_DATES} <= verdicts.options else ()


def safe_uid(verdicts: Verdicts) -> Collection[str]:
    return ("uid",) if {"retain-safe-private", "retain-uids"} <= verdicts.options else ()


def safe_name(verdicts: Verdicts) -> Collection[str] | None:
    """Nobody sees that it is one where there are no VRs."""
    return () if verdicts.tells_vrs or "retain-safe-private" not in verdicts.options else None


def device(verdicts: Verdicts) -> Collection[str]:
    return ("text",) if {"retain-safe-private", "retain-device-identity"} <= verdicts.options else ()


def region(verdicts: Verdicts) -> Collection[str]:
    return ("text",) if "clean-graphics" in verdicts.options else ()


def graphics(aviary: Aviary) -> list[Node]:
    """Overlays, one a drawing and one a region of interest, and a curve."""
    found: list[Node] = []
    for group, kind, fate in ((0x60000000, b"G ", never), (0x60020000, b"R ", region)):
        found += [
            Leaf(group | 0x10, "US", b"\1\0"),
            Leaf(group | 0x11, "US", b"\1\0"),
            Leaf(group | 0x40, "CS", kind),
            Leaf(group | 0x100, "US", b"\1\0"),
            aviary.leaf(group | 0x3000, "OW", fate, "overlay data"),
        ]
        texts = ((0x22, "LO"), (0x45, "LO"), (0x1500, "LO"), (0x4000, "LT"))
        found += [aviary.leaf(group | number, vr, never, "overlay text") for number, vr in texts]
    return [*found, *(aviary.leaf(0x50040000 | number, vr, never, "curve") for number, vr in CURVE)]


CURVE = ((0x0022, "LO"), (0x0030, "SH"), (0x2500, "LO"), (0x3000, "OW"))


def odds(aviary: Aviary) -> list[Node]:
    """What has no business where it stands."""
    return [
        aviary.leaf(0x00020016, "AE", never, "file meta"),
        aviary.leaf(0x00020102, "OB", never, "file meta"),
        aviary.leaf(0x00041130, "CS", never, "directory"),
        aviary.leaf(0x00041500, "CS", never, "directory"),
        aviary.leaf(0x00060010, "LO", never, "group 0006"),
        aviary.leaf(0x00080000, "UL", never, "group length"),
        aviary.leaf(0x00089FFE, "LO", never, "unknown"),
        aviary.leaf(0x00089FFD, "UI", never, "unknown"),
        aviary.leaf(0x00089FFC, "PN", never, "unknown"),
        Sequence(0x00089FFB, [[aviary.leaf(0x00100010, "PN", never, "in an unknown sequence")]]),
        Sequence(0x00081115, [[aviary.leaf(0x00000600, "AE", never, "command"), *command(aviary)]]),
    ]


def liars(aviary: Aviary) -> list[Node]:
    """Attributes of another VR than their own; only explicit VR can lie."""
    items = Sequence(0, [[aviary.leaf(0x00100010, "PN", never, "in what is no sequence")]]).write(Encoding())[12:]

    return [
        aviary.leaf(0x0040A067, "LO", never, "a name of another VR"),
        aviary.leaf(0x0070031B, "LO", never, "a UID of another VR"),
        aviary.leaf(0x00141020, "LO", never, "a date of another VR"),
        aviary.leaf(0x0008103F, "DA", never, "a text of another VR"),
        Leaf(0x00081199, "OB", items),
        Leaf(0x00089092, "UT", items),
        aviary.leaf(0x00089121, "LO", never, "a sequence without items"),
    ]


def command(aviary: Aviary) -> list[Node]:
    return [aviary.row(row) for row in rows() if row.tag >> 16 == 0]


def content(aviary: Aviary) -> list[Node]:
    """A tree of structured content with every type of value."""
    cleaned: Fate = lambda verdicts: None if "clean-structured-content" in verdicts.options else ()  # noqa: E731

    def dates(verdicts: Verdicts) -> Collection[str] | None:
        return None if FULL_DATES in verdicts.options or MODIFIED_DATES in verdicts.options else ()

    def uids(verdicts: Verdicts) -> Collection[str] | None:
        return None if "retain-uids" in verdicts.options else ()

    def code(tag: int) -> Sequence:
        values = ((0x00080100, "SH"), (0x00080102, "SH"), (0x00080104, "LO"), (0x00080119, "UC"), (0x00080120, "UR"))
        return Sequence(tag, [[aviary.leaf(each, vr, never, "code") for each, vr in values]])

    def item(kind: str, *nodes: Node) -> list[Node]:
        value_type = kind.encode() + b" " * (len(kind) % 2)
        return [Leaf(0x0040A010, "CS", b"CONTAINS"), Leaf(0x0040A040, "CS", value_type), code(0x0040A043), *nodes]

    def reference(tag: int) -> Sequence:
        return Sequence(tag, [[Leaf(0x00081150, "UI", CT_IMAGE.encode() + b"\0"), aviary.leaf(0x00081155, "UI", uids)]])

    measured = [aviary.leaf(0x0040A30A, "DS", cleaned, "number"), code(0x004008EA)]
    return [
        item("TEXT", aviary.leaf(0x0040A160, "UT", never, "text")),
        item("PNAME", aviary.leaf(0x0040A123, "PN", never, "name")),
        item("DATE", aviary.leaf(0x0040A121, "DA", dates)),
        item("TIME", aviary.leaf(0x0040A122, "TM", dates)),
        item("DATETIME", aviary.leaf(0x0040A120, "DT", dates)),
        item("UIDREF", aviary.leaf(0x0040A124, "UI", never, "UID")),
        item("CODE", code(0x0040A168)),
        item("NUM", Sequence(0x0040A300, [measured])),
        item("IMAGE", reference(0x00081199)),
        item("SCOORD", aviary.leaf(0x00700022, "FL", cleaned, "graphic"), Leaf(0x00700023, "CS", b"POINT ")),
    ]  # type: ignore[return-value]


def report(aviary: Aviary) -> Sequence:
    """Content three containers deep, and once more beside it."""
    tree = content(aviary)
    for _ in range(3):
        tree = [[Leaf(0x0040A040, "CS", b"CONTAINER "), Sequence(0x0040A730, tree)], *content(aviary)]
    return Sequence(0x0040A730, tree)


@dataclass(frozen=True)
class Planted:
    """A data set and its canaries."""

    encoding: Encoding
    data: bytes
    canaries: list[Canary]

    def named(self, marks: Collection[Mark]) -> list[str]:
        """What marks are those of."""
        by_mark = {mark: canary for canary in self.canaries for mark in canary.marks()}
        found = [(mark[0], by_mark.get(mark)) for mark in marks]
        return sorted(f"{kind} {each.tag:08x} {each.note}" if each else f"{kind} of nobody" for kind, each in found)


def planted(encoding: Encoding = EXPLICIT_VR, character_set: bytes = b"ISO_IR 192", prefix: bytes = b"") -> Planted:
    """A canary in every place, and zeros behind the last element."""
    aviary = Aviary(prefix)
    nodes = [Leaf(0x00080005, "CS", character_set + b" " * (len(character_set) % 2)), *every_row(aviary)]
    nodes += [Leaf(0x00080016, "UI", CT_IMAGE.encode() + b"\0"), report(aviary), *private(aviary), *graphics(aviary)]
    nodes += odds(aviary) + ([] if encoding.is_implicit else liars(aviary))
    data = written(nodes, encoding) + bytes(10)
    if encoding.transfer_syntax_uid == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    return Planted(encoding, data, aviary.canaries)


# ── tests ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_attribute_of_the_table_is_planted() -> None:
    notes = {canary.note for canary in planted().canaries}
    assert not {row.name for row in rows()} - notes - {note.removeprefix("in ") for note in notes} - GRAPHICS


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(of_undefined_length=True),
        Encoding(IMPLICIT),
        Encoding(IMPLICIT, of_undefined_length=True),
        Encoding(BIG_ENDIAN),
        Encoding(BIG_ENDIAN, of_undefined_length=True),
        Encoding(DEFLATED),
        Encoding(is_unknown=lambda tag: tag != 0x00080005),
    ],
    ids=["undefined", "implicit", "implicit-undefined", "big", "big-undefined", "deflated", "unknown"],
)
def test_no_canary_is_found_however_it_is_encoded(encoding: Encoding) -> None:
    everything = planted(encoding)
    for options in KINDS_OF_OPTIONS:
        assert_right(everything, options)


@pytest.mark.parametrize(
    ("character_set", "codec", "prefix"),
    [
        ("ISO_IR 100", "latin-1", "Ärztin".encode("latin-1")),
        ("\\ISO 2022 IR 87", "iso2022_jp", b"\x1b$B;3ED\x1b(B"),
        ("ISO_IR 192", "utf-8", "山田".encode()),
        ("ISO_IR 192", "utf-8", b"\xff\xfe"),
        ("", "ascii", "Ärztin".encode("latin-1")),
        ("ISO_IR 999", "ascii", b"?"),
    ],
    ids=["latin", "japanese", "utf-8", "not-utf-8", "undeclared", "unheard-of"],
)
def test_no_canary_is_found_in_any_character_set(character_set: str, codec: str, prefix: bytes) -> None:
    everything = planted(EXPLICIT_VR, character_set.encode(), prefix)
    for options in KINDS_OF_OPTIONS:
        output = assert_right(everything, options)
        if not options:
            text = prefix.decode(codec, "replace").strip("\ufffd?")
            forms = {text.encode(form, "ignore") for form in ("utf-8", "utf-16-le", "utf-16-be", codec)} - {b""}
            assert not [form for form in (prefix if len(prefix) > 2 else b"\0CNRY", *forms) if form in output]


@pytest.mark.parametrize("options", [frozenset(), CLEANING], ids=["basic", "cleaning"])
@pytest.mark.parametrize("seed", range(12))
def test_no_canary_is_found_whatever_vr_is_written(seed: int, options: frozenset[Option]) -> None:
    """Nothing is kept here that the table names: whatever is found is text that a lie has brought through."""
    source = random.Random(seed)
    vrs = sorted(LONG_VRS | {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL"})

    def lie(tag: int, vr: str) -> str:
        if tag in TRUE or source.random() < 0.5:
            return vr
        return source.choice(sorted(LONG_VRS)) if vr == "SQ" else source.choice(vrs)

    everything = planted(Encoding(lie=lie))
    verdicts = verdicts_of(options)
    numbers = {canary.number for canary in everything.canaries if canary.fate(verdicts) == ()}
    output, _ = deidentified(everything.data, asked(options))
    assert everything.named([mark for mark in found_in(output) if mark[1] in numbers]) == []


TRUE = {0x00080005, 0x00080016, 0x00080018, 0x00100020, 0x0020000D}  # what must be understood, or the object is held


def test_no_canary_is_found_where_the_copy_gets_another_transfer_syntax() -> None:
    everything = planted()
    transcode = transform("- transcode: implicit-vr-little-endian")
    for chain in ([step_of(profile()), transcode], [transcode, step_of(profile())]):
        output, _ = run_all(everything.data, chain)
        assert found_in(output) == set()
