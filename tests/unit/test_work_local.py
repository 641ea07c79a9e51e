"""Wake-ups over real sockets: they arrive, they coalesce, and a notifier never waits for anyone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.runfolder import RunFolder
from gateway.work.base import Stage, WorkQueue
from gateway.work.local import LocalQueue


def run(folder: Path, stage: Stage | None = None) -> LocalQueue:
    return LocalQueue(folder, stage)


def test_a_wake_up_arrives_and_several_are_one(tmp_path: Path) -> None:
    waiter, notifier = run(tmp_path, Stage.ROUTE), run(tmp_path)
    for _ in range(5):
        notifier.notify(Stage.ROUTE)
    assert waiter.wait_sync(5) is True
    assert waiter.wait_sync(0) is False
    contract: WorkQueue = waiter
    contract.close()
    notifier.close()


def test_only_the_stage_that_is_meant_is_woken_and_everyone_of_it(tmp_path: Path) -> None:
    routers = [run(tmp_path, Stage.ROUTE) for _ in range(3)]
    deliverer = run(tmp_path, Stage.DELIVER)
    run(tmp_path).notify(Stage.ROUTE)
    assert [router.wait_sync(5) for router in routers] == [True] * 3
    assert deliverer.wait_sync(0) is False


def test_a_folder_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*(["deep" * 10] * 6)) / "run"
    assert len(str(folder)) > 240
    waiter = run(folder, Stage.DELIVER)
    run(folder).notify(Stage.DELIVER)
    assert waiter.wait_sync(5) is True
    assert folder.stat().st_mode & 0o077 == 0


def test_async_wait_is_woken_from_another_thread(tmp_path: Path) -> None:
    async def scenario() -> tuple[bool, bool, float]:
        waiter, notifier = run(tmp_path, Stage.ROUTE), run(tmp_path)
        loop = asyncio.get_running_loop()
        task = loop.create_task(waiter.wait(30))
        await asyncio.sleep(0)
        began = loop.time()
        threading.Thread(target=notifier.notify, args=(Stage.ROUTE,)).start()
        woken = await task
        return woken, await waiter.wait(0.01), loop.time() - began

    woken, again, seconds = asyncio.run(scenario())
    assert woken and not again and seconds < 5


def test_what_came_before_the_wait_is_not_lost_and_uvloop_agrees(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scenario() -> list[bool]:
        waiter = run(tmp_path, Stage.ROUTE)
        run(tmp_path).notify(Stage.ROUTE)
        return [await waiter.wait(5), await waiter.wait(0.01)]

    assert asyncio.run(scenario()) == [True, False]
    assert uvloop.run(scenario()) == [True, False]


def test_a_cancelled_wait_can_be_followed_by_another(tmp_path: Path) -> None:
    async def scenario() -> bool:
        waiter, notifier = run(tmp_path, Stage.ROUTE), run(tmp_path)
        task = asyncio.create_task(waiter.wait(30))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        notifier.notify(Stage.ROUTE)
        return await waiter.wait(5)

    assert asyncio.run(scenario())


def test_two_tasks_cannot_wait_on_one_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        waiter = run(tmp_path, Stage.ROUTE)
        task = asyncio.create_task(waiter.wait(30))
        await asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="another task"):
                await waiter.wait(1)
        finally:
            task.cancel()

    asyncio.run(scenario())
    with pytest.raises(RuntimeError, match="notify only"):
        run(tmp_path).wait_sync(0)


def test_notify_never_blocks_on_a_receiver_that_does_not_read(tmp_path: Path) -> None:
    waiter, notifier = run(tmp_path, Stage.ROUTE), run(tmp_path)
    began = time.monotonic()
    for _ in range(20_000):
        notifier.notify(Stage.ROUTE)
    assert time.monotonic() - began < 10
    assert waiter.wait_sync(0) is True  # it reads all of them as one
    assert waiter.wait_sync(0) is False
    notifier.notify(Stage.ROUTE)
    assert waiter.wait_sync(5) is True


def test_the_socket_of_a_killed_process_is_removed_and_the_living_are_woken(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal; from pathlib import Path; from gateway.work.local import LocalQueue;"
        "from gateway.work.base import Stage;"
        "LocalQueue(Path(sys.argv[1]), Stage.ROUTE); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    folder = RunFolder(tmp_path)
    assert len(folder.names(".wake")) == 1
    waiter, notifier = run(tmp_path, Stage.ROUTE), run(tmp_path)
    notifier.notify(Stage.ROUTE)
    assert waiter.wait_sync(5) is True
    assert folder.names(".wake") == [waiter._name]
    waiter.close()
    waiter.close()
    assert folder.names(".wake") == []
    notifier.notify(Stage.ROUTE)  # to nobody
    notifier.close()
    notifier.notify(Stage.ROUTE)  # after the end


def test_a_process_that_comes_later_is_found(tmp_path: Path) -> None:
    notifier = run(tmp_path)
    notifier.notify(Stage.ROUTE)
    waiter = run(tmp_path, Stage.ROUTE)
    deadline = time.monotonic() + 5
    while not waiter.wait_sync(0.05):
        assert time.monotonic() < deadline
        notifier.notify(Stage.ROUTE)


def test_a_run_folder_is_cleared_of_sockets_only(tmp_path: Path) -> None:
    waiter = run(tmp_path, Stage.ROUTE)
    (tmp_path / "note.txt").write_text("kept")
    folder = RunFolder(tmp_path)
    assert folder.clear() == 1
    assert os.listdir(tmp_path) == ["note.txt"]
    waiter.close()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        queue = run(tmp_path, Stage.ROUTE)
        queue.notify(Stage.ROUTE)
        queue.close()
    assert len(os.listdir("/proc/self/fd")) == before
