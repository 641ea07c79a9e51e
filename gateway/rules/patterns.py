"""Text compared with values: whole texts, globs and regular expressions, with what counts as alike.

  - `Literals`   text without wildcards, whole value, upper and lower case alike;
  - `Glob`       `*` any characters, `?` one character, whole value, upper and lower case alike;
  - `Regex`      RE2 syntax, found anywhere in a value, case-sensitive (`(?i)` changes that);
  - `Equals`     exactly this text.

`RegexSet` finds which of many expressions may hold.

Of the last three it can be said what is alike otherwise: `CASE` (Unicode's case folding, so ß is ss too) and `ACCENTS`
(marks on Latin, Greek and Cyrillic letters, strokes through letters, ligatures: é is e, ø is o, æ is ae; not the marks
that make another kana). Any value that fits is enough.

Bounds: patterns are RE2 (no backtracking), compile to at most 1,000 instructions, and look at no more than the
first 16 KiB of an attribute's values, each value counted with 4 bytes more, so that the worst pattern takes tens of
milliseconds, also on a value that is nothing but separators. The regular-expression
engine's own log is off, since it may quote what it looked at. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import normalize

import re2

from gateway.rules.subject import Values

MAX_PROGRAM_SIZE = 1000
MAX_SEARCHED_BYTES = 16 * 1024
VALUE_COST_BYTES = 4
_MAX_PATTERN_MEMORY_BYTES = 1 << 20
MAX_SET_MEMORY_BYTES = 16 << 20

# Certain to lie within the bound, whatever folding and UTF-8 make of it.
_SHORT_CHARACTERS = 1000

CASE, ACCENTS = "case", "accents"
FOLDS = (CASE, ACCENTS)
EXACT: frozenset[str] = frozenset()
CASELESS = frozenset({CASE})

_MARKS = dict.fromkeys(range(0x0300, 0x0370))  # combining diacritical marks
_STROKES = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "ŧ": "t",
                          "Ŧ": "T", "ı": "i", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"})  # fmt: skip


class PatternError(ValueError):
    """A pattern cannot be compiled; the text says why."""


class Literals:
    """Any value is one of some texts, upper and lower case alike."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)
        self.folded = frozenset(text.casefold() for text in self._texts)

    def holds(self, values: Values) -> bool:
        if not values:
            return False
        if len(values) == 1:
            return values[0].casefold() in self.folded
        return any(value.casefold() in self.folded for value in values)

    def describe(self) -> str:
        return "is " + " or ".join(repr(text) for text in self._texts)


class Equals:
    """Any value is exactly one of some texts, but for what is `alike`."""

    def __init__(self, texts: Iterable[str], alike: frozenset[str] = EXACT) -> None:
        self._shown = tuple(texts)
        self.alike = alike
        self.texts = frozenset(fold(text, alike) for text in self._shown)

    def holds(self, values: Values) -> bool:
        return values is not None and any(fold(value, self.alike) in self.texts for value in values)

    def describe(self) -> str:
        return "is exactly " + " or ".join(repr(text) for text in self._shown) + said(self.alike)


class Glob:
    """Any value fits a text with wildcards, but for what is `alike`. :raises PatternError: too large."""

    def __init__(self, text: str, alike: frozenset[str] = CASELESS) -> None:
        self._text = text
        self.alike = alike
        folded = fold(text, alike)
        wildcards = {"*": ".*", "?": "."}
        self._pattern = _compile("(?s)" + "".join(wildcards.get(each) or re2.escape(each) for each in folded))
        self.longest_part = max(re.split(r"[*?]", folded), key=len)
        self._pieces = tuple(folded.split("*")) if "*" in folded and "?" not in folded else None

    def holds(self, values: Values) -> bool:
        if self._pieces is not None and values is not None and len(values) == 1 and len(values[0]) <= _SHORT_CHARACTERS:
            return _fits_pieces(fold(values[0], self.alike), self._pieces)
        return any(self._pattern.fullmatch(part) is not None for part in searched(values, self.alike))

    def describe(self) -> str:
        return f"is like {self._text!r}" + ("" if self.alike == CASELESS else said(self.alike) or ", exactly")


class Regex:
    """A regular expression is found in any value, but for what is `alike`.

    :raises PatternError: not RE2 syntax, or too large.
    """

    def __init__(self, text: str, alike: frozenset[str] = EXACT) -> None:
        self._text = text
        self._alike = alike
        # Folding the case of a pattern would turn \\W into \\w: RE2 does that itself.
        self.folds = alike - {CASE}
        self.pattern = fold(text, self.folds)
        self.is_caseless = CASE in alike
        self._compiled = _compile(self.pattern, caseless=self.is_caseless)

    def holds(self, values: Values) -> bool:
        if values is not None and len(values) == 1 and len(values[0]) <= _SHORT_CHARACTERS and not self.folds:
            return self._compiled.search(values[0].encode("utf-8", "replace")) is not None
        return any(self._compiled.search(part) is not None for part in searched(values, self.folds))

    def describe(self) -> str:
        return f"has the regular expression {self._text!r}" + said(self._alike)


class RegexSet:
    """Many regular expressions looked for at once: one pass over a text, whatever their number.

    Of one kind: all with the same `folds` and `is_caseless`.

    :raises PatternError: together they are too large for the engine.
    """

    def __init__(self, expressions: Sequence[Regex]) -> None:
        options = _options(caseless=expressions[0].is_caseless, memory_bytes=MAX_SET_MEMORY_BYTES)
        self._folds = expressions[0].folds
        self._set = re2.Set.SearchSet(options)
        for expression in expressions:
            self._set.Add(expression.pattern.encode())
        # Where the engine runs out of memory it finds nothing and says nothing: the empty text is found in every text.
        self._witness = self._set.Add(b"")
        try:
            self._set.Compile()
        except re2.error:
            raise PatternError("together the patterns are too large") from None

    def found(self, values: Values) -> set[int] | None:
        """The numbers of those that are found in any value; None where the engine could not tell."""
        numbers: set[int] = set()
        for part in searched(values, self._folds):
            here = self._set.Match(part)
            if self._witness not in here:
                return None
            numbers.update(here)
        numbers.discard(self._witness)
        return numbers


def fold(text: str, alike: frozenset[str]) -> str:
    """The text in the form that all texts have in common that are alike."""
    if CASE in alike:
        text = text.casefold()
    if ACCENTS in alike and not text.isascii():
        text = normalize("NFC", normalize("NFD", text.translate(_STROKES)).translate(_MARKS))
    return text


def _fits_pieces(text: str, pieces: tuple[str, ...]) -> bool:
    """Whether a text is these pieces with anything between them: each is looked for as far to the left as it can stand.

    Most globs on most values: a fraction of what an engine for patterns needs to get going.
    """
    first, *inner, last = pieces
    at, end = len(first), len(text) - len(last)
    if at > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for piece in inner:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def bounded(values: Values) -> Iterator[str]:
    """The values that are looked at: as many as the bound on searched bytes allows, the last one cut there."""
    left = MAX_SEARCHED_BYTES
    for value in values or ():
        yield value[:left]
        left -= len(value) + VALUE_COST_BYTES
        if left <= 0:
            return


def searched(values: Values, alike: frozenset[str]) -> Iterator[bytes]:
    """The values as a pattern sees them, up to the bound."""
    left = MAX_SEARCHED_BYTES
    for value in values or ():
        part = fold(value[:left], alike).encode("utf-8", "replace")[:left]
        yield part
        left -= len(part) + VALUE_COST_BYTES
        if left <= 0:
            return


def said(alike: frozenset[str]) -> str:
    words = [word for name, word in ((CASE, "capitals"), (ACCENTS, "accents")) if name in alike]
    return f", {' and '.join(words)} aside" if words else ""


def _compile(pattern: str, *, caseless: bool = False) -> re2._Regexp:
    try:
        compiled = re2.compile(pattern.encode(), _options(caseless=caseless, memory_bytes=_MAX_PATTERN_MEMORY_BYTES))
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else "not a regular expression"
        raise PatternError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    if compiled.programsize > MAX_PROGRAM_SIZE:
        raise PatternError("the pattern is too large: write a shorter one, or smaller repetitions")
    return compiled


def _options(*, caseless: bool, memory_bytes: int) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = memory_bytes
    options.case_sensitive = not caseless
    return options
