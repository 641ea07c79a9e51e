"""Cursors, limits and wildcards: what comes from a person and ends in a statement."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.errors import LookRefused
from gateway.ledger.look import LIMIT_MAX
from gateway.rules.patterns import Glob, PatternError

TEXT_MAX = 512
EVER = (1 << 63) - 1  # greater than any key and any time

_NUMBER = re.compile(r"-?[0-9]{1,19}")
_LIKE = str.maketrans({"!": "!!", "%": "!%", "_": "!_"})
_WILD = re.compile(r"[*?]")
_LITERAL = re.compile(r"[\x00-)+->@-\x7f]+")  # ASCII but for wildcards


def require_limit(limit: int) -> int:
    """A page's size. Raises `LookRefused`."""
    if not 1 <= limit <= LIMIT_MAX:
        raise LookRefused(f"a page has 1 to {LIMIT_MAX} rows")
    return limit


def cursor(*numbers: int) -> str:
    """Where a page ends, as text to hand back."""
    return ".".join(map(str, numbers))


def numbers(after: str, *first: int) -> tuple[int, ...]:
    """What `cursor` was made of; `first` where there is none yet. Raises `LookRefused`."""
    if not after:
        return first
    words = after.split(".")
    if len(words) != len(first) or not all(_NUMBER.fullmatch(word) for word in words):
        raise LookRefused("the page behind a cursor that is none: begin at the first page")
    found = tuple(map(int, words))
    if any(abs(number) > EVER for number in found):
        raise LookRefused("the page behind a cursor that is none: begin at the first page")
    return found


def is_wild(text: str) -> bool:
    """Whether a text is a pattern (PS3.4 C.2.2.2.4)."""
    return _WILD.search(text) is not None


def like(pattern: str) -> str:
    """For LIKE, of a text in lower case, with `!` for ESCAPE: what finds whatever a pattern may mean, and more.

    That is the longest part of it that any database folds alike: who asks looks again, with a `Glob`. A whole pattern
    would have LIKE try each way to fit it, without an end.
    """
    return anywhere(max(_LITERAL.findall(pattern), key=len, default=""))


def anywhere(text: str) -> str:
    """For LIKE, of a text in lower case, with `!` for ESCAPE: ASCII text somewhere in it."""
    return f"%{text.lower().translate(_LIKE)}%"


def glob(pattern: str) -> Callable[[str], bool]:
    """Whether a whole text is what a pattern means, whatever its case. Raises `LookRefused`."""
    try:
        meant = Glob(pattern)
    except PatternError as error:
        raise LookRefused("a text with wildcards is too long: shorten it") from error
    return lambda text: meant.holds((text,))


def require_short(text: str) -> str:
    """A text to search for. Raises `LookRefused`."""
    if len(text) > TEXT_MAX:
        raise LookRefused(f"a text to search for is longer than {TEXT_MAX} characters")
    return text
