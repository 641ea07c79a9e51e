"""Single sign-on, against a provider that the test runs: who comes in, as what, and which answers are not believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import PlainTextResponse, RedirectResponse

from gateway.app.host_trail import note_of
from gateway.config import ConsoleRole, Oidc
from gateway.console.access.begun import PENDING_S, Begun
from gateway.console.access.claims import SignOnRefused, person_of_claims
from gateway.console.access.oidc import AWAY_S, KNOWN_S
from gateway.console.access.roles import How, Person, Role
from gateway.console.access.told import AccessEvent
from tests.harness.certificates import CertificateAuthority
from tests.harness.console import Console, console
from tests.harness.oidc import OidcProvider

SECRET = "a secret that both know of each other"  # noqa: S105 - of a test


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with OidcProvider("gateway", SECRET) as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    running.reset()
    running.claims = {"preferred_username": "mia", "groups": ["staff", "admins"]}
    return running


@asynccontextmanager
async def site_of(folder: Path, provider: OidcProvider, **changes: Any) -> AsyncIterator[Console]:
    roles = {"staff": "viewer", "night-shift": "operator"}
    settings = {"issuer": provider.issuer, "client_id": "gateway", "client_secret": SECRET, "roles": roles, **changes}
    async with console(folder, console={"oidc": settings}) as site:
        yield site


async def come(site: Console, provider: OidcProvider, way: str = "/") -> tuple[httpx.AsyncClient, httpx.Response]:
    """A browser goes to the provider and back; what it is answered there."""
    browser = site.client()
    asked = await browser.get("/oidc/login", params={"next": way})
    if asked.status_code != 303:
        return browser, asked
    async with httpx.AsyncClient() as outside:
        let_in = await outside.get(asked.headers["location"])
    back = urlsplit(let_in.headers["location"])
    return browser, await browser.get(f"{back.path}?{back.query}")


def answer_of(folder: Path, provider: OidcProvider, **changes: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        async with site_of(folder, provider, **changes) as site:
            _, answer = await come(site, provider)
            return answer

    return asyncio.run(scenario())


def test_who_has_a_role_comes_in_and_goes_on_to_the_page_that_was_asked_for(
    tmp_path: Path, provider: OidcProvider
) -> None:
    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            browser, answer = await come(site, provider, "/?x=1")
            assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
            assert (await browser.get("/")).status_code == 200
            (access,) = site.told
            assert note_of(access, 0).actor == "oidc:mia", "and not the mia of the users file"
            assert (access.event, access.person, access.role, access.how) == (
                AccessEvent.LOGGED_IN, "mia", Role.VIEWER, How.OIDC,
            )  # fmt: skip
            session = site.door.by_cookie(browser.cookies["gateway-8080"])
            assert session.person is not None and session.person.actor == "oidc:mia"
            assert "gateway-oidc-8080" not in browser.cookies

    asyncio.run(scenario())


def test_the_greatest_of_several_roles_counts(tmp_path: Path, provider: OidcProvider) -> None:
    provider.claims["groups"] = ["night-shift", "staff"]

    async def scenario() -> str:
        async with site_of(tmp_path, provider) as site:
            await come(site, provider)
            return site.told[0].role

    assert asyncio.run(scenario()) == Role.OPERATOR


def test_what_the_id_token_does_not_say_is_asked_for(tmp_path: Path, provider: OidcProvider) -> None:
    provider.claims = {}
    provider.userinfo = {"preferred_username": "mia", "groups": "staff"}
    assert answer_of(tmp_path, provider).status_code == 303
    assert "userinfo" in provider.requests


def test_the_provider_is_sent_a_challenge_and_no_verifier(tmp_path: Path, provider: OidcProvider) -> None:
    async def scenario() -> dict[str, list[str]]:
        async with site_of(tmp_path, provider) as site:
            return parse_qs(urlsplit((await site.client().get("/oidc/login")).headers["location"]).query)

    asked = asyncio.run(scenario())
    assert asked["code_challenge_method"] == ["S256"] and len(asked["code_challenge"][0]) == 43
    assert asked["redirect_uri"] == ["http://127.0.0.1:8080/oidc/callback"]
    assert asked["scope"] == ["openid profile"]
    assert {"state", "nonce"} < set(asked) and "code_verifier" not in asked


def test_who_has_no_role_is_refused_and_told(tmp_path: Path, provider: OidcProvider) -> None:
    provider.claims["groups"] = ["cleaners"]

    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            browser, answer = await come(site, provider)
            assert answer.status_code == 403 and "none of the values that console.oidc.roles names" in answer.text
            assert "gateway-8080" not in browser.cookies
            assert (site.told[0].event, site.told[0].how) == (AccessEvent.LOG_IN_FAILED, How.OIDC)

    asyncio.run(scenario())


def test_who_the_provider_refuses_is_refused(tmp_path: Path, provider: OidcProvider) -> None:
    provider.refuse_with = "access_denied"
    answer = answer_of(tmp_path, provider)
    assert answer.status_code == 403 and "(access_denied)" in answer.text


def other(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {**claims, **changes}


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {key: value for key, value in claims.items() if key != name}


def test_an_id_token_that_is_not_for_this_log_in_is_not_believed(tmp_path: Path, provider: OidcProvider) -> None:
    spoiled = {
        "issuer": other(iss="https://elsewhere.example.org"),
        "audience": other(aud="another-client"),
        "several audiences, and no azp": other(aud=["gateway", "another-client"]),
        "azp": other(azp="another-client"),
        "nonce": other(nonce="an older one"),
        "no nonce": without("nonce"),
        "expired": other(exp=1_000_000_000),
        "from the future": other(iat=4_000_000_000),
        "no exp": without("exp"),
        "no sub": without("sub"),
    }

    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            for what, spoil in spoiled.items():
                provider.spoil = spoil
                _, answer = await come(site, provider)
                assert answer.status_code == 403 and "ID token cannot be believed" in answer.text, what
            provider.spoil = other()
            assert (await come(site, provider))[1].status_code == 303

    asyncio.run(scenario())


def test_a_signature_by_a_key_that_the_provider_does_not_show_is_not_believed(
    tmp_path: Path, provider: OidcProvider
) -> None:
    provider.change_key(told=False)
    assert "cannot be believed" in answer_of(tmp_path, provider).text


def test_a_signature_by_the_clients_secret_is_not_believed(tmp_path: Path, provider: OidcProvider) -> None:
    provider.sign_with_secret()
    assert "cannot be believed" in answer_of(tmp_path, provider).text


def test_a_key_that_is_new_is_asked_for(tmp_path: Path, provider: OidcProvider) -> None:
    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            assert (await come(site, provider))[1].status_code == 303
            provider.change_key()
            assert (await come(site, provider))[1].status_code == 303
            assert provider.requests.count("keys") == 2
            assert provider.requests.count("discovery") == 1

    asyncio.run(scenario())


def test_an_answer_to_a_log_in_of_another_browser_is_refused(tmp_path: Path, provider: OidcProvider) -> None:
    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            asked = await site.client().get("/oidc/login")
            async with httpx.AsyncClient() as outside:
                back = urlsplit((await outside.get(asked.headers["location"])).headers["location"])
            victim = site.client()
            answer = await victim.get(f"{back.path}?{back.query}")
            assert answer.status_code == 403 and "not begun in this browser" in answer.text
            assert "gateway-8080" not in victim.cookies

    asyncio.run(scenario())


def test_a_log_in_that_has_begun_makes_room_for_no_others() -> None:
    begun = Begun()
    pending = begun.begin("http://console/oidc/callback", "/queue", 0)
    cookie = begun.cookie_of(pending)
    for _ in range(2000):
        other = begun.begin("http://console/oidc/callback", "/", 1)
        assert begun.finish(pending.state, begun.cookie_of(other)) is None, "a cookie is good for its own state"
    assert begun.finish(pending.state, cookie) == pending
    assert begun.finish(pending.state, cookie) is None, "once"


def test_a_cookie_of_a_log_in_is_made_by_this_console_alone() -> None:
    begun = Begun()
    pending = begun.begin("http://console/oidc/callback", "/", 0)
    body, _, seal = begun.cookie_of(pending).partition(".")
    foreign = Begun().cookie_of(pending)
    for cookie in ("", ".", "x", f"{body}.", f"{body[:-4]}AAAA.{seal}", f"{body}.{seal}x", f"ä.{seal}", foreign):
        assert begun.finish(pending.state, cookie) is None
    long = begun.begin("http://console/oidc/callback", "/" + "x" * 8000, 0)
    assert long.way == "/" and len(begun.cookie_of(long)) < 2000, "which a browser would not keep"


def test_a_log_in_is_good_once_and_for_a_while(tmp_path: Path, provider: OidcProvider) -> None:
    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            browser = site.client()
            asked = await browser.get("/oidc/login")
            async with httpx.AsyncClient() as outside:
                back = urlsplit((await outside.get(asked.headers["location"])).headers["location"])
            site.clock.pass_(PENDING_S)
            state = browser.cookies["gateway-oidc-8080"]
            assert "took too long" in (await browser.get(f"{back.path}?{back.query}")).text
            browser.cookies.set("gateway-oidc-8080", state)
            assert "not begun in this browser" in (await browser.get(f"{back.path}?{back.query}")).text

    asyncio.run(scenario())


def test_a_provider_that_answers_with_nonsense_lets_nobody_in(tmp_path: Path, provider: OidcProvider) -> None:
    lies: list[tuple[dict[str, Any], str]] = [
        ({"discovery": {"issuer": "https://elsewhere.example.org"}}, "calls itself otherwise"),
        ({"discovery": {"token_endpoint": 7}}, "does not say its token_endpoint"),
        ({"discovery": PlainTextResponse("no JSON")}, "no JSON object"),
        ({"discovery": PlainTextResponse("x", status_code=500)}, "status 500"),
        ({"discovery": RedirectResponse("http://169.254.169.254/")}, "status 307"),
        ({"discovery": PlainTextResponse("x" * (2 << 20))}, "too long"),
        ({"token": {"id_token": None}}, "no ID token"),
        ({"keys": {"keys": "none"}}, "cannot be believed"),
    ]

    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            for lie, said in lies:
                provider.lie = lie
                site.clock.pass_(KNOWN_S)  # it is asked for everything anew
                _, answer = await come(site, provider)
                assert answer.status_code == 403 and said in answer.text, said

    asyncio.run(scenario())


def test_a_provider_that_is_not_there_is_told_and_not_asked_by_each_who_comes(
    tmp_path: Path, provider: OidcProvider
) -> None:
    async def scenario() -> None:
        async with site_of(tmp_path, provider) as site:
            nobody = site.client()
            provider.lie = {"discovery": PlainTextResponse("x", status_code=503)}
            assert "status 503" in (await nobody.get("/oidc/login")).text
            for _ in range(5):
                assert "did not answer a moment ago" in (await nobody.get("/oidc/login")).text
            assert provider.requests == ["discovery"]
            provider.lie = {}
            site.clock.pass_(AWAY_S)
            assert (await nobody.get("/oidc/login")).status_code == 303
        silent = OidcProvider("gateway", SECRET)
        async with site_of(tmp_path / "other", silent) as site:
            assert "does not answer (ConnectError)" in (await site.client().get("/oidc/login")).text

    asyncio.run(scenario())


def test_over_tls_only_a_provider_is_believed_whose_authority_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    with OidcProvider("gateway", SECRET, authority.issue("provider")) as provider:
        provider.claims = {"preferred_username": "mia", "groups": ["staff"]}

        async def scenario(folder: Path) -> httpx.Response:
            async with site_of(folder, provider) as site:
                return await site.client().get("/oidc/login")

        unknown = asyncio.run(scenario(tmp_path / "one"))
        assert unknown.status_code == 403 and "does not answer (ConnectError)" in unknown.text
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        known = asyncio.run(scenario(tmp_path / "two"))
        assert known.headers["location"].startswith(f"{provider.issuer}/authorize?")
        provider.lie = {"discovery": {"token_endpoint": "http://127.0.0.1/token"}}

        async def back() -> httpx.Response:
            async with site_of(tmp_path / "three", provider) as site:
                browser = site.client()
                asked = await browser.get("/oidc/login")
                state = parse_qs(urlsplit(asked.headers["location"]).query)["state"][0]
                return await browser.get("/oidc/callback", params={"state": state, "code": "x"})

        assert "names an address without TLS" in asyncio.run(back()).text


def test_without_a_provider_there_is_no_way_to_one(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, str]:
        async with console(tmp_path) as site:
            return (await site.client().get("/oidc/login")).status_code, (await site.client().get("/login")).text

    status, page = asyncio.run(scenario())
    assert status == 404 and "/oidc/login" not in page


SETTINGS = Oidc("https://id", "gw", {"staff": ConsoleRole.VIEWER})


def test_a_claim_may_be_inside_another() -> None:
    settings = Oidc("https://id", "gw", {"staff": ConsoleRole.VIEWER}, role_claim="realm_access.roles")
    claims = {"preferred_username": "mia", "realm_access": {"roles": ["staff"]}}
    assert person_of_claims(settings, claims) == Person("mia", Role.VIEWER, How.OIDC)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65, 7, None, ["mia"]])
def test_a_name_that_cannot_stand_in_a_trail_is_refused(name: object) -> None:
    with pytest.raises(SignOnRefused, match="no name that can be used in the claim preferred_username"):
        person_of_claims(SETTINGS, {"preferred_username": name, "groups": ["staff"]})
