"""Tools that every harness module shares: requirements, ports, waiting, processes.

`require(name)` guards a test: a missing program skips it with the reason, or fails it where CI=true, so that CI can
never pass by skipping. `wait_until` polls a condition against a deadline. `Process` runs a program with its output in
files and is ended by its process id, also when the test forgets to (at exit of the interpreter).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

T = TypeVar("T")

# Debian keeps PostgreSQL's server programs in a folder of their version; the newest comes first.
_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", *map(str, _POSTGRES)]
)

PACKAGES = {
    "chromium": "chromium",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
    "dcmsend": "dcmtk",
    "echoscu": "dcmtk",
    "dcmdump": "dcmtk",
    "dciodvfy": "dicom3tools",
    "Orthanc": "orthanc",
    "strace": "strace",
    "ip": "iproute2",
    "tc": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mount": "mount",
    "docker-compose": "docker-compose",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "systemd-analyze": "systemd",
    "systemd-socket-activate": "systemd",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "redis-sentinel": "redis-sentinel",
    "initdb": "postgresql",
    "postgres": "postgresql",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def find_program(name: str) -> str | None:
    """Absolute path of a program, also where sbin is not on PATH; None when it is not installed."""
    return shutil.which(name, path=SEARCH_PATH)


def _missing_program(name: str) -> str | None:
    if find_program(name) is not None:
        return None
    return f"{name} is not installed (apt install {PACKAGES.get(name, name)})"


def _missing_package(name: str, project: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"{project} is not installed (the extra `test`)"


def _missing_root() -> str | None:
    return None if os.geteuid() == 0 else "needs root (namespaces, mounts)"


def _missing_netns() -> str | None:
    if reason := _missing_root() or _missing_program("ip"):
        return reason
    name = f"probe-{os.getpid()}"
    made = subprocess.run([str(find_program("ip")), "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces do not work here: {made.stderr.strip()}"
    subprocess.run([str(find_program("ip")), "netns", "del", name], capture_output=True, check=True)
    return None


def _missing_loop() -> str | None:
    reason = _missing_root() or _missing_program("mkfs.ext4") or _missing_program("mount")
    if reason is None and not Path("/dev/loop-control").exists():
        reason = "no loop devices here"
    return reason


def _missing_ptrace() -> str | None:
    if reason := _missing_program("strace"):
        return reason
    probe = subprocess.run(
        [str(find_program("strace")), "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else f"strace cannot trace here: {probe.stderr.strip()}"


ABILITIES: dict[str, Callable[[], str | None]] = {
    "root": _missing_root,
    "netns": _missing_netns,
    "loop": _missing_loop,
    "tmpfs": lambda: _missing_root() or _missing_program("mount"),
    "strace": _missing_ptrace,
    "highdicom": lambda: _missing_package("highdicom", "highdicom"),
    "numpy": lambda: _missing_package("numpy", "numpy"),
    "cryptography": lambda: _missing_package("cryptography", "cryptography"),
    "psycopg": lambda: _missing_package("psycopg", "psycopg"),
    "playwright": lambda: _missing_package("playwright", "playwright"),
    "redis": lambda: _missing_package("redis", "redis"),
    "grafana_foundation_sdk": lambda: _missing_package("grafana_foundation_sdk", "grafana-foundation-sdk"),
    "dicomanonymizer": lambda: _missing_package("dicomanonymizer", "dicom-anonymizer"),
}


def missing(name: str) -> str | None:
    """Why a program, or an ability or package in `ABILITIES`, cannot be used here; None when it can."""
    return ABILITIES[name]() if name in ABILITIES else _missing_program(name)


def require(*names: str) -> None:
    """Skip the running test when one of the programs or abilities is missing; fail it where CI=true."""
    for name in names:
        reason = missing(name)
        if reason is None:
            continue
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"CI must have it: {reason}", pytrace=False)
        pytest.skip(reason)


def program(name: str) -> str:
    """Absolute path of a required program (see `require`)."""
    require(name)
    path = find_program(name)
    assert path is not None
    return path


# Below what the kernel gives to connections (ip_local_port_range), or one of them may take a port before its server
# does. Each process of a test run goes round in a range of its own; a process by itself begins anywhere in the last.
_RANGES, _PORTS = 8, 2_100
_RANGE = min(int(os.environ.get("PYTEST_XDIST_WORKER", f"gw{_RANGES}")[2:]), _RANGES - 1)
_FIRST_PORT = 15_000 + _RANGE * _PORTS
_places = itertools.count(os.getpid() * 61)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nothing listens on, not given out before by this process (not until all others were)."""
    for place in itertools.islice(_places, _PORTS):
        port = _FIRST_PORT + place % _PORTS
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port
    raise AssertionError(f"no port of {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} is free on {host}")


def wait_until(
    condition: Callable[[], T | None],
    timeout_s: float = 10.0,
    what: str | Callable[[], str] = "",
    interval_s: float = 0.01,
) -> T:
    """Poll until the condition is truthy and return its value; AssertionError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout_s:g} s: {told or getattr(condition, '__qualname__', condition)}")
        time.sleep(interval_s)


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """True when a TCP connection to the port is accepted now."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished program: its exit code and what it wrote (both streams, decoded leniently)."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def check(self) -> Completed:
        """Return self, or raise AssertionError with the output when the exit code is not 0."""
        assert self.returncode == 0, f"{' '.join(self.argv)} exited with {self.returncode}:\n{self.output[-4000:]}"
        return self


_live: weakref.WeakSet[Process] = weakref.WeakSet()


class Process:
    """A child process with its output in `<out_dir>/<name>.out` and `.err` (appended to by restarts).

    Used as a context manager, or ended by `stop`/`kill`. It is ended by pid; what is left at the interpreter's exit
    is killed.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        out_dir: Path,
        name: str = "",
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = tuple(str(word) for word in argv)
        self.name = name or Path(self.argv[0]).name
        out_dir.mkdir(parents=True, exist_ok=True)
        self.stdout_path = out_dir / f"{self.name}.out"
        self.stderr_path = out_dir / f"{self.name}.err"
        with self.stdout_path.open("ab") as out, self.stderr_path.open("ab") as err:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=None if env is None else {**os.environ, **env},
                pass_fds=tuple(pass_fds),
            )
        _live.add(self)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def returncode(self) -> int | None:
        """Exit code once it has ended (negative: the signal), else None."""
        return self.popen.poll()

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        """Everything it wrote so far, standard output first."""
        return "".join(path.read_text(errors="replace") for path in (self.stdout_path, self.stderr_path))

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for its end and return the exit code; AssertionError with the output's tail when it does not end."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout_s:g} s:\n{self.output()[-2000:]}") from None

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, and SIGKILL when that does not end it in time. Returns the exit code; harmless when ended."""
        if self.running:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.terminate()
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait(30)

    def kill(self) -> int:
        """SIGKILL and wait."""
        if self.running:
            self.popen.kill()
        return self.popen.wait(30)

    def wait_for_output(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until the text shows in its output; fails at once when it ends without."""

        def shown() -> bool:
            if text in self.output():
                return True
            assert self.running, f"{self.name} exited with {self.returncode}:\n{self.output()[-2000:]}"
            return False

        wait_until(shown, timeout_s, lambda: f"{self.name} to write {text!r}; it wrote:\n{self.output()[-2000:]}")

    def wait_for_port(self, port: int, host: str = "127.0.0.1", timeout_s: float = 15.0) -> None:
        """Wait until it listens; fails at once when it ends instead."""

        def ready() -> bool:
            assert self.running, f"{self.name} exited with {self.returncode}:\n{self.output()[-2000:]}"
            return listening(port, host)

        wait_until(ready, timeout_s, lambda: f"{self.name} to listen on {port}:\n{self.output()[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@atexit.register
def _end_all() -> None:
    for process in list(_live):
        if process.running:
            process.popen.kill()


def run(
    argv: Sequence[str | Path],
    timeout_s: float = 60.0,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Completed:
    """Run a program to its end. AssertionError (after killing it) when that takes longer than `timeout_s`.

    :param stdin: a descriptor to read from; by default there is nothing to read.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            stdin=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{words[0]} still ran after {timeout_s:g} s: {error.stdout!r} {error.stderr!r}") from None
    return Completed(tuple(words), done.returncode, done.stdout, done.stderr)


def resident_bytes(pid: int) -> int:
    """VmRSS of a process, bytes."""
    return _status_kib(pid, "VmRSS") * 1024


def peak_resident_bytes(pid: int) -> int:
    """VmHWM (largest VmRSS since start or `reset_peak`) of a process, bytes."""
    return _status_kib(pid, "VmHWM") * 1024


def reset_peak(pid: int) -> None:
    """Make `peak_resident_bytes` start anew (proc(5), clear_refs 5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_descriptors(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status_kib(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no {key}: it is a zombie")
