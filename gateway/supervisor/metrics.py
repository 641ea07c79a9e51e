"""The supervisor's own few metrics, on a socket in `run/` like everyone's, without a metrics library in its memory."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.runfolder import METRICS_SUFFIX, RunFolder, unique
from gateway.supervisor.child import Child, ChildState

_FAMILIES = (
    ("gateway_child_starts_total", "counter", "Times a child was started.", lambda child: child.starts),
    ("gateway_child_up", "gauge", "1 while a child does its work.", lambda child: child.state is ChildState.READY),
)
_REFUSED = (
    "gateway_configuration_refused",
    "gauge",
    "1 while the changed configuration of this host is refused, and the one before it is in force.",
)


class SupervisorMetrics:
    """Clears the run folder of what an earlier gateway left, and answers scrapes from the supervisor's loop.

    :ivar configuration_refused: whether the last reload that came to an end refused what it read.
    """

    def __init__(self, folder: Path, children: Sequence[Child]) -> None:
        self.configuration_refused = False
        self._children = children
        self._run = RunFolder(folder)
        self._run.clear()
        self._name = unique("supervisor", METRICS_SUFFIX)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self._run.address(self._name))
        self.socket.listen(16)
        self.socket.setblocking(False)

    def answer(self) -> None:
        """Send the text to one who connected. Never blocks: it fits the socket's buffer, or is cut."""
        with contextlib.suppress(OSError):
            connection, _ = self.socket.accept()
            with connection:
                connection.setblocking(False)
                connection.send(self._text().encode())

    def _text(self) -> str:
        lines = []
        for name, kind, text, value in _FAMILIES:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [
                f'{name}{{process="supervisor-0",child="{child.spec.name}"}} {int(value(child))}'
                for child in self._children
            ]
        name, kind, text = _REFUSED
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines.append(f'{name}{{process="supervisor-0"}} {int(self.configuration_refused)}')
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Remove the socket."""
        self._run.remove(self._name)
        self.socket.close()
        self._run.close()
