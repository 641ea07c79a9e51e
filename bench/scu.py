"""A storage SCU in a process of its own, so that what it measures is the peer and not the program beside it.

`Load` is the caller's side; run as a program it is the sender: it associates, makes every message, says `ready`, waits
for a line, sends until it is through or told to stop by the end of its input, and prints when it began and ended and
how long each acknowledgement took. One thread an association; TCP_NODELAY is set. Nothing is encoded while it measures.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from itertools import count as counter
from types import TracebackType
from typing import Any, Self

from tests.harness import wire
from tests.harness.data import Instance, make_instances
from tests.harness.rawpeer import RawScu

_seeds = counter(1)  # no two loads of a run have a SOP Instance UID in common


@dataclass(frozen=True, slots=True)
class Sent:
    """What a load measured; times are time.monotonic() of this machine, one entry an association."""

    began_s: float
    ended_s: tuple[float, ...]
    latencies_s: tuple[tuple[float, ...], ...]

    @property
    def seconds(self) -> float:
        """From the first byte to the last acknowledgement."""
        return max(self.ended_s) - self.began_s

    @property
    def all_latencies_ms(self) -> list[float]:
        return [one * 1000 for each in self.latencies_s for one in each]


class Load:
    """`count` instances with `pixel_bytes` of pixels over some associations, ready to be sent."""

    def __init__(self, port: int, count: int, pixel_bytes: int, associations: int = 1, called: str = "ANY") -> None:
        self.count = count
        words = {"port": port, "count": count, "pixel_bytes": pixel_bytes, "associations": associations}
        given = json.dumps(words | {"called": called, "seed": next(_seeds)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.scu", given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def go(self) -> None:
        """Begin to send."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> Sent:
        """Wait for the end. Fails when anything was answered with something else than Success."""
        said = json.loads(self._line())
        assert self._process.wait(30) == 0
        return Sent(said["began_s"], tuple(said["ended_s"]), tuple(map(tuple, said["latencies_s"])))

    def stop(self, after_s: float = 0.0) -> Sent:
        """Send no more after so many seconds, and wait for the end."""
        assert self._process.stdin is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(after_s)
        self._process.stdin.close()
        return self.result()

    def run(self) -> Sent:
        """`go`, and wait."""
        self.go()
        return self.result()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the sender failed"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class _Association(threading.Thread):
    def __init__(
        self, port: int, called: str, instances: list[Instance], go: threading.Event, stop: threading.Event
    ) -> None:
        super().__init__()
        self._go, self._halt = go, stop
        self._scu = RawScu(port, timeout_s=120)
        first = instances[0]
        self._scu.associate([(first.sop_class_uid, first.transfer_syntax_uid)], called=called, calling="BENCH")
        self._messages = [self._message(number, one) for number, one in enumerate(instances, 1)]
        self.latencies_s: list[float] = []
        self.ended_s = 0.0

    def _message(self, number: int, instance: Instance) -> tuple[int, bytes]:
        most = self._scu.max_pdu
        command = wire.c_store_rq(number, instance.sop_class_uid, instance.sop_instance_uid)
        data = wire.p_data(1, instance.data, command=False, last=True, max_pdu=most)
        return number, wire.p_data(1, command, command=True, last=True, max_pdu=most) + data

    def run(self) -> None:
        self._go.wait()
        for number, message in self._messages:
            if self._halt.is_set():
                break
            began = time.monotonic()
            self._scu.send(message)
            status = self._scu.recv_store_status(number)
            assert status == 0, f"answered with 0x{status:04X}"
            self.latencies_s.append(time.monotonic() - began)
        self.ended_s = time.monotonic()
        self._scu.release()


def main(given: dict[str, Any]) -> None:
    """Be the sender."""
    go, stop = threading.Event(), threading.Event()
    instances = list(make_instances(given["count"], pixel_bytes=given["pixel_bytes"], seed=given["seed"]))
    parts = given["associations"]
    threads = [_Association(given["port"], given["called"], instances[part::parts], go, stop) for part in range(parts)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    go.set()
    threading.Thread(target=lambda: os.read(0, 1) or stop.set(), daemon=True).start()
    for thread in threads:
        thread.join()
    if not all(thread.ended_s for thread in threads):
        sys.exit("a sender failed")
    said = {
        "began_s": began,
        "ended_s": [thread.ended_s for thread in threads],
        "latencies_s": [thread.latencies_s for thread in threads],
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
