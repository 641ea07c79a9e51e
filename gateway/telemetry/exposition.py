"""One process's metrics on a unix socket in `run/`.

Whoever connects is sent the whole exposition (Prometheus text format 0.0.4, each sample with a `process` label), and
the connection is closed. One daemon thread that blocks in accept: nothing is done while nobody asks, and a busy or
hanging event loop still shows its numbers. `gateway.console.metrics` joins the sockets of all processes.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from gateway.runfolder import METRICS_SUFFIX, RunFolder, unique

_SEND_TIMEOUT_S = 2.0


def exposition(registry: CollectorRegistry, process: str) -> bytes:
    """The registry's text, with `process="…"` in every sample; families without a sample are left out, and histograms
    of which nothing was observed: most processes have no part in most of them.

    Written here, because putting the label into what prometheus_client's `generate_latest` writes takes twice as long.
    Counters, gauges and histograms are all there is.
    """
    lines: list[str] = []
    for family in registry.collect():
        if not family.samples or (family.type == "histogram" and not _observed(family)):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines += (f"# HELP {name} {family.documentation}", f"# TYPE {name} {family.type}")
        for sample in family.samples:
            labels = "".join([f',{label}="{_escape(value)}"' for label, value in sample.labels.items()])
            lines.append(f'{sample.name}{{process="{process}"{labels}}} {sample.value!r}')
    lines.append("")
    return "\n".join(lines).encode()


def _observed(family: Metric) -> bool:
    return any(sample.value for sample in family.samples if sample.name.endswith("_count"))


def _escape(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


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
