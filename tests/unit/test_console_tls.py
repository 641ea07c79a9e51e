"""The console's certificate: what is served with it, a renewal while it runs, and files that cannot be used."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.console.app import serving
from gateway.console.tls import Certificate, certified
from gateway.errors import ConfigurationError
from tests.harness.certificates import CertificateAuthority


async def scheme(request: Request) -> Response:
    return PlainTextResponse(request.url.scheme)


APP = Starlette(routes=[Route("/", scheme)])


def shown(port: int, authority: Path) -> tuple[str, int]:
    """The serial number of the certificate that is served, and the TLS version: what a new client sees."""
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"]), int(str(wrapped.version()).partition(".")[2])


def take_over(folder: Path, made: Path, key: Path) -> None:
    shutil.copy(made, folder / "live.pem")
    shutil.copy(key, folder / "live.key")


def test_who_connects_and_does_not_shake_hands_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.app.HANDSHAKE_TIMEOUT_S", 0.2)
    issued = CertificateAuthority(tmp_path / "ca").issue("first")
    certificate = Certificate(issued.certificate, issued.key)

    async def scenario() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        async with serving(APP, listener, certificate.context), asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(scenario()) == b""


def test_a_renewed_certificate_is_served_and_connections_that_stand_go_on(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    first, second = authority.issue("first"), authority.issue("second")
    take_over(tmp_path, first.certificate, first.key)
    certificate = Certificate(tmp_path / "live.pem", tmp_path / "live.key")

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        trusted = ssl.create_default_context(cafile=str(authority.path))
        async with (
            serving(APP, listener, certificate.context),
            httpx.AsyncClient(verify=trusted, base_url=f"https://127.0.0.1:{port}") as standing,
        ):
            assert (await standing.get("/")).text == "https"
            before, version = await asyncio.to_thread(shown, port, authority.path)
            assert version == 3
            take_over(tmp_path, second.certificate, second.key)
            certificate.look()
            assert (await standing.get("/")).text == "https"
            after, _ = await asyncio.to_thread(shown, port, authority.path)
            assert after != before
            # Half of another one: what was read before is served on.
            shutil.copy(first.key, tmp_path / "live.key")
            certificate.look()
            assert (await asyncio.to_thread(shown, port, authority.path))[0] == after

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_and_plain_http_are_not_spoken(tmp_path: Path) -> None:
    made = CertificateAuthority(tmp_path).issue("console")
    certificate = Certificate(made.certificate, made.key)

    def old(port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, pytest.raises(ssl.SSLError):
            context.wrap_socket(plain)

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with serving(APP, listener, certificate.context), httpx.AsyncClient() as http:
            await asyncio.to_thread(old, port)
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{port}/")

    asyncio.run(scenario())


def test_a_console_that_starts_with_files_that_cannot_be_used_serves_when_they_can(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    made = authority.issue("console")
    certificate = Certificate(tmp_path / "live.pem", tmp_path / "live.key")

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with serving(APP, listener, certificate.context):
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(shown, port, authority.path)
            take_over(tmp_path, made.certificate, made.key)
            certificate.look()
            await asyncio.to_thread(shown, port, authority.path)

    asyncio.run(scenario())


def test_files_that_can_be_opened_and_not_read_end_no_console(tmp_path: Path) -> None:
    made = CertificateAuthority(tmp_path).issue("console")
    unreadable = Path("/proc/self/mem")
    for certificate, key in ((unreadable, made.key), (made.certificate, unreadable)):
        with pytest.raises(ConfigurationError, match=r"cannot be read: Input/output error"):
            certified(certificate, key)


def test_files_that_cannot_be_used_are_told_by_name_and_reason(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    for certificate, key, said in (
        (tmp_path / "none.pem", one.key, "none.pem:0:0: cannot be read: No such file or directory"),
        (one.certificate, tmp_path / "none.key", "none.key:0:0: cannot be read: No such file or directory"),
        (one.certificate, other.key, f"one.pem:0:0: does not belong to the key {other.key}"),
        (no_pem, one.key, "no.pem:0:0: or the key"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            certified(certificate, key)
        assert said in str(caught.value)
