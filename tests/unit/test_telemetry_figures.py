"""What dashboards and alerts are made of: figures that say what happened, in series that the configuration bounds."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram

from gateway import telemetry
from gateway.control import Control
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Role
from gateway.telemetry import registry
from gateway.telemetry.certificates import earliest_expiry
from gateway.telemetry.exposition import exposition
from gateway.work.redis_url import parse
from gateway.work.rq_figures import JobCounter
from gateway.work.rq_jobs import RouteQueue, enqueue
from tests.harness.certificates import CertificateAuthority
from tests.harness.redis import RedisServer
from tests.harness.tools import free_port
from tests.unit.redis_rights import acl_line


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    telemetry.declare(sources=["ct1", "mr1"], destinations=["pacs"], rules=["all", "phantoms"])
    yield
    telemetry.declare(sources=[], destinations=[], rules=[])


def value(name: str, **labels: str) -> float | None:
    return registry.REGISTRY.get_sample_value(f"gateway_{name}", labels)


def deliver(code: str, state: str, **more: Any) -> None:
    telemetry.delivery_outcome(
        destination="pacs", code=code, state=state, instance_id="i", size_bytes=1, attempt=1, **more
    )


# ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_try_is_counted_by_what_came_of_it_and_where_that_left_the_delivery() -> None:
    for code, state in [("refused", "deferred"), ("refused", "deferred"), ("refused", "held")]:
        deliver(code, state, status=0x0110)
    assert value("deliveries_total", destination="pacs", outcome="refused", state="deferred") == 2
    assert value("deliveries_total", destination="pacs", outcome="refused", state="held") == 1


def test_what_a_destination_answered_is_kept_by_status_with_the_time() -> None:
    before = time.time()
    deliver("warning", "delivered", status=0xB006)
    deliver("throttled", "deferred", status=0xA700)
    deliver("success", "delivered", status=0)
    assert value("delivery_answers_total", destination="pacs", status="0xB006") == 1
    assert value("delivery_answers_total", destination="pacs", status="0xA700") == 1
    assert value("delivery_answers_total", destination="pacs", status="0x0000") is None
    at = value("delivery_answer_timestamp_seconds", destination="pacs", status="0xA700")
    assert at is not None and before <= at <= time.time()


def test_a_destination_that_answers_with_every_status_makes_no_more_series_than_there_are_known_ones() -> None:
    labels = {registry.answer_status(status) for status in range(0x10000)}
    assert len(labels) == len(registry.ANSWER_STATUSES) + len(set(registry.ANSWER_RANGES.values())) + 1
    assert (registry.answer_status(0xC123), registry.answer_status(0xA702)) == ("0xCxxx", "0xA7xx")
    assert registry.answer_status(0x4711) == "other"


# ── receiving ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def received(source: str) -> None:
    telemetry.instance_received(source=source, size_bytes=1, seconds=0.1, association_id="a", instance_id="i")


def test_when_a_source_last_sent_is_known_from_the_moment_the_gateway_listens() -> None:
    name = "source_last_received_timestamp_seconds"
    began = time.time()
    telemetry.listening(silent_after_s={"ct1": 3600.0, "mr1": None})
    listened = value(name, source="mr1")
    assert listened is not None and listened >= began
    received("ct1")
    telemetry.listening(silent_after_s={"ct1": 7200.0, "mr1": None})  # a reload
    assert value(name, source="mr1") == listened
    at = value(name, source="ct1")
    assert at is not None and at >= listened
    assert value("source_silent_after_seconds", source="ct1") == 7200
    assert value("source_silent_after_seconds", source="mr1") is None
    telemetry.listening(silent_after_s={"ct1": None, "mr1": None})
    assert value("source_silent_after_seconds", source="ct1") is None


def test_a_source_that_left_the_configuration_and_came_back_counts_anew() -> None:
    telemetry.listening(silent_after_s={"ct1": 60.0})
    telemetry.declare(sources=["mr1"])
    telemetry.listening(silent_after_s={"mr1": None})
    assert value("source_last_received_timestamp_seconds", source="ct1") is None
    assert value("source_silent_after_seconds", source="ct1") is None
    telemetry.declare(sources=["ct1", "mr1"])
    telemetry.listening(silent_after_s={"ct1": 60.0, "mr1": None})
    assert value("source_last_received_timestamp_seconds", source="ct1")


# ── routing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_held_is_counted_by_the_rule_that_holds_it() -> None:
    before = value("instances_held_total", rule="(no rule)") or 0
    telemetry.instance_held(instance_id="i", reason="a phantom", rules=["all", "phantoms"])
    telemetry.instance_held(instance_id="i", reason="no rule matches")
    assert value("instances_held_total", rule="phantoms") == 1
    assert value("instances_held_total", rule="(no rule)") == before + 1


def test_refused_rules_show_until_there_are_good_ones() -> None:
    for result, shown in [("loaded", 0), ("refused", 1), ("refused", 1), ("unchanged", 0)]:
        telemetry.rules_reloaded(result=result)
        assert value("rules_refused") == shown


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_commit_is_timed_from_asking_for_the_turn(tmp_path: Path) -> None:
    before = value("ledger_commit_seconds_count") or 0
    ledger = SqliteLedger.open(tmp_path / "ledger.db", committed=telemetry.ledger_committed)
    ledger.open_session(Role.WORKER, "host", 1, 0)
    ledger.close()
    assert value("ledger_commit_seconds_count") == before + 1
    assert 0 < (value("ledger_commit_seconds_sum") or 0) < 60


def test_a_histogram_of_which_nothing_was_observed_takes_no_room_in_a_scrape() -> None:
    own = CollectorRegistry()
    seen, idle = (Histogram(name, "text", buckets=(1.0,), registry=own) for name in ("seen", "idle"))
    seen.observe(2)
    text = exposition(own, "worker-0").decode()
    assert 'seen_count{process="worker-0"} 1.0' in text and "idle" not in text
    idle.observe(0)
    assert 'idle_count{process="worker-0"} 1.0' in exposition(own, "worker-0").decode()


def test_a_loop_that_was_held_up_comes_late_to_its_beat() -> None:
    late: list[float] = []

    async def scenario() -> None:
        told = asyncio.Event()

        def tell(seconds: float) -> None:
            late.append(seconds)
            told.set()

        control = Control("receiver", 0, 0.05, None, {})
        async with asyncio.TaskGroup() as tasks:
            beating = control.start_beating(tasks, tell)
            await asyncio.sleep(0)
            busy_until = time.monotonic() + 0.3
            while time.monotonic() < busy_until:  # what a loop must never do
                pass
            await told.wait()
            beating.cancel()

    asyncio.run(scenario())
    assert late[0] >= 0.2


def test_a_certificate_says_when_it_expires_and_its_successor_does(tmp_path: Path) -> None:
    from cryptography import x509

    authority = CertificateAuthority(tmp_path)
    made = authority.issue("console")
    telemetry.certificate(name="console", file=made.certificate)
    expires = x509.load_pem_x509_certificate(made.certificate.read_bytes()).not_valid_after_utc
    shown = value("certificate_expiry_timestamp_seconds", certificate="console")
    assert shown == expires.timestamp()
    assert datetime.timedelta(hours=23) < expires - datetime.datetime.now(datetime.UTC) < datetime.timedelta(hours=25)
    made.certificate.write_bytes(b"half a file")
    assert value("certificate_expiry_timestamp_seconds", certificate="console") == shown
    made.certificate.write_bytes(made.certificate.read_bytes() + authority.path.read_bytes())
    assert value("certificate_expiry_timestamp_seconds", certificate="console") is not None


def test_of_a_chain_the_first_to_expire_counts(tmp_path: Path) -> None:
    first = CertificateAuthority(tmp_path / "first").path.read_bytes()
    second = CertificateAuthority(tmp_path / "second").issue("later").certificate.read_bytes()
    assert earliest_expiry(second + first) == min(earliest_expiry(first), earliest_expiry(second))


@pytest.mark.parametrize(
    "text", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_has_no_end(text: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        earliest_expiry(text)


def test_jobs_are_counted_with_the_rights_that_the_gateway_asks_for() -> None:
    with RedisServer(user="gateway", rules=acl_line()) as server:
        counter = JobCounter(parse(server.url()))
        with server.client() as client:
            enqueue(RouteQueue(client), [])
            enqueue(RouteQueue(client), [])
        assert counter.count() == (2, 0, 0, 0)
        server.kill()
        assert counter.count() is None
        server.start()
        assert counter.count() is not None


def test_a_redis_that_is_not_there_has_no_count() -> None:
    assert JobCounter(parse(f"redis://127.0.0.1:{free_port()}/0")).count() is None
