"""A running gateway with archives, as `cli_site` has it, and clients of its API: one for each role."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.console.access.roles import Role
from gateway.console.access.users import UsersFile, with_token
from tests.harness.console import add_users
from tests.harness.tools import wait_until
from tests.integration.cli_site import Site, running_site

TOKEN_NAME = "test"  # noqa: S105 - a name
Answer = dict[str, Any]


class ApiSite:
    """A site whose API is asked."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.url = f"http://127.0.0.1:{site.gateway.config.console_port}"
        users = site.gateway.config.state_dir / "users.yaml"
        add_users(users)
        self.tokens = {role: token_of(UsersFile(users), role) for role in Role}
        self._clients = {role: self._client(self.tokens[role]) for role in Role}
        self.nobody = self._client("")

    def as_(self, role: Role = Role.OPERATOR) -> httpx.Client:
        """A client with an API token of a role. Paths begin below /api/v1."""
        return self._clients[role]

    def get(self, path: str, role: Role = Role.ADMINISTRATOR, **parameters: Any) -> Answer:
        """What a GET answers with; it must succeed."""
        answer = self.as_(role).get(path, params=parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        found: Answer = answer.json()
        return found

    def post(self, path: str, body: object = None, role: Role = Role.OPERATOR) -> Answer:
        """What a POST answers with; it must succeed."""
        answer = self.as_(role).post(path, json=body)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        found: Answer = answer.json()
        return found

    def study_of(self, uid: str) -> Answer:
        """The study of a UID, once it is there."""

        def found() -> Answer | None:
            items: list[Answer] = self.get("/studies", uid=uid)["items"]
            return items[0] if items else None

        return wait_until(found, 30, f"the study of {uid}")

    def instance_of(self, uid: str) -> Answer:
        """The newest arrival of a SOP Instance UID, once it is routed."""

        def found() -> Answer | None:
            items = self.get("/instances", uid=uid)["items"]
            return None if not items or items[0]["state"] == "received" else items[0]

        return self.get(f"/instances/{wait_until(found, 30, uid)['instance_id']}")

    def close(self) -> None:
        for client in [*self._clients.values(), self.nobody]:
            client.close()

    def _client(self, token: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30)


@contextmanager
def running_api(folder: Path) -> Iterator[ApiSite]:
    """A site that is ended when the context ends."""
    with running_site(folder) as site:
        api = ApiSite(site)
        try:
            yield api
        finally:
            api.close()


def token_of(file: UsersFile, role: Role) -> str:
    """A new API token of the user who is called as the role is."""
    shown: list[str] = []

    def add(users: Any) -> Any:
        changed, text = with_token(users, role.value, TOKEN_NAME, role, time.time_ns() // 1_000_000, 1)
        shown.append(text)
        return changed

    file.change(add)
    return shown[0]
