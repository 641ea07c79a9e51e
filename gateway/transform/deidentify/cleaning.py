"""Text cleaned word by word: what stays is in a list of words that name nobody (PS3.15 E.3.4, Clean Descriptors).

A list of what may stay is the only one that can be complete. Beside the gateway's words (`words`) stand those of the
site. A word that is part of a name or an identifier of the data set goes even if it is in a list. Numbers stay where
they have at most two digits (before a point), with a unit or not: `3D`, `2.5mm`, `T12` do, a patient's number does not.
Nor do numbers that have another beside them, or begin with a zero: dates and telephone numbers are written like that.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.transform.deidentify.words import words

_WORD = re.compile(r"[^\W_]+(?:\.\d+[^\W_]*)?")
_NUMBER = re.compile(r"\d[\d.]*")
_MEASURE = re.compile(r"([a-z]{0,2})(?!0\d)\d{1,2}(\.\d{1,3})?([a-z]{0,3})", re.ASCII)
_PARTS = re.compile(r"[^\W_]+")


class Cleaner:
    """Cleans text with the gateway's words and a site's."""

    __slots__ = ("_words",)

    def __init__(self, site: Collection[str] = ()) -> None:
        self._words = {word.casefold() for word in words()} | {
            part for word in site for part in _PARTS.findall(word.casefold())
        }

    def clean(self, text: str, names: Collection[str] = ()) -> str:
        """The words that may stay, divided by single spaces.

        :param names: words that must go, whatever the lists say; in the form that `parts_of` gives.
        """
        found = _WORD.findall(text)
        kept = []
        for place, word in enumerate(found):
            folded = word.casefold()
            if folded in names:
                continue
            if any(_NUMBER.fullmatch(each) for each in _beside(found, place)):
                continue
            if folded in self._words or _is_measure(folded, self._words):
                kept.append(word)
        return " ".join(kept)


def _beside(words: list[str], place: int) -> list[str]:
    """The word in front of one and that behind it, where one is a number."""
    return words[max(0, place - 1) : place] + words[place + 1 : place + 2] if _NUMBER.fullmatch(words[place]) else []


def _is_measure(word: str, known: Collection[str]) -> bool:
    """Whether it is a small number, alone or with a letter or two in front, or a unit behind."""
    found = _MEASURE.fullmatch(word)
    return found is not None and (not found[3] or found[3] in known or len(found[3]) == 1)


def parts_of(text: str) -> set[str]:
    """The words of a name or an identifier that `Cleaner.clean` must not let through; single letters say nothing."""
    return {part for part in _PARTS.findall(text.casefold()) if len(part) > 1}
