"""The acceptor: listening sockets in, associations out.

Takes connections from listening sockets it is handed, and drives each with a `Driver` and a `ServerAssociation`, for
which a `Service` decides. Rules:

  - No file descriptors left (EMFILE): a spare one is given up, the connection is taken and closed, so that peers see a
    close and not a silence; accepting goes on as soon as there are descriptors. Where another thread takes the spare
    one's place meanwhile, nothing is accepted for SHED_PAUSE_S.
  - No place left: the oldest connection that is not yet an association gives up its own, so that silent peers, however
    many, keep nobody out.
  - `stop` accepts what has connected already and no more, lets who is sending go on, aborts who is quiet for a moment
    (`served.LULL_S`), and aborts the rest at its deadline.

Called by the receiver role (`gateway.flow.receive`) and by the archives of `gateway demo`.
TLS belongs in `_begin`, between the accepted socket and the driver, as a task of its own, so that a slow handshake
holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable

from gateway.dicom.association import Association
from gateway.net.driver import Driver, Peer, Ticker
from gateway.net.served import AcceptorLimits, ServerAssociation, Service

ACCEPT_BATCH = 64
SHED_PAUSE_S = 0.1
# Connections that have not (yet) become associations, above the association limit: silent peers and port scanners.
EXTRA_CONNECTIONS = 1024


class Acceptor:
    """Associations on any number of listening sockets.

    :param service: who decides.
    :param ticker: the process's ticker.
    :param exhausted: told True when there is no descriptor for a connection, and False when there is one again.
    """

    def __init__(
        self, service: Service, ticker: Ticker, exhausted: Callable[[bool], None] = lambda exhausted: None
    ) -> None:
        self.service = service
        self.stopping = False
        self._ticker = ticker
        self._open: dict[ServerAssociation, None] = {}  # in the order in which they came
        self._admitted: Counter[str] = Counter()
        self._listening: dict[socket.socket, tuple[str, AcceptorLimits, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._spare = _spare_descriptor()
        self._exhausted = exhausted
        self._told_exhausted = False
        self._emptied = asyncio.Event()

    @property
    def associations(self) -> int:
        """Admitted associations now."""
        return self._admitted.total()

    def associations_of(self, host: str) -> int:
        """Admitted associations of one peer host now."""
        return self._admitted[host]

    def listen(self, name: str, sock: socket.socket, limits: AcceptorLimits, max_connections: int) -> None:
        """Accept on a bound, listening socket from now on. `name` is the listener's, for the service."""
        sock.setblocking(False)
        self._listening[sock] = (name, limits, max_connections + EXTRA_CONNECTIONS)
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        name, limits, most = self._listening[listening]
        for _ in range(ACCEPT_BATCH):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._shed(listening)
                    return
                raise
            peer = Peer(str(address[0]), int(address[1]))
            if len(self._open) >= most and not self._make_room():
                sock.close()
                continue
            task = asyncio.get_running_loop().create_task(
                self._begin(name, sock, peer, limits), name=f"accept {peer.host}:{peer.port}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _shed(self, listening: socket.socket) -> None:
        """Out of descriptors: take one connection with the spare descriptor, and close it."""
        if not self._told_exhausted:
            self._told_exhausted = True
            self._exhausted(True)
            asyncio.get_running_loop().call_later(SHED_PAUSE_S, self._look_for_descriptors)
        spare, self._spare = self._spare, -1  # from here on the number may be another thread's
        if spare >= 0:
            os.close(spare)
            with contextlib.suppress(OSError):
                sock, _ = listening.accept()
                sock.close()
        self._spare = _spare_descriptor()
        if self._spare < 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(SHED_PAUSE_S, self._accept_again, listening)

    def _look_for_descriptors(self) -> None:
        another = _spare_descriptor()
        if another < 0:
            asyncio.get_running_loop().call_later(SHED_PAUSE_S, self._look_for_descriptors)
            return
        os.close(another)
        self._told_exhausted = False
        self._exhausted(False)

    def _make_room(self) -> bool:
        """Cut off the oldest connection that is no association yet; False when all are."""
        for association in self._open:
            if not association.admitted and association.driver.open:
                association.driver.kill()
                return True
        return False

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    async def _begin(self, name: str, sock: socket.socket, peer: Peer, limits: AcceptorLimits) -> None:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        association = ServerAssociation(self, name, peer, limits)
        core = Association.acceptor(loop.time(), max_pdu_length=limits.max_pdu_length, artim_s=limits.artim_timeout_s)
        association.driver = Driver(core, association, self._ticker, limits.progress_timeout_s, only_answers=True)
        self._open[association] = None
        try:
            await loop.connect_accepted_socket(lambda: association.driver, sock)
        except OSError:  # reset before we looked at it
            sock.close()
            self.forget(association)

    def admitted(self, association: ServerAssociation) -> None:
        """Count an association that was accepted."""
        self._admitted[association.peer.host] += 1

    def forget(self, association: ServerAssociation) -> None:
        """A connection has ended."""
        if association not in self._open:
            return
        del self._open[association]
        result, text = association.ending
        if association.admitted:
            host = association.peer.host
            self._admitted[host] -= 1
            if self._admitted[host] <= 0:
                del self._admitted[host]
            self.service.closed(association, result)
        elif result != "rejected":
            self.service.connection_ended(association, text)
        if not self._open:
            self._emptied.set()

    async def stop(self, grace_s: float) -> None:
        """Accept no more; let who is sending finish within `grace_s`; then abort what is left.

        Where others hold the listening sockets too, they are to close them now: who connects later is never served.
        """
        self.stopping = True
        loop = asyncio.get_running_loop()
        for sock in list(self._listening):
            loop.remove_reader(sock)
            self._accept(sock)  # who connected a moment ago would be reset
            sock.close()
        self._listening.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for association in list(self._open):
            association.end_if_quiet(loop.time())
        await self._wait_empty(grace_s)
        for association in list(self._open):
            association.driver.abort("shutting down")
        await self._wait_empty(2.0)
        for association in list(self._open):
            association.driver.kill()
        await self._wait_empty(1.0)
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    async def _wait_empty(self, timeout_s: float) -> None:
        if not self._open:
            return
        self._emptied.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), timeout_s)


def _spare_descriptor() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
