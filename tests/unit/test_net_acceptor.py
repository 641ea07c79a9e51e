"""The acceptor over real sockets, where its peers and its own service misbehave."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from gateway.dicom.dimse import Command, CommandField
from gateway.dicom.negotiation import AcceptedContext, AcceptorPolicy, negotiate
from gateway.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from gateway.net import acceptor as acceptor_module
from gateway.net.acceptor import Acceptor
from gateway.net.driver import Ticker
from gateway.net.served import AcceptorLimits, ServerAssociation, Sink
from tests.harness import wire

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
REFUSED = 0x0117
CONTEXTS = (wire.Context(1, CT, (IMPLICIT,)), wire.Context(3, VERIFICATION, (IMPLICIT,)))
ECHO = wire.p_data(3, wire.c_echo_rq(1), command=True, last=True)


class Gated:
    """A sink whose data set is durable when the test says so."""

    def __init__(self) -> None:
        self.whole = asyncio.Event()
        self.done: Callable[[int], None]

    def write(self, data: memoryview) -> None:
        return

    def finish(self, done: Callable[[int], None]) -> None:
        self.done = done
        self.whole.set()

    def discard(self) -> None:
        return


class Site:
    """A service that stores the first instance it is sent, in its own time, and refuses the others."""

    def __init__(self) -> None:
        self.gated = Gated()
        self.later: Sink | int = REFUSED
        self.stores = 0
        self.fails_at = 0
        self.endings: list[str] = []
        self.ended = asyncio.Event()
        self.errors: list[BaseException] = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.sock.getsockname()[1])
        self.acceptor = Acceptor(self, Ticker())
        limits = AcceptorLimits(artim_timeout_s=1.0, progress_timeout_s=60.0, idle_timeout_s=60.0)
        self.acceptor.listen("main", self.sock, limits, 10)
        asyncio.get_running_loop().set_exception_handler(lambda _, what: self.errors.append(what["exception"]))

    def admit(self, association: ServerAssociation, request: AssociateRQ) -> AssociateAC:
        return negotiate(request, AcceptorPolicy())

    def rejected(self, association: ServerAssociation, request: AssociateRQ, answer: AssociateRJ) -> None:
        return

    def command(self, association: ServerAssociation, context: AcceptedContext, command: Command) -> Sink | int:
        if command.command_field == CommandField.C_ECHO_RQ:
            return 0
        self.stores += 1
        if self.stores == self.fails_at:
            raise RuntimeError("a bug")
        return self.gated if self.stores == 1 else self.later

    def closed(self, association: ServerAssociation, result: str) -> None:
        self.endings.append(result)
        self.ended.set()

    def connection_ended(self, association: ServerAssociation, text: str) -> None:
        self.endings.append(text)
        self.ended.set()

    async def until_waiting(self) -> Callable[[int], None]:
        """Wait for the first instance to be whole."""
        await self.gated.whole.wait()
        return self.gated.done


class Collecting:
    """A sink that keeps what it is given, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: memoryview) -> None:
        self.pieces.append(bytes(data))

    def finish(self, done: Callable[[int], None]) -> None:
        done(0)

    def discard(self) -> None:
        return


def test_what_waits_behind_a_flush_is_no_larger_than_what_was_read() -> None:
    """The next message comes in one-byte fragments: they wait as one, and arrive whole and in order."""

    async def scenario() -> None:
        site = Site()
        second = Collecting()
        site.later = second
        data = bytes(n % 251 for n in range(5000))
        reader, writer = await _associated(site)
        command = wire.p_data(1, wire.c_store_rq(2, CT, "1.2.4"), command=True, last=True)
        fragments = [wire.p_data(1, data[n : n + 1], command=False, last=n == 4999) for n in range(5000)]
        writer.write(_store(1) + command + b"".join(fragments))
        done = await site.until_waiting()
        (association,) = site.acceptor._open
        async with asyncio.timeout(10):
            while association.driver.bytes_in < 5000 * 13:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        assert len(association._waiting) <= 4
        done(0)
        for _ in range(2):
            assert (await _pdu(reader))[0] == wire.P_DATA_TF
        assert b"".join(second.pieces) == data
        writer.close()
        await site.acceptor.stop(1)

    asyncio.run(scenario())


def _store(message_id: int) -> bytes:
    command = wire.p_data(1, wire.c_store_rq(message_id, CT, "1.2.3"), command=True, last=True)
    return command + wire.p_data(1, b"\0\0", command=False, last=True)


async def _associated(site: Site, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", site.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2048)
    writer.write(wire.associate_rq(CONTEXTS))
    await _pdu(reader)
    return reader, writer


async def _pdu(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    header = await reader.readexactly(6)
    return header[0], await reader.readexactly(int.from_bytes(header[2:], "big"))


async def _status(reader: asyncio.StreamReader) -> int:
    _, body = await _pdu(reader)
    (_, _, _, data), *_ = wire.parse_pdvs(body)
    return wire.us(wire.parse_command(bytes(data)), 0x0900)


def _run(scenario: Callable[[Site], Coroutine[Any, Any, None]], loop: str) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop

    async def whole() -> None:
        site = Site()
        async with asyncio.timeout(60):
            await scenario(site)
        await site.acceptor.stop(1.0)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(whole())


both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@both_loops
def test_thousands_of_messages_sent_ahead_are_answered_when_their_turn_comes(loop: str) -> None:
    async def scenario(site: Site) -> None:
        reader, writer = await _associated(site)
        writer.write(b"".join(_store(number + 1) for number in range(3000)))
        (await site.until_waiting())(0)  # what flushed the first one calls this: it must not hear of the others
        assert [await _status(reader) for _ in range(3000)] == [0, *[REFUSED] * 2999]
        writer.close()
        await site.ended.wait()

    _run(scenario, loop)


@both_loops
def test_an_error_with_a_message_that_waited_ends_its_association_and_nothing_else(loop: str) -> None:
    async def scenario(site: Site) -> None:
        site.fails_at = 2
        _, writer = await _associated(site)
        writer.write(_store(1) + _store(2))
        done = await site.until_waiting()
        done(0)
        await site.ended.wait()
        assert [str(error) for error in site.errors] == ["a bug"]
        assert site.acceptor.associations == 0
        writer.close()

    _run(scenario, loop)


@both_loops
def test_a_peer_that_releases_and_reads_nothing_is_cut_off(loop: str) -> None:
    async def scenario(site: Site) -> None:
        _, writer = await _associated(site, receive_buffer=2048)
        while not any(_queued(each) for each in site.acceptor._open):
            writer.write(ECHO * 100)
            await asyncio.sleep(0)
        writer.write(wire.release_rq())
        await site.ended.wait()
        assert site.endings == ["released"]
        writer.close()

    _run(scenario, loop)


def _queued(association: ServerAssociation) -> bool:
    transport = association.driver._transport
    return transport is not None and transport.get_write_buffer_size() > 0


class Contended(socket.socket):
    """A listener whose process has no descriptor left, while another thread takes each that is given up."""

    def accept(self) -> tuple[socket.socket, Any]:
        self.taken = os.open(os.devnull, os.O_RDONLY)
        raise OSError(errno.EMFILE, "too many open files")


@contextmanager
def _no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 16, hard))
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def test_a_spare_descriptor_that_another_thread_took_is_not_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "SHED_PAUSE_S", 0.01)

    async def scenario(site: Site) -> None:
        listening = Contended()
        with _no_descriptor_left():
            site.acceptor._shed(listening)
            site.acceptor._shed(listening)
            os.fstat(listening.taken)  # still the other thread's: a second closing would raise EBADF here
        os.close(listening.taken)
        listening.close()

    _run(scenario, "asyncio")


@both_loops
def test_silent_peers_keep_nobody_out_however_many_they_are(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor_module, "EXTRA_CONNECTIONS", 4)

    async def scenario(site: Site) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        site.port = int(sock.getsockname()[1])
        limits = AcceptorLimits(artim_timeout_s=60.0, progress_timeout_s=60.0, idle_timeout_s=60.0)
        site.acceptor.listen("small", sock, limits, 2)
        reader, writer = await _associated(site)
        silent = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(20)]
        _, late = await _associated(site)  # the oldest silent peers made room
        with suppress(ConnectionError):
            assert await silent[0][0].read() == b""
        writer.write(ECHO)
        assert await _status(reader) == 0, "an association is never given up for a newcomer"
        for closing in (writer, late, *(each for _, each in silent)):
            closing.close()

    _run(scenario, loop)
