"""Syslog as audit messages travel (PS3.15 A.6 and A.7): RFC 5424 messages over TLS (RFC 5425), TCP or UDP (RFC 5426).

Syslog has no acknowledgement. What comes nearest to one is the end of a connection: who answers our close_notify has
read all that came before it (RFC 5425 4.4), and over TCP, who closes after us without a reset has. So a `Link` is used
for a while and ended, and only then counts what was sent over it. Over UDP all counts at once, and may be lost.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from gateway.audit.server import AuditRepository, Transport
from gateway.audit.xml import timestamp

PRIORITY = 10 * 8 + 5  # PS3.15 A.6: security/authorization messages; normal but significant
MSGID = "DICOM+RFC3881"
CONNECT_S = 10.0
UDP_MAX = 65_507
_SAYS_MORE = "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"


class End(StrEnum):
    """How a connection ended."""

    READ = "read"  # the server has read everything
    UNSAID = "unsaid"  # it ended in order, but did not say so as it should
    BROKEN = "broken"  # what it has read is not known


class Link(Protocol):
    """A way to a server. Its methods block, for CONNECT_S at most. :raises OSError: it is broken."""

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


def connect(server: AuditRepository) -> Link:
    """Open a way to the server. :raises OSError: it cannot be reached, or is not who it should be."""
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

    def send(self, messages: Sequence[bytes]) -> None:
        """See `Link`."""
        self._connection.settimeout(CONNECT_S)
        self._connection.sendall(b"".join(map(framed, messages)))

    def end(self, patience_s: float) -> End:
        """See `Link`."""
        over_s = time.monotonic() + patience_s
        try:
            self._connection.settimeout(patience_s)
            self._connection.shutdown(socket.SHUT_WR)
            while self._connection.recv(4096):
                self._connection.settimeout(max(0.001, over_s - time.monotonic()))
                if time.monotonic() >= over_s:  # it writes, and nobody knows whether it reads
                    return End.BROKEN
        except OSError:  # a time-out is one: who hangs has read nobody knows how much
            return End.BROKEN
        finally:
            self.close()
        return End.READ

    def close(self) -> None:
        """See `Link`."""
        self._connection.close()


class _Tls(_Stream):
    """TLS over memory buffers: only so is there a way to learn whether the server ended with a close_notify or with a
    fatal alert, which `SSL_shutdown` takes for an end as well. A server of TLS 1.3 that refuses our certificate does so
    after all was sent."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._answered(self._tls.do_handshake, CONNECT_S)

    def send(self, messages: Sequence[bytes]) -> None:
        """See `Link`."""
        self._tls.write(b"".join(map(framed, messages)))
        self._flush(time.monotonic() + CONNECT_S)

    def end(self, patience_s: float) -> End:
        """See `Link`."""
        try:
            self._answered(self._tls.unwrap, patience_s)
            self._tls.read(1)  # there is nothing: but why?
        except ssl.SSLZeroReturnError:  # it said that this is the end
            return End.READ
        except ssl.SSLEOFError:  # it closed without a word
            return End.UNSAID
        except ssl.SSLError as error:
            return End.UNSAID if error.reason == _SAYS_MORE else End.BROKEN
        except OSError:  # a time-out is one
            return End.BROKEN
        finally:
            self.close()
        return End.BROKEN

    def _answered(self, step: Callable[[], object], patience_s: float) -> None:
        """Do a step that may take words of both sides. :raises OSError: it failed, or took longer than that."""
        over_s = time.monotonic() + patience_s
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush(over_s)  # it may be told why
                raise
            else:
                return self._flush(over_s)
            self._flush(over_s)
            self._connection.settimeout(max(0.001, over_s - time.monotonic()))
            if data := self._connection.recv(1 << 14):
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _flush(self, over_s: float) -> None:
        self._connection.settimeout(max(0.001, over_s - time.monotonic()))
        self._connection.sendall(self._outgoing.read())


class _Datagrams:
    def __init__(self, server: AuditRepository) -> None:
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
