"""What the queue of one machine has besides the contract (`tests/contract/test_work_queue.py`): its sockets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gateway.runfolder import RunFolder
from gateway.work.base import Stage
from gateway.work.local import LocalQueue


def run(folder: Path, stage: Stage | None = None) -> LocalQueue:
    return LocalQueue(folder, stage)


def test_a_folder_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*(["deep" * 10] * 6)) / "run"
    assert len(str(folder)) > 240
    waiter = run(folder, Stage.DELIVER)
    run(folder).notify(Stage.DELIVER)
    assert waiter.wait_sync(5) is True
    assert folder.stat().st_mode & 0o077 == 0


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
