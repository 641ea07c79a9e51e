"""Text cleaned word by word: what stays is in a list of words that name nobody (PS3.15 E.3.4, Clean Descriptors).

A list of what may stay is the only one that can be complete. Beside the gateway's words (`words`) stand those of the
site. A word that is part of a name or an identifier of the data set goes even if it is in a list. Numbers stay where
they have at most two digits (before a point), with a unit or not: `3D`, `2.5mm`, `T12` do, a patient's number does not.
Nor do numbers that have another beside them, or begin with a zero: dates and telephone numbers are written like that.
In front of a number stand the letters of a list (`T`, `TE`), or a word: initials and a year of birth look alike. What
may be an age or a sex behind one (`47y`, `45m`) goes.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.transform.deidentify.words import words

_WORD = re.compile(r"[^\W_]+(?:\.\d+[^\W_]*)?")
_NUMBER = re.compile(r"\d[\d.]*")
_MEASURE = re.compile(r"([a-z]{0,2})(?!0\d)\d{1,2}(\.\d{1,3})?([a-z]{0,3})", re.ASCII)
# Vertebrae, b-values, echo, inversion and repetition times, flip angles; `m` and `w` would tell a sex and an age.
_PREFIXES = frozenset({"", "b", "c", "fa", "l", "s", "t", "te", "th", "ti", "tr"})
_AGES_AND_SEXES = frozenset("afjmwy")
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
    """Whether it is a small number, alone or with known letters in front, or a unit behind."""
    found = _MEASURE.fullmatch(word)
    if found is None or (found[1] not in _PREFIXES and not (len(found[1]) > 1 and found[1] in known)):
        return False
    behind = found[3]
    if len(behind) == 1:
        return bool(found[1]) or behind not in _AGES_AND_SEXES
    return not behind or behind in known


def parts_of(text: str) -> set[str]:
    """The words of a name or an identifier that `Cleaner.clean` must not let through; single letters say nothing."""
    return {part for part in _PARTS.findall(text.casefold()) if len(part) > 1}
