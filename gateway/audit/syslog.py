"""Syslog as audit messages travel (PS3.15 A.6 and A.7): RFC 5424 messages over TLS (RFC 5425), TCP or UDP (RFC 5426).

Syslog has no acknowledgement. What comes nearest to one is the end of a connection: who answers our close_notify has
read all that came before it (RFC 5425 4.4), and over TCP, who closes after us without a reset has. Who ends before us
may have read nothing. So a `Link` is used for a while and ended, and only then counts what was sent over it. Over UDP
all counts at once, and may be lost.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from gateway.audit.server import AuditRepository, Transport
from gateway.audit.xml import timestamp

PRIORITY = 10 * 8 + 5  # PS3.15 A.6: security/authorization messages; normal but significant
MSGID = "DICOM+RFC3881"
CONNECT_S = 10.0
UDP_MAX = 65_507
CLOSE_S = 1.0  # for a server that has read all to close its socket
_BLOCK, _LOOK_MAX = 1 << 14, 64
_FIRST = "the server ended the connection by itself: what it has read is not known"
_CROSSED = (9, 11)  # TCP_LAST_ACK, TCP_CLOSING: its end was under way before it had ours


class End(StrEnum):
    """How a connection ended."""

    READ = "read"  # the server has read everything
    UNSAID = "unsaid"  # it ended in order, but did not say so as it should
    BROKEN = "broken"  # what it has read is not known


class Link(Protocol):
    """A way to a server. Its methods block, for CONNECT_S at most. :raises OSError: it is broken.

    `why`: what broke it when it was ended, where that is known.
    """

    why: str

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages, in this order."""

    def end(self, patience_s: float) -> End:
        """End it, and learn what became of what was sent; waits so long for the server."""

    def close(self) -> None:
        """Give it up."""


def message_of(at_ms: int, host: str, process: str, xml: str) -> bytes:
    """An RFC 5424 message. `xml` is ASCII, so no byte order mark is needed (6.4); what is not, in a record that was
    tampered with, becomes so."""
    text = f"<{PRIORITY}>1 {timestamp(at_ms)} {_word(host)} gateway {_word(process)} {MSGID} - {xml}"
    return text.encode("ascii", "xmlcharrefreplace")


def framed(message: bytes) -> bytes:
    """Octet counting, RFC 5425 4.3.1 and RFC 6587 3.4.1."""
    return b"%d " % len(message) + message


def said(error: OSError) -> str:
    """What went wrong, in words: of an alert its name."""
    if isinstance(error, ssl.SSLError) and error.reason and not isinstance(error, ssl.SSLCertVerificationError):
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


def connect(server: AuditRepository) -> Link:
    """Open a way to the server. :raises OSError: it cannot be reached, or is not who it should be."""
    try:
        return _connected(server)
    except ValueError as error:
        if isinstance(error, OSError):  # as a certificate that does not fit is, too
            raise
        raise OSError(f"its name cannot be one: {error}") from error


def _connected(server: AuditRepository) -> Link:
    if server.transport is Transport.UDP:
        return _Datagrams(server)
    connection = socket.create_connection((server.host, server.port), CONNECT_S)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.transport is Transport.TCP:
            return _Stream(connection)
        context = tls_context(server.ca, server.certificate, server.key)
        return _Tls(connection, context, server.server_name or server.host)
    except BaseException:
        connection.close()
        raise


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """How a server is trusted, and who we are. :raises OSError: a file cannot be read, or holds something else."""
    context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key, password=_no_password)
    return context


def _no_password() -> str:
    return ""  # else OpenSSL would ask on the terminal, and wait


class _Stream:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.why = ""

    def send(self, messages: Sequence[bytes]) -> None:
        """See `Link`."""
        self._look()
        self._write(b"".join(map(framed, messages)), time.monotonic() + CONNECT_S)
        self._look()

    def end(self, patience_s: float) -> End:
        """See `Link`."""
        try:
            self._look()
            return self._ended(time.monotonic() + patience_s)
        except TimeoutError:  # who hangs has read nobody knows how much
            return End.BROKEN
        except OSError as error:
            self.why = said(error)
            return End.BROKEN
        finally:
            self.close()

    def close(self) -> None:
        """See `Link`."""
        self._connection.close()

    def _write(self, data: bytes, over_s: float) -> None:
        self._connection.settimeout(max(0.001, over_s - time.monotonic()))
        self._connection.sendall(data)

    def _ended(self, over_s: float) -> End:
        self._connection.shutdown(socket.SHUT_WR)
        while self._receive(over_s):
            pass
        self._require_no_reset()
        if self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _CROSSED:
            raise ConnectionError(_FIRST)
        return End.READ

    def _look(self) -> None:
        """Take what has come, without waiting. :raises OSError: the server has ended it first, whatever it has read."""
        self._connection.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(_LOOK_MAX):
                self._take(self._connection.recv(_BLOCK))

    def _take(self, data: bytes) -> None:
        if not data:
            raise ConnectionError(_FIRST)

    def _receive(self, over_s: float) -> bytes:
        """What comes next; b"" at the end. :raises TimeoutError: nothing ends it in time."""
        left_s = over_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv(_BLOCK)

    def _require_no_reset(self) -> None:
        """:raises OSError: the connection was reset behind the server's end."""
        error = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))


class _Tls(_Stream):
    """TLS over memory buffers: only so is there a way to learn whether the server ended with a close_notify or with a
    fatal alert, which `SSL_shutdown` takes for an end as well. A server of TLS 1.3 that refuses our certificate does so
    after all was sent."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._shake_hands(time.monotonic() + CONNECT_S)

    def _shake_hands(self, over_s: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush(over_s)  # it may be told why
                raise
            else:
                return self._flush(over_s)
            self._flush(over_s)
            self._feed(self._receive(over_s))

    def _write(self, data: bytes, over_s: float) -> None:
        self._tls.write(data)
        try:
            self._flush(over_s)
        except OSError:
            self._look()  # it may have said why
            raise

    def _look(self) -> None:
        self._look_inside()
        super()._look()

    def _take(self, data: bytes) -> None:
        self._feed(data)
        self._look_inside()

    def _look_inside(self) -> None:
        try:
            self._read()
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as error:
            raise ConnectionError(_FIRST) from error

    def _ended(self, over_s: float) -> End:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()  # our close_notify
        self._flush(over_s)
        try:
            while True:
                self._read()
                self._feed(self._receive(over_s))
        except ssl.SSLZeroReturnError:  # it said that this is the end
            self._see_it_close(over_s)
            return End.READ
        except ssl.SSLEOFError:  # it closed without a word
            self._require_no_reset()
            return End.UNSAID

    def _see_it_close(self, over_s: float) -> None:
        """Wait a moment for the server's socket to close. :raises OSError: it was reset, with what was not read."""
        self._require_no_reset()
        self._connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            while self._receive(min(over_s, time.monotonic() + CLOSE_S)):
                pass

    def _read(self) -> None:
        """Read on, and throw away what a server says that has nothing to say. :raises ssl.SSLError: why it ends."""
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._tls.read(_BLOCK):
                pass
            raise ssl.SSLZeroReturnError  # as it says itself where both have said that this is the end

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self, over_s: float) -> None:
        super()._write(self._outgoing.read(), over_s)


class _Datagrams:
    def __init__(self, server: AuditRepository) -> None:
        self.why = ""
        family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._socket.connect(address)

    def send(self, messages: Sequence[bytes]) -> None:
        """See `Link`. What is longer than a datagram is cut off, which a receiver sees by its XML."""
        for message in messages:
            self._socket.send(message[:UDP_MAX])

    def end(self, patience_s: float) -> End:
        """See `Link`."""
        self.close()
        return End.READ

    def close(self) -> None:
        """See `Link`."""
        self._socket.close()


def _word(text: str) -> str:
    """A header field: printable ASCII without spaces (RFC 5424 6)."""
    return "".join(letter if "!" <= letter <= "~" else "_" for letter in text)[:48] or "-"
