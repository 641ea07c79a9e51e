"""The words that Clean Descriptors keeps in a description, unless a rule file brings its own.

`data/words.txt` has a word a line: what descriptions of studies, series and protocols are made of, in English, German,
French, Spanish and Italian. A name of a person or a place is none of them, nor is a word that is also a usual one
("may", "rose", "long"), nor an eponym: what is not in the list goes, so a word too few costs a description, a word too
many may cost a patient.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def words() -> frozenset[str]:
    """The words, all in lower case; read when first asked."""
    file = resources.files(__package__) / "data" / "words.txt"
    return frozenset(file.read_text(encoding="utf-8").split())
