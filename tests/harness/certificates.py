"""A certificate authority of a test's own, and server certificates signed by it.

`CertificateAuthority(folder)` writes `ca.pem`; `issue(name, addresses)` a certificate and key for a server that
answers under these addresses. Keys are on P-256, so that making one takes a millisecond. Valid for a day.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.harness.tools import require

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files. The key is readable by its owner alone."""

    certificate: Path
    key: Path


class CertificateAuthority:
    """See the module's docstring. `path` is the certificate that clients are to trust."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        require("cryptography")
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extension = x509.BasicConstraints(ca=True, path_length=0)
        self._write(self.path, self._builder(self._name, self._key.public_key()).add_extension(extension, True))

    def issue(self, name: str, addresses: Sequence[str] = LOOPBACK) -> Certificate:
        """A server's certificate for these addresses and host names, in `<name>.pem` and `<name>.key`."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        alternatives = x509.SubjectAlternativeName([_general_name(address) for address in addresses])
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        self._write(made.certificate, self._builder(subject, key.public_key()).add_extension(alternatives, False))
        made.key.touch(mode=0o600)
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made

    def _builder(self, subject, public_key):  # type: ignore[no-untyped-def]
        from cryptography import x509

        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        )

    def _write(self, path: Path, builder) -> None:  # type: ignore[no-untyped-def]
        from cryptography.hazmat.primitives import hashes, serialization

        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _general_name(address: str):  # type: ignore[no-untyped-def]
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)
