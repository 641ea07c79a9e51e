"""Programs for the supervisor's tests: one supervisor and its children, as real processes.

    python -m tests.integration.supervised supervisor <folder> <json>    a Supervisor over what the JSON says
    python -m tests.integration.supervised child <folder> <behaviour>    one of its children

Everything that happens is appended to `<folder>/journal`, one JSON object a line, so that a test can wait for it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gateway.control import Control
from gateway.errors import GatewayError


def journal(folder: Path, what: str, **fields: Any) -> None:
    line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **fields}) + "\n"
    descriptor = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


# ── children ──────────────────────────────────────────────────────────────────────────────────────────────────────


def child(folder: Path, behaviour: str) -> None:
    if behaviour == "slow_start":
        signal.pause()
    control = Control.attach()
    sockets = control.sockets()
    journal(
        folder,
        "child",
        name=control.name,
        sockets={name: sock.getsockname() for name, sock in sockets.items()},
        environment=sorted(name for name in os.environ if name.startswith(("GATEWAY_", "LISTEN_"))),
    )
    control.session(os.getpid(), f"gen-{control.name}-{os.getpid()}")
    if behaviour == "loop":
        import asyncio  # here, so that the supervisor's memory is measured without it

        asyncio.run(_loop(folder, control))
        return
    signal.signal(signal.SIGTERM, lambda *_: _leave(folder, control))
    signal.signal(signal.SIGHUP, lambda *_: journal(folder, "hup", name=control.name))
    control.ready()
    if behaviour == "exit":
        sys.exit(3)
    if behaviour == "hang":
        control.beat()
        while True:  # alive, and silent
            signal.pause()
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, lambda *_: journal(folder, "ignored", name=control.name))
    while True:
        control.beat()
        time.sleep(control.beat_interval_s)


async def _loop(folder: Path, control: Control) -> None:
    import asyncio

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        beating = control.start_beating(group)
        control.ready()
        await stop.wait()
        beating.cancel()
    journal(folder, "left", name=control.name)
    control.close()


def _leave(folder: Path, control: Control) -> None:
    journal(folder, "left", name=control.name)
    sys.exit(0)


# ── the supervisor ────────────────────────────────────────────────────────────────────────────────────────────────


class JournalHooks:
    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        self._folder = folder
        self._adopt_failures = wanted.get("adopt_failures", 0)
        self._adopt_never = wanted.get("adopt_never", "")
        self._adopt_delay_s = wanted.get("adopt_delay_s", 0.0)
        self._reload_failures = wanted.get("reload_failures", 0)
        self._reload_refusals = wanted.get("reload_refusals", 0)
        self._reload_waits = wanted.get("reload_waits", False)

    def void(self, session_id: int) -> None:
        journal(self._folder, "voided", session_id=session_id)

    def adopt(self, generation: str) -> None:
        name = generation.removeprefix("gen-").rpartition("-")[0]
        if self._adopt_failures or name == self._adopt_never:
            self._adopt_failures = max(0, self._adopt_failures - 1)
            raise ValueError("the ledger is busy")
        time.sleep(self._adopt_delay_s)
        journal(self._folder, "adopted", name=name, generation=generation)

    def reload(self) -> bool:
        if self._reload_failures:
            self._reload_failures -= 1
            raise ValueError("the ledger is busy")
        if self._reload_refusals:
            self._reload_refusals -= 1
            return False
        if self._reload_waits:
            journal(self._folder, "reloading")
            (self._folder / "reload").read_bytes()  # a FIFO: until somebody has opened and closed its other end
        return True

    def beat(self) -> None:
        pass

    def event(self, name: str, *, trouble: bool, error: BaseException | None = None, **fields: object) -> None:
        if error is not None:
            fields["error"] = type(error).__name__
        journal(self._folder, name, trouble=trouble, **fields)
        if name == "child_ready":
            journal(self._folder, "ready", name=fields["child"])


def supervisor(folder: Path, wanted: dict[str, Any]) -> int:
    from gateway.supervisor import (
        ChildSpec,
        ListenerAddress,
        StateLock,
        Supervisor,
        activated_sockets,
        bind_listeners,
    )

    try:
        lock = StateLock(folder / "state")
        addresses = [ListenerAddress(name, "127.0.0.1", port) for name, port in wanted.get("listeners", {}).items()]
        sockets = bind_listeners(addresses, activated_sockets())
    except GatewayError as error:
        print(error, file=sys.stderr)
        return 1
    specs = []
    for number, (role, behaviour, *rest) in enumerate(wanted["children"]):
        argv = (sys.executable, "-m", "tests.integration.supervised", "child", str(folder), behaviour)
        if behaviour == "missing":
            argv = ("/nonexistent/program",)
        options: dict[str, Any] = rest[0] if rest else {}
        index = sum(1 for other, *_ in wanted["children"][:number] if other == role)
        specs.append(ChildSpec(role, index, argv, sockets=sockets if role == "receiver" else {}, **options))
    hooks = JournalHooks(folder, wanted)
    runner = Supervisor(
        specs, hooks, lock=lock, run_folder=folder / "state" / "run", hook_patience_s=wanted.get("patience_s", 10.0)
    )
    journal(folder, "supervising")
    status = runner.run()
    journal(folder, "over")
    return status


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "child":
        child(where, sys.argv[3])
    else:
        sys.exit(supervisor(where, json.loads(sys.argv[3])))
