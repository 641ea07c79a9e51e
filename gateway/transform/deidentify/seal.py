"""Sealed boxes: anybody with the public key can close one, only the private key opens it.

The gateway has the public key alone, so that whoever takes all that it has can open nothing. X25519 (RFC 7748) with a
key pair made for this one box and thrown away, HKDF-SHA-256 (RFC 5869) over both public keys, AES-256-GCM; the
pseudonym is its associated data, so that a box cannot be passed off as another pseudonym's. All of it by PyPI
`cryptography` (the extra `reidentification`), which is imported when it is first needed: see `is_installed`.

A box::

    offset  bytes  what
    0       1      form: 1
    1       8      which public key it was closed with: the first bytes of the key's SHA-256
    9       32     the public key of this box
    41      12     nonce
    53      …      a JSON object, encrypted, and the tag of 16 bytes

Workers close boxes, `gateway reidentify` opens them. Nothing here shows what is in one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import SealError

FORM = 1
KEY_ID_BYTES = 8
_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 12, 16
_BOX_KEY_AT = 1 + KEY_ID_BYTES
_NONCE_AT = _BOX_KEY_AT + _KEY_BYTES
_TEXT_AT = _NONCE_AT + _NONCE_BYTES
_PURPOSE = b"dicom-gateway reidentification 1"
NOT_INSTALLED = "needs the package cryptography: pip install 'dicom-gateway[reidentification]'"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An X25519 public key, 32 bytes."""

    raw: bytes

    @property
    def key_id(self) -> bytes:
        """What tells it from others."""
        return hashlib.sha256(self.raw).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An X25519 private key, 32 bytes, and its public one. Never shown."""

    raw: bytes = field(repr=False)
    public: PublicKey


def is_installed() -> bool:
    """Whether the package is there that all of this needs."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def seal(public_key: PublicKey, pseudonym: str, original: Mapping[str, str]) -> bytes:
    """Close a box: what stands behind a pseudonym, for the holder of the private key alone."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    of_this_box = X25519PrivateKey.generate()
    box_key = of_this_box.public_key().public_bytes_raw()
    shared = of_this_box.exchange(X25519PublicKey.from_public_bytes(public_key.raw))
    head, nonce = bytes([FORM]) + public_key.key_id + box_key, os.urandom(_NONCE_BYTES)
    text = json.dumps(dict(original), sort_keys=True).encode("ascii")
    key = _derived(shared, box_key, public_key)
    return head + nonce + AESGCM(key).encrypt(nonce, text, _bytes(pseudonym))


def unseal(private_key: PrivateKey, pseudonym: str, sealed: bytes) -> dict[str, str]:
    """Open a box.

    :raises SealError: it was closed with another key, belongs to another pseudonym, or is damaged.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < _TEXT_AT + _TAG_BYTES or sealed[0] != FORM:
        raise SealError("what was kept of this pseudonym is damaged, or was kept by a newer gateway")
    public_key, key_id = private_key.public, sealed[1:_BOX_KEY_AT]
    if key_id != public_key.key_id:
        raise SealError(
            f"the original was sealed for the key {key_id.hex()}, and this private key is {public_key.key_id.hex()}: "
            "use the one that was in force then"
        )
    box_key, nonce = sealed[_BOX_KEY_AT:_NONCE_AT], sealed[_NONCE_AT:_TEXT_AT]
    try:
        shared = X25519PrivateKey.from_private_bytes(private_key.raw).exchange(
            X25519PublicKey.from_public_bytes(box_key)
        )
        text = AESGCM(_derived(shared, box_key, public_key)).decrypt(nonce, sealed[_TEXT_AT:], _bytes(pseudonym))
    except (InvalidTag, ValueError):  # ValueError: a point of low order in place of the box's key
        raise SealError("what was kept of this pseudonym is damaged, or was kept of another one") from None
    found: dict[str, str] = json.loads(text)
    return found


def _derived(shared: bytes, box_key: bytes, public_key: PublicKey) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=_PURPOSE + box_key + public_key.raw).derive(shared)


def _bytes(pseudonym: str) -> bytes:
    return pseudonym.encode("utf-8", "surrogatepass")
