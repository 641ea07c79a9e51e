"""A set of rule files, compiled: what to do with an instance, and why.

Rules are tried in the order of the files' names and of their places in them; how they are divided over files means
nothing else. Every rule that matches adds its destinations; `stop: true` ends the search behind it. A rule with `hold`
or `discard` takes back what was added before and ends the search too. An instance that no rule matches is held, and so
is one that two rules send to a destination through different transforms: neither may be the one that was meant.

`decide` tries only those that an index leaves over (`gateway.rules.index`), which changes nothing of the decision.

A plan is immutable, knows its revision (a hash over the files' names and texts), and which attributes it wants to
see. Pure; workers call `decide`, commands `explain`, and whoever reads rule files calls `load`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from gateway import document
from gateway.dicom.header import Header, Wanted
from gateway.errors import ConfigurationError, Problem
from gateway.model import AssociationFacts, Decision
from gateway.reasons import Unrouted
from gateway.rules import tables
from gateway.rules.index import Index
from gateway.rules.schema import Rule, RuleReader, TestCase
from gateway.rules.shared import Shared, read_shared
from gateway.rules.subject import Received, Subject, path_of

NO_RULE_MATCHES = Unrouted.NO_RULE_MATCHES.value
_REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one rule met an instance.

    `failing` says in words which condition did not hold ("" when the rule matched, or was not tried because the
    search had ended).
    """

    rule: str
    tried: bool
    matched: bool
    failing: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A validated, compiled set of rules."""

    revision: str
    wanted: Wanted
    rules: tuple[Rule, ...]
    tests: tuple[TestCase, ...] = ()
    index: Index = field(init=False, repr=False, compare=False)
    priorities: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = {rule.name: rule.priority for rule in self.rules if rule.priority is not None}
        object.__setattr__(self, "index", Index([rule.match for rule in self.rules]))
        object.__setattr__(self, "priorities", given)

    def decide(
        self,
        header: Header,
        facts: AssociationFacts,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        received: Received | None = None,
    ) -> Decision:
        """Where an instance goes.

        :param header: read with this plan's `wanted`.
        :param facts: of the association that brought it.
        :param transfer_syntax_uid: what it was received in.
        :param sop_class_uid: that of the C-STORE command.
        :param received: when it was received; None where that is not known: no window of time holds then.
        """
        subject = Subject(header, facts, transfer_syntax_uid, sop_class_uid, received)
        matched: list[str] = []
        sent: dict[str, tuple[str, str]] = {}  # destination → chain, and the rule that said so
        tried = len(self.rules)  # whoever is no candidate was tried, by its absence from the index
        for number in self.index.candidates(subject):
            rule = self.rules[number]
            if rule.match is not None and not rule.match.holds(subject):
                continue
            matched.append(rule.name)
            if rule.hold is not None or rule.discard is not None:
                return Decision(self.revision, number + 1, tuple(matched), (), hold=rule.hold, discard=rule.discard)
            for target in rule.send_to:
                chain, first = sent.setdefault(target.destination, (target.chain, rule.name))
                if chain != target.chain:
                    why = f"{first} and {rule.name} send to {target.destination} through different transforms"
                    return Decision(self.revision, number + 1, tuple(matched), (), hold=why)
            if rule.stop:
                tried = number + 1
                break
        hold = None if matched else NO_RULE_MATCHES
        chains = tuple(chain for chain, _ in sent.values())
        return Decision(
            self.revision, tried, tuple(matched), tuple(sent), hold=hold, chains=chains if any(chains) else ()
        )

    def priority(self, decision: Decision) -> int:
        """The priority of an instance: the highest that a rule of the decision gives (1, 0 or -1), 0 if none does."""
        return max((self.priorities[name] for name in decision.matched if name in self.priorities), default=0)

    def groups(self, decision: Decision) -> dict[str, str]:
        """destination → group, of the destinations of a decision that a rule sends to by a group's name."""
        groups: dict[str, str] = {}
        for rule in self.rules if decision.destinations else ():
            for target in rule.send_to if rule.name in decision.matched else ():
                groups.setdefault(target.destination, target.group)
        return {destination: group for destination, group in groups.items() if group}

    def explain(
        self,
        header: Header,
        facts: AssociationFacts,
        transfer_syntax_uid: str,
        sop_class_uid: str,
        received: Received | None = None,
        *,
        show_values: bool = False,
    ) -> list[Explanation]:
        """Why `decide` decides so, rule by rule. Values (patient data) are told only with `show_values`."""
        subject = Subject(header, facts, transfer_syntax_uid, sop_class_uid, received)
        explanations: list[Explanation] = []
        tried = self.decide(header, facts, transfer_syntax_uid, sop_class_uid, received).tried
        for number, rule in enumerate(self.rules):
            if number >= tried:
                explanations.append(Explanation(rule.name, tried=False, matched=False, failing=""))
                continue
            failing = rule.match.failing(subject, show_values) if rule.match is not None else None
            explanations.append(Explanation(rule.name, tried=True, matched=failing is None, failing=failing or ""))
        return explanations


def revision_of(files: Mapping[str, str]) -> str:
    """The revision of a set of rule files (name → text): 16 hexadecimal digits of a SHA-256 over both."""
    digest = sha256()
    for name in sorted(files):
        for text in (name, files[name]):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:_REVISION_DIGITS]


def parse(files: Mapping[str, str], problems: list[Problem]) -> list[document.Node]:
    """The documents of a set of rule files, in name order, without those that are empty or no YAML."""
    roots: list[document.Node] = []
    for name in sorted(files):
        if name.endswith(tables.SUFFIX):
            continue
        try:
            root = document.parse(files[name], name)
        except ConfigurationError as error:
            problems += error.problems
        else:
            if not (isinstance(root, document.Scalar) and root.is_null):
                roots.append(root)
    return roots


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """A set of rule files, read as far as all its parts need it. What is wrong so far stands in `problems`."""

    revision: str
    roots: tuple[document.Node, ...]
    shared: Shared
    problems: tuple[Problem, ...]


def read(files: Mapping[str, str]) -> RuleFiles:
    """Read a set of files: rule files in name order, and the CSV files (`*.csv`) that their tables name."""
    problems: list[Problem] = []
    roots = parse(files, problems)
    shared = read_shared(roots, files, problems)
    return RuleFiles(revision_of(files), tuple(roots), shared, tuple(problems))


def load(
    files: Mapping[str, str],
    destinations: Collection[str] | None = None,
    transforms: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Compile the rules and tests of a set of rule files; `gateway.transform.rulebook` reads the transforms of them.

    :param files: name → text; read in name order.
    :param destinations: the names that `send_to` may use; None does not check them.
    :param transforms: those that there are: name → digest.
    :raises ConfigurationError: with every problem of every file. No rules at all is not one: all is held then.
    """
    return compiled(read(files), destinations, transforms)


def compiled(files: RuleFiles, destinations: Collection[str] | None, transforms: Mapping[str, str]) -> Plan:
    """As `load`, of files that were read."""
    reader = RuleReader(destinations, transforms, files.shared)
    for root in files.roots:
        reader.read(root)
    problems = [*files.problems, *reader.problems]
    if problems:
        raise ConfigurationError(problems)
    keys = {key for rule in reader.rules if rule.match is not None for key in rule.match.looks_at()}
    wanted = Wanted.of(path for key in keys if (path := path_of(key)) is not None)
    return Plan(files.revision, wanted, tuple(reader.rules), tuple(reader.tests))
