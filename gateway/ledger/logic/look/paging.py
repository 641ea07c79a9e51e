"""Cursors, limits and wildcards: what comes from a person and ends in a statement."""

from __future__ import annotations

import re

from gateway.errors import LookRefused
from gateway.ledger.look import LIMIT_MAX

EVER = (1 << 63) - 1  # greater than any key and any time

_NUMBER = re.compile(r"-?[0-9]{1,19}")
_LIKE = str.maketrans({"!": "!!", "%": "!%", "_": "!_"})
_WILD = re.compile(r"[*?]")
_OTHERS = re.compile(r"[^\x00-\x7f]")


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
    """A pattern for LIKE, of a text in lower case, with `!` for ESCAPE: it may find more than is meant.

    The databases fold the case of ASCII only, so that any other character is left open: who asks looks again.
    """
    return _OTHERS.sub("?", pattern).lower().translate(_LIKE).replace("*", "%").replace("?", "_")


def anywhere(text: str) -> str:
    """For LIKE, of a text in lower case, with `!` for ESCAPE: ASCII text somewhere in it."""
    return f"%{text.lower().translate(_LIKE)}%"


def compiled(pattern: str) -> re.Pattern[str]:
    """What a pattern means of a whole text, whatever its case."""
    meant = "".join(".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return re.compile(meant, re.IGNORECASE | re.DOTALL)
