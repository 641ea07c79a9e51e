"""Plain sockets that speak DICOM one PDU at a time, exactly as told: no state machine, no manners.

`RawPeer` is one connection. `RawScu` connects and has the few requests a sender needs; `RawScp` listens and hands out
connections for a test to answer by hand. Faults are ordinary calls: send half a PDU and `reset()`, `trickle()` a
header byte by byte, lie in `wire.pdu(..., length=...)`, or simply stop reading.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from tests.harness import wire
from tests.harness.wire import Association, Context


class Rejected(Exception):
    """The peer sent A-ASSOCIATE-RJ."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"association rejected: result {result}, source {source}, reason {reason}")
        self.result, self.source, self.reason = result, source, reason


class Aborted(Exception):
    """The peer sent A-ABORT."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"association aborted: source {source}, reason {reason}")
        self.source, self.reason = source, reason


class Closed(Exception):
    """The peer closed or reset the connection."""


class RawPeer:
    """One TCP connection to or from a peer."""

    def __init__(self, sock: socket.socket, timeout_s: float = 10.0) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        self.sock = sock
        self._reader = wire.Reader(sock)
        self.request: Association | None = None
        self.answer: Association | None = None

    # ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, *parts: bytes) -> None:
        """Send bytes as they are. Raises `Closed` when the peer is gone."""
        try:
            self.sock.sendall(b"".join(parts) if len(parts) != 1 else parts[0])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def trickle(self, data: bytes, interval_s: float, deadline_s: float = 120.0) -> int:
        """Send one byte every `interval_s` until all is sent or the peer closes; returns how many went out."""
        ends = time.monotonic() + deadline_s
        self.sock.settimeout(interval_s)
        for count in range(len(data)):
            if time.monotonic() > ends:
                return count
            try:
                self.sock.send(data[count : count + 1])
                if self.sock.recv(1) == b"":
                    return count
            except TimeoutError:
                continue
            except OSError:
                return count
        return len(data)

    def recv_pdu(self, timeout_s: float | None = None) -> tuple[int, bytes]:
        """The next PDU as (type, body). Raises `Closed` at the end of the stream, TimeoutError."""
        if timeout_s is not None:
            self.sock.settimeout(timeout_s)
        try:
            found = self._reader.pdu()
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Closed(str(error)) from error
        if found is None:
            raise Closed("end of stream")
        return found

    def expect(self, kind: int, timeout_s: float | None = None) -> bytes:
        """The body of the next PDU, which must be of this type. Raises `Rejected`, `Aborted`, `Closed`."""
        found, body = self.recv_pdu(timeout_s)
        if found == wire.A_ABORT and kind != wire.A_ABORT:
            raise Aborted(body[2], body[3])
        if found == wire.A_ASSOCIATE_RJ and kind != wire.A_ASSOCIATE_RJ:
            raise Rejected(body[1], body[2], body[3])
        assert found == kind, f"expected a PDU of type {kind:#04x}, got {found:#04x}"
        return body

    def wait_closed(self, timeout_s: float = 10.0) -> list[int]:
        """Read until the peer closes; returns the types of the PDUs that came before. TimeoutError when it stays."""
        kinds = []
        ends = time.monotonic() + timeout_s
        while True:
            try:
                kinds.append(self.recv_pdu(max(0.01, ends - time.monotonic()))[0])
            except Closed:
                return kinds

    def half_close(self) -> None:
        """FIN in our direction, reading on."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """FIN."""
        self.sock.close()

    def reset(self) -> None:
        """RST: linger 0, then close."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────

    def recv_message(self, timeout_s: float | None = None) -> tuple[int, dict[int, bytes], bytes]:
        """One DIMSE message as (context id, command elements, data set bytes)."""
        command = bytearray()
        data = bytearray()
        elements: dict[int, bytes] = {}
        while True:
            for number, is_command, last, piece in wire.parse_pdvs(self.expect(wire.P_DATA_TF, timeout_s)):
                (command if is_command else data).extend(piece)
                if is_command and last:
                    elements = wire.parse_command(bytes(command))
                    if wire.us(elements, wire.COMMAND_DATA_SET_TYPE, wire.NO_DATA_SET) == wire.NO_DATA_SET:
                        return number, elements, b""
                elif last:
                    return number, elements, bytes(data)

    def abort(self, source: int = 0, reason: int = 0) -> None:
        """A-ABORT, then FIN."""
        self.send(wire.abort(source, reason))
        self.close()


class RawScu(RawPeer):
    """A storage SCU of the simplest kind."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout_s: float = 10.0) -> None:
        super().__init__(socket.create_connection((host, port), timeout=timeout_s), timeout_s)
        self._message_id = 0

    def next_message_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def associate(
        self,
        contexts: Iterable[Context | tuple[str, str]],
        called: str | bytes = "GATEWAY",
        calling: str | bytes = "RAWSCU",
        **options: Any,
    ) -> Association:
        """Propose contexts (or (abstract, transfer syntax) pairs, numbered 1, 3, …) and read the answer.

        Raises `Rejected`, `Aborted`, `Closed`. Options go to `wire.associate_rq`.
        """
        proposed = tuple(
            one if isinstance(one, Context) else Context(2 * index + 1, one[0], (one[1],))
            for index, one in enumerate(contexts)
        )
        self.request = Association(str(called), str(calling), proposed)
        self.send(wire.associate_rq(proposed, called, calling, **options))
        self.answer = wire.parse_associate(self.expect(wire.A_ASSOCIATE_AC))
        return self.answer

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> int:
        """The id of the accepted context for a class and syntax. LookupError when there is none."""
        assert self.request is not None
        assert self.answer is not None
        accepted = self.answer.accepted()
        for context in self.request.contexts:
            if context.abstract_syntax == sop_class_uid and accepted.get(context.context_id) == transfer_syntax_uid:
                return context.context_id
        raise LookupError(f"no accepted context for {sop_class_uid} in {transfer_syntax_uid}")

    @property
    def max_pdu(self) -> int:
        """The largest P-DATA-TF body to send: what the peer said, 128 KiB where it says no limit."""
        assert self.answer is not None
        return min(self.answer.max_pdu or 131072, 131072)

    def send_store(
        self, context_id: int, sop_class_uid: str, sop_instance_uid: str, data: bytes, message_id: int | None = None
    ) -> int:
        """Send a C-STORE-RQ and its data set without reading the answer; returns the message id."""
        number = self.next_message_id() if message_id is None else message_id
        command = wire.c_store_rq(number, sop_class_uid, sop_instance_uid)
        self.send(
            wire.p_data(context_id, command, command=True, last=True, max_pdu=self.max_pdu),
            wire.p_data(context_id, data, command=False, last=True, max_pdu=self.max_pdu),
        )
        return number

    def send_store_stream(
        self, context_id: int, sop_class_uid: str, sop_instance_uid: str, pieces: Iterable[bytes]
    ) -> int:
        """As `send_store`, of a data set that comes in pieces and is never held whole."""
        number = self.next_message_id()
        command = wire.c_store_rq(number, sop_class_uid, sop_instance_uid)
        self.send(wire.p_data(context_id, command, command=True, last=True, max_pdu=self.max_pdu))
        for piece in pieces:
            self.send(wire.p_data(context_id, piece, command=False, last=False, max_pdu=self.max_pdu))
        self.send(wire.p_data(context_id, b"", command=False, last=True, max_pdu=self.max_pdu))
        return number

    def store(self, context_id: int, sop_class_uid: str, sop_instance_uid: str, data: bytes) -> int:
        """C-STORE one instance; returns the status of a response that really answers it."""
        return self.recv_store_status(self.send_store(context_id, sop_class_uid, sop_instance_uid, data))

    def recv_store_status(self, number: int, timeout_s: float | None = None) -> int:
        """The status of the C-STORE-RSP that answers this message id; AssertionError when it answers another."""
        _, response, _ = self.recv_message(timeout_s)
        assert wire.us(response, wire.COMMAND_FIELD) == wire.C_STORE_RSP
        assert wire.us(response, wire.MESSAGE_ID_RESPONDED_TO) == number
        return wire.us(response, wire.STATUS, 0xFFFF)

    def echo(self, context_id: int) -> int:
        """C-ECHO; returns the status."""
        number = self.next_message_id()
        self.send(wire.p_data(context_id, wire.c_echo_rq(number), command=True, last=True))
        _, response, _ = self.recv_message()
        assert wire.us(response, wire.COMMAND_FIELD) == wire.C_ECHO_RSP
        assert wire.us(response, wire.MESSAGE_ID_RESPONDED_TO) == number
        return wire.us(response, wire.STATUS, 0xFFFF)

    def release(self) -> None:
        """A-RELEASE, then FIN."""
        self.send(wire.release_rq())
        self.expect(wire.A_RELEASE_RP)
        self.close()


class RawScp:
    """A listener whose connections are answered by hand."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", timeout_s: float = 10.0) -> None:
        self._timeout_s = timeout_s
        self._listener = socket.create_server((host, port), backlog=64)
        self._listener.settimeout(timeout_s)
        self.port = int(self._listener.getsockname()[1])
        self._accepted: list[RawPeer] = []

    def accept(self, timeout_s: float | None = None) -> RawPeer:
        """The next connection. TimeoutError when none comes."""
        self._listener.settimeout(self._timeout_s if timeout_s is None else timeout_s)
        sock, _ = self._listener.accept()
        peer = RawPeer(sock, self._timeout_s)
        self._accepted.append(peer)
        return peer

    def accept_association(self, max_pdu: int = 16384, timeout_s: float | None = None) -> RawPeer:
        """The next connection, its association accepted with the first transfer syntax of each context."""
        peer = self.accept(timeout_s)
        peer.request = wire.parse_associate(peer.expect(wire.A_ASSOCIATE_RQ))
        results = {context.context_id: (0, context.transfer_syntaxes[0]) for context in peer.request.contexts}
        peer.send(wire.associate_ac(peer.request, results, max_pdu=max_pdu))
        return peer

    def close(self) -> None:
        """Close the listener and every connection it handed out."""
        self._listener.close()
        for peer in self._accepted:
            peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
