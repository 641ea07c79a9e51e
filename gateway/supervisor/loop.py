"""The supervisor's loop: one thread, one `select`, no work of its own.

What wakes it up: a signal, the end of a child (pidfd), the first words of a child that starts, a clean-up or a reload
that is done, a metrics scrape, and the next deadline. Beats are not among them: they wait in their sockets and are read
together, four times in the shortest hang timeout (every 5 s by default), so that an idle host stays idle however many
children it has.

Rules:
  - **death**: its session is voided and its generation adopted, each in a thread of its own (`cleanup`), and the
    child is started again when both are done. What fails is repeated until it succeeds, behind what came later, and
    holds the child up for `hook_patience_s` at most (an intake that waits for a broken ledger helps nobody; sessions
    and generations never come twice, so the clean-up may be late). Backoff: 0.1 s, doubling to 30 s, from the start
    again after 60 s of health;
  - **hang**: silence for a child's hang timeout ends in SIGKILL. A supervisor that finds itself late (it was frozen,
    or the machine was) first gives every child a new term;
  - **stop** (SIGTERM, SIGINT): receivers, then workers, forwarders, console; each role gets SIGTERM and its deadline,
    then SIGKILL, before the next role's turn; its listening sockets are closed as it is told, not after: who connects
    while it finishes is refused, and goes to another host, instead of waiting in a queue to be reset. A second
    signal, a second or more after the first, kills what is left;
  - **reload** (SIGHUP): `hooks.reload`, in a thread of its own, says whether there is something to read; if so the
    signal is passed on to every child that is ready, and to the others when they are. However often it comes meanwhile,
    there is one reload more. A stop waits for none, and after it nothing is passed on.

Children are started from the thread that calls `run`: PDEATHSIG follows the thread that forked.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from gateway.supervisor.child import BEATS_A_TIMEOUT, Child, ChildSpec, ChildState
from gateway.supervisor.cleanup import Job, Lane
from gateway.supervisor.lock import StateLock
from gateway.supervisor.metrics import SupervisorMetrics

STOP_ORDER = ("receiver", "worker", "forwarder", "console")
_SECOND_SIGNAL_AFTER_S = 1.0


class Hooks(Protocol):
    """What the supervisor's owner does and hears."""

    def void(self, session_id: int) -> None:
        """The process of this session is dead: free what it held. In a thread that does just this; may block.

        May raise: then it is called again, after those that died later.
        """

    def adopt(self, generation: str) -> None:
        """The process that wrote this generation is dead: adopt its files. As `void`, in another thread."""

    def reload(self) -> bool:
        """SIGHUP came: make ready what the children shall read. False: it is refused, and there is nothing for them.

        In a thread that does just this; may block: the children get no signal before it returns. One at a time. A stop
        may leave it behind, wherever it is. May raise: then nothing is passed on, and it is not called again.
        """

    def event(self, name: str, *, trouble: bool, error: BaseException | None = None, **fields: object) -> None:
        """Something to log; `trouble` makes it a warning, `error` is what went wrong. Called in the loop and in its
        threads."""

    def beat(self) -> None:
        """The supervisor lives: called in the loop, several times in the shortest hang timeout."""


@dataclass(eq=False, slots=True)
class _Death:
    """A child's death that is cleaned up after. `starts` tells it from the child's next; `left` jobs are not done."""

    child: Child
    starts: int
    left: int = 0


class _Reload(Enum):
    """Whether a reload is under way, and whether another was asked for since it began."""

    NONE = 0
    RUNS = 1
    AGAIN = 2


class Supervisor:
    """Keeps children running until told to stop. `lock` is inherited by them; `run_folder` gets a metrics socket."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        hooks: Hooks,
        *,
        lock: StateLock | None = None,
        run_folder: Path | None = None,
        hook_patience_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [Child(spec) for spec in children]
        self._hooks = hooks
        self._inherit = () if lock is None else (lock.fileno(),)
        self._hook_patience_s = hook_patience_s
        self._clock = clock
        self._check_every_s = min((spec.hang_timeout_s for spec in children), default=60.0) / BEATS_A_TIMEOUT
        self._check_at = 0.0
        self._stop_asked_at: float | None = None
        self._roles_to_stop: list[str] = []
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._cleaned: queue.SimpleQueue[_Death] = queue.SimpleQueue()
        self._reload = _Reload.NONE
        self._reloaded: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._metrics = None if run_folder is None else SupervisorMetrics(run_folder, self._children)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> int:
        """Run until a signal says stop and every child is gone. Main thread only. Returns 0."""
        with self._signals():
            self._voiding, self._adopting, self._reloading = Lane("void"), Lane("adopt"), Lane("reload")
            self._selector.register(self._wake_reader, selectors.EVENT_READ, self._woken)
            if self._metrics is not None:
                self._selector.register(self._metrics.socket, selectors.EVENT_READ, self._metrics.answer)
            now = self._clock()
            self._check_at = now + self._check_every_s
            try:
                while not self._is_over():
                    self._step(now)
                    for key, _ in self._selector.select(self._timeout(self._clock())):
                        key.data()
                    now = self._clock()
            finally:
                self._end()
        return 0

    def stop(self) -> None:
        """What SIGTERM does, for the owner to call from within a hook or another thread."""
        self._wake_writer.send(bytes([signal.SIGTERM]))

    def _is_over(self) -> bool:
        return self._stop_asked_at is not None and all(child.process is None for child in self._children)

    def _step(self, now: float) -> None:
        if now >= self._check_at:
            self._check(now)
        if self._stop_asked_at is not None:
            self._stop_in_order(now)
            return
        for child in self._children:
            waited = child.cleaning_until is None or now >= child.cleaning_until
            if child.state is ChildState.WAITING and now >= child.start_at and waited:
                self._start(child, now)

    def _timeout(self, now: float) -> float | None:
        times = [self._check_at]
        for child in self._children:
            if child.process is not None:
                if child.kill_at is not None and not child.killed:
                    times.append(child.kill_at)
            elif child.state is ChildState.WAITING and self._stop_asked_at is None:
                times.append(max(child.start_at, child.cleaning_until or 0.0))
        return max(0.0, min(times) - now)

    def _end(self) -> None:
        for child in self._children:
            if child.process is not None:  # only when the loop itself failed
                child.kill()
                child.bury(self._clock())
        lanes = (self._voiding, self._adopting)
        for lane in lanes:
            lane.close()
        self._reloading.close()
        self._reloading.join(0)
        patience_ends_at = time.monotonic() + self._hook_patience_s
        for lane in lanes:
            lane.join(patience_ends_at - time.monotonic())
        self._selector.close()
        if self._metrics is not None:
            self._metrics.close()
        self._wake_reader.close()

    # ── children ──────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, child: Child, now: float) -> None:
        try:
            child.start(now, self._inherit)
        except OSError as error:
            child.postpone(now)
            reason = error.strerror or type(error).__name__
            self._hooks.event("child_not_started", trouble=True, child=child.spec.name, reason=reason)
            return
        assert child.process is not None and child.line is not None  # noqa: S101 - start() sets both
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._died(child))
        self._selector.register(child.line, selectors.EVENT_READ, lambda: self._spoke(child))
        self._hooks.event("child_started", trouble=False, child=child.spec.name, child_pid=child.process.pid)

    def _spoke(self, child: Child) -> None:
        line = child.line
        if line is None:
            return
        became_ready = child.listen(self._clock())
        if became_ready or child.line is None:
            # From now on its beats are read together with everyone's, in _check.
            self._selector.unregister(line)
        if became_ready:
            self._became_ready(child)

    def _became_ready(self, child: Child) -> None:
        self._hooks.event("child_ready", trouble=False, child=child.spec.name)
        if child.reload_due:
            child.signal(signal.SIGHUP)

    def _died(self, child: Child) -> None:
        now = self._clock()
        self._selector.unregister(child.pidfd)
        if child.line is not None and child.state is ChildState.STARTING:
            self._selector.unregister(child.line)
        status = child.bury(now)
        stopping = self._stop_asked_at is not None
        self._hooks.event(
            "child_ended",
            trouble=not (stopping and status == 0),
            child=child.spec.name,
            status=status if status >= 0 else signal.Signals(-status).name,
            lived_s=round(now - child.started_at, 1),
            starts_again_in_s=None if stopping else round(child.start_at - now, 1),
        )
        if stopping:
            child.state = ChildState.STOPPED
        self._clean_up_after(child, now)

    def _check(self, now: float) -> None:
        """Read everyone's beats; kill who is silent."""
        self._hooks.beat()
        was_late = now - self._check_at > self._check_every_s
        self._check_at = now + self._check_every_s
        for child in self._children:
            if child.process is None:
                continue
            if child.state is ChildState.READY:
                child.listen(now)
            if was_late:
                child.heard_at = now
            elif child.is_silent(now) and not child.killed:
                self._hooks.event("child_hangs", trouble=True, child=child.spec.name, child_pid=child.process.pid)
                child.kill()

    # ── clean-up ──────────────────────────────────────────────────────────────────────────────────────────────

    def _clean_up_after(self, child: Child, now: float) -> None:
        """Have done what its death asks for; one that never said who it is leaves nothing behind."""
        death = _Death(child, child.starts)
        session_id, generation = child.session_id, child.generation
        jobs: list[tuple[Lane, Job]] = []
        if session_id is not None:
            jobs.append((self._voiding, self._job(death, "void", lambda: self._hooks.void(session_id))))
        if generation:
            jobs.append((self._adopting, self._job(death, "adopt", lambda: self._hooks.adopt(generation))))
        death.left = len(jobs)
        child.cleaning_until = now + self._hook_patience_s if jobs else None
        for lane, job in jobs:
            lane.add(job)

    def _job(self, death: _Death, work: str, do: Callable[[], None]) -> Job:
        name = death.child.spec.name

        def done() -> None:
            self._cleaned.put(death)
            self._wake()

        def failed(error: Exception) -> None:
            self._hooks.event("clean_up_failed", trouble=True, error=error, child=name, work=work)

        return Job(do, done, failed)

    # ── signals ───────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        before = {
            number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        previous = signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._wake_writer.close()

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for byte in self._wake_reader.recv(1024):
                if byte == signal.SIGHUP:
                    self._ask_to_reload()
                elif byte in (signal.SIGTERM, signal.SIGINT):
                    self._ask_to_stop(signal.Signals(byte))
        while not self._cleaned.empty():
            death = self._cleaned.get()
            death.left -= 1
            if death.left == 0 and death.starts == death.child.starts:
                death.child.cleaning_until = None
        while not self._reloaded.empty():
            self._pass_on(self._reloaded.get())

    def _wake(self) -> None:
        """Have the loop look at what came of a job. From a lane's thread."""
        with contextlib.suppress(OSError):  # the loop is over
            self._wake_writer.send(b"\0")

    def _ask_to_reload(self) -> None:
        self._hooks.event("reload", trouble=False)
        if self._reload is not _Reload.NONE:
            self._reload = _Reload.AGAIN
        elif self._stop_asked_at is None:
            self._begin_reload()

    def _begin_reload(self) -> None:
        def do() -> None:
            taken = self._hooks.reload()
            if self._metrics is not None:
                self._metrics.configuration_refused = not taken
            self._reloaded.put(taken)

        self._reload = _Reload.RUNS
        self._reloading.add(Job(do, self._wake, self._reload_failed, repeats=False))

    def _reload_failed(self, error: Exception) -> None:
        """A ledger that is busy, a disk that is full: all stays as it was."""
        self._hooks.event("reload_failed", trouble=True, error=error)
        self._reloaded.put(False)
        self._wake()

    def _pass_on(self, changed: bool) -> None:
        """A reload is done: have the children read what it found, and begin the one that was asked for meanwhile."""
        again, self._reload = self._reload is _Reload.AGAIN, _Reload.NONE
        if self._stop_asked_at is not None:
            return
        for child in self._children if changed else ():
            if child.state is ChildState.READY:
                child.signal(signal.SIGHUP)
            else:
                child.reload_due = True
        if again:
            self._begin_reload()

    def _ask_to_stop(self, number: signal.Signals) -> None:
        now = self._clock()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            roles = {child.spec.role for child in self._children}
            self._roles_to_stop = [role for role in STOP_ORDER if role in roles] + sorted(roles - set(STOP_ORDER))
            self._hooks.event("stopping", trouble=False, signal=number.name)
        elif now - self._stop_asked_at >= _SECOND_SIGNAL_AFTER_S:
            self._hooks.event("stopping_at_once", trouble=True, signal=number.name)
            for child in self._children:
                child.kill()

    def _stop_in_order(self, now: float) -> None:
        while self._roles_to_stop:
            role = self._roles_to_stop[0]
            alive = [child for child in self._children if child.spec.role == role and child.process is not None]
            for child in alive:
                if child.kill_at is None:
                    child.kill_at = now + child.spec.stop_timeout_s
                    child.signal(signal.SIGTERM)
                elif now >= child.kill_at and not child.killed:
                    self._hooks.event("child_does_not_stop", trouble=True, child=child.spec.name)
                    child.kill()
            self._close_sockets(role)
            if alive:
                return
            self._roles_to_stop.pop(0)

    def _close_sockets(self, role: str) -> None:
        """Our copies; the processes close theirs when they are told to stop. Done again, it does nothing."""
        for child in self._children:
            if child.spec.role == role:
                for listening in child.spec.sockets.values():
                    listening.close()
