"""The console's application in the test's own process: a real ledger, spool and users file in a folder, no sockets.

    async with console(tmp_path) as site:
        mia = await site.as_("operator")                 # logged in by name and password, with her cookie
        answer = await mia.get("/queue")
        answer = await mia.post("/orders", json={…})     # with the CSRF token of her session
        script = site.with_token("viewer")               # by an API token
        nobody = site.client()

There is one user for each role, called as the role. Time stands still until the test says otherwise (`clock`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from argon2 import PasswordHasher

from gateway.app.audit_trail import verified
from gateway.app.checked import findings
from gateway.app.common import open_ledger_of, open_look_of, open_spool, run_dir
from gateway.config import Config, load
from gateway.console.access.door import Door
from gateway.console.access.guard import Guarded
from gateway.console.access.oidc import Provider
from gateway.console.access.passwords import Passwords
from gateway.console.access.roles import Role
from gateway.console.access.sessions import Sessions
from gateway.console.access.told import Access
from gateway.console.access.userfile import User
from gateway.console.access.users import UsersFile, with_token, with_user
from gateway.console.context import Context
from gateway.console.late import guarded_site
from gateway.console.live import Live
from gateway.console.metrics import HostMetrics, SpoolFigures
from gateway.console.services.system import Checker
from gateway.console.site import built, fronted
from gateway.flow.notes import Notes
from gateway.ledger.thread import LedgerThread
from gateway.work.base import Stage
from tests.harness.gatewayconfig import GatewayConfig

PASSWORD = "seven green bicycles"  # noqa: S105 - of a test
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # a test's users need no strong hashes
START_MS = 1_790_000_000_000


@dataclass(slots=True)
class Clock:
    """Both clocks of a console, in the test's hand."""

    at_s: float = 0.0

    def now_s(self) -> float:
        return self.at_s

    def now_ms(self) -> int:
        return START_MS + int(self.at_s * 1000)

    def pass_(self, seconds: float) -> None:
        self.at_s += seconds


@dataclass(slots=True)
class Console:
    """See the module's docstring. `told` is what went to the audit trail, `woken` which stages an order woke up."""

    app: Any
    routes: list[Guarded]
    context: Context
    clock: Clock
    told: list[Access]
    passwords: Passwords
    woken: list[Stage] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    @property
    def door(self) -> Door:
        return self.context.door

    def client(
        self, headers: Mapping[str, str] = MappingProxyType({}), *, address: str = "127.0.0.1", scheme: str = "http"
    ) -> httpx.AsyncClient:
        """Somebody who is not known, from an address."""
        transport = httpx.ASGITransport(app=self.app, client=(address, 40_000))
        made = httpx.AsyncClient(
            transport=transport, base_url=f"{scheme}://127.0.0.1:8080", headers=dict(headers), follow_redirects=False
        )
        self.clients.append(made)
        return made

    async def as_(self, role: str, *, address: str = "127.0.0.1", scheme: str = "http") -> httpx.AsyncClient:
        """The user of a role, logged in; requests carry the CSRF token."""
        made = self.client(address=address, scheme=scheme)
        answer = await made.post("/login", data={"name": role, "password": PASSWORD})
        assert answer.status_code == 303, f"{role} is not let in: {answer.status_code} {answer.text[:300]}"
        made.headers["x-csrf-token"] = self.csrf_of(made)
        return made

    def csrf_of(self, client: httpx.AsyncClient) -> str:
        """The CSRF token of a client's session."""
        cookie = client.cookies.get("gateway-8080") or client.cookies.get("__Host-gateway-8080") or ""
        session = self.door.by_cookie(cookie).session
        assert session is not None, "it has no session"
        return session.csrf

    def with_token(self, role: str, name: str = "") -> httpx.AsyncClient:
        """A script with an API token of the user of a role."""
        return self.client({"authorization": f"Bearer {self.token(role, name)}"})

    def token(self, role: str, name: str = "", days: int = 1) -> str:
        """The text of a new API token."""
        shown: list[str] = []

        def add(users: Any) -> Any:
            count = len(users[role].tokens)
            changed, text = with_token(users, role, name or f"t{count}", Role(role), self.clock.now_ms(), days)
            shown.append(text)
            return changed

        self.door.file.change(add)
        return shown[0]


@contextlib.asynccontextmanager
async def console(folder: Path, *, users: bool = True, **sections: Any) -> AsyncIterator[Console]:
    """A console over a new gateway below `folder`; `users=False`: without any. Sections as in `GatewayConfig`."""
    config = _configuration(folder, sections)
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if users:
        add_users(config.console.users)
    ledger = LedgerThread(partial(open_ledger_of, config, create=True))
    await ledger.call(lambda opened: opened.gauges())  # it is made
    look = open_look_of(config)
    spool = open_spool(config)
    spool.prepare()
    clock, told, woken = Clock(), list[Access](), list[Stage]()
    run_dir(config).mkdir(parents=True, exist_ok=True)
    host = HostMetrics(run_dir(config), look.gauges, lambda: SpoolFigures(1 << 40), clock.now_ms)
    sessions = Sessions(config.console.session_idle_s, config.console.session_s)
    passwords = Passwords(HASHER)
    door = Door(UsersFile(config.console.users), sessions, told.append, clock.now_ms, clock.now_s, passwords)
    context = Context(
        config=lambda: config,
        look=look,
        ledger=ledger,
        spool=spool,
        host=host,
        clock_ms=clock.now_ms,
        wake=woken.append,
        keys={},
        config_path=folder / "gateway.yaml",
        door=door,
        notes=Notes(ledger),
        live=Live(look.totals, host, clock.now_ms),
        checker=Checker(lambda echo: findings(folder / "gateway.yaml", echo=echo), clock.now_ms),
        stopping=asyncio.Event(),
        verify_trail=partial(verified, config),
        provider=None if config.console.oidc is None else Provider(config.console.oidc, clock.now_s, time.time),
    )
    app, routes = built(context)
    made = Console(guarded_site(fronted(app, context)), routes, context, clock, told, passwords, woken)
    try:
        yield made
    finally:
        for client in made.clients:
            await client.aclose()
        host.close()
        await look.close()
        await ledger.close()


def add_users(path: Path) -> None:
    """One user for each role, called as the role, with the password PASSWORD."""
    hashed = HASHER.hash(PASSWORD)
    file = UsersFile(path)
    for role in Role:
        file.change(lambda users, role=role: with_user(users, User(role.value, role, hashed)))  # type: ignore[misc]


def _configuration(folder: Path, sections: Mapping[str, Any]) -> Config:
    written = GatewayConfig(folder, {"pacs": 11113, "dr": 11114}, **sections)
    return load(written.write(), os.environ)


def form_token(page: str) -> str:
    """The CSRF token in the forms of a page."""
    found = re.search(r'name="csrf_token" value="([^"]*)"', page)
    assert found, "the page has no form with a CSRF token"
    return found[1]
