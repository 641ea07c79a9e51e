"""What routing needs to know of a data set: some attributes as text, without the pixel data.

`read_header` walks the whole data set by its lengths (`gateway.dicom.scan`, where the rules of what is read, what is
refused and what cannot be seen are written), keeps the attributes that `Wanted` names and those that every
instance is filed under, and gives a `Header`. Values are decoded when they are asked for, once.

Presence: `get` gives None where an attribute is absent, () where it is present and empty. The attribute of a
sequence's items gives the values of all items, or of the one that the path numbers. Of values longer than 64 KiB the
first 64 KiB count. A private element goes by its number, or by its creator (`gateway.dicom.paths`).

Pure: the bytes come from a `ByteSource`. Workers call, and rules read the result. Exception texts hold no values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.dicom.kept import Kept, Scan
from gateway.dicom.paths import SPECIFIC_CHARACTER_SET, AttributePath, Branch, branch_of
from gateway.dicom.scan import Scanner
from gateway.dicom.text import decode_value
from gateway.dicom.window import ByteSource, Inflated
from gateway.model import StudyFacts

__all__ = ["AttributePath", "ByteSource", "Header", "Wanted", "read_header", "study_facts"]

# PS3.5 A.1; Papyrus 3 (retired) and GE's private syntax are implicit VR too. All that are not named are A.4.
_IMPLICIT = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.20", "1.2.840.113619.5.2"})
_BIG_ENDIAN = frozenset({"1.2.840.10008.1.2.2"})
_DEFLATED = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
_STUDY_FACTS = {
    "patient_id": 0x00100020,
    "patient_name": 0x00100010,
    "issuer_of_patient_id": 0x00100021,
    "accession_number": 0x00080050,
    "study_instance_uid": 0x0020000D,
    "study_date": 0x00080020,
    "study_description": 0x00081030,
    "series_instance_uid": 0x0020000E,
    "series_number": 0x00200011,
    "series_description": 0x0008103E,
    "modality": 0x00080060,
    "instance_number": 0x00200013,
}
_ALWAYS = frozenset((tag,) for tag in (SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, *_STUDY_FACTS.values()))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The attributes whose values a header keeps, besides those of `StudyFacts` and the SOP UIDs.

    What a path is stands in `gateway.dicom.paths`: (tag,) for an attribute of the data set, (sequence tag, tag) for one
    of a sequence's items, and so on inwards.
    """

    paths: frozenset[AttributePath] = frozenset()
    root: Branch = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", branch_of(self.paths | _ALWAYS))

    @classmethod
    def of(cls, paths: Iterable[AttributePath] = ()) -> Wanted:
        """The given paths. :raises ValueError: one of them is too long, or leads to no attribute."""
        return cls(frozenset(paths))


class Header:
    """The kept attributes of one data set, as text. Patient data: never log or print one."""

    __slots__ = ("_character_set", "_scan", "_values")

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._values: dict[AttributePath, tuple[str, ...] | None] = {}
        self._character_set = scan.character_set

    @classmethod
    def of(cls, values: Mapping[AttributePath, tuple[str, ...]]) -> Header:
        """A header made of text, for tests of rules; all other attributes are absent."""
        header = cls(Scan())
        header._values.update(values)
        return header

    def get(self, path: AttributePath) -> tuple[str, ...] | None:
        """The values of an attribute that was wanted: None when absent, () when present and empty."""
        try:
            return self._values[path]
        except KeyError:
            values = self._values[path] = self._decode(path)
            return values

    def text(self, tag: int) -> str:
        """The values of an attribute of the data set, joined by backslashes; "" when absent or empty."""
        return "\\".join(self.get((tag,)) or ())

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID (0008,0016), "" when absent. It may differ from what the command said."""
        return self.text(SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID (0008,0018), "" when absent. It may differ from what the command said."""
        return self.text(SOP_INSTANCE_UID)

    def _decode(self, path: AttributePath) -> tuple[str, ...] | None:
        items = self._scan.items.get(path)
        if items is not None:
            return (f"[{items} items]",) if items else ()
        elements = self._scan.elements.get(path)
        if elements is None:
            return None
        if len(elements) == 1:
            return self._decode_element(elements[0])
        return tuple([value for element in elements for value in self._decode_element(element)])

    def _decode_element(self, element: Kept) -> tuple[str, ...]:
        character_set = element.character_set if element.character_set is not None else self._character_set
        return decode_value(element.vr, element.value, element.big_endian, element.length_bytes, character_set)

    def __repr__(self) -> str:
        return f"<Header of {len(self._scan.elements) or len(self._values)} attributes>"


def read_header(source: ByteSource, transfer_syntax_uid: str, wanted: Wanted) -> Header:
    """Read a data set's header and check that the data set is whole.

    :param source: the data set's bytes, without preamble and file meta information.
    :param transfer_syntax_uid: what it was received in; an unknown one is taken for explicit VR little endian.
    :param wanted: the attributes to keep.
    :raises HeaderError: cut short, garbage, nested too deep or too large; the text holds no value of it.
    """
    scanner = Scanner(
        Inflated(source) if transfer_syntax_uid in _DEFLATED else source,
        implicit=transfer_syntax_uid in _IMPLICIT,
        big_endian=transfer_syntax_uid in _BIG_ENDIAN,
        wanted=wanted.root,
    )
    return Header(scanner.run())


def study_facts(header: Header) -> StudyFacts:
    """The attributes that people search by, as text, several values joined by backslashes."""
    return StudyFacts(**{name: header.text(tag) for name, tag in _STUDY_FACTS.items()})
