"""Rule files as people write them to typed rules, with every mistake found and placed.

A file holds `rules:` and `tests:`, both lists. The keys of a rule: `name`, `match`, and what to do: `send_to`, `stop`,
`priority`, or `hold: reason`, or `discard: reason`. `match` maps attributes and facts to conditions; all of them must
hold, and so must `any:` (a list of such maps, one is enough), `all:` (a list) and `not:` (a map that must not
hold). Attributes go by keyword, `(gggg,eeee)` or `ggggeeee`, those of a sequence's items as `Sequence.Attribute`.

Conditions: a text is a glob, a list means any of, `{regex: …}`, `{equals: …}`, `{present: true}`, `{absent: true}`;
what they mean stands in `gateway.rules.match`. `{present: false}` is `{absent: true}`, and the other way round.

`gateway.rules.plan` calls; nothing raises here, problems are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.errors import Problem
from gateway.rules import match
from gateway.rules.names import is_bulk, is_known_uid_text, resolve, uid_of

_RULE_KEYS = ("name", "match", "send_to", "stop", "discard", "hold", "priority", "transform")
_TEST_KEYS = ("name", "instance", "expect")
_OUTCOMES = ("destinations", "held", "discarded")
_CONDITIONS = ("regex", "equals", "present", "absent")
_PRIORITIES = {"high": 1, "normal": 0, "low": -1}
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `match` None matches everything; `priority` None says nothing about it."""

    name: str
    place: Place
    match: match.Matcher | None
    send_to: tuple[str, ...] = ()
    stop: bool = False
    discard: str | None = None
    hold: str | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a test expects. `outcome` is "destinations", "held" or "discarded"; `reason` "" is any."""

    outcome: str
    destinations: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test of the rules: an instance made of text, and where it must go."""

    __test__ = False  # not a test of ours, whatever pytest thinks of the name

    name: str
    place: Place
    instance: Mapping[match.Key, tuple[str, ...]]
    expect: Expectation


class RuleReader:
    """Turns the documents of a set of rule files into rules and tests. `destinations` None allows any name."""

    def __init__(self, destinations: Collection[str] | None) -> None:
        self.rules: list[Rule] = []
        self.tests: list[TestCase] = []
        self.problems: list[Problem] = []
        self._destinations = destinations
        self._names: dict[str, Place] = {}

    def read(self, root: Node) -> None:
        """Read one document; what is wrong goes to `problems`."""
        table = self._table(root, ("rules", "tests"), "a rule file")
        if table is None:
            return
        for node in self._items(table.get("rules"), "rules"):
            self._rule(node)
        for node in self._items(table.get("tests"), "tests"):
            self._test(node)

    # ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _rule(self, node: Node) -> None:
        table = self._table(node, _RULE_KEYS, "a rule")
        if table is None:
            return
        before = len(self.problems)
        name = self._name(table)
        transform = table.keys.get("transform")
        if transform is not None:
            self._problem(transform, "transform comes later: this version sends instances unchanged; take it out")
        condition = table.get("match")
        matcher = self._match(condition) if condition is not None else None
        send_to = tuple(text.text for text in self._texts(table.get("send_to"), "send_to"))
        self._check_destinations(table.get("send_to"))
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
        if not actions and "transform" not in table.entries:
            self._problem(table.place, "the rule does nothing: it needs send_to, hold or discard")
        if len(actions) > 1:
            self._problem(table.keys[actions[1]], f"{actions[1]} cannot stand beside {actions[0]}")
        elif actions and actions[0] != "send_to" and stop:
            self._problem(table.keys["stop"], f"{actions[0]} ends the search anyway: take stop out")

    def _check_destinations(self, node: Node | None) -> None:
        seen = set()
        for text in self._texts(node, ""):
            if text.text in seen:
                self._problem(text.place, f"the destination {text.text!r} stands here twice")
            seen.add(text.text)
            if self._destinations is not None and text.text not in self._destinations:
                hint = _suggestion(text.text, self._destinations)
                self._problem(text.place, f"there is no destination {text.text!r} in the configuration{hint}")

    def _reason(self, table: Table, key: str) -> str | None:
        node = table.get(key)
        if node is None:
            return None
        if not isinstance(node, Scalar) or node.is_null or not node.text.strip():
            self._problem(node.place, f"{key} needs a reason, as text")
            return None
        return node.text.strip()

    def _flag(self, table: Table, key: str) -> bool:
        node = table.get(key)
        if node is not None and not (isinstance(node, Scalar) and node.text in {"true", "false"}):
            self._problem(node.place, f"{key} is true or false")
        return isinstance(node, Scalar) and node.text == "true"

    def _priority(self, table: Table) -> int | None:
        node = table.get("priority")
        if node is None:
            return None
        if not isinstance(node, Scalar) or node.text not in _PRIORITIES:
            self._problem(node.place, "priority is high, normal or low")
            return None
        return _PRIORITIES[node.text]

    # ── match ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _match(self, node: Node) -> match.Matcher:
        parts: list[match.Matcher] = []
        if not isinstance(node, Table):
            self._problem(node.place, "match maps attributes to conditions")
            return match.All(parts)
        if not node.entries:
            self._problem(node.place, "an empty map matches everything: leave match out if that is meant")
        for key, value in node:
            if key in {"any", "all"}:
                inner = [self._match(each) for each in self._items(value, key, must_hold=True)]
                parts.append(match.Any(inner) if key == "any" else match.All(inner))
            elif key == "not":
                words = ", ".join(value.entries) if isinstance(value, Table) else ""
                parts.append(match.Not(self._match(value), words))
            else:
                parts.append(self._attribute(key, node.keys[key], value))
        return parts[0] if len(parts) == 1 else match.All(parts)

    def _attribute(self, name: str, place: Place, value: Node) -> match.Matcher:
        resolved = resolve(name)
        if isinstance(resolved, match.PatternError):
            self._problem(place, str(resolved))
            resolved = ()
        elif is_bulk(resolved) and not (isinstance(value, Table) and value.entries.keys() <= {"present", "absent"}):
            self._problem(
                value.place,
                f"{name} has no text: ask for {{present: true}} or {{absent: true}}, or for an attribute of its items",
            )
        return match.Attribute(name, resolved, self._condition(resolved, value))

    def _condition(self, key: match.Key, node: Node) -> match.Condition:
        if isinstance(node, Scalar):
            return self._glob(key, node)
        if isinstance(node, Table):
            return self._special(node)
        if not node.nodes:
            self._problem(node.place, "an empty list matches nothing")
        literals = []
        others: list[match.Condition] = []
        for each in node:
            if isinstance(each, Items):
                self._problem(each.place, "a list of conditions holds no further lists")
            elif isinstance(each, Scalar) and not _has_wildcards(each.text) and "/" not in each.text:
                self._check_literal(key, each)
                literals.append(each.text)
            else:
                others.append(self._condition(key, each))
        if literals:
            others.insert(0, match.Literals(literals))
        return others[0] if len(others) == 1 else match.OneOf(others)

    def _glob(self, key: match.Key, node: Scalar) -> match.Condition:
        if key == "host" and "/" in node.text:
            try:
                return match.Networks([ip_network(node.text)])
            except ValueError as error:
                self._problem(node.place, f"not a network: {error}")
        self._check_literal(key, node)
        if _has_wildcards(node.text):
            return self._compiled(node, match.Glob)
        return match.Literals([node.text])

    def _check_literal(self, key: match.Key, node: Scalar) -> None:
        if node.is_null or not node.text:
            self._problem(node.place, "no text to compare with: write {absent: true} for an attribute without a value")
        elif key in {"sop_class", "transfer_syntax"} and not _has_wildcards(node.text):
            hint = is_known_uid_text(node.text)
            if hint is not None:
                self._problem(node.place, f"{node.text!r} is no UID, keyword or name that DICOM knows{hint}")

    def _special(self, node: Table) -> match.Condition:
        conditions: list[match.Condition] = []
        if len(node.entries) != 1:
            self._problem(node.place, f"a condition has one key: {', '.join(_CONDITIONS)}")
        for key, value in node:
            if key in {"present", "absent"}:
                conditions.append(match.Present(self._flag(node, key) == (key == "present")))
            elif key == "equals":
                conditions.append(match.Equals([text.text for text in self._texts(value, "equals")]))
            elif key == "regex":
                conditions += [self._compiled(text, match.Regex) for text in self._texts(value, "regex")]
            else:
                self._problem(node.keys[key], f"there is no condition {key!r}{_suggestion(key, _CONDITIONS)}")
        return conditions[0] if len(conditions) == 1 else match.OneOf(conditions)

    def _compiled(self, node: Scalar, make: Callable[[str], match.Condition]) -> match.Condition:
        try:
            return make(node.text)
        except match.PatternError as error:
            self._problem(node.place, f"not a usable pattern: {error}")
            return match.Present(True)

    # ── tests ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _test(self, node: Node) -> None:
        table = self._table(node, _TEST_KEYS, "a test")
        if table is None:
            return
        name, instance, expect = (table.get(key) for key in _TEST_KEYS)
        if not isinstance(name, Scalar) or not name.text.strip():
            self._problem(name.place if name else table.place, "a test needs a name")
        if not isinstance(instance, Table):
            self._problem(instance.place if instance else table.place, "a test needs an instance: attributes and text")
        if not isinstance(expect, Table) or len(expect.entries) != 1:
            self._problem(expect.place if expect else table.place, f"a test expects one of {', '.join(_OUTCOMES)}")
        if isinstance(name, Scalar) and isinstance(instance, Table) and isinstance(expect, Table):
            self.tests.append(TestCase(name.text, table.place, self._instance(instance), self._expect(expect)))

    def _instance(self, table: Table) -> dict[match.Key, tuple[str, ...]]:
        instance: dict[match.Key, tuple[str, ...]] = {}
        for key, value in table:
            resolved = resolve(key)
            if isinstance(resolved, match.PatternError):
                self._problem(table.keys[key], str(resolved))
                continue
            texts = tuple(text.text for text in self._texts(value, key, may_be_empty=True))
            if resolved in {"sop_class", "transfer_syntax"}:
                texts = tuple(uid_of(text) for text in texts)
            instance[resolved] = () if texts in {(), ("",)} else texts
        return instance

    def _expect(self, table: Table) -> Expectation:
        for key, value in table:
            if key == "destinations":
                self._check_destinations(value)
                names = frozenset(text.text for text in self._texts(value, key))
                return Expectation(key, names)
            if key in _OUTCOMES:
                any_reason = isinstance(value, Scalar) and (value.is_null or value.text == "true")
                if not isinstance(value, Scalar) or value.text == "false":
                    self._problem(value.place, f"{key} is true, or the reason")
                return Expectation(key, reason="" if any_reason else getattr(value, "text", ""))
            self._problem(table.keys[key], f"there is no outcome {key!r}{_suggestion(key, _OUTCOMES)}")
        return Expectation("")

    # ── nodes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _problem(self, place: Place, message: str) -> None:
        problem = place.problem(message)
        if problem not in self.problems:
            self.problems.append(problem)

    def _table(self, node: Node, keys: Collection[str], what: str) -> Table | None:
        if not isinstance(node, Table):
            self._problem(node.place, f"{what} is a map with {', '.join(keys)}")
            return None
        for key in node.entries:
            if key not in keys:
                self._problem(node.keys[key], f"{what} has no key {key!r}{_suggestion(key, keys)}")
        return node

    def _items(self, node: Node | None, what: str, *, must_hold: bool = False) -> tuple[Node, ...]:
        if node is None or (isinstance(node, Scalar) and node.is_null and not must_hold):
            return ()
        if not isinstance(node, Items):
            self._problem(node.place, f"{what} is a list")
            return ()
        if must_hold and not node.nodes:
            self._problem(node.place, f"{what} has an empty list")
        return node.nodes

    def _texts(self, node: Node | None, what: str, *, may_be_empty: bool = False) -> tuple[Scalar, ...]:
        """A text or a list of texts."""
        if node is None:
            return ()
        nodes = node.nodes if isinstance(node, Items) else (node,)
        texts = tuple(each for each in nodes if isinstance(each, Scalar) and (may_be_empty or not each.is_null))
        if len(texts) != len(nodes) or not (nodes or may_be_empty):
            bad = next((each for each in nodes if each not in texts), node)
            self._problem(bad.place, f"{what} is a text or a list of texts")
        return texts


def _is_name(text: str) -> bool:
    return text[0].isalnum() and len(text) <= 128 and _NAME_CHARACTERS.issuperset(text)


def _has_wildcards(text: str) -> bool:
    return "*" in text or "?" in text


def _suggestion(word: str, known: Collection[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; is {close[0]!r} meant?" if close else ""
