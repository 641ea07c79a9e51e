"""What the files of a set share: lists, tables and groups, which every file can name whichever holds them.

Read before anything that may name them. `gateway.rules.plan` calls, and hands them on to whoever reads rules and steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.document import Items, Node
from gateway.errors import Problem
from gateway.rules.groups import Group, GroupReader, Groups
from gateway.rules.lists import ListReader, Lists
from gateway.rules.tables import TableData, TableReader, Tables


@dataclass(frozen=True, slots=True)
class Shared:
    """Names and what they stand for."""

    lists: Lists = field(default_factory=lambda: MappingProxyType({}))
    tables: Tables = field(default_factory=lambda: MappingProxyType({}))
    groups: Groups = field(default_factory=lambda: MappingProxyType({}))


NOTHING = Shared()


def read_shared(roots: Sequence[Node], files: Mapping[str, str], problems: list[Problem]) -> Shared:
    """Read what the files of a set share.

    :param roots: the documents of the rule files.
    :param files: name → text, also of the CSV files.
    :param problems: what is wrong is added here.
    """
    lists: dict[str, Items] = {}
    tables: dict[str, TableData] = {}
    groups: dict[str, Group] = {}
    list_reader, table_reader, group_reader = ListReader(problems), TableReader(problems, files), GroupReader(problems)
    for root in roots:
        list_reader.read(root, lists)
        table_reader.read(root, tables)
        group_reader.read(root, groups)
    return Shared(lists, tables, groups)
