"""When the certificates of a PEM file expire: the earliest of them, as a chain is worth no more than its weakest link.

Of a certificate (RFC 5280 4.1) nothing but `notAfter` is read, and nothing is verified: who uses it does that. A file
is looked at with each scrape and read when it has changed, so that a renewed one shows.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----")
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_TIMES = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
NEVER_READ = float("nan")


class CertificateFile:
    """One file. `expires_at_s` is for the gauge: what cannot be read keeps what was known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._expires_at_s = NEVER_READ

    def expires_at_s(self) -> float:
        """Seconds since 1970 UTC."""
        try:
            found = self._path.stat()
            seen = found.st_mtime_ns, found.st_size
            if seen != self._seen:
                self._expires_at_s = earliest_expiry(self._path.read_bytes())
                self._seen = seen
        except (OSError, ValueError):
            pass  # half-written, or its folder is being replaced: whoever uses it complains
        return self._expires_at_s


def earliest_expiry(pem: bytes) -> float:
    """The first `notAfter` of the certificates in a PEM text, seconds since 1970 UTC. Raises `ValueError`."""
    bodies = _PEM.findall(pem)
    if not bodies:
        raise ValueError("no certificate in it: PEM is wanted")
    return min(_not_after(binascii.a2b_base64(body)) for body in bodies)


def _not_after(der: bytes) -> float:
    try:
        _, at, _ = _element(der, 0)  # Certificate
        _, at, _ = _element(der, at)  # TBSCertificate
        tag, _, end = _element(der, at)
        if tag == _VERSION:
            _, _, end = _element(der, end)  # serialNumber
        for _ in range(2):  # signature, issuer
            _, _, end = _element(der, end)
        tag, at, _ = _element(der, end)  # validity
        if tag != _SEQUENCE:
            raise ValueError("not a certificate")
        _, _, end = _element(der, at)  # notBefore
        tag, at, end = _element(der, end)
        return datetime.strptime(der[at:end].decode("ascii"), _TIMES[tag]).replace(tzinfo=UTC).timestamp()
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("not a certificate") from error


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, and where its content begins and ends (X.690 8.1)."""
    tag, length = der[at], der[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[at : at + count])
        at += count
    if at + length > len(der):
        raise ValueError("not a certificate: cut short")
    return tag, at, at + length
