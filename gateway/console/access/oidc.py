"""Single sign-on: OpenID Connect Core 1.0, the authorization code flow with PKCE (RFC 7636).

    begin    a state, a nonce and a code verifier are made; the browser goes to the provider with the state and the
             challenge, and keeps them in a sealed cookie (`gateway.console.access.begun`)
    finish   the browser comes back with state and code; the code is changed for an ID token, whose signature, issuer,
             audience, time and nonce are checked; its claims say who it is, those of the userinfo endpoint where it
             does not

What the provider is asked is asked over TLS (but for one on this machine), without following redirects, for TIMEOUT_S
at most, and no answer is read past ANSWER_BYTES. Only signatures by a key pair are believed. Where it serves is looked
up at `/.well-known/openid-configuration` and known for KNOWN_S; where that fails, nobody asks again for AWAY_S.

`SSL_CERT_FILE` names authorities besides those of the machine. Needs the packages of `dicom-gateway[oidc]`.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from gateway.config import Oidc
from gateway.console.access.begun import Begun, Pending
from gateway.console.access.claims import SignOnRefused, has_both, person_of_claims
from gateway.console.access.roles import Person

TIMEOUT_S = 5.0
ANSWER_BYTES = 1 << 20
KNOWN_S = 3600.0
AWAY_S = 3.0
LEEWAY_S = 60
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Provider:
    """See the module's docstring. `now_s` goes forward only, `clock_s` is the wall clock."""

    def __init__(self, settings: Oidc, now_s: Callable[[], float], clock_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._clock_s = clock_s
        self._begun = Begun()
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._known_until_s = 0.0
        self._away_until_s = 0.0
        self._tls = ssl.create_default_context()

    # ── the flow ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, redirect_uri: str, way: str) -> tuple[str, str]:
        """Where the browser goes, and its cookie. :raises SignOnRefused: the provider is not there."""
        metadata = await self._discovered()
        pending = self._begun.begin(redirect_uri, way, self._now_s())
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=" ".join(self._settings.scopes),
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )
        return str(url), self._begun.cookie_of(pending)

    async def finish(self, parameters: Mapping[str, str], cookie: str) -> tuple[Person, str]:
        """Who came back, and the page to go on to. :raises SignOnRefused: with the reason."""
        pending = self._begun.finish(parameters.get("state", ""), cookie)
        if pending is None:
            raise SignOnRefused("this log-in was not begun in this browser, or too long ago: begin again")
        if self._now_s() >= pending.until_s:
            raise SignOnRefused("this log-in took too long: begin again")
        if "error" in parameters:
            raise SignOnRefused(f"the provider refuses it ({_word(parameters['error'])})")
        metadata = await self._discovered()
        if "iss" in parameters and parameters["iss"] != metadata["issuer"]:  # RFC 9207
            raise SignOnRefused("another provider answered")
        tokens = await self._exchange(parameters.get("code", ""), pending)
        claims = await self._id_token(tokens, pending)
        if not has_both(self._settings, claims):
            claims = {**await self._userinfo(tokens, claims), **claims}
        return person_of_claims(self._settings, claims), pending.way

    async def _exchange(self, code: str, pending: Pending) -> dict[str, Any]:
        metadata, settings = await self._discovered(), self._settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": pending.redirect_uri,
            "code_verifier": pending.verifier,
            "client_id": settings.client_id,
        }
        auth = None
        if settings.client_secret:
            if "client_secret_basic" in metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
                auth = (settings.client_id, settings.client_secret)
            else:
                form["client_secret"] = settings.client_secret
        return await self._ask("POST", metadata["token_endpoint"], data=form, auth=auth)

    async def _id_token(self, tokens: Mapping[str, Any], pending: Pending) -> dict[str, Any]:
        text = tokens.get("id_token")
        if not isinstance(text, str):
            raise SignOnRefused("the provider gives no ID token: `openid` must be among console.oidc.scopes")
        settings = self._settings
        try:
            token = await self._verified(text)
            issuer = (await self._discovered())["issuer"]
            options = {"iss": {"essential": True, "value": issuer}, "aud": {"value": settings.client_id}}
            params = {
                "nonce": pending.nonce,
                "client_id": settings.client_id,
                "access_token": tokens.get("access_token"),
            }
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(self._clock_s()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise SignOnRefused(f"the provider's ID token cannot be believed ({type(error).__name__})") from None
        return dict(claims)

    async def _verified(self, text: str) -> jwt.Token:
        """The token, signed by a key of the provider; a key that is not known yet is asked for once."""
        keys = await self._key_set(anew=False)
        try:
            return jwt.decode(text, keys, algorithms=ALGORITHMS)
        except InvalidKeyIdError:
            return jwt.decode(text, await self._key_set(anew=True), algorithms=ALGORITHMS)

    async def _userinfo(self, tokens: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = (await self._discovered()).get("userinfo_endpoint")
        access = tokens.get("access_token")
        if not isinstance(endpoint, str) or not isinstance(access, str):
            return {}
        found = await self._ask("GET", endpoint, headers={"authorization": f"Bearer {access}"})
        if found.get("sub") != claims.get("sub"):  # Core 5.3.2
            raise SignOnRefused("the provider speaks of two people at once")
        return found

    # ── the provider ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _discovered(self) -> dict[str, Any]:
        if self._metadata and self._now_s() < self._known_until_s:
            return self._metadata
        if self._now_s() < self._away_until_s:
            raise SignOnRefused("the provider did not answer a moment ago: try again in a few seconds")
        try:
            return await self._discover()
        except SignOnRefused:
            self._away_until_s = self._now_s() + AWAY_S
            raise

    async def _discover(self) -> dict[str, Any]:
        found = await self._ask("GET", f"{self._settings.issuer}/.well-known/openid-configuration")
        if str(found.get("issuer", "")).rstrip("/") != self._settings.issuer:
            raise SignOnRefused("the provider calls itself otherwise than console.oidc.issuer")
        for name in _ENDPOINTS:
            if not isinstance(found.get(name), str):
                raise SignOnRefused(f"the provider does not say its {name}")
        self._metadata, self._known_until_s, self._keys = found, self._now_s() + KNOWN_S, None
        return found

    async def _key_set(self, anew: bool) -> KeySet:
        metadata = await self._discovered()
        if self._keys is None or anew:
            found = await self._ask("GET", metadata["jwks_uri"])
            self._keys = KeySet.import_key_set({"keys": found["keys"]})
        return self._keys

    async def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """A JSON object of the provider. :raises SignOnRefused: it is not there, or answers something else."""
        if urlsplit(url).scheme != "https" and not self._settings.issuer.startswith("http://"):
            raise SignOnRefused("the provider names an address without TLS")
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_S, verify=self._tls) as http,
                http.stream(method, url, **options) as answer,
            ):
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES:
                        raise SignOnRefused("the provider's answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignOnRefused(f"the provider does not answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise SignOnRefused(f"the provider answers with status {answer.status_code}")
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise SignOnRefused("the provider answers with something that is no JSON object")
        return found


def _word(text: str) -> str:
    """An error code as RFC 6749 has them; anything else is not repeated."""
    return text if len(text) <= 40 and text.isascii() and text.replace("_", "").isalnum() else "for no known reason"
