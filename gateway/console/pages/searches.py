"""Searches that hold patient data, behind a random word.

A patient's name in an address would stand in the browser's history and in the logs of every proxy on the way. So a
search comes by POST, is kept here, and the browser is sent on to an address with the word alone: going back, loading
anew and paging work as ever. Each belongs to the person who made it; there are MOST at most, the oldest makes room; all
are forgotten with the process.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Generic, TypeVar

MOST = 1000

Which = TypeVar("Which")


class Searches(Generic[Which]):
    """See the module's docstring."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[str, Which]] = OrderedDict()

    def keep(self, name: str, which: Which) -> str:
        """The word for a search of this person."""
        word = secrets.token_urlsafe(12)
        self._kept[word] = (name, which)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return word

    def find(self, name: str, word: str) -> Which | None:
        """The search of a word; None where there is none any more, or it is another person's."""
        owner, which = self._kept.get(word, ("", None))
        return which if owner == name else None
