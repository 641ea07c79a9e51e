"""The picture of a run: each goal as a row, its figure in units of the goal. SVG, the same for the same figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.goals import Verdict
from bench.report import rounded, spread

ROW, LEFT, WIDTH, RIGHT, TOP = 24, 380, 420, 320, 40
LEAST, GREATEST = 0.1, 10.0  # of the axis, which is logarithmic; what lies beyond is drawn at its end
GREEN, ORANGE = "#2b8a3e", "#d9480f"


def picture(verdicts: Sequence[Verdict]) -> str:
    """The SVG. What lies left of the line at 1 has met its goal."""
    height = TOP + ROW * len(verdicts) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(LEFT, 16, "figure / goal: median, least and greatest of the rounds; left of 1 is met"),
    ]
    for mark in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        weight = 2 if mark == 1 else 0.5
        parts.append(
            f'<line x1="{_x(mark)}" x2="{_x(mark)}" y1="{TOP}" y2="{height - 20}" stroke="#868e96" '
            f'stroke-width="{weight}"/>'
        )
        parts.append(_text(_x(mark), TOP - 6, f"{mark:g}", "middle"))
    for number, verdict in enumerate(verdicts):
        parts += _row(verdict, TOP + ROW * number + ROW // 2)
    return "\n".join([*parts, "</svg>\n"])


def _row(verdict: Verdict, y: int) -> list[str]:
    colour = GREEN if verdict.met else ORANGE
    low, middle, high = (
        _x(value / verdict.goal.most) for value in (min(verdict.values), verdict.median, max(verdict.values))
    )
    told = f"{spread(verdict.values)} {verdict.unit}".strip() + f", goal {rounded(verdict.goal.most)}"
    return [
        _text(LEFT - 12, y + 4, verdict.label, "end"),
        f'<line x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>',
        f'<circle cx="{middle}" cy="{y}" r="6" fill="{colour}"/>',
        _text(LEFT + WIDTH + 12, y + 4, told),
    ]


def _x(ratio: float) -> float:
    inside = min(max(ratio, LEAST), GREATEST)
    return round(LEFT + WIDTH * math.log(inside / LEAST) / math.log(GREATEST / LEAST), 1)


def _text(x: float, y: int, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
