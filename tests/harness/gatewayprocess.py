"""`gateway run` as a child of the test: its roles by pid, its metrics and its log.

`GatewayConfig` (see `gatewayconfig`) is what it runs with. `GatewayProcess` starts the command, waits until every role
serves, kills roles by pid (found below the supervisor in /proc by their command line), and leaves no process behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from tests.harness import wire
from tests.harness.evidence import LedgerView, ProcessWatch, Sinks, descendants
from tests.harness.gatewayconfig import GatewayConfig, replace, send_everything_to
from tests.harness.ledgerrows import rows
from tests.harness.rawpeer import Aborted, Closed, RawScu, Rejected
from tests.harness.tools import Completed, Process, run, wait_until

__all__ = ["ROLES", "GatewayConfig", "GatewayProcess", "all_stopped", "command_line", "replace", "send_everything_to"]

ROLES = ("receiver", "worker", "forwarder", "console")
ROOT = Path(__file__).resolve().parents[2]
_TRUSTING = ssl._create_unverified_context()  # noqa: S323 - a test's certificate, on loopback


class GatewayProcess:
    """See the module's docstring.

    `wrapper` are words before the command (`Strace.command(...)`, `Network.command([])`, prlimit); `options` words
    after `run` (`--roles receiver,forwarder`).
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        wrapper: Sequence[str] = (),
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.wrapper, self.options = tuple(wrapper), tuple(options)
        self.env = {"PYTHONPATH": str(ROOT), **(env or {})}
        self.log_dir = config.folder / "log"
        self.process: Process | None = None
        self.sinks = Sinks()
        self.sinks.add_tree(self.log_dir)
        self._watch: ProcessWatch | None = None
        self._family: set[int] = set()
        self._log_marks: dict[Path, int] = {}

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *, ready: bool = True, timeout_s: float = 30.0, watch: bool = False) -> Self:
        """Write the configuration, start, and wait for `/readyz`. `watch` samples command lines into `sinks`."""
        assert self.process is None or not self.process.running, "it is running"
        self.config.write()
        self._log_marks = {path: len(path.read_bytes()) for path in self._log_paths() if path.exists()}
        argv = [*self.wrapper, sys.executable, "-m", "gateway", "run", "--config", str(self.config.path), *self.options]
        self.process = Process(argv, self.log_dir, "gateway", cwd=self.config.folder, env=self.env)
        if watch:
            self._watch = ProcessWatch(self.sinks, self.process.pid)
        if ready:
            self.wait_ready(timeout_s)
        return self

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until `/readyz` says 200 and every role serves; fails at once when the gateway ends.

        The supervisor's log says which roles serve. Where it is not JSON, an association request must be answered:
        the listening socket alone says nothing, since it is the supervisor's.
        """

        def ready() -> bool:
            assert self._running().running, (
                f"the gateway exited with {self._running().returncode}:\n{self.log()[-3000:]}"
            )
            return self.readiness()[0] == 200 and self._roles_serve()

        wait_until(ready, timeout_s, lambda: f"the gateway to be ready: {self.readiness()}\n{self.log()[-3000:]}")
        self._family |= set(self.pids())

    def _roles_serve(self) -> bool:
        last: dict[str, str] = {}
        for said in _json_lines(self.log(this_start=True)):
            if str(said.get("event", "")).startswith("child_"):
                last[said.get("child", "")] = said["event"]
        if last:
            return set(last.values()) == {"child_ready"}
        try:
            with RawScu(self.config.port, self.config.host, timeout_s=2) as scu:
                scu.associate([(wire.VERIFICATION, wire.IMPLICIT_LE)])
                scu.release()
        except (OSError, Closed):
            return False
        except (Rejected, Aborted):
            return True
        return True

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM to the supervisor; its exit code. Whatever it leaves behind is killed, and is a failure."""
        process = self._running()
        self._end_watch()
        family = self._family | set(self.pids())
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        if process.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.supervisor_pid(), signal.SIGTERM)
            code = process.wait(timeout_s)
        else:
            code = process.wait()
        self._no_one_left(family)
        return code

    def kill(self) -> None:
        """SIGKILL the supervisor, and wait until its children have died with it."""
        family = self._family | set(self.pids())
        self._end_watch()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.supervisor_pid(), signal.SIGKILL)
        self._running().kill()
        self._no_one_left(family)

    def kill_all(self) -> None:
        """SIGKILL every process at once: what a power cut does to them."""
        self._end_watch()
        family = self._family | set(self.pids())
        for pid in [self._running().pid, *family]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._running().kill()
        self._no_one_left(family)

    def restart(self, **options: Any) -> Self:
        """`start` after a `stop` or `kill`."""
        return self.start(**options)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it whatever its state, leaving nothing behind."""
        if self.process is not None:
            self.kill_all()

    def _running(self) -> Process:
        assert self.process is not None, "it was not started"
        return self.process

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _no_one_left(self, family: set[int]) -> None:
        """Children die with their supervisor (PDEATHSIG); give the kernel a moment to bury them."""

        def gone() -> bool:
            return not any(self._ours(pid) for pid in family)

        try:
            wait_until(gone, 10, lambda: f"its children to end: {[pid for pid in family if self._ours(pid)]}")
        finally:
            for pid in family:
                if self._ours(pid):
                    os.kill(pid, signal.SIGKILL)
            self._family.clear()

    def _ours(self, pid: int) -> bool:
        """True for a living process of this gateway (a pid may have been given to somebody else)."""
        words = command_line(pid)
        return "gateway" in words and str(self.config.path) in words

    # ── roles ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def pids(self) -> list[int]:
        """Every process below the one that was started."""
        return descendants(self._running().pid)

    def supervisor_pid(self) -> int:
        """The supervisor's pid, also below a wrapper."""
        for pid in [self._running().pid, *self.pids()]:
            words = command_line(pid)
            if "run" in words and "gateway" in words and words[0].endswith(Path(sys.executable).name):
                return pid
        return self._running().pid

    def roles(self) -> dict[str, list[int]]:
        """Role → pids of its processes, by index; a process that a role started is not among them."""
        found: dict[str, list[tuple[str, int]]] = {}
        seen: set[int] = set()
        for pid in self.pids():
            words = command_line(pid)
            if "_role" in words and words.index("_role") + 2 < len(words):
                role, index = words[words.index("_role") + 1 :][:2]
                if not seen & set(_ancestors(pid)):
                    found.setdefault(role, []).append((index, pid))
                    seen.add(pid)
        return {role: [pid for _, pid in sorted(entries)] for role, entries in found.items()}

    def pid_of(self, role: str, index: int = 0) -> int:
        """The pid of a role's process; waits a moment for one that is being restarted."""
        return wait_until(lambda: dict(enumerate(self.roles().get(role, []))).get(index), 10, f"a {role}")

    def kill_role(self, role: str, index: int = 0, number: int = signal.SIGKILL) -> int:
        """Send a signal to a role's process, SIGKILL unless told otherwise; its pid."""
        pid = self.pid_of(role, index)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    @contextlib.contextmanager
    def frozen(self, role: str, index: int = 0) -> Any:
        """SIGSTOP a role's process for the length of a block; SIGCONT after, if it still lives."""
        pid = self.kill_role(role, index, signal.SIGSTOP)
        try:
            wait_until(lambda: all_stopped(pid), 10, f"{role} {pid} to stop")
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def wait_replaced(self, role: str, old_pid: int, index: int = 0, timeout_s: float = 30.0) -> int:
        """Wait until another process has taken a dead one's place; its pid."""

        def another() -> int | None:
            pids = self.roles().get(role, [])
            return pids[index] if len(pids) > index and old_pid not in pids else None

        return wait_until(another, timeout_s, lambda: f"{role} {old_pid} to be replaced:\n{self.log()[-2000:]}")

    # ── what it says ──────────────────────────────────────────────────────────────────────────────────────────────

    def page(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and body of a page of the console (or of another port); (0, reason) when nobody answers."""
        try:
            with urllib.request.urlopen(  # noqa: S310 - HTTP or HTTPS
                f"{self._scheme(port)}://{self.config.host}:{port or self.config.console_port}{path}",
                timeout=10,
                context=_TRUSTING,
            ) as got:
                return int(got.status), got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    def _scheme(self, port: int | None) -> str:
        return "https" if port is None and "tls" in self.config.document["console"] else "http"

    def readiness(self) -> tuple[int, str]:
        """Status and body of `/readyz`, where probes ask for it."""
        return self.page("/readyz", self.config.metrics_port)

    def metrics(self) -> str:
        """The text of `/metrics`; it is added to `sinks`."""
        status, text = self.page("/metrics", self.config.metrics_port)
        assert status == 200, f"/metrics says {status}: {text[:300]}"
        self.sinks.add("/metrics", text)
        return text

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels (0.0 when there are none), over all processes."""
        total = 0.0
        for family in text_string_to_metric_families(self.metrics()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def log(self, *, this_start: bool = False) -> str:
        """Everything it wrote to both streams, over all starts or since the last `start`."""
        marks = self._log_marks if this_start else {}
        raw = [path.read_bytes()[marks.get(path, 0) :] for path in self._log_paths() if path.exists()]
        return b"".join(raw).decode(errors="replace")

    def _log_paths(self) -> tuple[Path, Path]:
        return self.log_dir / "gateway.out", self.log_dir / "gateway.err"

    def log_lines(self, **fields: Any) -> list[dict[str, Any]]:
        """JSON log lines that have these fields; lines that are no JSON are left out."""
        return [said for said in _json_lines(self.log()) if fields.items() <= said.items()]

    def ledger(self) -> LedgerView:
        """One look at its ledger."""
        return LedgerView.read(self.config.ledger_source)

    def deliveries(self) -> dict[tuple[str, str], int]:
        """(destination, state) → number of deliveries, counted from the rows; empty while there is no ledger."""
        query = (
            "SELECT n.name, d.state, count(*) FROM delivery d JOIN destination n USING (destination_key) GROUP BY 1, 2"
        )
        return {(name, state): count for name, state, count in rows(self.config.ledger_source, query)}

    def wait_delivered(self, count: int, destination: str, timeout_s: float = 60.0) -> None:
        """Wait until the ledger has this many deliveries of a destination as delivered."""
        wait_until(
            lambda: self.deliveries().get((destination, "delivered"), 0) >= count,
            timeout_s,
            lambda: f"{count} deliveries to {destination}: {self.deliveries()}\n{self.log()[-1500:]}",
            interval_s=0.05,
        )

    def wait_idle(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing is received, ready, leased or deferred."""

        def idle() -> bool:
            view = self.ledger()
            states = {row.state for row in view.instances.values()}
            open_ = {one.state for row in view.instances.values() for one in row.deliveries}
            return not view.problem and not states & {"received"} and not open_ & {"ready", "leased", "deferred"}

        wait_until(idle, timeout_s, lambda: f"quiet: {self.deliveries()}\n{self.log()[-1500:]}", interval_s=0.1)

    def cli(self, *words: str, timeout_s: float = 60.0) -> Completed:
        """Run another command with the same configuration."""
        argv = [sys.executable, "-m", "gateway", *words, "--config", str(self.config.path)]
        return run(argv, timeout_s, cwd=self.config.folder, env=self.env)


def _json_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def command_line(pid: int) -> list[str]:
    """The words a process was started with; [] when it is gone or a zombie."""
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0")
        return raw.split("\0") if raw else []
    return []


def all_stopped(pid: int) -> bool:
    """True when every thread of a process is stopped by a signal."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return bool(states) and set(states) <= {"T", "t"}


def _ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            found.append(pid)
            continue
        break
    return found
