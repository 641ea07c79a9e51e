"""A TCP proxy that is a bad network on demand.

`TcpProxy(port)` listens on a port of its own and passes bytes on to `127.0.0.1:port`. Each direction (`up`: towards
the target, `down`: back) is a `Lane` whose faults may change while bytes flow: `bytes_per_s`, `stalled` (nothing is
read, so the sender's window fills), `cut_after` (bytes of a connection, then `cut` as RST or FIN on both sides),
`flip_at` (one bit of the byte at that offset). `refuse` closes new connections at once; `black_hole` accepts them and
never answers. With `also`, other targets, it is a balancer: each connection goes to the next in turn, or, where that
one refuses, to the one after it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self


@dataclass(slots=True)
class Lane:
    """What happens to one direction. Read for every piece, so it can be changed at any time."""

    bytes_per_s: float = 0.0
    stalled: bool = False
    cut_after: int | None = None
    cut: Literal["rst", "fin"] = "rst"
    flip_at: int | None = None
    passed: int = 0  # bytes of all connections


class TcpProxy:
    """See the module's docstring."""

    def __init__(
        self,
        target_port: int,
        *,
        port: int = 0,
        target_host: str = "127.0.0.1",
        also: Sequence[tuple[str, int]] = (),
        buffer_bytes: int = 0,
    ) -> None:
        self.up = Lane()
        self.down = Lane()
        self.refuse = False
        self.black_hole = False
        self.connections = 0
        self.unserved = 0  # connections that no target took
        self._targets = deque([(target_host, target_port), *also])
        self._buffer_bytes = buffer_bytes
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._shrink(self._listener)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(256)
        self.port = int(self._listener.getsockname()[1])
        self._spawn(self._accept)

    def cut_all(self, how: Literal["rst", "fin"] = "rst") -> None:
        """End every connection now."""
        with self._lock:
            sockets, self._open = self._open, []
        for sock in sockets:
            _end(sock, how)

    def close(self) -> None:
        """Stop listening, reset what is open, wait for the threads."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shrink(self, sock: socket.socket) -> None:
        """Small kernel buffers make a stall or a throttle felt after few bytes."""
        if self._buffer_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer_bytes)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads = [one for one in self._threads if one.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                _end(near, "rst")
                continue
            if self.black_hole:
                with self._lock:
                    self._open.append(near)
                continue
            far = self._reach()
            if far is None:
                self.unserved += 1
                _end(near, "rst")
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open += [near, far]
            self._spawn(self._pump, near, far, self.up)
            self._spawn(self._pump, far, near, self.down)

    def _reach(self) -> socket.socket | None:
        """A connection to the first target that takes one, beginning with another each time."""
        self._targets.rotate(-1)
        for target in self._targets:
            far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._shrink(far)
            try:
                far.connect(target)
            except OSError:
                far.close()
            else:
                return far
        return None

    def _pump(self, source: socket.socket, sink: socket.socket, lane: Lane) -> None:
        passed = 0
        try:
            while True:
                self._wait_while_stalled(lane)
                piece = source.recv(self._piece_bytes(lane))
                self._wait_while_stalled(lane)  # it may have begun while we waited for bytes
                if not piece:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if lane.cut_after is not None and passed + len(piece) >= lane.cut_after:
                    sink.sendall(piece[: max(0, lane.cut_after - passed)])
                    self._cut(source, sink, lane.cut)
                    return
                if lane.flip_at is not None and passed <= lane.flip_at < passed + len(piece):
                    changed = bytearray(piece)
                    changed[lane.flip_at - passed] ^= 0x01
                    piece = bytes(changed)
                sink.sendall(piece)
                passed += len(piece)
                lane.passed += len(piece)
                if lane.bytes_per_s:
                    self._stopping.wait(len(piece) / lane.bytes_per_s)
        except OSError:
            self._cut(source, sink, "rst")

    def _wait_while_stalled(self, lane: Lane) -> None:
        while lane.stalled and not self._stopping.is_set():
            self._stopping.wait(0.01)

    @staticmethod
    def _piece_bytes(lane: Lane) -> int:
        """A tenth of a second's worth when throttled, so that the flow is even."""
        return max(1, min(65536, int(lane.bytes_per_s / 10))) if lane.bytes_per_s else 65536

    def _cut(self, source: socket.socket, sink: socket.socket, how: str) -> None:
        with self._lock:
            self._open = [one for one in self._open if one not in (source, sink)]
        _end(source, how)
        _end(sink, how)


def _end(sock: socket.socket, how: str) -> None:
    """Close with RST or FIN, waking a thread that reads from it. Harmless when closed."""
    with contextlib.suppress(OSError):
        if how == "rst":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RD)
        else:
            sock.shutdown(socket.SHUT_RDWR)
    sock.close()
