"""One process's metrics on a unix socket in `run/`.

Whoever connects is sent the whole exposition (Prometheus text format 0.0.4, each sample with a `process` label), and
the connection is closed. One daemon thread that blocks in accept: nothing is done while nobody asks, and a busy or
hanging event loop still shows its numbers. `gateway.console.metrics` joins the sockets of all processes.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from gateway.runfolder import METRICS_SUFFIX, RunFolder, unique

_SEND_TIMEOUT_S = 2.0


def exposition(registry: CollectorRegistry, process: str) -> bytes:
    """The registry's text, with `process="…"` in every sample; families without a sample are left out."""
    label = f'process="{process}"'
    lines: list[str] = []
    header: list[str] = []
    for line in generate_latest(registry).decode().split("\n"):
        if line.startswith("# HELP "):
            header = [line]
        elif line.startswith("# TYPE "):
            header.append(line)
        elif line:
            lines += header
            header = []
            # A metric's name holds neither brace nor blank, so the first of either ends it.
            name, _, value = line.partition(" ")
            bare, brace, labels = line.partition("{")
            lines.append(
                f"{bare}{{{label},{labels}" if brace and len(bare) < len(name) else f"{name}{{{label}}} {value}"
            )
    lines.append("")
    return "\n".join(lines).encode()


class MetricsSocket:
    """A process's metrics socket, and the thread that answers on it."""

    def __init__(self, folder: Path, registry: CollectorRegistry, process: str) -> None:
        self._run = RunFolder(folder)
        self._registry = registry
        self._process = process
        self._closing = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.name = unique(process, METRICS_SUFFIX)
        # Bound under another name first: under the final one, whoever finds it is answered.
        self._listener.bind(self._run.address(self.name + ".new"))
        self._listener.listen(16)
        self._run.rename(self.name + ".new", self.name)
        self._thread = threading.Thread(target=self._answer, name="metrics", daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # EMFILE and the like keep the connection waiting in the queue: pause, do not spin.
                if self._closing.wait(1.0):
                    return
                continue
            with connection:
                connection.settimeout(_SEND_TIMEOUT_S)
                try:
                    connection.sendall(exposition(self._registry, self._process))
                except OSError:
                    continue  # who asked went away

    def close(self) -> None:
        """Stop answering and remove the socket."""
        self._closing.set()
        self._run.remove(self.name)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._run.close()
