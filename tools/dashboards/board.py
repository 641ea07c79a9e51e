"""A dashboard of Grafana: its variables, links and annotations, and panels put in their places.

A board says its panels in sections, each a heading and panels in reading order; they flow into 24 columns. Numbers of
panels follow their order, so that what is generated depends on nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.dashboards.panels import DATASOURCE, Json, Panel, of_gateway

COLUMNS = 24
SCHEMA_VERSION = 41  # of Grafana 12
TAG = "dicom-gateway"
CONSOLE = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """One dashboard. `uid` and `name` (of its file) never change: links and bookmarks hold them."""

    name: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Json] = field(default_factory=list)

    @property
    def uid(self) -> str:
        """What Grafana and links call it."""
        return f"gateway-{self.name}"

    def text(self) -> str:
        """The file."""
        return json.dumps(self.json(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    def json(self) -> Json:
        """As Grafana keeps it."""
        return {
            "annotations": {"list": [_rules_loaded()]},
            "description": self.description,
            "editable": False,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [_to_all_boards(), _to_the_console()],
            "panels": _placed(self.sections),
            "preload": False,
            "refresh": "30s",
            "schemaVersion": SCHEMA_VERSION,
            "tags": [TAG],
            "templating": {"list": [_datasource(), _job(), *self.variables, _console()]},
            "time": {"from": "now-3h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        }


def _placed(sections: Sequence[Section]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for section in sections:
        placed.append(
            {
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
                "id": len(placed) + 1,
                "panels": [],
                "title": section.title,
                "type": "row",
            }
        )
        y += 1
        x = height = 0
        for panel in section.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            placed.append(panel.placed(len(placed) + 1, x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return placed


# ── variables ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def choice(name: str, label: str, metric: str, *, several: bool = False) -> Json:
    """A variable whose values are those of a label of a metric; `several` may be chosen, and all are at first."""
    query = f"label_values({of_gateway(metric)}, {name})"
    made: Json = {
        "datasource": DATASOURCE,
        "hide": 0,
        "includeAll": several,
        "label": label,
        "multi": several,
        "name": name,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,  # when the time changes: what is configured may have
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }
    everything: Json = {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
    return made | (everything if several else {})


def _datasource() -> Json:
    return {
        "hide": 0,
        "includeAll": False,
        "label": "Prometheus",
        "multi": False,
        "name": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "type": "datasource",
    }


def _job() -> Json:
    query = "label_values(gateway_ledger_up, job)"
    return {
        "datasource": DATASOURCE,
        "hide": 0,
        "includeAll": False,
        "label": "Gateway",
        "multi": False,
        "name": "job",
        "query": {"query": query, "refId": "variable-job"},
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }


def _console() -> Json:
    return {
        "current": {"text": CONSOLE, "value": CONSOLE},
        "hide": 0,
        "label": "Console",
        "name": "console",
        "query": CONSOLE,
        "skipUrlSync": False,
        "type": "textbox",
    }


# ── links and annotations ─────────────────────────────────────────────────────────────────────────────────────────────


def _to_all_boards() -> Json:
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "Dashboards",
        "tooltip": "",
        "type": "dashboards",
        "url": "",
    }


def _to_the_console() -> Json:
    return {
        "asDropdown": False,
        "icon": "bolt",
        "includeVars": False,
        "keepTime": False,
        "tags": [],
        "targetBlank": True,
        "title": "Console",
        "tooltip": "What is held and why, studies, the queue: with a login",
        "type": "link",
        "url": "${console}",
    }


def _rules_loaded() -> Json:
    return {
        "datasource": DATASOURCE,
        "enable": True,
        "expr": of_gateway(
            "max by (revision) (gateway_rules_info) unless max by (revision) (gateway_rules_info offset 1m)"
        ),
        "hide": False,
        "iconColor": "purple",
        "name": "Rules loaded",
    }
