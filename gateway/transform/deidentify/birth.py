"""When somebody was born: a date that stays, moved, only where it was asked for and tells of no great age."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from gateway.transform.deidentify.dates import MAX_AGE, capped, moved
from gateway.transform.deidentify.profile import Profile
from gateway.transform.edit import read
from gateway.transform.tree import Tree
from gateway.transform.values import joined

_AGE = 0x00101010
# Study, Series, Acquisition and Content Date, Acquisition DateTime, Instance Creation Date.
_EXAMINED = (0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x0008002A, 0x00080012)
_DAYS_OF_90_YEARS = 32_873  # 90 × 365.2425, rounded up: on that day nobody is 89 any more


@dataclass(frozen=True, slots=True)
class Birth:
    """What is known before anything is changed. `examined`: the day of the examination, moved like all dates.

    `moves` and `caps`: what was asked for; `is_old`: Patient's Age says so.
    """

    moves: bool = False
    caps: bool = False
    days: int = 0
    examined: str = ""
    is_old: bool = False

    def moved(self, text: str) -> str:
        """A date of birth (DA), moved with all others; "" where it is not asked for, or tells of a great age."""
        born = (moved("DA", text, self.days) or "") if self.moves else ""
        if not born or not self.caps:
            return born
        if self.is_old or not self.examined:
            return ""
        age = date.fromisoformat(self.examined) - date.fromisoformat(born)
        return born if age.days < _DAYS_OF_90_YEARS else ""


def birth_of(tree: Tree, profile: Profile, days: int) -> Birth:
    """What a data set tells of the time of birth, and a profile asks for.

    :raises ValueRefused: a date of the examination cannot be read.
    """
    if not profile.moves_birth_date:
        return Birth()
    if not profile.caps_age:
        return Birth(True, False, days)
    # Any of them may be of another year than the examination; the latest tells of the greatest age.
    told = (moved("DA", _text(tree, tag)[:8], days) for tag in _EXAMINED)
    examined = max((each for each in told if each), default="")
    return Birth(True, True, days, examined, capped(_text(tree, _AGE)) == MAX_AGE)


def _text(tree: Tree, tag: int) -> str:
    return joined(read(tree.root, tag) or ())
