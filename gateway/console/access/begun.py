"""Log-ins by single sign-on that have begun: each is kept by the browser that begins it, in its cookie.

So nobody's log-in has to make room for those of others, however many begin one. The cookie is sealed by a key of this
process (HMAC-SHA-256): nobody but the console makes one. It is good once, and for PENDING_S.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from dataclasses import astuple, dataclass, field

PENDING_S = 600.0
_WAY_MAX = 1000  # characters; a browser keeps cookies of 4096 bytes
_DONE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Pending:
    """A log-in that has begun. `way` is the page to go on to."""

    state: str
    verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    redirect_uri: str
    way: str
    until_s: float


class Begun:
    """See the module's docstring. What has come back is remembered, as far as _DONE_MAX reaches."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._done: OrderedDict[str, None] = OrderedDict()

    def begin(self, redirect_uri: str, way: str, now_s: float) -> Pending:
        """A new one."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        way = way if len(way) <= _WAY_MAX else "/"
        return Pending(state, verifier, nonce, redirect_uri, way, now_s + PENDING_S)

    def cookie_of(self, pending: Pending) -> str:
        """What the browser keeps of it."""
        body = base64.urlsafe_b64encode(json.dumps(astuple(pending)).encode()).decode().rstrip("=")
        return f"{body}.{self._seal(body)}"

    def finish(self, state: str, cookie: str) -> Pending | None:
        """The log-in of a cookie that was made here, where it is of this state and has not come back before."""
        body, _, seal = cookie.rpartition(".")
        if not hmac.compare_digest(self._seal(body).encode(), seal.encode("utf-8", "replace")):
            return None
        pending = Pending(*json.loads(base64.urlsafe_b64decode(body + "===")))
        if state in self._done or not hmac.compare_digest(pending.state.encode(), state.encode("utf-8", "replace")):
            return None
        self._done[state] = None
        while len(self._done) > _DONE_MAX:
            self._done.popitem(last=False)
        return pending

    def _seal(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
