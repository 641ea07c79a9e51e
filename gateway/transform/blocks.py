"""Private attributes by their creator: in which block of a data set or item they lie, and how a block is reserved.

PS3.5 7.8.1: whoever writes private attributes in group gggg has its name, an LO, stand in a Private Creator element
(gggg,00bb), bb from 10 to FF, and (gggg,bb00-bbFF) belong to it then. Rules that are kept here:
  - names are compared letter by letter, padding aside, in the character set that holds in the data set or item;
  - of several blocks of one creator the first counts, as it does for rules; what is taken away goes from all of them;
  - a new block is the first under whose number nothing stands, neither a creator nor attributes that have lost theirs;
  - a block stays reserved when its last attribute goes: that does no harm, and others may count on its number.
"""

from __future__ import annotations

from gateway.dicom.paths import FIRST_BLOCK, LAST_BLOCK, Step
from gateway.dicom.text import creator_text
from gateway.transform.names import Path, label
from gateway.transform.tree import DataSet
from gateway.transform.values import ValueRefused, encode

# PS3.5 7.8: groups that hold no private attributes.
_NO_PRIVATE_GROUPS = frozenset({0x0001, 0x0003, 0x0005, 0x0007, 0xFFFF})


def creators_of(data: DataSet, one: Path | Step) -> list[int]:
    """The tags of the Private Creator elements that reserve a block for the creator of an attribute, in order."""
    group = one.tag & 0xFFFF0000
    found = []
    for tag in range(group | FIRST_BLOCK, (group | LAST_BLOCK) + 1):
        element = data.get(tag)
        if element is not None and creator_text(element.value, data.character_set()) == one.creator:
            found.append(tag)
    return found


def tags_of(data: DataSet, one: Path | Step, *, in_all_blocks: bool) -> list[int]:
    """The tags of an attribute in a data set: its own, or with a creator that in its first block, or in all."""
    if not one.creator:
        return [one.tag]
    tags = [one.tag | (creator & 0xFF) << 8 for creator in creators_of(data, one)]
    return tags if in_all_blocks else tags[:1]


def tag_in(data: DataSet, one: Path | Step) -> int | None:
    """The tag of an attribute in a data set; None where its creator has no block there."""
    return next(iter(tags_of(data, one, in_all_blocks=False)), None)


def tag_for(data: DataSet, path: Path) -> int:
    """The tag that an attribute has, or is to have, in a data set: a block is reserved where its creator has none.

    :raises ValueRefused: all blocks are taken, or the character set has not all characters of the creator.
    """
    tag = tag_in(data, path)
    if tag is not None:
        return tag
    group = path.tag >> 16
    if group in _NO_PRIVATE_GROUPS:
        raise ValueRefused(f"{path}: group {group:04x} holds no private attributes (PS3.5 7.8)")
    # What stands in the group takes numbers: creators their own, attributes that of their block.
    taken = {
        number if number <= LAST_BLOCK else number >> 8
        for number in (element.tag & 0xFFFF for element in data.elements if element.tag >> 16 == group)
    }
    block = next((each for each in range(FIRST_BLOCK, LAST_BLOCK + 1) if each not in taken), None)
    if block is None:
        raise ValueRefused(f"{path}: no block of group {group:04x} is free")
    creator = group << 16 | block
    try:
        value = encode("LO", path.creator, data.big_endian, data.character_set(), "1")
    except ValueRefused as refused:
        raise ValueRefused(f"the creator of {path} in {label(creator)}: {refused}") from None
    data.put(data.make(creator, "LO", value))
    return path.tag | block << 8
