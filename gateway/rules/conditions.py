"""What stands below `match` in a rule, to a compiled matcher, with every mistake found and placed.

`match` maps attributes and facts to conditions; all of them must hold, and so must `any:` (a list of such maps, one is
enough), `all:` (a list) and `not:` (a map that must not hold). What attributes and facts are called stands in
`gateway.rules.names`.

Conditions: a text is a glob, a list means any of, and a map is one of
  - `{equals: …}`, `{like: …}` (a glob), `{regex: …}`, with `fold: [case, accents]` beside it where that is alike;
  - `{present: true}`, `{absent: true}`; `{present: false}` is `{absent: true}`, and the other way round.
What they mean stands in `gateway.rules.match` and `gateway.rules.patterns`.

`gateway.rules.schema` calls; nothing raises here, problems are collected.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.rules import match
from gateway.rules.names import is_bulk, is_known_uid_text, resolve
from gateway.rules.nodes import NodeReader, suggestion
from gateway.rules.patterns import CASELESS, EXACT, FOLDS, Equals, Glob, Literals, PatternError, Regex
from gateway.rules.subject import Key

_TEXTS = ("equals", "like", "regex")
_CONDITIONS = (*_TEXTS, "present", "absent")


class MatchReader(NodeReader):
    """Reads what a rule matches."""

    def read(self, node: Node) -> match.Matcher:
        """The matcher of a `match` map; what is wrong with it goes to `problems`."""
        parts: list[match.Matcher] = []
        if not isinstance(node, Table):
            self._problem(node.place, "match maps attributes to conditions")
            return match.All(parts)
        if not node.entries:
            self._problem(node.place, "an empty map matches everything: leave match out if that is meant")
        for key, value in node:
            if key in {"any", "all"}:
                inner = [self.read(each) for each in self._items(value, key, must_hold=True)]
                parts.append(match.Any(inner) if key == "any" else match.All(inner))
            elif key == "not":
                words = ", ".join(value.entries) if isinstance(value, Table) else ""
                parts.append(match.Not(self.read(value), words))
            else:
                parts.append(self._attribute(key, node.keys[key], value))
        return parts[0] if len(parts) == 1 else match.All(parts)

    def _attribute(self, name: str, place: Place, value: Node) -> match.Matcher:
        resolved = resolve(name)
        if isinstance(resolved, PatternError):
            self._problem(place, str(resolved))
            resolved = ()
        elif is_bulk(resolved) and not (isinstance(value, Table) and value.entries.keys() <= {"present", "absent"}):
            self._problem(
                value.place,
                f"{name} has no text: ask for {{present: true}} or {{absent: true}}, or for an attribute of its items",
            )
        return match.Attribute(name, resolved, self._condition(resolved, value))

    def _condition(self, key: Key, node: Node) -> match.Condition:
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
            others.insert(0, Literals(literals))
        return others[0] if len(others) == 1 else match.OneOf(others)

    def _glob(self, key: Key, node: Scalar) -> match.Condition:
        if key == "host" and "/" in node.text:
            try:
                return match.Networks([ip_network(node.text)])
            except ValueError as error:
                self._problem(node.place, f"not a network: {error}")
        self._check_literal(key, node)
        if _has_wildcards(node.text):
            return self._compiled(node, Glob)
        return Literals([node.text])

    def _check_literal(self, key: Key, node: Scalar) -> None:
        if node.is_null or not node.text:
            self._problem(node.place, "no text to compare with: write {absent: true} for an attribute without a value")
        elif key in {"sop_class", "transfer_syntax"} and not _has_wildcards(node.text):
            hint = is_known_uid_text(node.text)
            if hint is not None:
                self._problem(node.place, f"{node.text!r} is no UID, keyword or name that DICOM knows{hint}")

    def _special(self, node: Table) -> match.Condition:
        unknown = [key for key in node.entries if key not in {*_CONDITIONS, "fold"}]
        for key in unknown:
            self._problem(node.keys[key], f"there is no condition {key!r}{suggestion(key, (*_CONDITIONS, 'fold'))}")
        keys = [key for key in node.entries if key != "fold"]
        if len(keys) != 1 and not unknown:
            self._problem(node.place, f"a condition has one key: {', '.join(_CONDITIONS)}")
        key = "".join(keys[:1])
        if "fold" in node.entries and key not in _TEXTS and not unknown:
            self._problem(node.keys["fold"], f"fold goes with {', '.join(_TEXTS)}")
        if key in {"present", "absent"}:
            return match.Present(self._flag(node, key) == (key == "present"))
        if key in _TEXTS:
            return self._text(node, key)
        return match.OneOf([])

    def _text(self, node: Table, key: str) -> match.Condition:
        """`equals`, `like` or `regex`, and what is alike: of a glob the case, unless `fold` says otherwise."""
        alike = self._fold(node, CASELESS if key == "like" else EXACT)
        texts = self._texts(node.get(key), key)
        whole = [text.text for text in texts if key == "equals" or (key == "like" and not _has_wildcards(text.text))]
        conditions: list[match.Condition] = [Equals(whole, alike)] if whole else []
        for text in texts:
            if key == "regex":
                conditions.append(self._compiled(text, lambda pattern: Regex(pattern, alike)))
            elif key == "like" and _has_wildcards(text.text):
                conditions.append(self._compiled(text, lambda pattern: Glob(pattern, alike)))
        return conditions[0] if len(conditions) == 1 else match.OneOf(conditions)

    def _fold(self, node: Table, otherwise: frozenset[str]) -> frozenset[str]:
        value = node.get("fold")
        if value is None:
            return otherwise
        if isinstance(value, Items) and not value.nodes:
            return EXACT
        names = self._texts(value, "fold")
        for name in names:
            if name.text not in FOLDS:
                hint = suggestion(name.text, FOLDS)
                self._problem(name.place, f"fold is {' or '.join(FOLDS)}, or a list of them{hint}")
        return frozenset(name.text for name in names)

    def _compiled(self, node: Scalar, make: Callable[[str], match.Condition]) -> match.Condition:
        try:
            return make(node.text)
        except PatternError as error:
            self._problem(node.place, f"not a usable pattern: {error}")
            return match.Present(True)


def _has_wildcards(text: str) -> bool:
    return "*" in text or "?" in text
