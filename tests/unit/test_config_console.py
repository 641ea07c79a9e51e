"""What stands below `console` in mappings of its own: certificate and single sign-on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import Config, ConsoleRole, TlsFiles, load
from gateway.config.console_keys import OIDC, TLS
from gateway.console.access.roles import Role
from gateway.errors import ConfigurationError

MINIMAL = """\
listeners: {main: {host: 127.0.0.1, port: 11112}}
sources: {ct1: {hosts: [127.0.0.1]}}
destinations: {pacs: {ae_title: PACS, host: 127.0.0.1, port: 104}}
"""
SIGN_ON = "issuer: https://id.example.org, client_id: gw, roles: {staff: viewer}"
Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    (tmp_path / "rules").mkdir()

    def load_it(console: str = "{}", **env: str) -> Config:
        path = tmp_path / "gateway.yaml"
        path.write_text(f"{MINIMAL}console: {console}\n")
        return load(path, env)

    return load_it


def complaints(read: Read, console: str, **env: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(console, **env)
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in caught.value.problems]


def test_paths_below_are_relative_to_the_folder_of_the_file(read: Read, tmp_path: Path) -> None:
    assert read("{tls: {certificate: c.pem, key: k.pem}}").console.tls == TlsFiles(
        tmp_path / "c.pem", tmp_path / "k.pem"
    )


def test_an_empty_mapping_below_is_none(read: Read) -> None:
    assert read("{tls: , oidc: ~}").console.tls is None


def test_what_is_missing_or_unknown_below_is_told_where_it_stands(read: Read) -> None:
    assert complaints(read, "{tls: {certificate: c.pem}}") == ["4:11 console.tls: key is missing"]
    found = complaints(read, "{tls: {certificate: c.pem, key: k.pem, kee: x}}")
    assert found == ["4:49 console.tls: unknown key 'kee'; did you mean 'key'?"]
    assert complaints(read, "{tls: c.pem}") == ["4:16 console.tls: must be a mapping, one `key: value` a line"]


def test_each_value_below_can_come_from_the_environment(read: Read, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    console = read(
        f"{{oidc: {{{SIGN_ON}}}}}",
        GATEWAY__CONSOLE__TLS__CERTIFICATE="/c.pem",
        GATEWAY__CONSOLE__TLS__KEY="/k.pem",
        GATEWAY__CONSOLE__OIDC__CLIENT_SECRET_FILE="secret",  # noqa: S106 - a file
        GATEWAY__CONSOLE__OIDC__ROLE_CLAIM="roles",
    ).console
    assert console.tls == TlsFiles(Path("/c.pem"), Path("/k.pem"))
    assert console.oidc is not None
    assert (console.oidc.client_secret, console.oidc.role_claim) == ("hunter2", "roles")
    assert "hunter2" not in repr(console)


def test_a_provider_is_spoken_to_over_tls_but_on_this_machine(read: Read) -> None:
    assert complaints(read, "{oidc: {issuer: 'http://id.example.org', client_id: gw, roles: {}}}") == [
        "4:26 console.oidc.issuer: 'http://id.example.org' is not the address of a provider: https://…, without ? and #"
    ]
    oidc = read("{oidc: {issuer: 'http://127.0.0.1:8000/', client_id: gw, roles: {}}}").console.oidc
    assert oidc is not None and oidc.issuer == "http://127.0.0.1:8000"


def test_a_role_that_there_is_not_is_told(read: Read) -> None:
    (found,) = complaints(read, "{oidc: {issuer: 'https://id', client_id: gw, roles: {staff: view}}}")
    assert "console.oidc.roles.staff: 'view' is not known here; did you mean 'viewer'?" in found


def test_every_field_below_has_a_key_and_every_key_a_field() -> None:
    for section in (TLS, OIDC):
        assert {section.field_of(key) for key in section.keys} == {
            field.name for field in dataclasses.fields(section.model)
        }


def test_the_roles_of_the_configuration_are_those_of_the_console() -> None:
    assert [role.value for role in ConsoleRole] == [role.value for role in Role]
