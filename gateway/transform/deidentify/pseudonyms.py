"""Keyed pseudonyms: what is the same stays the same, on every host and in every year, and without a table.

Everything is HMAC-SHA-256 (RFC 2104) of what it stands for, under a secret of the site. Who has the secret can say
which pseudonym a known identifier has; nobody can come from a pseudonym to its identifier but by trying all of them.
Each purpose has a prefix of its own, so that no pseudonym tells anything about another.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from gateway.transform.values import ValueRefused

MIN_KEY_BYTES = 16
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U that would be misread
_PSEUDONYM_DIGITS = 16  # 80 bits: of 10^9 patients two have the same with a chance of 1 in 2,000,000


class Key:
    """A site's secret. It is never shown; `fingerprint` tells keys apart."""

    __slots__ = ("_secret", "fingerprint", "uid")

    def __init__(self, secret: bytes) -> None:
        """
        :raises ValueError: fewer than `MIN_KEY_BYTES`.
        """
        if len(secret) < MIN_KEY_BYTES:
            raise ValueError(f"a key has at least {MIN_KEY_BYTES} bytes")
        self._secret = secret
        self.fingerprint = self._digest("fingerprint", "").hex()[:16]
        self.uid = lru_cache(maxsize=8192)(self._uid)
        """The UID that stands for a UID, in the form of PS3.5 B.2: 2.25 and a UUID as a number."""

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._secret, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), "sha256")

    def _uid(self, uid: str) -> str:
        number = int.from_bytes(self._digest("uid", uid)[:16], "big")
        # RFC 9562 5.8: version 8 (a form of our own), variant 10.
        number = number & ~(0xF << 76) | 8 << 76
        number = number & ~(0x3 << 62) | 2 << 62
        return f"2.25.{number}"

    def pseudonym(self, purpose: str, text: str) -> str:
        """Sixteen capital letters and digits that stand for a text."""
        number = int.from_bytes(self._digest(purpose, text)[:10], "big")
        return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_PSEUDONYM_DIGITS)))

    def number(self, purpose: str, text: str, least: int, most: int) -> int:
        """A number from `least` to `most` that stands for a text."""
        return least + int.from_bytes(self._digest(purpose, text)[:8], "big") % (most - least + 1)

    def __repr__(self) -> str:
        return "<Key>"


NOT_THERE = "is not there: put it back, start anew and release"


class LostKey(Key):
    """A key that rules in force name and that cannot be used: whatever asks it for something is refused."""

    __slots__ = ("_name", "_why")

    def __init__(self, name: str, why: str = NOT_THERE) -> None:
        super().__init__(bytes(MIN_KEY_BYTES))
        self._name, self._why = name, why
        self.fingerprint = "lost"

    def _digest(self, purpose: str, text: str) -> bytes:
        if hasattr(self, "_name"):
            raise ValueRefused(f"the pseudonym key {self._name} {self._why}")
        return b""


class KeysAtHand(dict[str, Key]):
    """For rules that were accepted: a key that is lost since holds what needs it, and nothing else.

    :param lost: name → why, of those that are there and must not be used.
    """

    def __init__(self, keys: Mapping[str, Key], lost: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(keys)
        self._lost = lost

    def get(self, name: str, default: object = None) -> Key:
        """The key, or a `LostKey`."""
        return super().get(name) or LostKey(name, self._lost.get(name, NOT_THERE))

    def made_up(self, secret: bytes) -> KeysAtHand:
        """Keys of the same names and fingerprints, so that chains are called the same, that make other pseudonyms."""
        others = {name: Key(name.encode() + secret) for name in self}
        for name, key in self.items():
            others[name].fingerprint = key.fingerprint
        return KeysAtHand(others, self._lost)


Keys = Mapping[str, Key]
NO_KEYS: Keys = MappingProxyType({})
