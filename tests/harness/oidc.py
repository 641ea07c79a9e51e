"""A small provider of OpenID Connect on loopback, which a console under test speaks to as to any other.

    with OidcProvider(client_id="gw", client_secret="…") as provider:
        provider.claims = {"preferred_username": "mia", "groups": ["radiology"]}
        …the browser goes to provider.issuer/authorize, which lets it in at once…

It checks what a provider has to: client, secret, redirect address, code (good once), PKCE verifier. `spoil` changes the
ID token's claims before they are signed, `lie` the answers of an endpoint. With a `certificate` it speaks TLS.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.harness.certificates import Certificate
from tests.harness.tools import free_port, wait_until


class OidcProvider:
    """See the module's docstring."""

    def __init__(
        self,
        client_id: str = "gateway",
        client_secret: str = "",
        certificate: Certificate | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.client_id, self.client_secret = client_id, client_secret
        self.port = free_port()
        self._tls: dict[str, Any] = {}
        if certificate is not None:
            self._tls = {"ssl_certfile": certificate.certificate, "ssl_keyfile": certificate.key}
        self.issuer = f"{'https' if certificate else 'http'}://{host}:{self.port}"
        self._codes: dict[str, dict[str, str]] = {}
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.reset()

    def reset(self) -> None:
        """Be honest again, with a new key."""
        self.claims: dict[str, Any] = {"preferred_username": "mia", "groups": []}
        self.userinfo: dict[str, Any] = {}
        self.refuse_with = ""
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.lie: dict[str, Any] = {}
        self.algorithm = "ES256"
        self.requests: list[str] = []
        self.key: Key = ECKey.generate_key("P-256", {"kid": "first", "use": "sig"})
        self._signing: Key = self.key

    def change_key(self, *, told: bool = True) -> None:
        """Sign with another key from now on; `told`: it is among the keys that the provider shows."""
        self._signing = ECKey.generate_key("P-256", {"kid": secrets.token_hex(4), "use": "sig"})
        if told:
            self.key = self._signing

    def sign_with_secret(self) -> None:
        """Sign with the client's secret, which a client must not believe."""
        self.algorithm = "HS256"
        self._signing = OctKey.import_key(self.client_secret or "0" * 32, {"kid": "first"})

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        config = uvicorn.Config(
            self._app(), host="127.0.0.1", port=self.port, log_config=None, lifespan="off", **self._tls
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="oidc provider", daemon=True)
        self._thread.start()
        wait_until(lambda: self._server is not None and self._server.started, 10, "the provider to serve")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None and self._thread is not None
        self._server.should_exit = True
        self._thread.join(10)

    # ── what it answers ───────────────────────────────────────────────────────────────────────────────────────────

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
                Route("/userinfo", self._userinfo),
            ]
        )

    def _answer(self, name: str, found: dict[str, Any]) -> Response:
        self.requests.append(name)
        lie = self.lie.get(name)
        return lie if isinstance(lie, Response) else JSONResponse(found | (lie or {}))

    async def _discovery(self, _request: Request) -> Response:
        return self._answer(
            "discovery",
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
            },
        )

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["response_type"] == "code" and asked["client_id"] == self.client_id
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"].split()
        if self.refuse_with:
            back = {"error": self.refuse_with, "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            back = {"code": code, "state": asked["state"], "iss": self.issuer}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        begun = self._codes.pop(form["code"], None)
        if begun is None or not self._proves(request, form, begun):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "4711",
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "nonce": begun["nonce"],
            **self.claims,
        }
        header = {"alg": self.algorithm, "kid": self._signing.kid}
        text = jwt.encode(header, self.spoil(claims), self._signing, algorithms=[self.algorithm])
        return self._answer("token", {"access_token": "opaque", "token_type": "Bearer", "id_token": text})

    def _proves(self, request: Request, form: dict[str, str], begun: dict[str, str]) -> bool:
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        is_client = not self.client_secret or request.headers.get("authorization") == f"Basic {basic}"
        return is_client and challenge == begun["code_challenge"] and form["redirect_uri"] == begun["redirect_uri"]

    async def _keys(self, _request: Request) -> Response:
        return self._answer("keys", {"keys": [self.key.as_dict(private=False)]})

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer opaque"
        return self._answer("userinfo", {"sub": "4711", **self.userinfo})
