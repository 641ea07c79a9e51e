"""What every benchmark does with its figures: medians with their spread, a table, a JSON file in bench/results/.

`in_turn` measures sides in turn (A B A B …) after a warm-up round that does not count, so that whatever else the
machine does falls on all of them.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")
RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS = 3


def in_turn(sides: Mapping[str, Callable[[], T]], rounds: int = ROUNDS) -> dict[str, list[T]]:
    """Call each side once a round; side → results. One more round before is the warm-up."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, measure in sides.items():
            result = measure()
            if number:
                found[name].append(result)
    return found


def rounded(value: float) -> str:
    """Three significant digits, four decimals at most."""
    digits = 2 - math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
    return f"{value:,.{min(max(0, digits), 4)}f}"


def spread(values: Sequence[float], digits: int | None = None) -> str:
    """Median (least - greatest), with so many decimals, or rounded."""
    show = rounded if digits is None else f"{{:,.{digits}f}}".format
    return f"{show(statistics.median(values))} ({show(min(values))} - {show(max(values))})"


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def goal(value: float, most: float, unit: str) -> str:
    """The goal, and whether it was met in this run."""
    return f"goal <= {most:g} {unit}: {'met' if value <= most else 'NOT MET'}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column to the left, figures to the right."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=max(180, Console().width)).print(table)


def heading(name: str) -> None:
    """Say what begins."""
    print(f"── {name} " + "─" * (100 - len(name)), flush=True)


def save(name: str, figures: Mapping[str, Any]) -> None:
    """Keep the figures, with the machine they were taken on."""
    keep(name, "json", json.dumps({"bench": name, "machine": _machine(), "figures": figures}, indent=1))


def keep(name: str, ending: str, text: str) -> None:
    """A file in bench/results/, with the time in its name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.{ending}"
    path.write_text(text)
    print(f"{name}: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


def _machine() -> dict[str, Any]:
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "cpus": os.cpu_count(),
        "load_before": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
    }
