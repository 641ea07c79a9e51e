"""Reading and writing an attribute of a tree as text: which data sets a path leads to, which VR holds, what is refused.

:raises ValueRefused: with the attribute and the reason, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.dicom.paths import FIRST_BLOCK, LAST_BLOCK, Step
from gateway.transform.blocks import tag_for, tag_in, tags_of
from gateway.transform.names import KEPT, Path, is_private, known_vr, label, multiplicity, private_vr, standard_vr
from gateway.transform.parse import begins_items, expand, has_items
from gateway.transform.tree import DataSet, Element, Tree
from gateway.transform.unused import clear_delimiters
from gateway.transform.values import SETTABLE, ValueRefused, decode, encode, joined

_PIXEL_REPRESENTATION = 0x00280103
_CREATORS = range(FIRST_BLOCK, LAST_BLOCK + 1)


def data_sets(tree: Tree, path: Path, *, in_all_blocks: bool = False) -> list[DataSet]:
    """The data sets that may hold the attribute of a path: the data set itself, or the items of its sequences.

    :param in_all_blocks: also behind sequences in further blocks of the same creator, not in the first alone.
    """
    found = [tree.root]
    for step in path.within:
        inner: list[DataSet] = []
        for data in found:
            for tag in tags_of(data, step, in_all_blocks=in_all_blocks):
                inner += _items(data, tag, step, path)
        found = inner
    return found


def _items(data: DataSet, tag: int, step: Step, path: Path) -> list[DataSet]:
    element = data.get(tag)
    if element is None:
        return []
    if not takes_items(data, element):
        raise ValueRefused(f"{path}: {label(tag)} is no sequence here")
    return [item.data for index, item in enumerate(expand(data, element), 1) if step.item in (0, index)]


def places(tree: Tree, path: Path, *, in_all_blocks: bool = False) -> Iterator[tuple[DataSet, int]]:
    """As `data_sets`, each with the tag of the attribute there; left out are those where its creator has no block."""
    for data in data_sets(tree, path, in_all_blocks=in_all_blocks):
        for tag in tags_of(data, path, in_all_blocks=in_all_blocks):
            yield data, tag


def takes_items(data: DataSet, element: Element) -> bool:
    """Whether an element can be looked into; from then on it is taken for a sequence.

    Nothing but the wish tells, where a private sequence stands in implicit VR or UN: as for `gateway.dicom.scan`.
    """
    if element.is_sequence:
        return True
    if element.vr not in ("", "UN") or element.produced is not None:
        return False
    head = element.value if element.bulk is None else data.tree.source.read(element.bulk[0], 4)
    element.is_sequence = not element.value_bytes or begins_items(head)
    return element.is_sequence


def read(data: DataSet, tag: int) -> tuple[str, ...] | None:
    """The values of an attribute: None where it is absent, () where it is empty."""
    element = data.get(tag)
    if element is None:
        return None
    if not element.value_bytes:
        return ()
    if element.bulk is not None:
        raise ValueRefused(f"{label(tag)}: its value is too long to be read")
    try:
        return decode(vr_of(data, tag), element.value, data.big_endian, data.character_set())
    except ValueRefused as refused:
        raise ValueRefused(f"{label(tag)}: {refused}") from None


def read_at(data: DataSet, path: Path) -> tuple[str, ...] | None:
    """As `read`, of the attribute that a path names in a data set."""
    tag = tag_in(data, path)
    return None if tag is None else read(data, tag)


def read_all(tree: Tree, path: Path) -> tuple[str, ...] | None:
    """The values of a path, those of all items one after the other; None where it is absent from all of them."""
    found = [values for data in data_sets(tree, path) if (values := read_at(data, path)) is not None]
    return tuple(value for values in found for value in values) if found else None


def write(data: DataSet, tag: int, text: str) -> None:
    """Give an attribute a value, several divided by backslashes; "" makes it empty."""
    try:
        vr, value = _encoded(data, tag, text)
    except ValueRefused as refused:
        raise ValueRefused(f"{label(tag)}: {refused}") from None
    found = data.get(tag)
    if found is None or found.bulk is not None or found.value != value:
        data.put(data.make(tag, vr, value))


def write_at(data: DataSet, path: Path, text: str) -> None:
    """As `write`, of the attribute that a path names; where its creator has no block, one is reserved."""
    tag = tag_in(data, path)
    if path.creator and (tag is None or data.get(tag) is None) and not known_vr(path):
        raise ValueRefused(f"{path}: its VR is not known")
    write(data, tag_for(data, path), text)


def _encoded(data: DataSet, tag: int, text: str) -> tuple[str, bytes]:
    if not text and data.parent is None and tag in KEPT:
        raise ValueRefused("an instance cannot be without it")
    vr = vr_of(data, tag)
    value = encode(vr, text, data.big_endian, data.character_set(), multiplicity(tag))
    return vr, fitting(data, vr, value)


def fitting(data: DataSet, vr: str, value: bytes) -> bytes:
    """The value, where the length of an element of this VR can say how long it is."""
    if not data.fits(vr, value):
        raise ValueRefused("too long for the 16 bits of its length")
    return value


def vr_of(data: DataSet, tag: int) -> str:
    """The VR of an attribute: what stands in the data set, or what a dictionary says."""
    element = data.get(tag)
    if element is not None and element.vr not in ("", "UN"):
        return _settable(element.vr)
    vr = standard_vr(tag)
    if not vr and is_private(tag):
        vr = _private_vr_of(data, tag)
    if vr == "US or SS":
        # PS3.3 C.7.6.3: these are signed where the pixels are.
        representation = data.tree.root.get(_PIXEL_REPRESENTATION)
        return "SS" if representation is not None and representation.value.strip(b"\0") else "US"
    if not vr:
        raise ValueRefused("its VR is not known")
    return _settable(vr)


def _settable(vr: str) -> str:
    if vr not in SETTABLE:
        raise ValueRefused(f"an attribute of VR {vr} has no text")
    return vr


def _private_vr_of(data: DataSet, tag: int) -> str:
    if tag & 0xFFFF in _CREATORS:
        return "LO"  # PS3.5 7.8.1: a Private Creator
    creator = data.get(creator_tag(tag))
    if creator is None:
        raise ValueRefused(f"no Private Creator in {label(creator_tag(tag))} says what the private attribute is")
    return private_vr(tag, joined(decode("LO", creator.value, data.big_endian, data.character_set())))


def creator_tag(tag: int) -> int:
    """Where the Private Creator of a private attribute stands (PS3.5 7.8.1)."""
    return tag & 0xFFFF0000 | tag >> 8 & 0xFF


def is_creator(tag: int) -> bool:
    """Whether a tag is that of a Private Creator."""
    return is_private(tag) and tag & 0xFFFF in _CREATORS


def walk(data: DataSet, visit: Callable[[DataSet], None]) -> None:
    """Visit a data set, and behind it the items of its sequences, those within them too.

    Sequences are closed again behind it, so that of a deep data set little is open at a time.
    """
    visit(data)
    for element in [each for each in data.elements if each.is_sequence]:
        walk_items(data, element, lambda inner: walk(inner, visit))


def walk_items(data: DataSet, element: Element, visit: Callable[[DataSet], None]) -> bool:
    """Visit the items of one sequence, which is closed again if it was closed and what it has become is not long.

    :returns: whether something was changed.
    """
    tree = data.tree
    if not has_items(element):
        return False
    was_closed, was_changed = element.items is None, tree.is_changed
    elements, held_bytes = tree.budget.elements, tree.budget.held_bytes
    tree.is_changed = False
    items = expand(data, element)
    if tree.keeps_no_record:
        tree.is_changed = clear_delimiters(element, items)
    for item in items:
        visit(item.data)
    is_changed = tree.is_changed
    if was_closed and not is_changed:
        element.items, element.tail = None, b""
        tree.budget.elements, tree.budget.held_bytes = elements, held_bytes
    elif was_closed and (closed := element.as_it_is(data.big_endian)).bulk is None:
        element.encoded, element.bulk, element.items, element.tail = closed.encoded, None, None, b""
        tree.budget.elements, tree.budget.held_bytes = elements, held_bytes + len(closed.encoded)
    tree.is_changed = is_changed or was_changed
    return is_changed
