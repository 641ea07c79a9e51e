"""Requirements, waiting, and processes that end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import tools
from tests.harness.postgres import PostgresServer
from tests.harness.redis import RedisSentinel, RedisServer
from tests.harness.tools import Process, free_port, require, run, wait_until


def test_a_missing_program_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must have it"):
        require("no-such-program")
    require("sh")


def test_free_ports_differ() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50


def test_waiting_ends_with_the_condition_or_names_it() -> None:
    begun = time.monotonic()
    assert wait_until(lambda: time.monotonic() - begun > 0.05 and "yes") == "yes"
    with pytest.raises(AssertionError, match=r"not within 0.05 s: the moon"):
        wait_until(lambda: False, 0.05, "the moon")


def test_a_process_is_stopped_and_its_output_kept(tmp_path: Path) -> None:
    with Process([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"], tmp_path) as process:
        process.wait_for_output("up")
        assert tools.resident_bytes(process.pid) > 1 << 20
        assert tools.open_descriptors(process.pid) >= 3
    assert process.returncode == -15
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = Process([sys.executable, "-c", code], tmp_path)
    process.wait_for_output("up")
    assert process.stop(timeout_s=0.2) == -9


def test_waiting_for_a_dead_process_fails_with_its_output(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path)
    with pytest.raises(AssertionError, match="no such luck"):
        process.wait_for_port(free_port())


def test_run_captures_and_bounds() -> None:
    assert run([sys.executable, "-c", "print('hello')"]).check().stdout == "hello\n"
    with pytest.raises(AssertionError, match="still ran"):
        run([sys.executable, "-c", "import time; time.sleep(60)"], timeout_s=0.2)


@pytest.mark.parametrize("server", [PostgresServer, RedisServer, RedisSentinel])
def test_a_server_that_is_not_installed_skips_here_and_fails_in_ci(
    server: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "SEARCH_PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"is not installed \(apt install (postgresql|redis-)"):
        server()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI must have it"):
        server()
