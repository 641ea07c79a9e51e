"""The console's certificate: TLS 1.2 and 1.3, read again when its files change.

Each handshake takes the certificate that is current then (by the callback that TLS has for it), so that connections
that stand go on, and a renewed certificate needs no restart. Files that do not belong together, as they may not while
they are being replaced, change nothing; they are told once.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from gateway import telemetry
from gateway.errors import ConfigurationError, Problem

LOOK_S = 10.0
Signature = tuple[tuple[int, int], ...]


class Certificate:
    """See the module's docstring. Where the files cannot be used at the start, handshakes fail until they can."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._seen: Signature = ()
        self._current: ssl.SSLContext | None = None
        self.context = _without_certificate()
        self.context.sni_callback = self._choose
        telemetry.certificate(name="console", file=certificate)
        self.look()

    async def watch(self) -> None:
        """Look for changed files, for as long as the console runs."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Take the files if they have changed and can be used."""
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._current = certified(*self._files)
        except ConfigurationError as error:
            reasons = [problem.message for problem in error.problems]
            telemetry.problem("console_certificate_refused", problems=reasons)
            return
        telemetry.event("console_certificate_read", file=str(self._files[0]))

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _base: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current

    def _signature(self) -> Signature:
        found = []
        for path in self._files:
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size))
            except OSError:
                found.append((0, 0))
        return tuple(found)


def certified(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server speaks TLS with. :raises ConfigurationError: with file and reason."""
    context = _without_certificate()
    for path in (certificate, key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigurationError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from None
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigurationError([Problem(str(certificate), 0, 0, _complaint(error, key))]) from None
    except OSError as error:  # they have gone since, or cannot be read to their end
        message = f"or the key {key} cannot be read: {error.strerror}"
        raise ConfigurationError([Problem(str(certificate), 0, 0, message)]) from None
    return context


def _without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    return ""  # else OpenSSL would ask on the terminal


def _complaint(error: ssl.SSLError, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"does not belong to the key {key}: name the two that were made together"
    return f"or the key {key} cannot be used: PEM is wanted, the key not encrypted ({error.reason or 'no PEM'})"
