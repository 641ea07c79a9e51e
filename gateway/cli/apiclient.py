"""A client of the console's API, for commands that are nothing else. Standard library only."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import UsageError

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE, TOKEN_VARIABLE = "GATEWAY_URL", "GATEWAY_TOKEN"
TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 16 << 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ApiClient:
    """Asks one console, with one token.

    :param url: where its pages are: `https://gateway.example:8443`.
    :raises UsageError: there is no token, the URL is none, or the token would go over the network in clear.
    """

    def __init__(self, url: str, token: str, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url}: no address of a console: write http://HOST:PORT or https://HOST:PORT")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(f"{url}: over http the token could be read on the way: use https, or a tunnel to loopback")
        if not token:
            raise UsageError(
                f"no API token: put one into ${TOKEN_VARIABLE}, or name a file that holds it with --token-file "
                "(`gateway token add USER NAME` makes one)"
            )
        self._base = url.rstrip("/") + "/api/v1"
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=None if ca is None else str(ca))
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"{ca}: no certificate authority can be read from it: {error}") from None
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self.url = url

    def get(self, path: str) -> dict[str, Any]:
        """What the API answers to a GET. :raises UsageError: it does not, in words of what to do."""
        request = urllib.request.Request(self._base + path, headers=self._headers)  # noqa: S310 - http(s), see above
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                found = json.loads(answer.read(ANSWER_MAX_BYTES))
        except urllib.error.HTTPError as error:
            raise UsageError(self._refused(error)) from None
        except urllib.error.URLError as error:
            raise UsageError(f"{self.url}: no console answers: {_why(error)}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UsageError(f"{self.url}: what answers is no console: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise UsageError(f"{self.url}: what answers is no console")
        return found

    def _refused(self, error: urllib.error.HTTPError) -> str:
        if error.code == 401:
            return f"{self.url}: the API token is not known, or no longer good: `gateway token add` makes another"
        try:
            detail = str(json.loads(error.read(1 << 16))["detail"])
        except (OSError, ValueError, KeyError, TypeError):
            detail = "it says no more"
        return f"{self.url}: {error.code} {error.reason}: {detail}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to nobody but whom it was meant for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def read_token(file: Path | None) -> str:
    """The token of a file, or of the environment; "" where there is none. :raises UsageError: no reading the file."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file}: cannot be read: {error}") from None


def _why(error: urllib.error.URLError) -> str:
    reason = error.reason
    if isinstance(reason, ConnectionRefusedError):
        return "connection refused: is the gateway up, and is this the address of `console` in gateway.yaml?"
    if isinstance(reason, ssl.SSLError):
        return f"{reason.reason or reason}: name the certificate authority with --ca"
    return str(reason)
