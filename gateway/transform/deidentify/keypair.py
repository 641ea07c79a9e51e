"""The pair of keys of the ledger of originals, as PEM texts: PKCS #8 (RFC 5958) and SubjectPublicKeyInfo (RFC 8410).

`openssl genpkey -algorithm X25519` makes such a private key too. Whoever calls has seen to it that `seal.is_installed`.
"""

from __future__ import annotations

from gateway.errors import SealError
from gateway.transform.deidentify.seal import PrivateKey, PublicKey


class PassphraseNeeded(SealError):
    """The private key is encrypted, and no passphrase was given."""


def make_pair(passphrase: bytes = b"") -> tuple[bytes, bytes]:
    """A new private key, encrypted where there is a passphrase, and its public key."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    private = X25519PrivateKey.generate()
    protection = s.BestAvailableEncryption(passphrase) if passphrase else s.NoEncryption()
    return (
        private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, protection),
        private.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo),
    )


def read_public(pem: bytes) -> PublicKey:
    """:raises SealError: it is no X25519 public key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, X25519PublicKey):
        raise SealError("is no X25519 public key in PEM; `gateway reidentify --make-key` makes one")
    return PublicKey(found.public_bytes_raw())


def read_private(pem: bytes, passphrase: bytes = b"") -> PrivateKey:
    """
    :param passphrase: not looked at where the key is not encrypted.
    :raises PassphraseNeeded: it is encrypted. SealError: it is no X25519 private key, or the passphrase is another.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    is_encrypted = b"-----BEGIN ENCRYPTED" in pem
    if is_encrypted and not passphrase:
        raise PassphraseNeeded("is encrypted: its passphrase is needed")
    try:
        found = load_pem_private_key(pem, passphrase if is_encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, X25519PrivateKey):
        other = "the passphrase is not the one of this key, or it" if is_encrypted else "it"
        raise SealError(f"{other} is no X25519 private key in PEM")
    return PrivateKey(found.private_bytes_raw(), PublicKey(found.public_key().public_bytes_raw()))
