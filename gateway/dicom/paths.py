"""Which attributes are wanted of a data set, wherever they stand: paths, and the tree that a walk follows.

A path is a tuple of steps, from the data set inwards: (tag,) is an attribute of the data set, (sequence, tag) one of a
sequence's items, and so on. A step is a bare tag, or a `Step` where a tag is not enough: one item of a sequence by its
number (PS3.5 7.5: items count from 1), or a private attribute by its creator, whose block in group gggg is found in
each data set or item by the Private Creator Data Element (gggg,0010-00FF) that stands there (PS3.5 7.8.1).

`branch_of` makes one tree of many paths; `gateway.dicom.scan` walks it beside the data set, so that the cost of an
element that nobody wants does not depend on how many paths there are or how deep they go. A path with "any item" and
one with a numbered item are different branches: an item follows every branch that it is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SPECIFIC_CHARACTER_SET = 0x00080005
MAX_STEPS = 8
FIRST_BLOCK, LAST_BLOCK = 0x10, 0xFF

_NO_TAGS: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a path that needs more than a tag.

    With a `creator` the tag is (gggg,00ee): ee is the element's number within the creator's block. `item` 0 is any.
    """

    tag: int
    creator: str = ""
    item: int = 0


PathStep = int | Step
AttributePath = tuple[PathStep, ...]


def step(tag: int, creator: str = "", item: int = 0) -> PathStep:
    """A step, in its only form: a bare tag where that says all, so that equal paths are equal."""
    return Step(tag, creator, item) if creator or item else tag


def tag_of(one: PathStep) -> int:
    """The tag of a step; of a private one (gggg,00ee)."""
    return one.tag if isinstance(one, Step) else one


class Branch:
    """What is wanted of a data set, or of the items that some steps lead to.

    `keep` holds every tag that a walk must look at here; `values` the paths that end here, by tag; `sequences` what is
    wanted of the items of a sequence, as (item number or 0 for any, branch); `private` the same by (group, creator),
    with tags (gggg,00ee) that mean something only once the block is known, see `at_block`.
    """

    __slots__ = ("_blocks", "keep", "private", "sequences", "values")

    def __init__(
        self,
        values: Mapping[int, AttributePath],
        sequences: Mapping[int, tuple[tuple[int, Branch], ...]],
        private: Mapping[tuple[int, str], Branch],
        looked_at: frozenset[int] = _NO_TAGS,
    ) -> None:
        self.values = values
        self.sequences = sequences
        self.private = private
        creators = {
            group << 16 | block for group, _ in private for block in range(FIRST_BLOCK, LAST_BLOCK + 1)
        }  # any of them may reserve a block for the creator
        self.keep = frozenset(values) | frozenset(sequences) | creators | looked_at
        self._blocks: dict[int, Branch] = {}

    def at_block(self, block: int) -> Branch:
        """This branch of a creator, with the tags that its attributes have where it has reserved that block."""
        branch = self._blocks.get(block)
        if branch is None:
            shift = block << 8
            values = {tag | shift: path for tag, path in self.values.items()}
            sequences = {tag | shift: inside for tag, inside in self.sequences.items()}
            branch = self._blocks[block] = Branch(values, sequences, {})
        return branch


def branch_of(paths: Iterable[AttributePath]) -> Branch:
    """The tree of the given paths, from the data set on.

    :raises ValueError: a path has no step or more than `MAX_STEPS`, or ends in the number of an item.
    """
    paths = sorted(set(paths), key=repr)
    for path in paths:
        if not 1 <= len(path) <= MAX_STEPS:
            raise ValueError(f"an attribute path has between 1 and {MAX_STEPS} steps")
        if isinstance(path[-1], Step) and path[-1].item:
            raise ValueError("an attribute path ends in an attribute, not in an item")
    return _branch(paths, 0, _NO_TAGS)


def _branch(paths: Iterable[AttributePath], depth: int, looked_at: frozenset[int]) -> Branch:
    """The branch of some paths that share their first `depth` steps."""
    values: dict[int, AttributePath] = {}
    inside: dict[int, dict[int, list[AttributePath]]] = {}
    private: dict[tuple[int, str], list[AttributePath]] = {}
    for path in paths:
        one = path[depth]
        if isinstance(one, Step) and one.creator:
            private.setdefault((one.tag >> 16, one.creator), []).append(path)
        else:
            _sort_in(path, depth, values, inside)
    branches = {}
    for key, wanted in private.items():
        own_values: dict[int, AttributePath] = {}
        own_inside: dict[int, dict[int, list[AttributePath]]] = {}
        for path in wanted:
            _sort_in(path, depth, own_values, own_inside)
        branches[key] = Branch(own_values, _sequences(own_inside, depth), {})
    return Branch(values, _sequences(inside, depth), branches, looked_at)


def _sort_in(
    path: AttributePath,
    depth: int,
    values: dict[int, AttributePath],
    inside: dict[int, dict[int, list[AttributePath]]],
) -> None:
    one = path[depth]
    tag = tag_of(one)
    if len(path) == depth + 1:
        values[tag] = path
    else:
        inside.setdefault(tag, {}).setdefault(one.item if isinstance(one, Step) else 0, []).append(path)


def _sequences(
    inside: Mapping[int, Mapping[int, list[AttributePath]]], depth: int
) -> dict[int, tuple[tuple[int, Branch], ...]]:
    # PS3.5 7.5.3: an item may have a character set of its own, also for the items inside it.
    looked_at = frozenset({SPECIFIC_CHARACTER_SET})
    return {
        tag: tuple((number, _branch(paths, depth + 1, looked_at)) for number, paths in sorted(by_number.items()))
        for tag, by_number in inside.items()
    }
