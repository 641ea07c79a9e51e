"""A set of rule files, compiled: the plan that says where instances go, and the transforms that it sends them through.

Each file is parsed once, for both; the rules do not know what a transform is. Whoever reads rule files calls `load`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.dicom.recoding import RECODINGS, recoded, split
from gateway.errors import ConfigurationError, Problem
from gateway.model import transforms_of
from gateway.rules import plan as rules
from gateway.rules.plan import Plan
from gateway.rules.schema import chain_id
from gateway.rules.tables import Tables
from gateway.transform.builtin import BUILT_IN
from gateway.transform.deidentify.pseudonyms import NO_KEYS, Keys
from gateway.transform.schema import Transform, read_transforms


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A validated set of rule files."""

    plan: Plan
    transforms: Mapping[str, Transform]
    tables: Tables = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @property
    def revision(self) -> str:
        """A hash over the files' names and texts."""
        return self.plan.revision

    @property
    def table_bytes(self) -> int:
        """How much text its tables have; in memory that takes some fifteen times as much."""
        return sum(table.size_bytes for table in self.tables.values())

    def chain_of(self, names: Collection[str]) -> str | None:
        """What a chain of these transforms is called now; None where one is not there. The last may be built in."""
        recoding = RECODINGS.get(tuple(names)[-1]) if names else None
        if recoding is not None:
            before = self.chain_of(tuple(names)[:-1])
            return None if before is None else recoded(before, recoding)
        if any(name not in self.transforms for name in names):
            return None
        return chain_id(names, {name: self.transforms[name].digest for name in names})

    def in_force(self, chain: str) -> str:
        """What a chain that de-identifies is called now, whatever it was when it was decided on; any other as it is.

        What a leaking definition would make, or has made, must not go out once it is corrected. A chain whose
        transforms are not all there any more stays as it is.
        """
        names = transforms_of(chain)
        if not any(name in self.transforms and self.transforms[name].deidentifies for name in names):
            return chain
        return self.chain_of(names) or chain

    def chain(self, chain: str) -> tuple[Transform, ...] | None:
        """The transforms of a chain, in order; None where this set has not just these."""
        before, recoding = split(chain)
        if recoding is not None:
            found = self.chain(before)
            return None if found is None else (*found, BUILT_IN[recoding.name])
        names = transforms_of(chain)
        return tuple(self.transforms[name] for name in names) if self.chain_of(names) == chain else None


def load(files: Mapping[str, str], destinations: Collection[str] | None = None, keys: Keys = NO_KEYS) -> Rulebook:
    """Compile a set of rule files.

    :param files: name → text; read in name order.
    :param destinations: the names that `send_to` may use; None does not check them.
    :param keys: those that pseudonyms can be made with.
    :raises ConfigurationError: with every problem of every file, in their order.
    """
    problems: list[Problem] = []
    read = rules.read(files)
    transforms: dict[str, Transform] = {}
    for root in read.roots:
        read_transforms(root, problems, transforms, read.shared, keys)
    try:
        plan = rules.compiled(read, destinations, {name: each.digest for name, each in transforms.items()})
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
    return Rulebook(plan, transforms, read.shared.tables)
