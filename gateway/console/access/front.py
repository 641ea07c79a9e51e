"""What every request passes before anything looks at it: where it comes from, and which host it asks for.

- **Proxies.** A connection from one of `console.proxies` is that of the last address in `X-Forwarded-For` that is no
  such proxy, by the scheme of `X-Forwarded-Proto`. From anybody else these headers count for nothing. A port behind the
  address is left out, as some proxies write one; what is no address then counts as the proxy's own.
- **Host.** A page of another name whose address is turned to ours (DNS rebinding) could read everything from inside
  a person's browser; its requests name that other host. IP addresses, `localhost`, `console.host` and
  `console.host_names` are ours; anything else gets 421. Health is for anybody who asks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from gateway.console.access.told import Access, AccessEvent

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gateway.config import Network

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
HEALTH = ("/livez", "/readyz", "/version")


class Front:
    """See the module's docstring. `tell` is told of requests for other hosts."""

    def __init__(
        self, app: ASGIApp, host_names: Sequence[str], proxies: Sequence[Network], tell: Callable[[Access], None]
    ) -> None:
        self._app = app
        self._host_names = frozenset({"localhost", *(name.lower() for name in host_names)})
        self._proxies = tuple(proxies)
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        headers = Headers(scope=scope)
        scope = self._as_seen_by_the_proxy(scope, headers)
        host = headers.get("host", "")
        if scope["path"] not in HEALTH and not self._is_ours(host):
            self._tell(Access(AccessEvent.CROSS_SITE, address=scope["state"]["address"], reason="host"))
            refusal = PlainTextResponse(
                "this console is not known by that name: add it to console.host_names\n", status_code=421
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _as_seen_by_the_proxy(self, scope: Scope, headers: Headers) -> Scope:
        client = scope.get("client")
        address = client[0] if client else ""
        scheme = scope["scheme"]
        if self._is_proxy(address):
            parts = [part for line in headers.getlist("x-forwarded-for") for part in line.split(",")]
            said = [_without_port(part.strip()) for part in parts]
            last = next((part for part in reversed(said) if not self._is_proxy(part)), address)
            address = last if _address(last) is not None else address
            proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
            scheme = proto if proto in ("http", "https") else scheme
        state = {**scope.get("state", {}), "address": address}
        return {**scope, "scheme": scheme, "client": (address, 0), "state": state}

    def _is_proxy(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._proxies)

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return name in self._host_names or _address(name) is not None


def _name_of(host: str) -> str:
    """The host in a Host header, without its port and the brackets of an IPv6 address; "" where it is none."""
    found = _HOST.fullmatch(host.lower())
    return (found["v6"] or found["name"]).rstrip(".") if found is not None else ""


def _without_port(said: str) -> str:
    """The address in what a proxy says, which may be `192.0.2.7:51234` or `[2001:db8::7]:51234`."""
    if said.startswith("["):
        return said[1:].partition("]")[0]
    return said.partition(":")[0] if said.count(":") == 1 else said


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
