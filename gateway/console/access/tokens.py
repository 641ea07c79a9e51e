"""API tokens: made once, shown once, kept as a hash.

A token is `gwt_<id>_<secret>`: the id finds it, the secret proves it. The secret has 256 random bits, so that its
SHA-256 is as good as any slow hash. Hashes are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from gateway.console.access.roles import How, Person, Role
from gateway.console.access.userfile import Token, User, Users

_FORM = re.compile(r"gwt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
DAY_MS = 86_400_000
LONGEST_DAYS = 366


def make_token(name: str, role: Role, now_ms: int, days: int) -> tuple[Token, str]:
    """A new token, and the text that is shown once."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    expires_ms = now_ms + days * DAY_MS
    return Token(name, role, token_id, _digest(secret), now_ms, expires_ms), f"gwt_{token_id}_{secret}"


def person_of_token(users: Users, text: str, now_ms: int) -> Person | None:
    """Whose a token is; None where it is nobody's, or has expired.

    It may what its own role may and its owner's too: an owner who may less now has tokens that may less.
    """
    found = _proven(users, text)
    if found is None or now_ms >= found[1].expires_ms:
        return None
    user, token = found
    return Person(user.name, token.role if token.role.within(user.role) else user.role, How.TOKEN, token.name)


def expired_token(users: Users, text: str, now_ms: int) -> tuple[str, str]:
    """The owner and the name of a token that was good once; "" and "" for any other text."""
    found = _proven(users, text)
    return (found[0].name, found[1].name) if found is not None and now_ms >= found[1].expires_ms else ("", "")


def _proven(users: Users, text: str) -> tuple[User, Token] | None:
    """The token that a text is, with its owner."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    token_id, secret = form.groups()
    for user in users.values():
        for token in user.tokens.values():
            if token.token_id == token_id:
                return (user, token) if hmac.compare_digest(token.digest, _digest(secret)) else None
    return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()
