"""Named groups of destinations: `groups: {archives: [pacs, dr]}` in a rule file, `send_to: [archives]` in a rule.

A group stands for its destinations, wherever a rule may name one; a decision knows destinations only. Every group can
be used in every file of the set. A group holds no groups, and has no destination's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.rules.nodes import NodeReader, suggestion

_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")  # that of a destination
_MAX_NAME = 63


@dataclass(frozen=True, slots=True)
class Group:
    """The destinations of a group, as they stand there."""

    place: Place
    members: tuple[Scalar, ...]

    @property
    def destinations(self) -> list[str]:
        """Their names."""
        return [member.text for member in self.members]


Groups = Mapping[str, Group]


class GroupReader(NodeReader):
    """Reads the groups of the files of a set."""

    def read(self, root: Node, groups: dict[str, Group]) -> None:
        """Add the groups of one file."""
        node = root.get("groups") if isinstance(root, Table) else None
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return
        if not isinstance(node, Table):
            self._problem(node.place, "groups maps names to lists of destinations")
            return
        for name, members in node:
            place = node.keys[name]
            if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
                told = f"of small letters and digits, with single - or _ between them, at most {_MAX_NAME}"
                self._problem(place, f"the name of a group is {told}")
            elif name in groups:
                first = groups[name].place
                self._problem(place, f"the group {name!r} exists already, at {first.file}:{first.line}")
            elif not isinstance(members, Items) or not members.nodes:
                self._problem(members.place, "a group holds destinations: [pacs, dr]")
            else:
                groups[name] = Group(place, self._members(members))

    def _members(self, members: Items) -> tuple[Scalar, ...]:
        texts = self._texts(members, "a group")
        for number, text in enumerate(texts):
            if text.text in {other.text for other in texts[:number]}:
                self._problem(text.place, f"the destination {text.text!r} stands here twice")
        return texts

    def check(self, groups: Groups, destinations: Collection[str] | None) -> None:
        """See that groups hold destinations. :param destinations: those that there are; None does not check them."""
        for name, group in groups.items():
            if destinations is not None and name in destinations:
                self._problem(group.place, f"{name!r} is a destination: give the group another name")
            for member in group.members:
                if destinations is not None and member.text in destinations:
                    continue
                if member.text in groups:
                    self._problem(member.place, f"{member.text!r} is a group: a group holds destinations")
                elif destinations is not None:
                    hint = suggestion(member.text, destinations)
                    self._problem(member.place, f"there is no destination {member.text!r} in the configuration{hint}")
