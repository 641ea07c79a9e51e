"""Which rules can match an instance at all, found without trying every one.

Most rules ask for a text: this modality, that station, a word in a description. What a rule needs is a set of such
texts under their keys, one of which the instance must have if the rule is to match; `needs_of` finds those sets in a
matcher, and the index files each rule under the one that it shares with the fewest others. An instance then looks up
each of its values once, and looks for each word once. Of rules that need no text, those that need a regular expression
are found together with all others of their kind, in one pass over the value. A rule that needs neither (a comparison, a
`not`) is a candidate always.

The index leaves rules out, it decides nothing: a candidate is evaluated as if there were no index, in the order of the
rules. Texts are looked up with their case folded; what is exact is found out by the rule. `gateway.rules.plan` calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from gateway.rules import match
from gateway.rules.patterns import ACCENTS, Equals, Glob, Literals, PatternError, Regex, RegexSet
from gateway.rules.subject import Key, Subject, Values

# In longer values no words are looked for: trying the rules is bounded, by `gateway.rules.patterns`.
_MAX_VALUES, _MAX_CHARACTERS = 64, 4096
# More texts than these, as a table has, are no need: a set finds them at once, and filing each of them costs more.
_MAX_TEXTS = 1000
FEW = 8  # so many expressions are tried one by one


class Need(NamedTuple):
    """A value under the key, with its case folded, is this text, or has it as a `part`."""

    key: Key
    text: str
    part: bool


Needs = frozenset[Need]


class Index:
    """An index over rules by their numbers; None among the matchers matches everything."""

    def __init__(self, matchers: Sequence[match.Matcher | None]) -> None:
        by_rule = [list(needs_of(matcher)) if matcher is not None else [] for matcher in matchers]
        shared = Counter(need for needs in by_rule for need in frozenset().union(*needs))
        self._always: list[int] = []
        self._wholes: dict[Key, dict[str, list[int]]] = {}
        self._parts: dict[Key, dict[str, list[int]]] = {}
        self._expressions = _Expressions()
        for number, needs in enumerate(by_rule):
            if not needs:
                matcher = matchers[number]
                if matcher is None or not self._expressions.file(number, matcher):
                    self._always.append(number)
                continue
            for need in min(needs, key=lambda each: (_has_parts(each), sum(shared[one] for one in each))):
                by_text = (self._parts if need.part else self._wholes).setdefault(need.key, {})
                by_text.setdefault(need.text, []).append(number)
        self._always = sorted([*self._always, *self._expressions.compile()])

    def candidates(self, subject: Subject) -> Sequence[int]:
        """The numbers of the rules that may match, in ascending order."""
        found: list[list[int]] = []
        for key, by_text in self._wholes.items():
            for value in subject[key] or ():
                numbers = by_text.get(value.casefold())
                if numbers is not None:
                    found.append(numbers)
        for key, by_part in self._parts.items():
            values = subject[key]
            if values and not _are_short(values):
                found += by_part.values()
                continue
            for value in values or ():
                folded = value.casefold()
                found += [numbers for part, numbers in by_part.items() if part in folded]
        found += self._expressions.found(subject)
        if not found:
            return self._always
        return sorted(set(chain(self._always, *found)))


class _Expressions:
    """Rules that need a regular expression, by its key and kind. It is found in no value that is not there."""

    def __init__(self) -> None:
        self._filed: dict[tuple[Key, frozenset[str], bool], list[tuple[Regex, int]]] = {}
        self._sets: list[tuple[Key, RegexSet, list[int]]] = []

    def file(self, number: int, matcher: match.Matcher) -> bool:
        """Take a rule, if it needs an expression."""
        needed = next(_expressions_of(matcher), None)
        if needed is not None:
            key, expression = needed
            kind = (key, expression.folds, expression.is_caseless)
            self._filed.setdefault(kind, []).append((expression, number))
        return needed is not None

    def compile(self) -> list[int]:
        """Make the sets; the numbers of rules that are in none."""
        left: list[int] = []
        for (key, _, _), filed in self._filed.items():
            numbers = [number for _, number in filed]
            try:
                together = RegexSet([each for each, _ in filed]) if len(filed) > FEW else None
            except PatternError:
                together = None
            if together is None:
                left += numbers
            else:
                self._sets.append((key, together, numbers))
        self._filed.clear()
        return left

    def found(self, subject: Subject) -> Iterator[list[int]]:
        """The numbers of the rules whose expression is found."""
        for key, together, numbers in self._sets:
            values = subject[key]
            if not values:
                continue
            which = together.found(values) if _are_short(values) else None
            yield numbers if which is None else [numbers[each] for each in which]


def _expressions_of(matcher: match.Matcher) -> Iterator[tuple[Key, Regex]]:
    """Expressions that must be found if the matcher is to hold."""
    if isinstance(matcher, match.Attribute) and isinstance(matcher.condition, Regex):
        yield matcher.key, matcher.condition
    elif isinstance(matcher, match.All):
        for part in matcher.parts:
            yield from _expressions_of(part)


def needs_of(matcher: match.Matcher) -> Iterator[Needs]:
    """Sets of texts: where the matcher holds, the subject has one of each set."""
    if isinstance(matcher, match.Attribute):
        texts = _texts_of(matcher.condition)
        if texts is not None:
            yield frozenset(Need(matcher.key, text, part) for text, part in texts)
    elif isinstance(matcher, match.All):
        for part in matcher.parts:
            yield from needs_of(part)
    elif isinstance(matcher, match.Any):
        best = [min(needs_of(part), key=lambda each: (_has_parts(each), len(each)), default=None)
                for part in matcher.parts]  # fmt: skip
        whole = [needs for needs in best if needs is not None]
        if len(whole) == len(best):
            yield frozenset(chain.from_iterable(whole))


def _texts_of(condition: match.Condition) -> frozenset[tuple[str, bool]] | None:
    """Texts with their case folded, and whether as a part; a value must have one if the condition is to hold.

    None where any value may do.
    """
    if isinstance(condition, Literals):
        return frozenset((text, False) for text in condition.folded)
    if isinstance(condition, Equals) and len(condition.texts) > _MAX_TEXTS:
        return None
    if isinstance(condition, Equals) and ACCENTS not in condition.alike:
        return frozenset((text.casefold(), False) for text in condition.texts)
    if isinstance(condition, Glob) and ACCENTS not in condition.alike and condition.longest_part:
        return frozenset({(condition.longest_part.casefold(), True)})
    if isinstance(condition, match.OneOf):
        return _union(_texts_of(each) for each in condition.conditions)
    return None


def _union(parts: Iterable[frozenset[tuple[str, bool]] | None]) -> frozenset[tuple[str, bool]] | None:
    found: set[tuple[str, bool]] = set()
    for texts in parts:
        if texts is None:
            return None
        found |= texts
    return frozenset(found)


def _has_parts(needs: Needs) -> bool:
    return any(need.part for need in needs)


def _are_short(values: Values) -> bool:
    return values is not None and len(values) <= _MAX_VALUES and sum(map(len, values)) <= _MAX_CHARACTERS
