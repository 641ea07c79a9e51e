"""FAULTS 41: a console without or with wrong credentials, and requests of other sites, on a gateway that runs.

The console is asked as a browser and as a script ask it, over real connections; users are made by the commands.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.harness.certificates import CertificateAuthority
from tests.harness.console import form_token
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.oidc import OidcProvider
from tests.harness.tools import free_port, wait_until
from tests.integration.cli_site import command, piped

PHRASE = "seven green bicycles"


def browser(gateway: GatewayProcess, **options: object) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{gateway.config.console_port}", **options)  # type: ignore[arg-type]


def gateway_command(gateway: GatewayProcess, *words: str, typed: str = "") -> str:
    with piped(typed) as stdin:
        done = command(*words, "--config", gateway.config.path, cwd=gateway.config.folder, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("door")
    config = GatewayConfig(folder, {"pacs": free_port()})
    del config.document["console"]["host"]
    with GatewayProcess(config) as running:
        yield running


def test_the_first_administrator_is_made_with_the_token_from_the_log_and_makes_others(
    gateway: GatewayProcess,
) -> None:
    (line,) = gateway.log_lines(event="console_has_no_users")
    with browser(gateway) as mia:
        form = {"token": line["setup_token"], "name": "mia", "password": PHRASE}
        assert mia.post("/setup", data=form | {"token": "guess"}).status_code == 422
        assert mia.get("/queue").status_code == 303
        assert mia.post("/setup", data=form).status_code == 303
        assert mia.get("/queue").status_code == 200
        assert mia.post("/setup", data=form, headers={"x-csrf-token": form_token(mia.get("/").text)}).status_code == 422
    assert gateway.config.state_dir.joinpath("users.yaml").stat().st_mode & 0o777 == 0o600
    assert gateway_command(gateway, "user", "add", "eva", "--role", "viewer", typed=f"{PHRASE}\n") == "eva is viewer"
    with browser(gateway) as eva:
        assert eva.post("/login", data={"name": "eva", "password": "seven red bicycles"}).status_code == 401
        assert eva.post("/login", data={"name": "eva", "password": PHRASE}).status_code == 303
        assert eva.get("/studies").status_code == 200
        gateway_command(gateway, "user", "role", "eva", "observer")
        assert eva.get("/studies").status_code == 303, "she is logged out"
        assert eva.post("/login", data={"name": "eva", "password": PHRASE}).status_code == 303
        assert eva.get("/studies").status_code == 403


def test_without_credentials_or_with_wrong_ones_there_is_nothing(gateway: GatewayProcess) -> None:
    api = "/api/v1/openapi.json"
    with browser(gateway) as nobody:
        assert nobody.get("/").headers["location"] == "/login?next=%2F"
        assert nobody.get(api).status_code == 401
        for shown in ("Bearer gwt_0123456789ab_" + "x" * 43, "Basic bWlhOm1pYQ==", "Bearer"):
            assert nobody.get(api, headers={"authorization": shown}).status_code == 401
        name = f"gateway-{gateway.config.console_port}"
        for cookie in ("x", "gwt", "A" * 43, "../../etc/passwd"):
            assert nobody.get("/", headers={"cookie": f"{name}={cookie}"}).status_code == 303
        assert nobody.get("/livez").status_code == 200


def test_a_token_works_until_it_is_removed(gateway: GatewayProcess) -> None:
    gateway_command(gateway, "user", "add", "robot", "--role", "operator", "--no-password")
    token = gateway_command(gateway, "token", "add", "robot", "backup", "--role", "observer")
    with browser(gateway, headers={"authorization": f"Bearer {token}"}) as script:
        assert script.get("/api/v1/openapi.json").status_code == 200
        assert script.post("/api/v1/orders", json={}).status_code == 403
        gateway_command(gateway, "token", "remove", "robot", "backup")
        assert script.get("/api/v1/openapi.json").status_code == 401


def test_a_request_of_another_site_is_refused(gateway: GatewayProcess) -> None:
    gateway_command(gateway, "user", "add", "noah", "--role", "operator", typed=f"{PHRASE}\n")
    with browser(gateway) as noah:
        assert noah.post("/login", data={"name": "noah", "password": PHRASE}).status_code == 303
        token = form_token(noah.get("/").text)
        for headers in (
            {"origin": "https://evil.example.org", "x-csrf-token": token},
            {"sec-fetch-site": "cross-site", "x-csrf-token": token},
            {},
            {"x-csrf-token": "a" * 43},
        ):
            assert noah.post("/api/v1/orders", json={}, headers=headers).status_code == 403
        assert noah.get("/", headers={"host": "evil.example.org"}).status_code == 421
        assert noah.post("/logout", headers={"origin": str(noah.base_url), "x-csrf-token": token}).status_code == 303


def test_what_happens_at_the_door_is_counted_and_logged_without_a_secret(gateway: GatewayProcess) -> None:
    assert gateway.metric("gateway_console_access_total", event="log_in_failed") == 1
    assert gateway.metric("gateway_console_access_total", event="token_refused") == 3
    assert gateway.log_lines(event="console_log_in_failed", person="eva", address="127.0.0.1")
    log = gateway.log()
    for secret in (PHRASE, "seven red bicycles", "gwt_"):
        assert secret not in log


def test_it_is_bound_to_loopback_where_nothing_is_said(gateway: GatewayProcess) -> None:
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    port = f"{gateway.config.console_port:04X}"
    assert re.findall(rf"^ *\d+: ([0-9A-F]+):{port} \S+ 0A", listening, re.MULTILINE) == ["0100007F"]


def test_over_tls_and_by_single_sign_on(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    made = authority.issue("console")
    trusted = ssl.create_default_context(cafile=str(authority.path))
    with OidcProvider("gateway", "a secret of both") as provider:
        provider.claims = {"preferred_username": "mia", "groups": ["night shift"]}
        console = {
            "tls": {"certificate": str(made.certificate), "key": str(made.key)},
            "oidc": {
                "issuer": provider.issuer,
                "client_id": "gateway",
                "client_secret": "a secret of both",
                "roles": {"night shift": "operator"},
            },
        }
        config = GatewayConfig(tmp_path, {"pacs": free_port()}, console=console)
        gateway = GatewayProcess(config)
        try:
            gateway.start(ready=False)
            base = f"https://127.0.0.1:{config.console_port}"
            with httpx.Client(base_url=base, verify=trusted) as mia:
                wait_until(lambda: _answers(mia), 30, lambda: f"it to serve:\n{gateway.log()[-3000:]}")
                asked = mia.get("/oidc/login?next=/queue")
                assert "; Secure" in asked.headers["set-cookie"] and "__Host-" in asked.headers["set-cookie"]
                back = urlsplit(httpx.get(asked.headers["location"]).headers["location"])
                assert (back.scheme, back.netloc) == ("https", f"127.0.0.1:{config.console_port}")
                came = mia.get(f"{back.path}?{back.query}")
                assert (came.status_code, came.headers["location"]) == (303, "/queue")
                assert mia.get("/queue").status_code == 200
                assert f"__Host-gateway-{config.console_port}" in mia.cookies and "; Secure" in str(
                    came.headers.get_list("set-cookie")
                )
            with socket.create_connection(("127.0.0.1", config.console_port), timeout=10) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert b"HTTP/1.1 200" not in plain.recv(1000)
            assert gateway.metric("gateway_certificate_expiry_timestamp_seconds", certificate="console") > 0
            assert not gateway.log_lines(event="console_without_tls")
            assert gateway.log_lines(event="console_logged_in", person="mia", how="oidc")
        finally:
            gateway.close()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_gateway_does_not_start_with_users_or_a_certificate_that_it_cannot_read(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.key")}
    config = GatewayConfig(tmp_path, {"pacs": free_port()}, console={"tls": tls})
    config.write()
    config.state_dir.mkdir()
    users = config.state_dir / "users.yaml"
    users.write_text("users:\n  mia:\n    role: boss\n")
    for words in (("run",), ("check", "--no-echo")):
        said = command(*words, "--config", config.path, cwd=tmp_path)
        assert said.returncode == 2
        assert f"{users}:3:11: users.mia.role: 'boss' is no role" in said.stderr
        assert "none.pem:0:0: cannot be read: No such file or directory" in said.stderr
