"""The listening sockets of a host: bound once by the supervisor, or handed over by systemd, and given to children.

Connections that arrive while a child restarts wait in the socket's queue. There is no SO_REUSEPORT: closing one of
several such listeners resets the connections queued on it.

Socket activation (sd_listen_fds(3)): descriptors from 3 on, counted by LISTEN_FDS, for the process LISTEN_PID, named
by LISTEN_FDNAMES. A socket belongs to the listener of its name, or else to the listener of its address.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

from gateway.errors import UsageError

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_BUSY_WAIT_S = 1.0
_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Where to listen, and under which name the socket goes to the children. Port 0: any free one."""

    name: str
    host: str
    port: int
    backlog: int = 512


@dataclass(frozen=True, slots=True)
class ActivatedSocket:
    """A socket that systemd handed over; `name` is "" where it gave none."""

    name: str
    socket: socket.socket


def activated_sockets(environment: MutableMapping[str, str] | None = None) -> list[ActivatedSocket]:
    """Take over what systemd passed to this process; the variables are removed, so that no child takes them again."""
    variables = os.environ if environment is None else environment
    pid, count = variables.pop("LISTEN_PID", ""), variables.pop("LISTEN_FDS", "")
    names = variables.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    found = []
    for position in range(int(count)):
        descriptor = _FIRST_DESCRIPTOR + position
        os.set_inheritable(descriptor, False)
        name = names[position] if position < len(names) else ""
        found.append(ActivatedSocket(name, socket.socket(fileno=descriptor)))
    return found


def bind_listeners(
    wanted: Sequence[ListenerAddress], activated: Sequence[ActivatedSocket] = ()
) -> dict[str, socket.socket]:
    """One listening, non-blocking socket for each name. Raises UsageError where an address cannot be had.

    Also raised when systemd handed over a socket that nothing is configured for: it would accept and never answer.
    """
    left = list(activated)
    listening: dict[str, socket.socket] = {}
    for address in wanted:
        match = _find(address, left)
        if match is not None:
            left.remove(match)
            sock = match.socket
            sock.listen(address.backlog)
        else:
            sock = _bind(address)
        sock.setblocking(False)
        listening[address.name] = sock
    if left:
        names = ", ".join(f"{item.name or 'unnamed'} ({item.socket.getsockname()})" for item in left)
        raise UsageError(f"systemd passed sockets that no listener is configured for: {names}; name or remove them")
    return listening


def _find(address: ListenerAddress, activated: Sequence[ActivatedSocket]) -> ActivatedSocket | None:
    for item in activated:
        if item.name == address.name:
            return item
    for item in activated:
        if item.socket.family in (socket.AF_INET, socket.AF_INET6) and item.socket.getsockname()[1] == address.port:
            return item
    return None


def _bind(address: ListenerAddress) -> socket.socket:
    deadline = time.monotonic() + _BUSY_WAIT_S
    while True:
        try:
            return _bind_once(address)
        except OSError as error:
            # The children of a gateway that was killed may be a moment from letting go of the port.
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(_STEP_S)
                continue
            text = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                text += "; `ss -ltnp` shows by whom: end that, or configure another port"
            raise UsageError(f"{address.name}: cannot listen on {address.host}:{address.port}: {text}") from error


def _bind_once(address: ListenerAddress) -> socket.socket:
    resolved = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = resolved[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        sock.bind(place)
        sock.listen(address.backlog)
    except OSError:
        sock.close()
        raise
    return sock
