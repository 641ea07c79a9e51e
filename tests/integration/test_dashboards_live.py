"""Every query of the dashboards and alerts, asked of a real Prometheus that scrapes a real gateway in trouble.

One gateway with Redis as its queue and its spool on a small disk: images come and go, one archive refuses, one is
killed, a sender is turned away, a worker dies, Redis dies and comes back, somebody writes to our queue, rules are
broken, and at last the disk is full. Then each expression must have data: one without would be an empty panel, or an
alert that never comes.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.console.access.roles import Role
from gateway.console.access.users import UsersFile
from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.archivescript import Behaviour
from tests.harness.certificates import CertificateAuthority
from tests.harness.console import PASSWORD, add_users, console
from tests.harness.data import make_instance
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess, replace
from tests.harness.machine import Tmpfs
from tests.harness.prometheus import Prometheus
from tests.harness.rawpeer import RawScu, Rejected
from tests.harness.redis import RedisServer
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import require, wait_until
from tests.integration.api_site import token_of
from tests.unit.promql import named
from tests.unit.test_dashboards import ALL
from tests.unit.test_dashboards import expressions as of_boards
from tools.dashboards.alerts import GROUPS, JOB
from tools.dashboards.files import GRAFANA

BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
CONSOLE = "https://gateway.example.org"
# What Grafana fills in, but the name of a destination, which comes with the board.
FILLED = {"$__rate_interval": "10s", "$__interval": "1s", "$__range": "1m", "$job": JOB, "$source": ".*"}
RULES = yaml.safe_dump(
    {
        "transforms": {"mark": [{"set": {"InstitutionName": "St. Elsewhere"}}]},
        "rules": [
            {"name": "phantoms", "match": {"PatientID": "QA*"}, "hold": "a phantom"},
            {"name": "everything", "send_to": ["pacs", "refusing", "dead"]},
            {"name": "marked", "send_to": ["research"], "transform": ["mark"]},
        ],
    },
    sort_keys=False,
)


class Scene:
    """The gateway, what it sends to, and the Prometheus that watches it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.disk = stack.enter_context(Tmpfs(folder / "disk", 64 << 20))
        self.redis = stack.enter_context(RedisServer())
        self.archives = {name: stack.enter_context(OurArchive()) for name in ("pacs", "refusing", "dead", "research")}
        self.archives["dead"].on_store = lambda facts: Behaviour(respond=False, end="abort")
        self.archives["refusing"].on_store = lambda facts: Behaviour(status=0x0110, store=False)
        authority = CertificateAuthority(folder / "ca")
        issued = authority.issue("console")
        self.trusted = ssl.create_default_context(cafile=str(authority.path))
        self.config = GatewayConfig(
            folder / "gateway",
            {name: {"port": archive.port, "attempts": 1} for name, archive in self.archives.items()},
            rules={"10-all.yaml": RULES},
            spool={"dir": str(self.disk.path / "spool"), "min_free": "16 MiB"},
            sources={"loopback": {"ae_titles": ["CT1"], "hosts": ["127.0.0.0/8"], "silent_after": "1 h"}},
            queue={"url": self.redis.url()},
            console={"tls": {"certificate": str(issued.certificate), "key": str(issued.key)}},
        )
        self.gateway = GatewayProcess(self.config)
        stack.callback(self.gateway.close)
        self.gateway.start(timeout_s=60)
        rules = sorted((GRAFANA / "alerts").glob("*.yaml"))
        labels = {"gateway_console": CONSOLE}
        jobs = {JOB: [self.config.metrics_port]}
        self.prometheus = stack.enter_context(Prometheus(folder / "prometheus", jobs, rules, labels))
        self.journal = Journal(folder / "journal")
        stack.callback(self.journal.close)

    def send(self, seeds: range, **attributes: object) -> None:
        instances = [make_instance(seed=seed, **attributes) for seed in seeds]
        JournalSender(self.config.port, self.journal, instances, calling="CT1").run(60)

    def is_told(self, expression: str) -> None:
        """Wait until Prometheus has seen that an expression is more than nothing."""
        self.prometheus.wait_for(f"{expression} > 0", 30)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    require("prometheus", "redis-server", "tmpfs")
    with ExitStack() as stack:
        scene = Scene(tmp_path_factory.mktemp("live"), stack)
        trouble(scene)
        yield scene


def trouble(scene: Scene) -> None:
    """What the module's docstring says."""
    scene.prometheus.wait_for("gateway_ready == 1")
    scene.send(range(100, 110))
    scene.is_told('gateway_deliveries_total{destination="refusing", state="held"}')
    scene.is_told('gateway_deliveries_total{destination="dead", outcome="aborted"}')
    scene.archives["dead"].stop()
    scene.send(range(110, 120))
    scene.send(range(100, 102))  # exact duplicates
    with pytest.raises(Rejected), RawScu(scene.config.port) as stranger:
        stranger.associate([(wire.VERIFICATION, wire.IMPLICIT_LE)], calling="NOBODY")
    scene.prometheus.wait_for('gateway_destination_up{destination="dead"} == 0', 30)
    scene.gateway.kill_role("worker")
    scene.redis.kill()
    scene.is_told("sum(gateway_redis_up == bool 0)")
    scene.redis.start()
    replace(scene.config.rules_dir / "20-broken.yaml", "rules:\n  - name: x\n    match: {Modality\n")
    scene.is_told("gateway_rules_refused")
    filler = scene.disk.fill(leave_bytes=8 << 20)
    refused = make_instance(seed=500)
    with RawScu(scene.config.port) as scu:
        scu.associate([(refused.sop_class_uid, refused.transfer_syntax_uid)], calling="CT1")
        assert scu.store(1, refused.sop_class_uid, refused.sop_instance_uid, refused.data) == 0xA700
        scu.release()
    scene.is_told('sum(gateway_stores_refused_total{status="0xA700"})')
    scene.is_told('gateway_not_ready{reason="spool_low"}')
    filler.unlink()
    scene.send(range(130, 140))
    scene.send(range(120, 122), PatientID="QA1")
    with scene.redis.client() as client:
        client.rpush("rq:queue:gateway.route", "../../x")
    for figure in ("jobs_refused", "instances_routed", "instances_held"):  # of a worker that was started anew
        scene.prometheus.wait_for(f"rate(gateway_{figure}_total[10s])")
    scene.prometheus.wait_for('gateway_rq_jobs{state="queued"}')


def filled(expression: str) -> str:
    """An expression as Grafana asks it."""
    for name, value in {**FILLED, "$destination": "dead"}.items():
        expression = expression.replace(name, value)
    return expression


def test_every_query_of_every_panel_has_data(scene: Scene) -> None:
    empty = []
    for where, expression in of_boards():
        if "variable" in where:
            continue
        asked = [expression]
        if "$destination" in expression:  # a destination that takes, one that refuses, and one that is dead
            asked = [expression.replace("$destination", name) for name in ("pacs", "refusing", "dead")]
        if not any(scene.prometheus.query(filled(each)) for each in asked):
            empty.append(f"{where}: {filled(asked[0])}")
    assert not empty, "\n".join(empty)


def test_every_variable_has_values(scene: Scene) -> None:
    for board in ALL:
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
                values = scene.prometheus.api(f"label/{label}/values", **{"match[]": filled(metric)})
                assert values, (board["uid"], variable["name"])


def test_every_alert_looks_at_something_that_there_is(scene: Scene) -> None:
    empty = []
    for alert in (alert for group in GROUPS for alert in group.alerts):
        value = alert.value.replace("absent(", "count(")
        parts = [value, *named(alert.expression).metrics]
        empty += [f"{alert.name}: {part}" for part in parts if not scene.prometheus.query(part)]
    assert not empty, "\n".join(empty)


def test_trouble_comes_as_alerts_that_say_what_it_is_and_where_it_is_written_what_to_do(scene: Scene) -> None:
    expected = {"GatewayDestinationDown", "GatewayHeld", "GatewayUnrouted", "GatewayRulesRefused"}
    alerts = wait_until(
        lambda: found if expected <= set(found := scene.prometheus.alerts()) else None,
        15,
        lambda: f"{expected} to be there: {set(scene.prometheus.alerts())}",
        0.2,
    )
    down = alerts["GatewayDestinationDown"]
    assert down["annotations"]["summary"] == "The destination dead is down"
    assert down["annotations"]["runbook_url"] == f"{CONSOLE}/help#a-destination-is-down"
    assert (down["labels"]["severity"], down["labels"]["job"]) == ("warning", JOB)
    for each in alerts.values():
        said = " ".join(each["annotations"].values())
        assert "{{" not in said and "<no value>" not in said and "error" not in said, said
    assert not {"GatewayNotScraped", "GatewayDestinationUnserved", "GatewayDead"} & set(alerts)


def test_the_console_says_by_itself_what_needs_no_prometheus_to_be_seen(scene: Scene) -> None:
    users = UsersFile(scene.config.state_dir / "users.yaml")
    add_users(users.path)
    address, token = f"https://127.0.0.1:{scene.config.console_port}", token_of(users, Role.OBSERVER)
    with httpx.Client(base_url=address, verify=scene.trusted, timeout=30) as client:
        found = client.get("/api/v1/overview", headers={"authorization": f"Bearer {token}"}).json()
        noticed = [(each["kind"], each["name"]) for each in found["notices"]]
        assert noticed == [("certificate_expires", "console"), ("rules_refused", "")]
        client.post("/login", data={"name": "observer", "password": PASSWORD})
        page = client.get("/").text
    for words in (found["notices"][0]["text"], "dead is down", "held without a route", "Whoever issues certificates"):
        assert words in page, words


def test_nothing_of_a_patient_is_in_what_prometheus_keeps(scene: Scene) -> None:
    canaries = {canary for seed in range(100, 140) for canary in make_instance(seed=seed).canaries}
    kept = " ".join(
        value for label in scene.prometheus.api("labels") for value in scene.prometheus.api(f"label/{label}/values")
    )
    assert len(kept) > 1000 and not [canary for canary in canaries if canary in kept]
    assert "QA1" not in kept


def test_links_lead_to_pages_of_the_console_and_alerts_to_their_section_there(tmp_path: Path) -> None:
    paths = set(re.findall(r'"\$\{console\}(/[a-z]+)"', " ".join(text.read_text() for text in BOARDS)))
    assert {"/queue", "/attention", "/rules", "/system"} <= paths

    async def scenario() -> None:
        async with console(tmp_path) as site:
            anybody = site.client()
            observer = await site.as_("observer")
            for path in sorted(paths):
                assert (await observer.get(path)).status_code == 200, path
            page = await anybody.get("/help")
            assert page.status_code == 200
            anchors = set(re.findall(r'<h3 id="([^"]+)"', page.text))
            assert {alert.section for group in GROUPS for alert in group.alerts} <= anchors

    asyncio.run(scenario())
