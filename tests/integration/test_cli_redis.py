"""Redis as the queue, as a person meets it: `gateway check`, a start, `gateway worker`, and RQ's own `rq info`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.delivering_kit import Delivering
from tests.harness.archive import OurArchive
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import ROOT, GatewayConfig, GatewayProcess
from tests.harness.redis import RedisServer
from tests.harness.tools import Completed, Process, free_port, run, wait_until
from tests.integration.cli_site import command


@pytest.fixture
def archive() -> Iterator[OurArchive]:
    with OurArchive() as archive:
        yield archive


def site(folder: Path, archive: OurArchive, url: str) -> GatewayConfig:
    config = GatewayConfig(folder, {"pacs": archive.port}, queue={"url": url})
    config.write()
    return config


def on(config: GatewayConfig, *words: str) -> Completed:
    return command(*words, "--config", config.path, cwd=config.folder)


def rq_info(url: str) -> str:
    """What RQ's own program says of queues and workers."""
    return run([Path(sys.executable).with_name("rq"), "info", "--url", url, "--raw"], 60).check().stdout


# ── check ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_says_that_redis_answers_and_warns_of_one_that_keeps_nothing(
    tmp_path: Path, archive: OurArchive, redis_url: str
) -> None:
    config = site(tmp_path, archive, redis_url)
    said = on(config, "check").check()
    (line,) = [line for line in said.stdout.splitlines() if "answers" in line and "queue" in line]
    assert line.startswith("queue          Redis ")
    assert "warning: Redis (queue.url): it keeps neither an append-only file nor snapshots" in said.stdout
    report = json.loads(on(config, "check", "--json").check().stdout)
    assert report["redis"]["version"] and report["redis"]["warnings"]
    for text in (said.output, json.dumps(report)):
        assert "p@ss" not in text and "p%40ss" not in text


def test_check_of_a_redis_that_is_away_is_exit_code_1(tmp_path: Path, archive: OurArchive) -> None:
    said = on(site(tmp_path, archive, f"redis://:s3cret@127.0.0.1:{free_port()}/0"), "check")
    assert said.returncode == 1
    assert "the connection was refused" in said.stdout
    assert "s3cret" not in said.output


def test_check_with_the_local_queue_says_nothing_of_redis(tmp_path: Path, archive: OurArchive) -> None:
    said = on(site(tmp_path, archive, "local"), "check").check()
    assert "Redis" not in said.stdout


@pytest.mark.parametrize("words", [("check",), ("run",), ("worker", "--count", "1")], ids=" ".join)
def test_a_redis_that_evicts_is_refused(tmp_path: Path, archive: OurArchive, words: tuple[str, ...]) -> None:
    with RedisServer(maxmemory_policy="allkeys-lru") as server:
        said = on(site(tmp_path, archive, server.url()), *words)
    assert said.returncode == 2
    assert "its maxmemory-policy is allkeys-lru" in said.stderr and "set maxmemory-policy noeviction" in said.stderr


def test_a_redis_that_begins_to_evict_is_told_of_while_the_gateway_runs(tmp_path: Path, archive: OurArchive) -> None:
    with RedisServer() as server, GatewayProcess(site(tmp_path, archive, server.url())) as gateway:
        assert gateway.metric("gateway_redis_evicts") == 0
        server.set("maxmemory-policy", "allkeys-lru")
        gateway.wait_replaced("console", gateway.kill_role("console"))  # which looks at once, and then each minute
        gateway.wait_ready()
        wait_until(lambda: gateway.metric("gateway_redis_evicts") == 1, 30, gateway.log)
        (line,) = gateway.log_lines(event="redis_evicts")
        assert "its maxmemory-policy is allkeys-lru" in line["reason"]


@pytest.mark.parametrize("words", [("check",), ("run",)], ids=" ".join)
def test_a_url_that_is_wrong_is_refused_without_a_word_of_it(
    tmp_path: Path, archive: OurArchive, words: tuple[str, ...]
) -> None:
    said = on(site(tmp_path, archive, "redis://:s3cret@h:port/0"), *words)
    assert said.returncode == 2
    assert "queue.url has a host without a name, or a port" in said.stderr
    assert "s3cret" not in said.output


# ── worker ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_that_would_share_work_with_nobody_are_not_started(tmp_path: Path, archive: OurArchive) -> None:
    said = on(site(tmp_path, archive, "local"), "worker", "--count", "2")
    assert said.returncode == 2
    assert "processes.worker" in said.stderr and "postgresql://" in said.stderr
    assert on(site(tmp_path, archive, "local"), "worker", "--count", "0").returncode == 2


def test_so_many_workers_run_what_waits_and_rq_info_shows_them(tmp_path: Path) -> None:
    with RedisServer() as redis, Delivering(tmp_path, ["pacs"], queue={"url": redis.url()}) as scene:
        scene.gateway = GatewayProcess(scene.config, options=("--roles", "receiver,forwarder,console"))
        scene.gateway.start()
        scene.send(make_instances(30, seed=1))
        queue = next(line for line in rq_info(redis.url()).splitlines() if "gateway.route" in line)
        assert queue.split()[:3] == ["queue", "gateway.route", "1,"], "one job, as there is no worker"
        assert scene.gateway.stop() == 0

        argv = [sys.executable, "-m", "gateway", "worker", "--count", "2", "--config", str(scene.config.path)]
        with Process(argv, tmp_path / "log", "workers", env={"PYTHONPATH": str(ROOT)}) as workers:
            wait_until(lambda: states(scene) == {"ready": 30}, 60, lambda: f"{states(scene)}\n{workers.output()}")
            wait_until(lambda: rq_info(redis.url()).count("worker ") == 2, 30, lambda: rq_info(redis.url()))
            shown = rq_info(redis.url())
            assert "gateway.route 0" in shown and shown.count("idle gateway.route") == 2, shown
            assert workers.stop(40) == 0
        assert "worker " not in rq_info(redis.url()), "who stops signs off"
        scene.gateway = GatewayProcess(scene.config)
        scene.gateway.start()
        scene.judge_all_delivered()


def states(scene: Delivering) -> dict[str, int]:
    """State → how many deliveries."""
    return {state: count for (_, state), count in scene.gateway.deliveries().items() if count}
