"""Dashboards are what the generator makes, whole in form, and ask for nothing that the gateway does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.tools import program, require, run
from tests.unit.promql import named
from tests.unit.test_docs_operations import rows
from tools.dashboards.board import COLUMNS, SCHEMA_VERSION
from tools.dashboards.files import BOARDS, GRAFANA, different
from tools.dashboards.panels import GOOD

UIDS = {"gateway-overview", "gateway-destination", "gateway-receiving", "gateway-rules", "gateway-processes"}
FILES = sorted((GRAFANA / "dashboards").glob("*"))
OF_SCRAPES = {"job", "instance"}  # what Prometheus adds
OF_PROCESSES = {"process"}
NOT_OURS = {"ALERTS": {"alertname", "alertstate", "severity", "destination", "reason"}, "up": set[str]()}


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))
    return found


ALL = [board(path.stem) for path in FILES]
PANELS = [(each["uid"], panel) for each in ALL for panel in each["panels"] if panel["type"] != "row"]


def metrics() -> dict[str, set[str]]:
    """Every metric that docs/operations.md tells of (a test holds that true) → its labels, by sample."""
    found: dict[str, set[str]] = {}
    for name, kind, labels, _ in rows("metrics"):
        own = set(re.findall(r"`(\w+)`", labels)) | OF_SCRAPES | OF_PROCESSES
        if kind == "histogram":
            found |= {f"{name.strip('`')}_{end}": own | {"le"} for end in ("bucket", "count", "sum")}
        else:
            found[name.strip("`")] = own
    usual = ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds")
    return found | {f"process_{name}": OF_SCRAPES | OF_PROCESSES for name in usual}


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands and what it is, of every query of every dashboard."""
    for uid, panel in PANELS:
        for target in panel["targets"]:
            yield f"{uid}: {panel['title']} {target['refId']}", target["expr"]
    for each in ALL:
        for annotation in each["annotations"]["list"]:
            yield f"{each['uid']}: annotation {annotation['name']}", annotation["expr"]
        for variable in each["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{each['uid']}: variable {variable['name']}", variable["query"]["query"]


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_committed_is_what_is_made() -> None:
    assert different() == [], "run `python -m tools.dashboards`"


def test_uids_and_names_of_files_stay_as_links_and_bookmarks_have_them() -> None:
    assert {each.uid for each in BOARDS} == {each["uid"] for each in ALL} == UIDS
    assert {path.stem for path in FILES} == {uid.removeprefix("gateway-") for uid in UIDS}
    assert all(len(uid) <= 40 for uid in UIDS)


@pytest.mark.parametrize("given", ALL, ids=lambda each: each["uid"])
def test_nothing_is_asked_when_a_dashboard_is_loaded(given: dict[str, Any]) -> None:
    assert not {"__inputs", "__requires", "__elements", "id"} & set(given)
    names = [variable["name"] for variable in given["templating"]["list"]]
    assert names[:2] == ["datasource", "job"] and names[-1] == "console" and len(names) == len(set(names))
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps(given))
    assert set(sources) == {given["uid"], "${datasource}"}, "no data source but the variable's"


def test_what_grafana_is_given_at_its_start_finds_the_dashboards() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/gateway.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


# ── panels ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ALL, ids=lambda each: each["uid"])
def test_panels_have_numbers_of_their_own_and_do_not_overlap(given: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in given["panels"]]
    assert len(ids) == len(set(ids))
    taken: dict[tuple[int, int], str] = {}
    for panel in given["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
    lines = sorted({y for _, y in taken})
    assert all(after - before == 1 for before, after in pairwise(lines)), "no empty line"
    for y in lines:
        assert (0, y) in taken


@pytest.mark.parametrize(
    ("uid", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_every_panel_says_what_it_shows_in_which_unit_and_when_to_worry(uid: str, panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert len(panel["description"]) > 20 and panel["description"].endswith(".")
    assert "\n" not in panel["title"] + panel["description"]
    assert defaults["unit"] or panel["type"] == "table"
    limits = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert limits[0] is None and limits[1:] == sorted(limits[1:])
    letters = [target["refId"] for target in panel["targets"]]
    assert letters and len(letters) == len(set(letters))
    for target in panel["targets"]:
        assert target["instant"] != target["range"]
        assert target["format"] == {"table": "table", "heatmap": "heatmap"}.get(panel["type"], "time_series")
    if panel["type"] == "stat":
        assert defaults["noValue"]


def test_a_panel_that_may_be_bad_is_coloured() -> None:
    colored = [panel for _, panel in PANELS if len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1]
    assert len(colored) > 30


def test_links_lead_to_dashboards_that_there_are_and_keep_the_gateway_and_the_time() -> None:
    urls = re.findall(r'"url": "([^"]+)"', json.dumps(ALL))
    inner = [url for url in urls if url.startswith("/d/")]
    assert {url.removeprefix("/d/").partition("?")[0] for url in inner} == UIDS - {"gateway-overview", "gateway-rules"}
    for url in inner:
        assert "${job:queryparam}" in url and "${__url_time_range}" in url
    outer = {url for url in urls if not url.startswith("/d/")}
    assert outer and all(url.startswith("${console}") for url in outer)


def test_every_dashboard_leads_to_the_others_and_to_the_console() -> None:
    for each in ALL:
        to_boards, to_console = each["links"]
        assert to_boards["type"] == "dashboards" and set(to_boards["tags"]) <= set(each["tags"])
        assert to_boards["includeVars"] and to_boards["keepTime"]
        assert (to_console["type"], to_console["url"]) == ("link", "${console}")


# ── what they ask for ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: value)
def test_every_metric_and_label_is_one_that_the_gateway_declares(where: str, expression: str) -> None:
    known = metrics() | NOT_OURS
    found = named(expression.removeprefix("label_values("))
    assert found.metrics and found.metrics <= set(known), where
    for metric, label in found.selected:
        assert label in known[metric] | OF_SCRAPES, (where, metric, label)
    assert found.grouped <= set().union(*(known[metric] for metric in found.metrics)) | OF_SCRAPES, where


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: value)
def test_every_selector_is_of_the_gateway_that_was_chosen(where: str, expression: str) -> None:
    if where.endswith("variable job"):
        return
    for metric in named(expression).metrics:
        for selector in re.findall(rf"\b{metric}\b(.{{0,12}})", expression):
            assert selector.startswith('{job="$job"'), (where, metric)


def test_every_panel_of_a_metric_of_the_ledger_takes_it_once_however_many_hosts_tell_it() -> None:
    of_the_ledger = {"gateway_queue_depth", "gateway_queue_oldest_age_seconds", "gateway_unrouted_instances"}
    of_the_ledger |= {
        "gateway_routing_oldest_age_seconds",
        "gateway_quarantined_instances",
        "gateway_spool_bytes",
        "gateway_hosts",
        "gateway_sessions",
    }
    for where, expression in expressions():
        for metric in named(expression).metrics & of_the_ledger:
            if "variable" not in where:
                assert re.search(rf"max(?: by \([^)]*\))? \((?:deriv\()?{metric}|max\({metric}", expression), where


def panel_of(uid: str, title: str) -> dict[str, Any]:
    (found,) = [panel for each, panel in PANELS if (each, panel["title"]) == (uid, title)]
    return found


@pytest.mark.parametrize(
    "title", ["Destinations down", "Oldest that waits", "Held", "Dead", "Quarantined", "Spool is full in"]
)
def test_a_panel_that_may_be_bad_does_not_say_none_where_nothing_is_known(title: str) -> None:
    defaults = panel_of("gateway-overview", title)["fieldConfig"]["defaults"]
    (of_null,) = [each["options"]["result"] for each in defaults["mappings"] if each["type"] == "special"]
    assert defaults["noValue"] == of_null["text"] == "unknown" and of_null["color"] != GOOD


def test_the_overview_is_not_green_where_no_gateway_answers(tmp_path: Path) -> None:
    """Two hosts of which one dies after ten minutes, and the other one after twenty."""
    one, other = 'job="gateway",instance="a"', 'job="gateway",instance="b"'
    series = {
        f"up{{{one}}}": "1x10 0x50",
        f"up{{{other}}}": "1x20 0x40",
        f"gateway_ready{{{one}}}": "1x10 stale",
        f"gateway_ready{{{other}}}": "1x20 stale",
        f'gateway_destination_up{{{one},destination="pacs"}}': "1x10 stale",
        f'gateway_destination_up{{{other},destination="pacs"}}': "1x20 stale",
    }
    expected = {"Hosts not ready": {5: 0, 15: 1, 30: 2}, "Destinations down": {5: 0, 15: 0, 30: None}}
    tests = [
        {
            "expr": panel_of("gateway-overview", title)["targets"][0]["expr"].replace("$job", "gateway"),
            "eval_time": f"{minute}m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for title, values in expected.items()
        for minute, value in values.items()
    ]
    given = [{"series": each, "values": values} for each, values in series.items()]
    asked = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": tests}],
    }
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump(asked))
    run([program("promtool"), "test", "rules", tmp_path / "asked.yaml"]).check()


# ── as Grafana has it ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ALL, ids=lambda each: each["uid"])
def test_grafanas_own_types_know_everything_that_stands_in_it(given: dict[str, Any]) -> None:
    require("grafana_foundation_sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    known = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    assert known["schemaVersion"] == SCHEMA_VERSION
    assert list(lost(given, known)) == []


def lost(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """What of the one is not in the other, or is another value there."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key in known:
                yield from lost(value, known[key], f"{path}.{key}")
            elif value not in (None, [], {}, "", False, 0):
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for index, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")
    elif given != known:
        yield f"{path}: {given!r} → {known!r}"
