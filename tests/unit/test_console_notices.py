"""What is wrong with a host that is ready, read out of what its processes tell Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import telemetry
from gateway.app.common import run_dir
from gateway.console.figures import HostFigures, text_of
from gateway.console.notices import (
    CERTIFICATE_LEFT_S,
    CERTIFICATE_URGENT_S,
    ROUTING_OLD_S,
    SYSLOG_BEHIND_S,
    Notice,
    NoticeKind,
    notices,
    of_routing,
    with_arrivals,
)
from gateway.console.services import advice
from gateway.model import LedgerGauges
from gateway.telemetry import registry
from gateway.telemetry.exposition import exposition
from tests.harness.certificates import CertificateAuthority
from tests.harness.console import console

DAY_S = 86_400


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    telemetry.declare(sources=["ct1", "mr1"], destinations=[], rules=[])
    yield
    telemetry.listening(silent_after_s={})
    telemetry.declare(sources=[], destinations=[], rules=[])
    registry.drop_series(["listener-main"], registry.certificate_expiry)


def told(now_s: float, *others: bytes) -> list[Notice]:
    """Of this process, and of others' texts."""
    return notices([exposition(registry.REGISTRY, "receiver-0"), *others], round(now_s * 1000))


def of_kind(kind: NoticeKind, found: list[Notice]) -> list[Notice]:
    return [each for each in found if each.kind is kind]


def test_a_source_that_always_sends_is_silent_when_no_process_had_anything_from_it_for_so_long() -> None:
    telemetry.listening(silent_after_s={"ct1": 3600, "mr1": None})
    now_s = time.time()
    assert of_kind(NoticeKind.SOURCE_SILENT, told(now_s + 3590)) == []
    (silent,) = of_kind(NoticeKind.SOURCE_SILENT, told(now_s + 3700))
    assert silent.name == "ct1" and silent.seconds == pytest.approx(3700, abs=60)
    assert silent.text == "Nothing has come from ct1 for 1 h 1 min"
    other = b'gateway_source_last_received_timestamp_seconds{process="receiver-1",source="ct1"} %f\n' % (now_s + 3000)
    assert of_kind(NoticeKind.SOURCE_SILENT, told(now_s + 3700, other)) == [], "another receiver had something"


@pytest.mark.parametrize(
    ("left_s", "tone", "said"),
    [
        (CERTIFICATE_LEFT_S + 60, None, ""),
        (CERTIFICATE_LEFT_S - 60, "warn", "The certificate listener-main expires in 20 d 23 h"),
        (CERTIFICATE_URGENT_S - 60, "bad", "The certificate listener-main expires in 2 d 23 h"),
        (-60, "bad", "The certificate listener-main has expired"),
    ],
)
def test_a_certificate_is_told_of_in_good_time(tmp_path: Path, left_s: float, tone: str | None, said: str) -> None:
    issued = CertificateAuthority(tmp_path).issue("listener")
    telemetry.certificate(name="listener-main", file=issued.certificate)
    expires_s = registry.REGISTRY.get_sample_value(
        "gateway_certificate_expiry_timestamp_seconds", {"certificate": "listener-main"}
    )
    assert expires_s is not None and expires_s == pytest.approx(time.time() + DAY_S, abs=60)
    found = of_kind(NoticeKind.CERTIFICATE_EXPIRES, told(expires_s - left_s))
    advised = [advice.of_notice(each) for each in found]
    assert [(each.tone, each.what) for each in advised] == ([] if tone is None else [(tone, said)])


def test_the_audit_trail_is_told_of_when_the_one_process_that_writes_it_cannot() -> None:
    elsewhere = b'gateway_audit_trail_up{process="receiver-0"} 0.0\n'
    writes = b'gateway_audit_trail_up{process="console-0"} 1.0\n'
    assert notices([elsewhere, writes], 0) == []
    assert notices([elsewhere, elsewhere], 0) == [Notice(NoticeKind.TRAIL_STOPPED)]
    assert notices([], 0) == [], "a host that does not say is not one whose trail stands still"


def test_a_syslog_server_that_is_behind_is_told_of_when_it_does_not_catch_up_by_itself() -> None:
    text = 'gateway_audit_syslog_behind_seconds{process="console-0"} %r\n'
    assert notices([(text % (SYSLOG_BEHIND_S - 1.0)).encode()], 0) == []
    (behind,) = notices([(text % (SYSLOG_BEHIND_S + 60.0)).encode()], 0)
    assert (behind.kind, behind.text) == (NoticeKind.SYSLOG_BEHIND, "The audit repository is 11 min behind")


def test_a_configuration_that_is_refused_is_told_of_with_what_a_restart_would_do() -> None:
    text = b'gateway_configuration_refused{process="supervisor-0"} %d\n'
    assert notices([text % 0], 0) == []
    (refused,) = notices([text % 1], 0)
    assert refused.text == "The changed configuration is refused: the one before it goes on"
    advised = advice.of_notice(refused)
    assert "does not start again" in advised.risk and "SIGHUP" in advised.do
    assert (advised.tone, advised.href) == ("warn", "/system")


def test_instances_that_nobody_routes_are_told_of_as_what_stands_still() -> None:
    now_ms = 5_000_000
    assert of_routing(None, now_ms) == [] == of_routing(now_ms - ROUTING_OLD_S * 1000, now_ms)
    (old,) = of_routing(now_ms - ROUTING_OLD_S * 1000 - 60_000, now_ms)
    advised = advice.of_notice(old)
    assert (advised.tone, advised.what) == ("bad", "Images have waited for 16 min to be routed")
    assert advised.section == "nothing-is-routed"


async def seen(folder: Path) -> tuple[str, str, str]:
    """The overview, the page of the rules, and what `gateway top` shows, of a host of which this is a process."""
    async with console(folder) as site, contextlib.AsyncExitStack() as stack:
        metrics = telemetry.serve_metrics(run_dir(site.context.config()))
        stack.callback(metrics.close)
        observer = await site.as_("observer")
        notices = (await observer.get("/api/v1/overview")).json()["notices"]
        told = " ".join(each["text"] for each in notices)
        return (await observer.get("/")).text, (await observer.get("/rules")).text, told


def test_rules_that_are_refused_are_told_of_where_people_look_for_a_change_that_had_no_effect(tmp_path: Path) -> None:
    refused = "The rule files are refused: the last good rules go on"
    for result, is_said in (("refused", True), ("loaded", False)):
        telemetry.rules_reloaded(result=result)
        folder = tmp_path / result
        folder.mkdir()
        overview, rules, told = asyncio.run(seen(folder))
        assert [refused in text for text in (overview, rules, told)] == [is_said] * 3
        assert ("/help#the-configuration-or-the-rules-are-refused" in rules) or not is_said


def test_of_a_source_counts_what_any_host_has_of_it_and_a_new_receiver_does_not_begin_anew() -> None:
    here = [Notice(NoticeKind.SOURCE_SILENT, name, 5000.0) for name in ("ct1", "never")]
    here.append(Notice(NoticeKind.TRAIL_STOPPED))
    after_s = {"ct1": 3600.0, "mr1": 3600.0, "never": 3600.0, "at-will": None}
    arrivals_ms = {"ct1": 9_999_000, "mr1": 6_399_000, "at-will": 0, "of-old": 0}
    found = with_arrivals(here, arrivals_ms, after_s, 10_000_000)
    assert found == [Notice(NoticeKind.SOURCE_SILENT, "mr1", 3601.0), *here[1:]]


def test_the_time_of_a_source_that_the_configuration_does_not_name_any_more_is_no_figure() -> None:
    gauges = LedgerGauges(source_arrivals_ms={"ct1": 5_000, "former": 6_000})
    text = text_of(HostFigures(0, 0, True, gauges, None), 10_000).decode()
    found = re.findall(r'^gateway_source_last_arrival_timestamp_seconds\{source="(\w+)"\} (\S+)$', text, re.MULTILINE)
    assert found == [("ct1", "5.0")]
