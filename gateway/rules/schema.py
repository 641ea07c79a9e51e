"""Rule files as people write them to typed rules, with every mistake found and placed.

A file holds `rules:` and `tests:`, both lists, beside what is read elsewhere (`gateway.rules.shared`,
`gateway.transform`). The keys of a rule: `name`, `match`, and what to do: `send_to`, `stop`,
`priority`, or `hold: reason`, or `discard: reason`. What `match` holds is read by `gateway.rules.conditions`.

`gateway.rules.plan` calls; nothing raises here, problems are collected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from gateway.dicom.paths import AttributePath
from gateway.document import Items, Node, Place, Scalar, Table
from gateway.model import CHAIN_DIGEST, CHAIN_JOINS
from gateway.rules import match
from gateway.rules.conditions import MatchReader
from gateway.rules.groups import GroupReader
from gateway.rules.names import resolve, uid_of
from gateway.rules.nodes import NodeReader, suggestion
from gateway.rules.patterns import PatternError
from gateway.rules.shared import Shared
from gateway.rules.subject import Key, NamePart, Received
from gateway.rules.windows import read_received

FILE_KEYS = ("rules", "lists", "tables", "groups", "transforms", "tests")
RULE_KEYS = ("name", "match", "send_to", "stop", "discard", "hold", "priority", "transform")
TARGET_KEYS = ("destination", "transform")
TEST_KEYS = ("name", "instance", "expect")
OUTCOMES = ("destinations", "held", "discarded")
OF_COPIES = ("to", "after", "unchanged")
PRIORITIES = {"high": 1, "normal": 0, "low": -1}
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True, slots=True)
class Target:
    """A destination of a rule, and what it gets: the original (`chain` ""), or what a chain of transforms makes.

    `group` is the one by whose name the rule sends there; "" where it names the destination.
    """

    destination: str
    chain: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `match` None matches everything; `priority` None says nothing about it."""

    name: str
    place: Place
    match: match.Matcher | None
    send_to: tuple[Target, ...] = ()
    stop: bool = False
    discard: str | None = None
    hold: str | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test expects. `outcome` is "destinations", "held", "discarded", or "" for any; `reason` "" is any.

    `after` and `unchanged` look at the copy that a destination gets: attributes by the name that the test has for them;
    None is absent. `to` says which destination is meant; "" where only one chain is asked for.
    """

    outcome: str
    destinations: frozenset[str] = frozenset()
    reason: str = ""
    to: str = ""
    after: tuple[tuple[str, AttributePath, tuple[str, ...] | None], ...] = ()
    unchanged: tuple[tuple[str, AttributePath], ...] = ()

    @property
    def looks_at_copy(self) -> bool:
        """Whether a copy has to be made for it."""
        return bool(self.after or self.unchanged or self.to)


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test of the rules: an instance made of text, and where it must go."""

    __test__ = False  # not a test of ours, whatever pytest thinks of the name

    name: str
    place: Place
    instance: Mapping[Key, tuple[str, ...]]
    expect: Expectation
    received: Received | None = None


class RuleReader(NodeReader):
    """Turns the documents of a set of rule files into rules and tests.

    :param destinations: the names that there are; None allows any.
    :param transforms: name → digest of each.
    :param shared: what conditions can name.
    """

    def __init__(self, destinations: Collection[str] | None, transforms: Mapping[str, str], shared: Shared) -> None:
        super().__init__([])
        self.rules: list[Rule] = []
        self.tests: list[TestCase] = []
        self._match = MatchReader(self.problems, shared).read
        self._destinations = destinations
        self._transforms = transforms
        self._names: dict[str, Place] = {}
        self._groups = shared.groups
        GroupReader(self.problems).check(shared.groups, destinations)

    def read(self, root: Node) -> None:
        """Read one document; what is wrong goes to `problems`."""
        table = self._table(root, FILE_KEYS, "a rule file")
        if table is None:
            return
        for node in self._items(table.get("rules"), "rules"):
            self._rule(node)
        for node in self._items(table.get("tests"), "tests"):
            self._test(node)

    # ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _rule(self, node: Node) -> None:
        table = self._table(node, RULE_KEYS, "a rule")
        if table is None:
            return
        before = len(self.problems)
        name = self._name(table)
        condition = table.get("match")
        matcher = self._match(condition) if condition is not None else None
        send_to = self._targets(table.get("send_to"), self._chain(table.get("transform")))
        hold, discard = self._reason(table, "hold"), self._reason(table, "discard")
        stop, priority = self._flag(table, "stop"), self._priority(table)
        self._check_action(table, stop)
        if len(self.problems) == before:
            self.rules.append(Rule(name, table.place, matcher, send_to, stop, discard, hold, priority))

    def _name(self, table: Table) -> str:
        node = table.get("name")
        if node is None:
            self._problem(table.place, "a rule needs a name")
            return ""
        if not isinstance(node, Scalar) or not node.text or not _is_name(node.text):
            self._problem(node.place, "a name begins with a small letter or digit and goes on with those and - _ .")
            return ""
        first = self._names.setdefault(node.text, node.place)
        if first is not node.place:
            self._problem(node.place, f"the rule {node.text!r} exists already, at {first.file}:{first.line}")
        return node.text

    def _check_action(self, table: Table, stop: bool) -> None:
        actions = [key for key in ("send_to", "hold", "discard") if key in table.entries]
        if not actions:
            self._problem(table.place, "the rule does nothing: it needs send_to, hold or discard")
        elif "transform" in table.entries and "send_to" not in actions:
            self._problem(table.keys["transform"], f"{actions[0]} sends nothing: take transform out")
        if len(actions) > 1:
            self._problem(table.keys[actions[1]], f"{actions[1]} cannot stand beside {actions[0]}")
        elif actions and actions[0] != "send_to" and stop:
            self._problem(table.keys["stop"], f"{actions[0]} ends the search anyway: take stop out")

    def _targets(self, node: Node | None, before: tuple[str, ...]) -> tuple[Target, ...]:
        """Where to send, and what: each a name, or a map with `destination` and `transform`."""
        targets: list[Target] = []
        for each in node.nodes if isinstance(node, Items) else () if node is None else (node,):
            name: Node | None = each
            chain = before
            if isinstance(each, Table):
                table = self._table(each, TARGET_KEYS, "a destination") or each
                name = table.get("destination")
                chain += self._chain(table.get("transform"))
            if not isinstance(name, Scalar) or name.is_null:
                self._problem(
                    (name or each).place, "send_to names destinations and groups, or maps of destination and transform"
                )
                continue
            for twice in {each for each in chain if chain.count(each) > 1}:
                self._problem(name.place, f"{name.text!r} would get the transform {twice!r} twice: once is enough")
            self._add_targets(targets, name, chain_id(chain, self._transforms))
        if isinstance(node, Items) and not node.nodes:
            self._problem(node.place, "send_to has an empty list")
        return tuple(targets)

    def _add_targets(self, targets: list[Target], name: Scalar, chain: str) -> None:
        """Add a destination, or those of a group: of what two groups have in common, one."""
        group = name.text if name.text in self._groups else ""
        if not group:
            self._check_destination(name)
        for destination in self._groups[group].destinations if group else [name.text]:
            first = next((target for target in targets if target.destination == destination), None)
            if first is None:
                targets.append(Target(destination, chain, group))
            elif not group and not first.group:
                self._problem(name.place, f"the destination {destination!r} stands here twice")
            elif chain != first.chain:
                by = f"by {first.group!r} and here" if first.group else "by its name and here"
                self._problem(name.place, f"{destination!r} is sent two different things, {by}")

    def _chain(self, node: Node | None) -> tuple[str, ...]:
        names: list[str] = []
        for text in self._texts(node, "transform"):
            if text.text not in self._transforms:
                hint = suggestion(text.text, self._transforms)
                self._problem(text.place, f"there is no transform {text.text!r}{hint}")
            elif text.text in names:
                self._problem(text.place, f"the transform {text.text!r} stands here twice")
            else:
                names.append(text.text)
        return tuple(names)

    def _check_destinations(self, node: Node | None) -> None:
        seen = set()
        for text in self._texts(node, ""):
            if text.text in seen:
                self._problem(text.place, f"the destination {text.text!r} stands here twice")
            seen.add(text.text)
            if text.text in self._groups:
                members = ", ".join(self._groups[text.text].destinations)
                self._problem(text.place, f"{text.text!r} is a group: a test names destinations ({members})")
            else:
                self._check_destination(text)

    def _check_destination(self, text: Scalar) -> None:
        if self._destinations is not None and text.text not in self._destinations:
            hint = suggestion(text.text, [*self._destinations, *self._groups])
            self._problem(text.place, f"there is no destination {text.text!r} in the configuration{hint}")

    def _reason(self, table: Table, key: str) -> str | None:
        node = table.get(key)
        if node is None:
            return None
        if not isinstance(node, Scalar) or node.is_null or not node.text.strip():
            self._problem(node.place, f"{key} needs a reason, as text")
            return None
        return node.text.strip()

    def _priority(self, table: Table) -> int | None:
        node = table.get("priority")
        if node is None:
            return None
        if not isinstance(node, Scalar) or node.text not in PRIORITIES:
            self._problem(node.place, "priority is high, normal or low")
            return None
        return PRIORITIES[node.text]

    # ── tests ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _test(self, node: Node) -> None:
        table = self._table(node, TEST_KEYS, "a test")
        if table is None:
            return
        name, instance, expect = (table.get(key) for key in TEST_KEYS)
        if not isinstance(name, Scalar) or not name.text.strip():
            self._problem(name.place if name else table.place, "a test needs a name")
        if not isinstance(instance, Table):
            self._problem(instance.place if instance else table.place, "a test needs an instance: attributes and text")
        if not isinstance(expect, Table) or not expect.entries:
            told = ", ".join((*OUTCOMES, *OF_COPIES))
            self._problem(expect.place if expect else table.place, f"a test expects something: {told}")
        if isinstance(name, Scalar) and isinstance(instance, Table) and isinstance(expect, Table):
            received = self._received(instance)
            case = TestCase(name.text, table.place, self._instance(instance), self._expect(expect), received)
            self.tests.append(case)

    def _received(self, table: Table) -> Received | None:
        node = table.get("received")
        if node is None:
            return None
        received = read_received(node.text) if isinstance(node, Scalar) else None
        if received is None:
            self._problem(node.place, "received is a date and time, as in 2026-01-31 19:30")
        return received

    def _instance(self, table: Table) -> dict[Key, tuple[str, ...]]:
        instance: dict[Key, tuple[str, ...]] = {}
        for key, value in table:
            if key == "received":
                continue
            resolved = resolve(key)
            if isinstance(resolved, PatternError):
                self._problem(table.keys[key], str(resolved))
                continue
            if isinstance(resolved, NamePart):
                self._problem(table.keys[key], f"an instance has whole names: write {key.rpartition('#')[0]}: A^B=C^D")
                continue
            texts = tuple(text.text for text in self._texts(value, key, may_be_empty=True))
            if resolved in {"sop_class", "transfer_syntax"}:
                texts = tuple(uid_of(text) for text in texts)
            instance[resolved] = () if texts in {(), ("",)} else texts
        return instance

    def _expect(self, table: Table) -> Expectation:
        outcomes = [key for key in table.entries if key in OUTCOMES]
        if len(outcomes) > 1:
            self._problem(table.keys[outcomes[1]], f"{outcomes[1]} cannot stand beside {outcomes[0]}")
        outcome = outcomes[0] if outcomes else ""
        names: frozenset[str] = frozenset()
        reason = to = ""
        after: tuple[tuple[str, AttributePath, tuple[str, ...] | None], ...] = ()
        unchanged: tuple[tuple[str, AttributePath], ...] = ()
        for key, value in table:
            if key == "destinations":
                self._check_destinations(value)
                names = frozenset(text.text for text in self._texts(value, key))
            elif key in OUTCOMES:
                any_reason = isinstance(value, Scalar) and (value.is_null or value.text == "true")
                if not isinstance(value, Scalar) or value.text == "false":
                    self._problem(value.place, f"{key} is true, or the reason")
                reason = "" if any_reason else getattr(value, "text", "")
            elif key == "to":
                self._check_destinations(value)
                to = value.text if isinstance(value, Scalar) else ""
            elif key == "after":
                after = tuple(self._after(value))
            elif key == "unchanged":
                texts = self._texts(value, key)
                unchanged = tuple((t.text, path) for t in texts if (path := self._attribute_of(t.text, t.place)))
            else:
                known = (*OUTCOMES, *OF_COPIES)
                self._problem(table.keys[key], f"there is no outcome {key!r}{suggestion(key, known)}")
        return Expectation(outcome, names, reason, to, after, unchanged)

    def _after(self, node: Node) -> Iterator[tuple[str, AttributePath, tuple[str, ...] | None]]:
        if not isinstance(node, Table) or not node.entries:
            self._problem(node.place, "after maps attributes to what they are in the copy")
            return
        for name, value in node:
            path = self._attribute_of(name, node.keys[name])
            if path is None:
                continue
            if isinstance(value, Table):
                absent = value.get("absent")
                if len(value.entries) != 1 or not isinstance(absent, Scalar) or absent.text != "true":
                    self._problem(value.place, "an attribute is a text, a list of texts, or {absent: true}")
                yield name, path, None
            else:
                texts = tuple(text.text for text in self._texts(value, name, may_be_empty=True))
                yield name, path, () if texts in {(), ("",)} else texts

    def _attribute_of(self, name: str, place: Place) -> AttributePath | None:
        key = resolve(name)
        if isinstance(key, tuple):
            return key
        self._problem(place, str(key) if isinstance(key, PatternError) else f"{name!r} is no attribute of a copy")
        return None


def chain_id(names: Collection[str], digests: Mapping[str, str]) -> str:
    """What a chain of transforms is called: their names, and a digest of what they do; "" for none."""
    if not names:
        return ""
    text = "".join(digests.get(name, "") for name in names)
    return f"{CHAIN_JOINS.join(names)}{CHAIN_DIGEST}{sha256(text.encode()).hexdigest()[:8]}"


def _is_name(text: str) -> bool:
    return text[0].isalnum() and len(text) <= 128 and _NAME_CHARACTERS.issuperset(text)
