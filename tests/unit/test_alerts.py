"""Alerts fire when they should and not before, say no more than names, and lead to what is to be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import yaml

from tests.harness.tools import program, run
from tests.unit.promql import named
from tests.unit.test_dashboards import NOT_OURS, OF_SCRAPES, metrics
from tests.unit.test_docs_operations import DOCUMENT, rows, sections
from tools.dashboards.alerts import GROUPS
from tools.dashboards.files import GRAFANA
from tools.dashboards.rulefile import CRITICAL, WARNING, Alert

FILES = sorted((GRAFANA / "alerts").glob("*.yaml"))
ALERTS = {alert.name: alert for group in GROUPS for alert in group.alerts}
HERE = 'job="gateway",instance="a:9464"'
THERE = 'job="gateway",instance="b:9464"'

Series = dict[str, str]
"""Series → its values, a minute apart, as promtool has them: `0x10 1x50` is ten minutes of 0 and then 1."""


@dataclass(frozen=True)
class Case:
    """When an alert fires, and when it does not; both are looked at after an hour."""

    fires: Series
    quiet: Series


def gauge(name: str, labels: str, values: str, where: str = HERE) -> Series:
    return {f"gateway_{name}{{{where}{',' if labels else ''}{labels}}}": values}


def commits(seconds_le_1: str, all_of_them: str, where: str = HERE) -> Series:
    """The buckets of commits: how many took a second at most, and how many there were."""
    buckets = {"0.25": "0x60", "1": seconds_le_1, "5": all_of_them, "+Inf": all_of_them}
    made: Series = {}
    for limit, values in buckets.items():
        made |= gauge("ledger_commit_seconds_bucket", f'process="worker-0",le="{limit}"', values, where)
    return made


DAYS = {days: f"{days * 86400}x60" for days in (1, 10, 40)}
MIN_FREE = gauge("spool_min_free_bytes", "", "5e9x60")

CASES = {
    "GatewayGone": Case({f"up{{{HERE}}}": "1x50 0x10"}, {f"up{{{HERE}}}": "1x57 0x0 1x10"}),
    "GatewayNotScraped": Case({'up{job="node",instance="a"}': "1x60"}, {f"up{{{HERE}}}": "0x60"}),
    "GatewayNotReady": Case(
        gauge("ready", "", "1x50 0x10"),
        gauge("ready", "", "0x60") | gauge("not_ready", 'process="receiver-0",reason="drained"', "1x60"),
    ),
    "GatewayIntakeStopped": Case(
        gauge("not_ready", 'process="receiver-0",reason="spool_low"', "0x50 1x10"),
        gauge("not_ready", 'process="receiver-0",reason="drained"', "1x60"),
    ),
    "GatewayProcessSilent": Case(
        gauge("scrape_sources", 'state="silent"', "0x50 1x10"),
        gauge("scrape_sources", 'state="answered"', "6x60") | gauge("scrape_sources", 'state="silent"', "0x58 1x0 0x5"),
    ),
    "GatewayProcessRestarts": Case(
        gauge("child_starts_total", 'process="supervisor-0",child="worker-0"', "1x50 2+1x10"),
        gauge("child_starts_total", 'process="supervisor-0",child="worker-0"', "1x50 2x10"),
    ),
    "GatewayRoleMissing": Case(
        gauge("sessions", 'role="worker"', "2x50 0x10") | gauge("sessions", 'role="receiver"', "1x60"),
        gauge("sessions", 'role="worker"', "0x60")
        | gauge("sessions", 'role="worker"', "1x60", THERE)  # asked at another moment
        | gauge("sessions", 'role="forwarder"', "1x57 0x0 1x10")
        | gauge("sessions", 'role="console"', "0x60"),
    ),
    "GatewayHostGone": Case(
        gauge("sessions_voided_total", 'process="console-0",role="receiver"', "0x10 1x50"),
        gauge("sessions_voided_total", 'process="console-0",role="receiver"', "1x60"),
    ),
    "GatewayRedisLost": Case(
        gauge("redis_up", 'process="worker-0",link="jobs"', "0x60"),
        gauge("redis_up", 'process="worker-0",link="jobs"', "1x57 0x3"),
    ),
    "GatewayLogLinesLost": Case(
        gauge("log_lines_lost_total", 'process="worker-0"', "0x55 9x5"),
        gauge("log_lines_lost_total", 'process="worker-0"', "9x60"),
    ),
    "GatewayDestinationDown": Case(
        gauge("destination_up", 'process="forwarder-0",destination="pacs"', "1x50 0x10"),
        gauge("destination_up", 'process="forwarder-0",destination="pacs"', "1x57 0x3"),
    ),
    "GatewayBacklogOld": Case(
        gauge("queue_oldest_age_seconds", 'destination="pacs"', "600+60x60"),
        gauge("queue_oldest_age_seconds", 'destination="pacs"', "3000x60"),
    ),
    "GatewayDestinationUnserved": Case(
        gauge("destination_owned", 'destination="pacs"', "0x60"),
        # Asked at the very moment, one host knew no owner yet.
        gauge("destination_owned", 'destination="pacs"', "0x60")
        | gauge("destination_owned", 'destination="pacs"', "1x60", THERE),
    ),
    "GatewayHeld": Case(
        gauge("queue_depth", 'destination="pacs",state="held"', "0x50 3x10"),
        gauge("queue_depth", 'destination="pacs",state="deferred"', "900x60")
        | gauge("queue_depth", 'destination="pacs",state="held"', "0x60"),
    ),
    "GatewayDead": Case(
        gauge("queue_depth", 'destination="pacs",state="dead"', "0x50 1x10"),
        gauge("queue_depth", 'destination="pacs",state="held"', "5x60"),
    ),
    "GatewayRoutingOld": Case(
        gauge("routing_oldest_age_seconds", "", "0x30 60+60x30"),
        gauge("routing_oldest_age_seconds", "", "800x60"),
    ),
    "GatewayUnrouted": Case(gauge("unrouted_instances", "", "0x50 1x10"), gauge("unrouted_instances", "", "0x60")),
    "GatewayQuarantined": Case(
        gauge("quarantined_instances", "", "0x50 1x10"), gauge("quarantined_instances", "", "0x60")
    ),
    "GatewayRulesRefused": Case(
        gauge("rules_refused", 'process="console-0"', "0x50 1x10"),
        gauge("rules_refused", 'process="console-0"', "0x60"),
    ),
    "GatewayConfigurationRefused": Case(
        gauge("configuration_refused", 'process="supervisor-0"', "0x50 1x10"),
        gauge("configuration_refused", 'process="supervisor-0"', "1x50 0x10"),
    ),
    "GatewaySourceSilent": Case(
        # The older receiver heard nothing, the other last half an hour ago: 30 minutes are the silence.
        gauge("source_last_received_timestamp_seconds", 'process="receiver-0",source="ct1"', "0x60")
        | gauge("source_last_received_timestamp_seconds", 'process="receiver-1",source="ct1"', "0x29 1800x31")
        | gauge("source_silent_after_seconds", 'process="receiver-0",source="ct1"', "1200x60"),
        gauge("source_last_received_timestamp_seconds", 'process="receiver-0",source="ct1"', "0x29 1800x31")
        | gauge("source_silent_after_seconds", 'process="receiver-0",source="ct1"', "3600x60")
        # Another host has it all.
        | gauge("source_last_received_timestamp_seconds", 'process="receiver-0",source="mr1"', "0x60")
        | gauge("source_silent_after_seconds", 'process="receiver-0",source="mr1"', "1200x60")
        | gauge("source_last_arrival_timestamp_seconds", 'source="mr1"', "60+60x60")
        | gauge("source_last_received_timestamp_seconds", 'process="receiver-0",source="nobody-minds"', "0x60"),
    ),
    "GatewaySpoolFilling": Case(
        gauge("spool_free_bytes", "", "100e9-1e9x60") | MIN_FREE,
        gauge("spool_free_bytes", "", "100e9-0.1e9x60") | MIN_FREE,
    ),
    "GatewaySpoolShort": Case(
        gauge("spool_free_bytes", "", "9e9x60") | MIN_FREE, gauge("spool_free_bytes", "", "11e9x60") | MIN_FREE
    ),
    "GatewaySpoolInodes": Case(
        gauge("spool_free_inodes", "", "4000x60") | gauge("spool_total_inodes", "", "100000x60"),
        gauge("spool_free_inodes", "", "9000x60") | gauge("spool_total_inodes", "", "100000x60"),
    ),
    "GatewayLedgerDown": Case(
        gauge("ledger_up", "", "1x50 0x10") | gauge("ledger_up", "", "1x60", THERE), gauge("ledger_up", "", "1x60")
    ),
    "GatewayLedgerSlow": Case(
        # A host that does much more, and well, does not hide it.
        commits("0+8x60", "0+10x60") | commits("0+6000x60", "0+6000x60", THERE),
        commits("0+10x60", "0+10x60"),
    ),
    "GatewayCertificateExpiring": Case(
        gauge("certificate_expiry_timestamp_seconds", 'process="console-0",certificate="console"', DAYS[10])
        | gauge("certificate_expiry_timestamp_seconds", 'process="console-0",certificate="audit"', DAYS[40]),
        gauge("certificate_expiry_timestamp_seconds", 'process="console-0",certificate="console"', DAYS[40]),
    ),
    "GatewayCertificateExpires": Case(
        gauge("certificate_expiry_timestamp_seconds", 'process="console-0",certificate="console"', DAYS[1]),
        gauge("certificate_expiry_timestamp_seconds", 'process="console-0",certificate="console"', DAYS[10]),
    ),
    "GatewayAuditTrailStopped": Case(
        # Each host has files of its own: that another one writes does not help.
        gauge("audit_trail_up", 'process="console-0"', "1x40 0x20")
        | gauge("audit_trail_up", 'process="console-0"', "1x60", THERE),
        # Another process of the host has nothing to do with the files.
        gauge("audit_trail_up", 'process="console-0"', "1x60") | gauge("audit_trail_up", 'process="worker-0"', "0x60"),
    ),
    "GatewayAuditBehind": Case(
        gauge("audit_syslog_behind_seconds", 'process="console-0"', "0+60x60"),
        gauge("audit_syslog_behind_seconds", 'process="console-0"', "500x60"),
    ),
}


def test_prometheus_takes_the_rules() -> None:
    run([program("promtool"), "check", "rules", *FILES]).check()


def promtool_test(name: str, series: Series, count: int) -> dict[str, object]:
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{name} {'fires' if count else 'keeps quiet'}",
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": "60m", "exp_samples": [{"labels": "{}", "value": count}]}],
    }


def test_every_alert_has_a_case_and_each_fires_and_keeps_quiet_as_it_should(tmp_path: Path) -> None:
    assert set(CASES) == set(ALERTS)
    files = []
    for group in GROUPS:
        cases = {alert.name: CASES[alert.name] for alert in group.alerts}
        tests = [promtool_test(name, case.fires, 1) for name, case in cases.items()]
        tests += [promtool_test(name, case.quiet, 0) for name, case in cases.items()]
        rules = [str(GRAFANA / "alerts" / f"{group.name}.yaml")]
        files.append(tmp_path / f"{group.name}.yaml")
        files[-1].write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "1m", "tests": tests}))
    run([program("promtool"), "test", "rules", *files]).check()


def test_a_receiver_that_starts_anew_does_not_end_the_alert_about_a_source(tmp_path: Path) -> None:
    name = "GatewaySourceSilent"
    series = (
        gauge("source_last_received_timestamp_seconds", 'process="receiver-0",source="ct1"', "0x40 2400x20")
        | gauge("source_last_arrival_timestamp_seconds", 'source="ct1"', "0x60")
        | gauge("source_silent_after_seconds", 'process="receiver-0",source="ct1"', "1200x60")
    )
    tests = [promtool_test(name, series, 1)]
    given = {"rule_files": [str(GRAFANA / "alerts/instances.yaml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "silent.yaml").write_text(yaml.safe_dump(given))
    run([program("promtool"), "test", "rules", tmp_path / "silent.yaml"]).check()


def test_two_restarts_are_not_three_however_prometheus_counts_them_between_scrapes(tmp_path: Path) -> None:
    """`increase` reckons to the ends of its window, which no scrape falls on: two may be 2.03."""
    name = "GatewayProcessRestarts"
    restarted = gauge("child_starts_total", 'process="supervisor-0",child="worker-0"', "1x100 2x20 3x100")
    test = promtool_test(name, restarted, 0)
    (asked,) = cast("list[dict[str, object]]", test["promql_expr_test"])
    test |= {
        "interval": "15s",
        "promql_expr_test": [asked | {"eval_time": f"{second}s"} for second in range(1500, 3000, 7)],
    }
    given = {"rule_files": [str(GRAFANA / "alerts/hosts.yaml")], "evaluation_interval": "7s", "tests": [test]}
    (tmp_path / "restarts.yaml").write_text(yaml.safe_dump(given))
    run([program("promtool"), "test", "rules", tmp_path / "restarts.yaml"]).check()


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_every_alert_says_how_bad_it_is_what_it_is_and_names_no_patient(alert: Alert) -> None:
    assert alert.severity in (CRITICAL, WARNING)
    assert re.fullmatch(r"\d+[mh]", alert.patience)
    assert alert.summary and not alert.summary.endswith(".") and len(alert.summary) < 100
    assert alert.description.endswith(".") and len(alert.description) > 40
    labels = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
    given = named(alert.value).grouped | ({"instance"} if "up{" in alert.value else set())
    assert labels <= given and labels <= {
        "instance",
        "destination",
        "source",
        "child",
        "reason",
        "link",
        "certificate",
        "role",
    }


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_every_metric_and_label_of_an_alert_is_one_that_the_gateway_declares(alert: Alert) -> None:
    known = metrics() | NOT_OURS
    found = named(alert.expression)
    assert found.metrics and found.metrics <= set(known)
    assert all(label in known[metric] | OF_SCRAPES for metric, label in found.selected)
    assert found.grouped <= set().union(*(known[metric] for metric in found.metrics)) | OF_SCRAPES


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)
def test_every_alert_leads_to_a_section_that_says_how_to_see_it_what_to_do_and_what_not_to_do(alert: Alert) -> None:
    text = sections()[alert.section]
    assert f"`{alert.name}`" in text, "the section names the alerts that lead to it"
    assert "*See it*" in text and ("*Do*" in text or "| do |" in text) and "*Don't*" in text


def test_the_first_table_leads_from_each_alert_to_its_section() -> None:
    led: dict[str, str] = {}
    for seen, whose, section in rows("alerts"):
        assert whose
        (anchor,) = re.findall(r"\]\(#([\w-]+)\)", section)
        assert anchor in sections()
        led |= dict.fromkeys(re.findall(r"`(Gateway\w+)`", seen), anchor)
    assert led == {alert.name: alert.section for alert in ALERTS.values()}
    assert DOCUMENT.index("<!-- alerts -->") < DOCUMENT.index("## What to do when")


def test_no_section_and_no_table_names_an_alert_that_there_is_not() -> None:
    assert set(re.findall(r"`(Gateway[A-Z]\w+)`", DOCUMENT)) == set(ALERTS)


def test_alertmanager_takes_the_example_and_it_speaks_of_alerts_that_there_are() -> None:
    path = GRAFANA / "alertmanager/alertmanager.yml"
    run([program("amtool"), "check-config", path]).check()
    assert set(re.findall(r'alertname!?="(\w+)"', path.read_text())) <= set(ALERTS)


def test_prometheus_and_grafana_of_compose_are_given_these_files() -> None:
    folder = GRAFANA.parent / "deploy/compose"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    for service, wanted in (("prometheus", {"alerts"}), ("grafana", {"provisioning", "dashboards"})):
        mounted = {Path(volume.partition(":")[0]) for volume in services[service]["volumes"] if volume.startswith(".")}
        paths = {(folder / path).resolve() for path in mounted}
        assert {GRAFANA / name for name in wanted} <= paths and all(path.exists() for path in paths)
    (pattern,) = yaml.safe_load((folder / "prometheus.yml").read_text())["rule_files"]
    assert f"../../grafana/alerts:{Path(pattern).parent}:ro" in services["prometheus"]["volumes"]
