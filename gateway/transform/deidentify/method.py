"""What a de-identified data set says of itself (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1.1)."""

from __future__ import annotations

from functools import lru_cache

from gateway.transform.deidentify.profile import Profile
from gateway.transform.deidentify.table import Option
from gateway.transform.edit import write
from gateway.transform.names import standard_vr
from gateway.transform.pixels.risk import has_pixels
from gateway.transform.tree import Budget, DataSet, Tree

_PATIENT_IDENTITY_REMOVED = 0x00120062
_METHOD = 0x00120063
_METHOD_CODES = 0x00120064
_TEMPORAL_INFORMATION_MODIFIED = 0x00280303
_BURNED_IN_ANNOTATION = 0x00280301
_CODE_VALUE, _CODING_SCHEME, _CODE_MEANING = 0x00080100, 0x00080102, 0x00080104

# PS3.16 CID 7050, De-identification Method.
_BASIC = ("113100", "Basic Application Confidentiality Profile")
_CODES = {
    Option.CLEAN_PIXEL_DATA: ("113101", "Clean Pixel Data Option"),
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.RETAIN_LONGITUDINAL_FULL_DATES: (
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    Option.RETAIN_PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.RETAIN_DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Option.RETAIN_SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.RETAIN_INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}


def tell(tree: Tree, profile: Profile) -> None:
    """Set Patient Identity Removed, De-identification Method and its codes, and what follows from the options."""
    root = tree.root
    chosen = set(profile.options)
    if tree.pixels_masked:
        chosen.add(Option.CLEAN_PIXEL_DATA)
    elif not tree.pixels_clean:
        chosen.discard(Option.CLEAN_PIXEL_DATA)  # there are none
    codes = [_BASIC, *(code for option, code in _CODES.items() if option in chosen)]
    write_anew(root, _PATIENT_IDENTITY_REMOVED, "YES")
    write_anew(root, _METHOD, "\\".join(meaning for _, meaning in codes))
    root.put(root.make(_METHOD_CODES, "SQ", _items(tuple(codes), root.implicit, root.big_endian)))
    write_anew(root, _TEMPORAL_INFORMATION_MODIFIED, _temporal(profile))
    if tree.pixels_clean and has_pixels(tree):
        write_anew(root, _BURNED_IN_ANNOTATION, "NO")


def write_anew(root: DataSet, tag: int, text: str) -> None:
    """As `write`, whatever VR stood there."""
    found = root.get(tag)
    if found is not None and found.vr not in ("", "UN", standard_vr(tag)):
        root.drop({tag})
    write(root, tag, text)


@lru_cache(maxsize=64)
def _items(codes: tuple[tuple[str, str], ...], implicit: bool, big_endian: bool) -> bytes:
    """The encoded items of the sequence of codes, the same for every instance of a profile."""
    root = Tree(_Nothing(), Budget(), implicit, big_endian).root
    sequence = root.make(_METHOD_CODES, "SQ", b"")
    sequence.items = [root.make_item(sequence) for _ in codes]
    for item, (value, meaning) in zip(sequence.items, codes, strict=True):
        write(item.data, _CODE_VALUE, value)
        write(item.data, _CODING_SCHEME, "DCM")
        write(item.data, _CODE_MEANING, meaning)
    return sequence.as_it_is(big_endian).value


class _Nothing:
    """A source without bytes."""

    def read(self, offset: int, length: int) -> bytes:
        return b""


def _temporal(profile: Profile) -> str:
    if profile.has(Option.RETAIN_LONGITUDINAL_FULL_DATES):
        return "UNMODIFIED"
    return "MODIFIED" if profile.moves_dates else "REMOVED"
