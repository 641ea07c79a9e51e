"""What a chain of transforms has changed, told in Original Attributes Sequence (0400,0561) (PS3.3 C.12.1.1.9).

One item for a run: where the instance came from, when, by which system, why (COERCE), and in Modified Attributes
Sequence (0400,0550) the attributes of the top level as they were. An attribute inside a sequence is told by the whole
sequence as it was; one that was absent by a zero length; a private one comes with its Private Creator. A value of more
than 64 KiB is told by a zero length too: it is not kept twice. Pixels that were changed are not told of: empty
ones would make an image of the item. Items that are there already stay.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.dicom.paths import SPECIFIC_CHARACTER_SET
from gateway.dicom.text import creator_text
from gateway.transform.edit import creator_tag, is_creator, write
from gateway.transform.items import sequence_of
from gateway.transform.names import is_pixel_data, is_private, standard_vr
from gateway.transform.parse import expand
from gateway.transform.pixels.image import PIXEL_DATA
from gateway.transform.steps import Origin
from gateway.transform.tree import DataSet, Element, Tree
from gateway.transform.values import ValueRefused, encode

_ORIGINAL_ATTRIBUTES = 0x04000561
_MODIFIED_ATTRIBUTES = 0x04000550
_MODIFICATION_DATETIME = 0x04000562
_MODIFYING_SYSTEM = 0x04000563
_SOURCE_OF_PREVIOUS_VALUES = 0x04000564
_REASON = 0x04000565
_OFFSETS = frozenset({0x7FE00001, 0x7FE00002})  # where frames lie, in the Extended Offset Table
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_LO = 64


def record(tree: Tree, origin: Origin, system: str) -> None:
    """Append the item that tells of the changes that are to be recorded; nothing where there are none.

    :raises ValueRefused: what is there under the sequence's tag is no sequence.
    """
    changed = {
        tag: element
        for tag, element in tree.previous.items()
        if tag != _ORIGINAL_ATTRIBUTES
        and not _are_pixels(tree, tag)
        and not _is_same(element, tree.root.get(tag), tree.root.big_endian)
    }
    if not changed:
        return
    tree.is_recording = False
    root = tree.root
    sequence = sequence_of(root, _ORIGINAL_ATTRIBUTES)
    item = root.make_item(sequence)
    expand(root, sequence).append(item)
    modified_at = _EPOCH + timedelta(milliseconds=origin.received_at_ms)
    write(item.data, _SOURCE_OF_PREVIOUS_VALUES, _lo(origin.facts.calling_ae_title))
    write(item.data, _MODIFICATION_DATETIME, f"{modified_at:%Y%m%d%H%M%S}.{modified_at.microsecond:06d}+0000")
    write(item.data, _MODIFYING_SYSTEM, _lo(system))
    write(item.data, _REASON, "COERCE")
    modified = item.data.make(_MODIFIED_ATTRIBUTES, "SQ", b"")
    modified.items = [values := item.data.make_item(modified)]
    values.data.elements = [_told(root, tag, changed.get(tag)) for tag in _with_creators(root, changed)]
    item.data.put(modified)


def _are_pixels(tree: Tree, tag: int) -> bool:
    """Whether an attribute is pixel data that is there, or tells where its frames lie."""
    if tag in _OFFSETS:
        return tree.root.get(PIXEL_DATA) is not None
    return is_pixel_data(tag) and tree.root.get(tag) is not None


def _is_same(before: Element | None, now: Element | None, big_endian: bool) -> bool:
    if before is None or now is None:
        return before is now
    now = now.as_it_is(big_endian)
    if now.bulk is not None and now.bulk[0] < 0:
        return False
    return (before.encoded, before.bulk) == (now.encoded, now.bulk)


def _with_creators(root: DataSet, changed: dict[int, Element | None]) -> list[int]:
    """The changed tags and those of the Private Creators that they need, in order."""
    creators = {creator_tag(tag) for tag in changed if is_private(tag) and not is_creator(tag)}
    return sorted({*changed, *(tag for tag in creators if is_creator(tag) and root.get(tag) is not None)})


def _told(root: DataSet, tag: int, before: Element | None) -> Element:
    """How an attribute is told of: as it was, or empty."""
    if before is not None and before.bulk is None:
        is_odd = not root.implicit and before.encoded[4:6] != before.vr.encode("ascii")
        return root.make(tag, "UN", before.value) if is_odd else before
    now = root.get(tag)
    if before is None and now is not None and is_creator(tag):
        return _needed_creator(root, now)
    vr = next((each.vr for each in (before, now) if each is not None and each.vr), "") or standard_vr(tag)
    return root.make(tag, vr if len(vr) == 2 else "UN", b"")


def _needed_creator(root: DataSet, now: Element) -> Element:
    """A Private Creator of others that are told of: in the character set that is told with it, empty if not in it."""
    before = root.tree.converted.get(now.tag)
    if before is not None or SPECIFIC_CHARACTER_SET not in root.tree.previous or now.value.isascii():
        return before or now.as_it_is(root.big_endian)
    character_set = root.tree.previous[SPECIFIC_CHARACTER_SET]
    name = creator_text(now.value, root.character_set())
    try:
        value = encode("LO", name, root.big_endian, b"" if character_set is None else character_set.value)
    except ValueRefused:
        value = b""
    return root.make(now.tag, "LO", value)


def _lo(text: str) -> str:
    """A name as an LO may hold it."""
    return "".join(character for character in text if character.isascii() and character.isprintable())[
        :_MAX_LO
    ].replace("\\", "/")
