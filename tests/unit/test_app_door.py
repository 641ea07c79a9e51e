"""What a console says at its start about who may reach it: the first user, and a network that everybody can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.app.door import certificate_of, open_door, provider_of
from gateway.config import load
from gateway.console.access.roles import Role
from gateway.console.access.userfile import User
from gateway.console.access.users import UsersFile, with_user
from tests.harness.gatewayconfig import GatewayConfig

SIGN_ON = {"issuer": "https://id.example.org", "client_id": "gateway"}
Said = Callable[..., dict[str, Any]]


@pytest.fixture
def said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Said:
    """event → line, of what is said when the door of a configuration is opened."""

    def open_it(**console: Any) -> dict[str, Any]:
        config = load(GatewayConfig(tmp_path, {"pacs": 11113}, console=console).write(), {})
        capfd.readouterr()
        open_door(config, lambda access: None)
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        return {line["event"]: line for line in lines}

    return open_it


def test_a_console_without_users_tells_a_token_and_another_one_each_time(said: Said) -> None:
    first, second = said()["console_has_no_users"], said()["console_has_no_users"]
    assert len(first["setup_token"]) >= 32 and first["setup_token"] != second["setup_token"]
    assert "gateway user add NAME --role administrator" in first["reason"]


def test_a_console_with_users_tells_none_also_where_the_file_is_broken(said: Said, tmp_path: Path) -> None:
    file = UsersFile(tmp_path / "state" / "users.yaml")
    file.change(lambda users: with_user(users, User("mia", Role.VIEWER)))
    assert "console_has_no_users" not in said()
    file.path.write_text("users: [")
    assert "console_has_no_users" not in said()


def test_single_sign_on_makes_the_first_administrator_where_it_makes_any(said: Said) -> None:
    assert "console_has_no_users" not in said(oidc=SIGN_ON | {"roles": {"a": "viewer", "b": "administrator"}})
    assert "console_has_no_users" in said(oidc=SIGN_ON | {"roles": {"a": "viewer"}})


def test_a_console_on_the_network_says_that_it_speaks_in_clear(said: Said) -> None:
    for host in ("0.0.0.0", "'::'", "10.1.2.3", "gateway.example.org"):
        assert "console_without_tls" in said(host=host.strip("'")), host
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        assert "console_without_tls" not in said(host=host), host
    assert "console_without_tls" not in said(host="0.0.0.0", proxies=["10.0.0.1"])
    assert "console_without_tls" not in said(host="0.0.0.0", tls={"certificate": "c.pem", "key": "k.pem"})


def test_there_is_a_certificate_and_a_provider_only_where_they_are_configured(tmp_path: Path) -> None:
    plain = load(GatewayConfig(tmp_path, {"pacs": 11113}).write(), {})
    assert certificate_of(plain) is None and provider_of(plain) is None
    both = {"tls": {"certificate": "c.pem", "key": "k.pem"}, "oidc": SIGN_ON | {"roles": {}}}
    config = load(GatewayConfig(tmp_path, {"pacs": 11113}, console=both).write(), {})
    assert certificate_of(config) is not None and provider_of(config) is not None
