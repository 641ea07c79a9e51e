"""Row 15: Redis killed, emptied, frozen or full under a running gateway costs wake-ups, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rq import Callback, Queue
from rq.serializers import JSONSerializer

from tests.faults.crash_kit import scaled
from tests.faults.delivering_kit import Delivering
from tests.harness.data import make_instances
from tests.harness.redis import RedisSentinel, RedisServer
from tests.harness.tools import wait_until
from tests.unit.redis_rights import acl_line

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with RedisServer() as server:
        yield server


def scene_with(folder: Path, redis: RedisServer, **also: object) -> Delivering:
    """A gateway with SQLite whose queue is this Redis."""
    return Delivering(folder, ["pacs", "dr"], queue={"url": redis.url()}, **also)


def jobs(scene: Delivering) -> float:
    """How many jobs RQ's workers ran."""
    return scene.gateway.metric("gateway_jobs_total")


def test_what_arrives_is_routed_by_jobs_of_rq(tmp_path: Path, redis: RedisServer) -> None:
    with scene_with(tmp_path, redis, processes={"worker": 2}) as scene:
        scene.start()
        for seed in range(5):
            scene.send(make_instances(4, seed=seed))
        scene.gateway.sinks.add_tree(redis._folder.path)  # the append-only file: whatever was ever said to it
        scene.judge_all_delivered()
        assert jobs(scene) >= 1
        assert scene.gateway.metric("gateway_jobs_refused_total") == 0
        with redis.client() as client:
            keys = {key.decode() for key in client.keys("*")}
            assert client.llen("rq:queue:gateway.route") == 0
            assert len(client.smembers("rq:workers:gateway.route")) == 2
        assert {key.split(":")[0] for key in keys} == {"rq"}
        assert scene.gateway.stop() == 0
        with redis.client() as client:
            assert client.smembers("rq:workers:gateway.route") == set(), "who stops signs off"


def killed_and_started(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


@pytest.mark.parametrize(
    ("trouble", "appendonly"),
    [(killed_and_started, True), (killed_and_started, False), (RedisServer.flush_all, True)],
    ids=["killed", "killed and started empty", "emptied"],
)
def test_redis_killed_or_emptied_in_traffic(
    tmp_path: Path, trouble: Callable[[RedisServer], None], appendonly: bool
) -> None:
    with RedisServer(appendonly=appendonly) as redis, scene_with(tmp_path, redis) as scene:
        scene.start()
        scene.send(make_instances(10, seed=1))
        trouble(redis)
        scene.send(make_instances(10, seed=2))
        scene.judge_all_delivered()
        before = jobs(scene)
        scene.send(make_instances(5, seed=3))
        wait_until(lambda: len(redis_workers(redis)) == 1, 20, "the worker to be registered again")
        number = 4

        def again() -> bool:
            nonlocal number
            number += 1
            scene.send(make_instances(1, seed=number))
            return jobs(scene) > before

        wait_until(again, 30, lambda: f"a job to be run\n{scene.gateway.log()[-3000:]}", interval_s=0.5)
        scene.judge_all_delivered()


def redis_workers(redis: RedisServer) -> set[bytes]:
    """The workers that RQ knows of."""
    with redis.client() as client:
        return set(client.smembers("rq:workers:gateway.route"))


@pytest.mark.chaos
@pytest.mark.timeout(scaled(300, 1800))
def test_redis_that_stands_still_holds_nobody_up(tmp_path: Path, redis: RedisServer) -> None:
    """For ten minutes, in the long version."""
    with scene_with(tmp_path, redis) as scene:
        scene.start()
        scene.send(make_instances(5, seed=1))
        scene.judge_all_delivered()
        with redis.frozen():
            began, sent = time.monotonic(), 5
            while time.monotonic() - began < scaled(10, 600):
                scene.send(make_instances(5, seed=sent))
                sent += 5
                scene.gateway.wait_delivered(sent, "pacs", 20)
                scene.gateway.wait_delivered(sent, "dr", 20)
            assert scene.gateway.readiness()[0] == 200
        wait_until(
            lambda: scene.gateway.metric("gateway_redis_up", link="jobs") == 1, 30, "the worker to find Redis again"
        )
        scene.send(make_instances(5, seed=sent))
        scene.judge_all_delivered()
        lost = scene.gateway.log_lines(event="redis_lost", link="jobs")
        assert len(lost) == 1, lost


def test_a_gateway_starts_while_redis_is_away_and_says_so_once(tmp_path: Path, redis: RedisServer) -> None:
    redis.kill()
    with scene_with(tmp_path, redis) as scene:
        scene.start()
        scene.send(make_instances(10, seed=1))
        scene.judge_all_delivered()
        assert len(scene.gateway.log_lines(event="redis_lost", process="supervisor-0")) == 1
        redis.start()
        wait_until(lambda: redis_workers(redis), 30, "the worker to find Redis")
        scene.send(make_instances(10, seed=2))
        scene.judge_all_delivered()


def test_a_full_redis_refuses_writes_and_all_goes_on(tmp_path: Path, redis: RedisServer) -> None:
    with scene_with(tmp_path, redis) as scene:
        scene.start()
        scene.send(make_instances(2, seed=1))
        redis.set("maxmemory", "1mb")
        scene.send(make_instances(10, seed=2))
        scene.judge_all_delivered()
        redis.set("maxmemory", "0")
        wait_until(lambda: scene.gateway.metric("gateway_redis_up", link="jobs") == 1, 30, "the worker to go on")


def test_a_user_of_the_acl_over_tls(tmp_path: Path) -> None:
    """With the rights that docs/scaling.md gives him, and no others."""
    with RedisServer(user="gateway", rules=acl_line(), tls=True) as redis, scene_with(tmp_path, redis) as scene:
        scene.start()
        scene.send(make_instances(10, seed=1))
        scene.judge_all_delivered()
        wait_until(lambda: jobs(scene) >= 1, 10, "a job to be run")
        for event in ("redis_lost", "redis_setting"):
            assert scene.gateway.log_lines(event=event) == []
        assert "p@ss" not in scene.gateway.log() and "p%40ss" not in scene.gateway.log()


def test_sentinels_make_another_one_master_in_traffic(tmp_path: Path) -> None:
    with (
        RedisSentinel() as sentinels,
        Delivering(tmp_path, ["pacs", "dr"], queue={"url": sentinels.url()}) as scene,
    ):
        scene.start()
        scene.send(make_instances(5, seed=1))
        new_master = sentinels.fail_over()
        scene.send(make_instances(5, seed=2))
        scene.judge_all_delivered()
        wait_until(lambda: redis_workers(new_master), 30, lambda: f"the worker there\n{scene.gateway.log()[-3000:]}")
        before = jobs(scene)
        scene.send(make_instances(5, seed=3))
        wait_until(lambda: jobs(scene) > before, 10, "a job by the new master")
        scene.judge_all_delivered()


def test_killed_workers_lose_nothing_and_redis_forgets_them(tmp_path: Path, redis: RedisServer) -> None:
    with scene_with(tmp_path, redis, processes={"worker": 2}) as scene:
        scene.start()
        for seed in range(6):
            pid = scene.gateway.kill_role("worker", seed % 2)
            scene.send(make_instances(4, seed=seed))
            scene.gateway.wait_replaced("worker", pid, seed % 2)
        scene.judge_all_delivered()


def test_a_job_of_somebody_else_in_traffic_runs_nothing_and_is_told_of(tmp_path: Path, redis: RedisServer) -> None:
    """Row 16, in a running gateway."""
    made = tmp_path / "made-by-a-job"
    with scene_with(tmp_path, redis) as scene, redis.client() as client:
        scene.start()
        theirs = Queue("gateway.route", connection=client, serializer=JSONSerializer)
        for number in range(20):
            theirs.enqueue("os.system", f"touch {made}-\x1b[31m-{number}")
            theirs.enqueue_call("gateway.app.jobs.route", args=(["0" * 32],), on_success=Callback("os.system"))
            scene.send(make_instances(1, seed=number))
        scene.judge_all_delivered()
        wait_until(lambda: scene.gateway.metric("gateway_jobs_refused_total") == 40, 20, "all of them to be refused")
        assert scene.gateway.metric("gateway_jobs_refused_total", reason="function") == 20
        assert scene.gateway.metric("gateway_jobs_refused_total", reason="callbacks") == 20
        assert sum(line["count"] for line in scene.gateway.log_lines(event="job_refused")) >= 1
        assert "os.system" not in scene.gateway.log() and "touch" not in scene.gateway.log()
        assert list(tmp_path.glob("made-by-a-job*")) == []
