"""Syslog servers for tests: a strict one of our own that does what it is told, and rsyslog.

`SyslogServer` takes RFC 5424 messages by RFC 5425 (TLS), TCP or UDP, and nothing else: what is not framed or headed as
the RFCs have it is in `problems`. Each connection is a list of what came over it, and says whether it ended in order.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.certificates import Certificate, CertificateAuthority
from tests.harness.tools import Process, free_port, program, wait_until

# RFC 5424 6: PRI, version, timestamp, host, application, process, message id, structured data, message
MESSAGE = re.compile(
    rb"<85>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) "
    rb"DICOM\+RFC3881 - (<\?xml [ -~]*)"
)


@dataclass(slots=True)
class Heard:
    """What came over one connection."""

    messages: list[str] = field(default_factory=list)
    ended_in_order: bool = False


class SyslogServer:
    """See the module's docstring.

    :param certificate: with it TLS is spoken; `authority`: whose client certificates are asked for.
    :param end_after: is asked before each message with how many came over this connection and how many in all: True
        resets the connection, and the message is thrown away.
    :param silent_end: never answers a close_notify. :param hangs: takes connections, reads nothing and says nothing.
    """

    def __init__(
        self,
        certificate: Certificate | None = None,
        authority: CertificateAuthority | None = None,
        *,
        port: int = 0,
        end_after: Callable[[int, int], bool] = lambda here, all_: False,
        silent_end: bool = False,
        hangs: bool = False,
    ) -> None:
        self.heard: list[Heard] = []
        self.problems: list[str] = []
        self._end_after, self._silent_end, self._hangs = end_after, silent_end, hangs
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.certificate, certificate.key)
            if authority is not None:
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(authority.path)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """Gone from this instant, as a killed process: connections are reset, nobody listens."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            _reset(connection)
        self._thread.join(5)

    @property
    def messages(self) -> list[str]:
        """All messages in the order they came, those that came twice too."""
        return [message for each in list(self.heard) for message in list(each.messages)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        heard = Heard()
        try:
            if self._context is not None:
                plain, connection = connection, self._context.wrap_socket(connection, server_side=True)
                self._connections.discard(plain)
                self._connections.add(connection)
            self.heard.append(heard)
            if self._hangs:
                return
            self._read(connection, heard)
            heard.ended_in_order = True
            if isinstance(connection, ssl.SSLSocket) and not self._silent_end:
                connection.unwrap()
            connection.close()
        except (OSError, _Enough):
            _reset(connection)

    def _read(self, connection: socket.socket, heard: Heard) -> None:
        buffer = bytearray()
        while True:
            data = connection.recv(1 << 16)
            if not data:
                if buffer:
                    self.problems.append("the connection ended in the middle of a message")
                return
            buffer += data
            while (message := self._take(buffer)) is not None:
                if self._end_after(len(heard.messages), len(self.messages)):
                    raise _Enough
                heard.messages.append(message)

    def _take(self, buffer: bytearray) -> str | None:
        """The next message, RFC 5425 4.3: MSG-LEN SP SYSLOG-MSG."""
        space = buffer.find(b" ", 0, 12)
        if space < 0:
            return None
        if not re.fullmatch(rb"[1-9]\d*", buffer[:space]):
            self.problems.append(f"no length: {bytes(buffer[:space])!r}")
            raise _Enough
        length = int(buffer[:space])
        if len(buffer) < space + 1 + length:
            return None
        raw = bytes(buffer[space + 1 : space + 1 + length])
        del buffer[: space + 1 + length]
        return self.read(raw)

    def read(self, raw: bytes) -> str:
        """The XML of a message."""
        match = MESSAGE.fullmatch(raw)
        if match is None:
            self.problems.append(f"no RFC 5424 message: {raw[:120]!r}")
            return ""
        return match[5].decode("ascii")


class _Enough(Exception):
    """This connection is over."""


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(connection, ssl.SSLSocket):  # without a word
            socket.socket(fileno=connection.detach()).close()
    with contextlib.suppress(OSError):
        connection.close()


class Rsyslog:
    """rsyslogd, which takes messages over TLS and writes each as it came, on a line of `received`."""

    def __init__(self, folder: Path, authority: CertificateAuthority, certificate: Certificate) -> None:
        self.folder, self.port = folder, free_port()
        self.received = folder / "received"
        folder.mkdir(parents=True, exist_ok=True)
        self._configuration = folder / "rsyslog.conf"
        self._configuration.write_text(
            f"""
global(workDirectory="{folder}" maxMessageSize="64k" DefaultNetstreamDriver="ossl"
       DefaultNetstreamDriverCAFile="{authority.path}" DefaultNetstreamDriverCertFile="{certificate.certificate}"
       DefaultNetstreamDriverKeyFile="{certificate.key}")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port="{self.port}")
template(name="raw" type="string" string="%rawmsg%\\n")
*.* action(type="omfile" file="{self.received}" template="raw")
"""
        )
        self.process: Process | None = None

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        self.process = Process(
            [program("rsyslogd"), "-n", "-iNONE", "-f", str(self._configuration)], self.folder, "rsyslogd"
        )
        wait_until(self._listens, 10, lambda: "rsyslogd listens")
        return self

    def stop(self) -> None:
        """Have it end in order: what it has read it writes."""
        if self.process is not None:
            self.process.stop(signal.SIGTERM)
            self.process = None

    @property
    def messages(self) -> list[str]:
        """The XML of all messages, in order."""
        if not self.received.exists():
            return []
        lines = self.received.read_bytes().splitlines()
        return [match[5].decode() for line in lines if (match := MESSAGE.fullmatch(line)) is not None]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
