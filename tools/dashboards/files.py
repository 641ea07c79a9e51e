"""Which files there are, and what is in them."""

from __future__ import annotations

from pathlib import Path

from tools.dashboards import alerts, destination, overview, processes, receiving, rules

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
BOARDS = (overview.BOARD, destination.BOARD, receiving.BOARD, rules.BOARD, processes.BOARD)


def texts() -> dict[Path, str]:
    """Path → text, of every file that is made."""
    made = {GRAFANA / "dashboards" / f"{board.name}.json": board.text() for board in BOARDS}
    return made | {GRAFANA / "alerts" / f"{group.name}.yaml": group.text() for group in alerts.GROUPS}


def write() -> None:
    """Write every file."""
    for path, text in texts().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def different() -> list[Path]:
    """The files that are not what is made, or should not be there."""
    made = texts()
    there = {*(GRAFANA / "dashboards").glob("*"), *(GRAFANA / "alerts").glob("*")}
    changed = {path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    return sorted(changed | (there - made.keys()))
