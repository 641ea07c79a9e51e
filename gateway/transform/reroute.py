"""What a change of rules would re-route: the same instances, decided by the old and by the new set.

Two decisions are the same when an instance would go to the same destinations, as the same copies (told by what the
transforms do, not by what they are called), with the same priority; or would be held, or discarded, for the same
reason. Which rules matched, in which order, and what else they say makes no difference.

Steps are not run: whether a copy can be made of an instance is another question (`gateway rules explain` answers it).
Pure; the commands call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.dicom.header import Header, read_header
from gateway.dicom.window import ByteSource
from gateway.model import AssociationFacts, Decision, transforms_of
from gateway.rules.subject import Received
from gateway.transform.rulebook import Rulebook

_MODALITY = 0x00080060
UNKNOWN = "unknown"  # the source of a sender that has no entry in the configuration


@dataclass(frozen=True, slots=True)
class Way:
    """What becomes of an instance. Equal ways do the same, by whatever names of transforms.

    `sent` are the destinations in order of their names, each with the digests of what it is sent through; `chains` says
    what these are called.
    """

    sent: tuple[tuple[str, tuple[str, ...]], ...] = ()
    hold: str | None = None
    discard: str | None = None
    priority: int = 0
    chains: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Example:
    """One instance that would go another way, and the rules that matched it before and after."""

    name: str
    old_rules: tuple[str, ...]
    new_rules: tuple[str, ...]


@dataclass(slots=True)
class Group:
    """Instances of one source and modality that would go from one way to another."""

    source: str
    modality: str
    old: Way
    new: Way
    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Change:
    """How many instances a destination would get that it does not get now, lose, and get as another copy."""

    gained: int = 0
    lost: int = 0
    other: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance as it came. `encoding` is the transfer syntax that its bytes are in now, where that is another."""

    name: str
    facts: AssociationFacts
    transfer_syntax_uid: str
    sop_class_uid: str
    received: Received
    encoding: str = ""


class Comparison:
    """Counts what two sets of rules decide differently.

    :param examples: how many to keep of each group.
    """

    def __init__(self, old: Rulebook, new: Rulebook, examples: int) -> None:
        self._old = old
        self._new = new
        self._examples = examples
        self._groups: dict[tuple[str, str, Way, Way], Group] = {}
        self.looked_at = 0
        self.changed = 0
        self.destinations: dict[str, Change] = {}

    @property
    def groups(self) -> list[Group]:
        """Those that would go another way, the largest group first."""
        return sorted(self._groups.values(), key=lambda group: -group.count)

    def add(self, seen: Seen, data: ByteSource, weight: int = 1) -> None:
        """Decide about an instance that stands for `weight` of them.

        :raises HeaderError: its data set cannot be read: no rule sees it.
        """
        old_wanted, new_wanted = self._old.plan.wanted, self._new.plan.wanted
        encoding = seen.encoding or seen.transfer_syntax_uid
        header = read_header(data, encoding, old_wanted)
        after = header if new_wanted == old_wanted else read_header(data, encoding, new_wanted)
        decisions = _decide(self._old, header, seen), _decide(self._new, after, seen)
        old, new = way_of(self._old, decisions[0]), way_of(self._new, decisions[1])
        self.looked_at += weight
        if old == new:
            return
        self.changed += weight
        self._count(old, new, weight)
        key = (source_of(seen.facts), header.text(_MODALITY), old, new)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key)
        group.count += weight
        if len(group.examples) < self._examples:
            group.examples.append(Example(seen.name, decisions[0].matched, decisions[1].matched))

    def _count(self, old: Way, new: Way, weight: int) -> None:
        before, after = dict(old.sent), dict(new.sent)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) == after.get(name):
                continue
            change = self.destinations.setdefault(name, Change())
            change.gained += weight * (name not in before)
            change.lost += weight * (name not in after)
            change.other += weight * (name in before and name in after)


def _decide(book: Rulebook, header: Header, seen: Seen) -> Decision:
    return book.plan.decide(header, seen.facts, seen.transfer_syntax_uid, seen.sop_class_uid, seen.received)


def way_of(book: Rulebook, decision: Decision) -> Way:
    """What a decision of a set of rules comes to."""
    if decision.hold is not None or decision.discard is not None:
        return Way(hold=decision.hold, discard=decision.discard)
    chains = {name: decision.chain_of(index) for index, name in enumerate(decision.destinations)}
    sent = [
        (name, tuple(book.transforms[each].digest for each in transforms_of(chain)))
        for name, chain in sorted(chains.items())
    ]
    return Way(tuple(sent), priority=book.plan.priority(decision), chains=chains)


def source_of(facts: AssociationFacts) -> str:
    """Who sent an instance, as people know it: the source; of a sender that is none the calling AE title."""
    return facts.source if facts.source not in ("", UNKNOWN) else facts.calling_ae_title or facts.source
