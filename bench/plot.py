"""One picture of many ratios beside their goals, as SVG."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import RESULTS


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio: its median over the rounds, its spread, and what it may be at most."""

    label: str
    ratio: float
    least: float
    greatest: float
    goal: float

    @property
    def met(self) -> bool:
        """The median is within the goal."""
        return self.ratio <= self.goal


def plot(name: str, bars: Sequence[Bar]) -> Path:
    """Write the picture; its path. Each bar is drawn in units of its goal: what ends left of 1 has met it."""
    import matplotlib  # of the extra `bench`; it is slow to import

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.4 * len(bars)), layout="constrained")
    scaled = [bar.ratio / bar.goal for bar in bars]
    spreads = [
        [max(0.0, value - bar.least / bar.goal) for value, bar in zip(scaled, bars, strict=True)],
        [max(0.0, bar.greatest / bar.goal - value) for value, bar in zip(scaled, bars, strict=True)],
    ]
    colours = ["tab:green" if bar.met else "tab:orange" for bar in bars]
    axes.barh([bar.label for bar in bars], scaled, xerr=spreads, color=colours, capsize=3)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("ratio / goal (median, least and greatest of the rounds): left of 1 is met")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.svg"
    figure.savefig(path)
    return path
