"""Panels of Grafana, as the JSON that it keeps them in.

A panel is made of queries and of what its kind shows; `board` gives it a place and a number. Each has a description
(what it says, and when to worry), a unit and thresholds. Every metric of ours in a query, and `up`, is of the gateway
that the dashboard's variable `job` names: `of_gateway` puts that in, so that none is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GOOD, FAIR, BAD, NEUTRAL = "green", "orange", "red", "blue"
_OURS = re.compile(r"\b((?:gateway|process)_[a-z_]+|up\b)(\{)?")


def of_gateway(expression: str) -> str:
    """A query with `job="$job"` in every selector of a metric of ours."""
    return _OURS.sub(lambda found: f'{found[1]}{{job="$job"' + (", " if found[2] else "}"), expression)


@dataclass(frozen=True)
class Query:
    """One query. `legend` names its series; `form` is time_series, table or heatmap; `at_once`: only the last value."""

    expression: str
    legend: str = ""
    form: str = "time_series"
    at_once: bool = False

    def target(self, letter: str) -> Json:
        """As a panel has it."""
        made: Json = {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": of_gateway(self.expression),
            "format": self.form,
            "instant": self.at_once,
            "range": not self.at_once,
            "refId": letter,
        }
        return made | ({"legendFormat": self.legend} if self.legend else {})


@dataclass(frozen=True)
class Panel:
    """A panel without its place. `width` is of 24, `height` in rows of Grafana's grid."""

    kind: str
    title: str
    description: str
    queries: Sequence[Query]
    width: int
    height: int
    defaults: Json
    options: Json
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()
    links: Sequence[Json] = field(default_factory=list)

    def placed(self, number: int, x: int, y: int) -> Json:
        """The panel at a place."""
        return {
            "datasource": DATASOURCE,
            "description": self.description,
            "fieldConfig": {"defaults": self.defaults, "overrides": list(self.overrides)},
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "id": number,
            "links": list(self.links),
            "options": self.options,
            "targets": [query.target(chr(ord("A") + index)) for index, query in enumerate(self.queries)],
            "title": self.title,
            "transformations": list(self.transformations),
            "type": self.kind,
        }


# ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def link(title: str, url: str, *, elsewhere: bool = False) -> Json:
    """A link of a panel or of its values."""
    return {"targetBlank": elsewhere, "title": title, "url": url}


def to_board(title: str, uid: str, **variables: str) -> Json:
    """A link to another of our dashboards, for the same gateway and time. `variables`: of that one, as Grafana names
    the value, such as `${__field.labels.destination}`."""
    given = "".join(f"&var-{name}={value}" for name, value in variables.items())
    kept = "${datasource:queryparam}&${job:queryparam}&${console:queryparam}&${__url_time_range}"
    return link(title, f"/d/{uid}?{kept}{given}")


def to_console(title: str, path: str) -> Json:
    """A link to a page of the console."""
    return link(title, f"${{console}}{path}", elsewhere=True)


TO_DESTINATION = to_board("Destination", "gateway-destination", destination="${__field.labels.destination}")


# ── what a value looks like ───────────────────────────────────────────────────────────────────────────────────────────


def steps(*limits: tuple[float, str], base: str = GOOD) -> Json:
    """Thresholds: from each limit on, its colour."""
    made = [{"color": base, "value": None}, *({"color": color, "value": limit} for limit, color in limits)]
    return {"mode": "absolute", "steps": made}


PLAIN = steps(base=NEUTRAL)
ANY_IS_BAD = steps((1, BAD))
ANY_IS_FAIR = steps((1, FAIR))


def words(*values: tuple[float, str, str]) -> list[Json]:
    """Words in the place of single values: value, text, colour."""
    options = {
        f"{value:g}": {"color": color, "index": index, "text": text}
        for index, (value, text, color) in enumerate(values)
    }
    return [{"options": options, "type": "value"}]


def from_on(limit: float, text: str, color: str) -> list[Json]:
    """Words in the place of all values from a limit on."""
    return [
        {"options": {"from": limit, "result": {"color": color, "index": 0, "text": text}, "to": None}, "type": "range"}
    ]


def _defaults(
    unit: str, thresholds: Json, mode: str, custom: Json, mappings: Sequence[Json] = (), **more: object
) -> Json:
    made = {
        "color": {"mode": mode},
        "custom": custom,
        "mappings": list(mappings),
        "thresholds": thresholds,
        "unit": unit,
    }
    return made | {name: value for name, value in more.items() if value is not None}


# ── kinds ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


UNKNOWN = "unknown"
# Without it what has no data has the colour of the lowest numbers: green.
_NOTHING_IS_KNOWN: Json = {
    "type": "special",
    "options": {"match": "null", "result": {"text": UNKNOWN, "color": FAIR, "index": 0}},
}


def stat(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str = "none",
    thresholds: Json = PLAIN,
    mappings: Sequence[Json] = (),
    width: int = 3,
    height: int = 4,
    legend: str = "",
    names: bool = False,
    curve: bool = False,
    none: str = "",
    decimals: int | None = None,
    links: Sequence[Json] = (),
) -> Panel:
    """One number, coloured. `names`: the series' names are what is shown; `none`: what is said without data, which is
    that nothing is known where a number may be bad."""
    if not none and thresholds is not PLAIN:
        none, mappings = UNKNOWN, [*mappings, _NOTHING_IS_KNOWN]
    options = {
        "colorMode": "background" if thresholds is not PLAIN else "value",
        "graphMode": "area" if curve else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "name" if names else "auto",
        "wideLayout": True,
    }
    defaults = _defaults(unit, thresholds, "thresholds", {}, mappings, noValue=none or "none", decimals=decimals)
    query = Query(expression, legend, at_once=not curve)
    return Panel("stat", title, description, [query], width, height, defaults, options, links=links)


def lines(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: str,
    thresholds: Json = PLAIN,
    stacked: bool = False,
    steps_between: bool = False,
    width: int = 12,
    height: int = 8,
    mappings: Sequence[Json] = (),
    values: Sequence[Json] = (),
    overrides: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> Panel:
    """Curves over time. Limits among the thresholds are drawn. `values` are links of the series."""
    custom = {
        "axisPlacement": "auto",
        "drawStyle": "line",
        "fillOpacity": 25 if stacked else 8,
        "lineInterpolation": "stepAfter" if steps_between else "linear",
        "lineWidth": 1,
        "scaleDistribution": {"type": "linear"},
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if len(thresholds["steps"]) > 1 else "off"},
    }
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = _defaults(unit, thresholds, "palette-classic", custom, mappings, min=0, links=list(values) or None)
    made = [Query(expression, legend) for expression, legend in queries]
    return Panel("timeseries", title, description, made, width, height, defaults, options, overrides, links=links)


def states(
    title: str,
    description: str,
    expression: str,
    legend: str,
    mappings: Sequence[Json],
    *,
    width: int = 12,
    height: int = 8,
    values: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> Panel:
    """Bars of colour over time, one a series."""
    options = {
        "alignValue": "left",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 80, "lineWidth": 0}
    defaults = _defaults("none", PLAIN, "thresholds", custom, mappings, links=list(values) or None)
    made = [Query(expression, legend)]
    return Panel("state-timeline", title, description, made, width, height, defaults, options, links=links)


def heat(title: str, description: str, expression: str, *, unit: str = "s", width: int = 12, height: int = 8) -> Panel:
    """The buckets of a histogram over time; `expression` sums their rates by `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "reverse": False,
            "scale": "exponential",
            "scheme": "Oranges",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    custom = {"scaleDistribution": {"type": "linear"}}
    defaults = _defaults("ops", PLAIN, "thresholds", custom)
    query = Query(expression, "{{le}}", "heatmap")
    return Panel("heatmap", title, description, [query], width, height, defaults, options)


@dataclass(frozen=True)
class Column:
    """A column of a table: a label of the query, or `Value #A` of its first query, `Value #B` of its second."""

    name: str
    title: str
    unit: str = "none"
    mappings: Sequence[Json] = ()
    thresholds: Json = field(default_factory=dict)


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    *expressions: str,
    width: int = 12,
    height: int = 8,
    sort_by: str = "",
    none: str = "none",
    values: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> Panel:
    """Rows of the newest values. What is no column is left out."""
    overrides = [_column(column) for column in columns]
    options = {
        "cellHeight": "sm",
        "footer": {"countRows": False, "fields": "", "reducer": ["sum"], "show": False},
        "showHeader": True,
        "sortBy": [{"desc": True, "displayName": sort_by}] if sort_by else [],
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    defaults = _defaults("none", PLAIN, "thresholds", custom, noValue=none, links=list(values) or None)
    queries = [Query(expression, form="table", at_once=True) for expression in expressions]
    return Panel(
        "table",
        title,
        description,
        queries,
        width,
        height,
        defaults,
        options,
        overrides=overrides,
        transformations=[{"id": "merge", "options": {}}, _arranged(columns, alone=len(expressions) == 1)],
        links=links,
    )


def _arranged(columns: Sequence[Column], alone: bool) -> Json:
    """The columns in their order, under their titles. The value of a query that is `alone` has no letter."""
    named = {("Value" if alone and each.name == "Value #A" else each.name): each for each in columns}
    options = {
        "excludeByName": {
            name: True for name in ("Time", "__name__", "instance", "job", "alertstate") if name not in named
        },
        "indexByName": {name: index for index, name in enumerate(named)},
        "renameByName": {name: column.title for name, column in named.items()},
    }
    return {"id": "organize", "options": options}


def _column(column: Column) -> Json:
    properties: list[Json] = [{"id": "unit", "value": column.unit}]
    if column.mappings:
        properties.append({"id": "mappings", "value": list(column.mappings)})
    if column.thresholds:
        properties.append({"id": "thresholds", "value": column.thresholds})
        properties.append({"id": "custom.cellOptions", "value": {"mode": "basic", "type": "color-background"}})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def on_the_right(name: str, unit: str) -> Json:
    """A series on an axis of its own."""
    properties = [{"id": "unit", "value": unit}, {"id": "custom.axisPlacement", "value": "right"}]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def colored(colors: Mapping[str, str]) -> list[Json]:
    """Fixed colours of series, by their names."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"fixedColor": color, "mode": "fixed"}}],
        }
        for name, color in colors.items()
    ]
