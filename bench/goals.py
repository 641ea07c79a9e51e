"""What a workload must reach, and what a run found of it: the rows of the closing table and of the picture.

A measurement is `Figures`: name → value, the name's last word the unit where it has one (`wall ms`, `rise MiB`). A
`Goal` bounds one figure of a side, either as it is or over the same figure of another side in the same round.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, float]
Found = Mapping[str, Sequence[Figures]]  # side → its figures, one a round

UNITS = ("ms", "MiB", "MB", "%")


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of `side` is at most `most`; with `beside`, its ratio to the figure of that side is."""

    side: str
    figure: str
    most: float
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, and what it bounds in each round."""

    workload: str
    goal: Goal
    values: tuple[float, ...]

    @property
    def label(self) -> str:
        """What it is about: `ct: wall, gateway / socat`."""
        name = self.goal.figure.removesuffix(f" {_unit(self.goal.figure)}")
        return f"{self.workload}: {name}, {self.goal.side}" + (f" / {self.goal.beside}" if self.goal.beside else "")

    @property
    def unit(self) -> str:
        """Of its values and its goal; "" where they are ratios."""
        return "" if self.goal.beside else _unit(self.goal.figure)

    @property
    def median(self) -> float:
        """Of the rounds; this is what counts."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median is within the goal."""
        return self.median <= self.goal.most

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return {
            "goal": self.label,
            "unit": self.unit,
            "median": self.median,
            "values": self.values,
            "most": self.goal.most,
            "met": self.met,
        }


def judge(workload: str, found: Found, goals: Sequence[Goal]) -> list[Verdict]:
    """The verdict on each goal."""
    return [Verdict(workload, goal, tuple(_values(found, goal))) for goal in goals]


def _values(found: Found, goal: Goal) -> list[float]:
    ours = [one[goal.figure] for one in found[goal.side]]
    if not goal.beside:
        return ours
    theirs = [one[goal.figure] for one in found[goal.beside]]
    return [our / their if their else float("inf") for our, their in zip(ours, theirs, strict=True)]


def _unit(figure: str) -> str:
    last = figure.rpartition(" ")[2]
    return last if last in UNITS else ""
