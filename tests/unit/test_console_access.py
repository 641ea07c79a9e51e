"""The door of the console, as browsers and scripts find it: in and out, cookies, other sites and hosts, many tries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from gateway.app.host_trail import note_of
from gateway.console.access.roles import Right, Role
from gateway.console.access.setup import GOOD_FOR_S
from gateway.console.access.throttle import ADDRESS_REFILL_S, ADDRESS_TRIES
from gateway.console.access.told import QUIET_S, AccessEvent
from gateway.console.access.userfile import User
from gateway.console.access.users import with_password, with_role, with_user, without_user
from tests.harness.console import HASHER, PASSWORD, Console, console, form_token

Scenario = Callable[[Console], Awaitable[None]]


def run(folder: Path, scenario: Scenario, **options: Any) -> None:
    async def whole() -> None:
        async with console(folder, **options) as site:
            await scenario(site)

    asyncio.run(whole())


async def log_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return await client.post("/login", data={"name": name, "password": password, **fields})


def events(site: Console) -> list[AccessEvent]:
    return [access.event for access in site.told]


# ── in and out ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_person_logs_in_goes_on_to_the_page_that_was_asked_for_and_out_again(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = site.client()
        asked = await mia.get("/queue?x=%3C")
        assert asked.headers["location"] == "/login?next=%2Fqueue%3Fx%3D%253C"
        page = await mia.get(asked.headers["location"])
        assert 'value="/queue?x=%3C"' in page.text
        came = await log_in(mia, "operator", next="/queue?x=%3C")
        assert (came.status_code, came.headers["location"]) == (303, "/queue?x=%3C")
        assert (await mia.get("/queue")).status_code == 200
        kept = mia.cookies["gateway-8080"]
        token = form_token((await mia.get("/")).text)
        out = await mia.post("/logout", data={"csrf_token": token})
        assert (out.status_code, out.headers["location"]) == (303, "/login")
        assert "gateway-8080" not in mia.cookies
        mia.cookies.set("gateway-8080", kept)
        assert (await mia.get("/queue")).status_code == 303, "the cookie is worth nothing any more"
        assert events(site) == [AccessEvent.LOGGED_IN, AccessEvent.LOGGED_OUT]
        assert (site.told[0].person, site.told[0].role, site.told[0].address) == ("operator", "operator", "127.0.0.1")

    run(tmp_path, scenario)


def test_a_cookie_goes_to_nobody_else_and_no_script_sees_it(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        plain = (await log_in(site.client(), "viewer")).headers["set-cookie"]
        assert plain.startswith("gateway-8080=") and plain.endswith("; HttpOnly; Path=/; SameSite=lax")
        over_tls = (await log_in(site.client(scheme="https"), "viewer")).headers["set-cookie"]
        assert over_tls.startswith("__Host-gateway-8080=")
        assert over_tls.endswith("; HttpOnly; Path=/; SameSite=lax; Secure")
        assert "expires" not in plain.lower() and "domain" not in over_tls.lower()

    run(tmp_path, scenario)


def test_consoles_on_other_ports_of_a_host_have_cookies_of_their_own(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        names = []
        for host in ("gw.example.org:8080", "gw.example.org:8081", "gw.example.org"):
            came = await log_in(site.client({"host": host}), "viewer")
            names.append(came.headers["set-cookie"].partition("=")[0])
        assert names == ["gateway-8080", "gateway-8081", "gateway"]
        for host in ("127.0.0.1:99999", "whatever:port", ":"):
            assert (await site.client({"host": host}).get("/livez")).status_code == 200

    run(tmp_path, scenario, console={"host_names": ["gw.example.org"]})


def test_a_new_log_in_is_a_new_session_and_ends_the_old_one(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("viewer")
        first = mia.cookies["gateway-8080"]
        assert (await log_in(mia, "operator")).status_code == 303
        assert mia.cookies["gateway-8080"] != first
        assert site.door.by_cookie(first).person is None

    run(tmp_path, scenario)


def test_nobody_is_sent_to_another_site_after_the_log_in(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        for way in ("//evil.example.org", "/\\evil", "https://evil.example.org", "javascript:x", "/a\nb", "\t//evil"):
            came = await log_in(site.client(), "viewer", next=way)
            assert (came.status_code, came.headers["location"]) == (303, "/"), way
            assert f'value="{way}"' not in (await site.client().get("/login", params={"next": way})).text

    run(tmp_path, scenario)


def test_a_wrong_password_and_a_name_that_there_is_not_look_alike(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        site.door.file.change(lambda users: with_user(users, User("robot", Role.VIEWER)))  # who has no password
        answers = []
        for name, password in (("viewer", "wrong horse battery"), ("nobody", PASSWORD), ("robot", ""), ("x" * 64, "")):
            before = site.passwords.checks
            answer = await log_in(site.client(), name, password)
            assert site.passwords.checks == before + 1, "a hash was computed, so that it takes as long"
            answers.append((answer.status_code, answer.text.replace(f'value="{name}"', "")))
        assert len(set(answers)) == 1 and answers[0][0] == 401
        assert "Name and password do not belong together." in answers[0][1]
        assert events(site).count(AccessEvent.LOG_IN_FAILED) == 4

    run(tmp_path, scenario)


def test_a_password_that_was_typed_is_not_in_the_answer(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        answer = await log_in(site.client(), '"><script>x', "canary-password-1")
        assert "canary-password-1" not in answer.text and "<script>x" not in answer.text

    run(tmp_path, scenario)


# ── how long ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_typed_as_a_name_is_told_of_users_alone(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        client = site.client()
        for _ in range(ADDRESS_TRIES):
            await log_in(client, "my-secret-password", "x")
        await log_in(client, "my-secret-password", "x")
        await log_in(site.client(address="192.0.2.1"), "viewer", "x")
        await client.post("/setup", data={"token": "x", "name": "my-secret-password", "password": "x"})
        assert {access.person for access in site.told} == {"", "viewer"}
        assert set(events(site)) == {
            AccessEvent.LOG_IN_FAILED,
            AccessEvent.LOG_IN_THROTTLED,
            AccessEvent.SET_UP_FAILED,
        }

    run(tmp_path, scenario)


def test_a_session_ends_by_time(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("viewer")
        for _ in range(5):
            site.clock.pass_(59)
            assert (await mia.get("/queue")).status_code == 200
        site.clock.pass_(60)
        assert (await mia.get("/queue")).status_code == 303
        eva = await site.as_("viewer")
        for _ in range(10):
            site.clock.pass_(59)
            last = await eva.get("/queue")
        assert last.status_code == 303, "after ten minutes, whatever came between"

    run(tmp_path, scenario, console={"session_idle": "1 min", "session": "9 min"})


def test_a_page_that_is_left_open_and_listens_again_and_again_goes_idle(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        site.context.stopping.set()  # each stream ends at once
        mia = await site.as_("viewer")
        site.clock.pass_(40)
        assert (await mia.get("/api/v1/events")).status_code == 200
        site.clock.pass_(20)
        assert (await mia.get("/api/v1/events")).status_code == 401

    run(tmp_path, scenario, console={"session_idle": "1 min", "session": "9 min"})


def test_whoever_gets_another_password_or_role_or_is_removed_is_out_with_the_next_request(tmp_path: Path) -> None:
    changes: list[Callable[[Any], Any]] = [
        lambda users: with_password(users, "viewer", HASHER.hash("another green bicycle")),
        lambda users: with_role(users, "operator", Role.OBSERVER),
        lambda users: without_user(users, "administrator"),
    ]

    async def scenario(site: Console) -> None:
        people = {role: await site.as_(role) for role in ("viewer", "operator", "administrator", "observer")}
        for change in changes:
            site.door.file.change(change)
        for role, client in people.items():
            assert (await client.get("/queue")).status_code == (200 if role == "observer" else 303), role
        told = [access.reason for access in site.told if access.event is AccessEvent.USERS_CHANGED]
        assert told == ["removed administrator; changed operator, viewer"]

    run(tmp_path, scenario)


def test_a_change_by_hand_that_is_broken_puts_nobody_out(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("viewer")
        site.door.file.path.write_text("users: [")
        assert (await mia.get("/queue")).status_code == 200

    run(tmp_path, scenario)


def test_a_person_changes_her_password_and_her_other_sessions_end(tmp_path: Path) -> None:
    new = {"new": "another green bicycle", "again": "another green bicycle"}

    async def scenario(site: Console) -> None:
        here, elsewhere = await site.as_("viewer"), await site.as_("viewer")
        site.token("viewer", "backup")
        page = (await here.get("/account")).text
        assert "New password, again" in page and "backup" in page
        for wrong, said in (
            ({"old": "not this one"}, "The old password is another one."),
            ({"old": PASSWORD, "new": "short", "again": "short"}, "A password has 12 to 1024 characters"),
            ({"old": PASSWORD, "again": "another red bicycle"}, "The two new passwords are not the same."),
        ):
            answer = await here.post("/account", data=new | wrong)
            assert answer.status_code == 422 and said in answer.text
            assert not any(word in answer.text for word in (*new.values(), PASSWORD))
        assert (await here.post("/account", data=new | {"old": PASSWORD})).status_code == 303
        assert "Your password is changed" in (await here.get("/account")).text, "with a new session"
        assert (await elsewhere.get("/account")).status_code == 303
        assert (await log_in(site.client(), "viewer")).status_code == 401
        assert (await log_in(site.client(), "viewer", new["new"])).status_code == 303

    run(tmp_path, scenario)


def test_the_old_password_cannot_be_guessed_at_a_console_that_was_left_open(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("viewer", address="192.0.2.1")
        guess = {"old": "a wrong guess 123", "new": "another green bicycle", "again": "another green bicycle"}
        answers = [(await mia.post("/account", data=guess)).status_code for _ in range(ADDRESS_TRIES + 1)]
        assert answers == [422] * ADDRESS_TRIES + [429]

    run(tmp_path, scenario)


def test_a_token_changes_no_password(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        script = site.with_token("viewer")
        sent = {"old": PASSWORD, "new": "another green bicycle", "again": "another green bicycle"}
        assert (await script.post("/account", data=sent)).status_code == 403
        assert (await log_in(site.client(), "viewer")).status_code == 303

    run(tmp_path, scenario)


# ── by a token ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_script_shows_a_token_and_needs_no_cookie(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        script = site.with_token("viewer")
        assert (await script.get("/api/v1/openapi.json")).status_code == 200
        site.clock.pass_(86_400)
        late = await script.get("/api/v1/openapi.json")
        assert late.status_code == 401 and late.headers["www-authenticate"].startswith("Bearer")
        told = site.told[-1]
        assert (told.event, told.person, told.reason) == ("token_refused", "viewer", "the token t0 has expired")

    run(tmp_path, scenario)


def test_a_token_that_is_nobodys_gets_nothing_even_beside_a_cookie(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("administrator")
        for shown in ("Bearer gwt_000000000000_" + "a" * 43, "Bearer ", "bearer", "BEARER x"):
            answer = await mia.get("/api/v1/openapi.json", headers={"authorization": shown})
            assert answer.status_code == 401, shown
        of_a_proxy = {"authorization": "Basic bWlhOm1pYQ=="}
        assert (await mia.get("/api/v1/openapi.json", headers=of_a_proxy)).status_code == 200
        assert (await site.client(of_a_proxy).get("/api/v1/openapi.json")).status_code == 401
        assert events(site).count(AccessEvent.TOKEN_REFUSED) == 1, "told once a minute for each address"
        site.clock.pass_(QUIET_S)
        await mia.get("/api/v1/openapi.json", headers={"authorization": "Bearer x"})
        assert events(site).count(AccessEvent.TOKEN_REFUSED) == 2

    run(tmp_path, scenario)


# ── other sites, other hosts ──────────────────────────────────────────────────────────────────────────────────────


def test_what_another_site_sends_is_refused_also_with_the_right_token(tmp_path: Path) -> None:
    sent = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example.org"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": ""},
    ]

    async def scenario(site: Console) -> None:
        mia = await site.as_("operator")
        for headers in sent:
            answer = await mia.post("/logout", headers=headers)
            assert answer.status_code == 403 and "another site" in answer.text, headers
            assert (await log_in(site.client(headers), "operator")).status_code == 403, "nor does it log anybody in"
            assert site.told[-1].event is AccessEvent.CROSS_SITE
        assert (await mia.get("/queue")).status_code == 200, "she was not logged out"

    run(tmp_path, scenario)


def test_what_our_own_pages_send_is_taken(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        ours = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8080"}
        mia = site.client(ours)
        assert (await log_in(mia, "operator")).status_code == 303
        assert (await mia.post("/logout", data={"csrf_token": site.csrf_of(mia)})).status_code == 303

    run(tmp_path, scenario)


def test_a_session_changes_nothing_without_its_csrf_token(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia, eva = await site.as_("operator"), await site.as_("operator")
        del mia.headers["x-csrf-token"]
        for shown in ({}, {"x-csrf-token": ""}, {"x-csrf-token": site.csrf_of(eva)}):
            for path in ("/logout", "/login", "/api/v1/orders"):
                answer = await mia.post(path, headers=shown, json={})
                assert answer.status_code == 403, (path, shown)
        wrong = await mia.post("/logout", data={"csrf_token": site.csrf_of(eva)})
        assert wrong.status_code == 403 and "too old: load it again" in wrong.text
        in_a_file_field = await mia.post("/logout", files={"csrf_token": site.csrf_of(mia).encode()})
        assert in_a_file_field.status_code == 403
        assert (await mia.post("/logout", data={"csrf_token": site.csrf_of(mia)})).status_code == 303

    run(tmp_path, scenario)


def test_a_form_with_a_file_carries_the_token_too(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("operator")
        token = mia.headers.pop("x-csrf-token")
        sent = {"csrf_token": token}
        assert (await mia.post("/logout", data=sent, files={"file": b"\0" * 10_000})).status_code == 303

    run(tmp_path, scenario)


def test_other_names_than_ours_are_refused_so_that_no_page_can_turn_its_own_to_our_address(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        nobody = site.client()
        for host, status in (
            ("evil.example.org", 421),
            ("evil.example.org:8080", 421),
            ("127.0.0.1.evil.example.org", 421),
            ("localhost.evil.example.org", 421),
            ("127.0.0.1@evil.example.org", 421),
            ("127.0.0.1/evil", 421),
            ("[::1", 421),
            ("[localhost]", 421),
            ("localhost:80:80", 421),
            ("", 421),
            ("localhost:8080", 200),
            ("127.0.0.1", 200),
            ("10.1.2.3:8080", 200),
            ("[::1]:8080", 200),
            ("Console.Example.ORG:8080", 200),
            ("console.example.org.", 200),
        ):
            assert (await nobody.get("/login", headers={"host": host})).status_code == status, host
        for path in ("/livez", "/version"):
            assert (await nobody.get(path, headers={"host": "whatever.the.probe.says"})).status_code == 200
        assert [(access.event, access.reason) for access in site.told] == [(AccessEvent.CROSS_SITE, "host")]

    run(tmp_path, scenario, console={"host_names": ["console.example.org"]})


def test_a_proxy_is_believed_and_nobody_else(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        said = {"x-forwarded-for": "203.0.113.9, 192.0.2.77, 10.0.0.2", "x-forwarded-proto": "https"}
        by_proxy = await log_in(site.client(said, address="10.0.0.1"), "viewer")
        assert "Secure" in by_proxy.headers["set-cookie"]
        by_liar = await log_in(site.client(said, address="198.51.100.1"), "viewer")
        assert "Secure" not in by_liar.headers["set-cookie"]
        assert [access.address for access in site.told] == ["192.0.2.77", "198.51.100.1"]

    run(tmp_path, scenario, console={"proxies": ["10.0.0.0/24"]})


def test_a_port_that_a_proxy_writes_makes_no_other_address(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        said = ["192.0.2.7:51234", "192.0.2.7:51235", "[2001:db8::7]:51234", "2001:db8::7", "unknown", "_x7:80"]
        for each in said:
            await log_in(site.client({"x-forwarded-for": each}, address="10.0.0.1"), "viewer")
        found = ["192.0.2.7", "192.0.2.7", "2001:db8::7", "2001:db8::7", "10.0.0.1", "10.0.0.1"]
        assert [access.address for access in site.told] == found

    run(tmp_path, scenario, console={"proxies": ["10.0.0.0/24"]})


# ── too many tries ────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_guesses_has_to_wait_and_others_do_not(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        guesser = site.client(address="198.51.100.7")
        for _ in range(ADDRESS_TRIES):
            assert (await log_in(guesser, "administrator", "a wrong guess 123")).status_code == 401
        checks = site.passwords.checks
        stopped = await log_in(guesser, "administrator")
        assert (stopped.status_code, stopped.headers["retry-after"]) == (429, "30")
        assert "Too many tries. Try again in 30 s." in stopped.text
        assert site.passwords.checks == checks, "no password is looked at, right or wrong"
        assert (await log_in(site.client(address="192.0.2.1"), "administrator")).status_code == 303
        site.clock.pass_(ADDRESS_REFILL_S)
        assert (await log_in(guesser, "administrator")).status_code == 303
        assert AccessEvent.LOG_IN_THROTTLED in events(site)

    run(tmp_path, scenario)


def test_an_administrator_is_not_locked_out_by_those_who_guess_his_name(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        assert (await log_in(site.client(address="192.0.2.1"), "administrator")).status_code == 303
        for number in range(4):
            guesser = site.client(address=f"198.51.100.{number}")
            for _ in range(ADDRESS_TRIES):
                await log_in(guesser, "administrator", "a wrong guess 123")
        assert (await log_in(site.client(address="203.0.113.5"), "administrator")).status_code == 429
        for address in ("192.0.2.1", "127.0.0.1"):
            assert (await log_in(site.client(address=address), "administrator")).status_code == 303, address

    run(tmp_path, scenario)


def test_so_many_log_ins_at_once_that_one_would_wait_too_long_are_told_to_come_again(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        clients = [site.client(address=f"192.0.2.{number}") for number in range(30)]
        answers = await asyncio.gather(*(log_in(client, "viewer") for client in clients))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {303, 429}
        assert (await log_in(clients[statuses.index(429)], "viewer")).status_code == 303

    run(tmp_path, scenario)


def test_what_anybody_can_cause_without_end_fills_neither_log_nor_trail(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        nobody, mia = site.client(), await site.as_("observer")
        site.told.clear()
        for _ in range(50):
            await nobody.get("/", headers={"host": "evil.example.org"})
            await nobody.get("/api/v1/openapi.json", headers={"authorization": "Bearer x"})
            await nobody.post("/setup", data={"token": "x", "name": "x", "password": "x"})
            await mia.get("/studies")
        assert sorted(events(site)) == ["cross_site", "forbidden", "set_up_failed", "token_refused"]

    run(tmp_path, scenario)


def test_one_persons_refusals_hide_no_others_and_one_network_is_one(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia, eva = await site.as_("observer"), await site.as_("viewer")
        site.told.clear()
        for _ in range(3):
            await mia.get("/studies")
            await eva.post("/api/v1/orders", json={})
        assert [(access.event, note_of(access, 0).actor) for access in site.told] == [
            (AccessEvent.FORBIDDEN, "console:observer"),
            (AccessEvent.FORBIDDEN, "console:viewer"),
        ]
        site.told.clear()
        await site.with_token("observer", "nightly").get("/studies")
        assert note_of(site.told.pop(), 0).actor == "api:observer/nightly"
        site.told.clear()
        for number in range(1, 9):
            nobody = site.client(address=f"2001:db8::{number:x}")
            await nobody.get("/api/v1/openapi.json", headers={"authorization": "Bearer x"})
        assert events(site) == [AccessEvent.TOKEN_REFUSED]

    run(tmp_path, scenario)


# ── the first administrator ───────────────────────────────────────────────────────────────────────────────────────


def test_who_reads_the_log_makes_the_first_administrator_once(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = site.client()
        assert (await mia.get("/setup")).headers["location"] == "/login", "there is no token yet"
        token = site.door.setup.begin()
        assert 'href="/setup"' in (await mia.get("/login")).text
        assert "Set-up token" in (await mia.get("/setup")).text
        form = {"token": token, "name": "mia", "password": PASSWORD}
        for wrong, said in (
            ({"token": "guess"}, "not the set-up token"),
            ({"token": ""}, "not the set-up token"),
            ({"password": "short"}, "A password has 12 to 1024 characters"),
            ({"name": "Mia Müller"}, "must be at most 63 small letters"),
        ):
            answer = await mia.post("/setup", data=form | wrong)
            assert answer.status_code == 422 and said in answer.text
        assert site.door.file.read() == {}
        came = await mia.post("/setup", data=form)
        assert (came.status_code, came.headers["location"]) == (303, "/")
        assert (await mia.get("/queue")).status_code == 200
        assert site.door.file.read()["mia"].role is Role.ADMINISTRATOR
        again = await site.client().post("/setup", data=form | {"name": "mallory"})
        assert again.status_code == 422 and set(site.door.file.read()) == {"mia"}
        assert events(site).count(AccessEvent.SET_UP) == 1

    run(tmp_path, scenario, users=False)


def test_a_set_up_that_cannot_write_the_users_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("a file")

    async def scenario(site: Console) -> None:
        form = {"token": site.door.setup.begin(), "name": "mia", "password": PASSWORD}
        answer = await site.client().post("/setup", data=form)
        assert answer.status_code == 422 and "users.yaml: cannot be written" in answer.text
        assert site.door.setup.is_open

    run(tmp_path, scenario, users=False, console={"users": str(tmp_path / "no-folder" / "users.yaml")})


def test_the_set_up_token_expires_and_is_worth_nothing_where_there_are_users(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        token = site.door.setup.begin()
        site.clock.pass_(GOOD_FOR_S)
        form = {"token": token, "name": "mia", "password": PASSWORD}
        assert (await site.client().post("/setup", data=form)).status_code == 422
        fresh = form | {"token": site.door.setup.begin()}
        site.door.file.change(lambda users: with_user(users, User("eva", Role.ADMINISTRATOR, HASHER.hash(PASSWORD))))
        assert (await site.client().post("/setup", data=fresh)).status_code == 422
        assert set(site.door.file.read()) == {"eva"}

    run(tmp_path, scenario, users=False)


# ── every answer ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_answer_has_the_headers_that_keep_a_browser_safe(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        mia = await site.as_("administrator")
        nobody = site.client()
        answers = [
            await mia.get("/"),
            await mia.get("/queue"),
            await mia.get("/nothing-here"),
            await mia.get("/api/v1/openapi.json"),
            await mia.get("/api/v1/nothing-here"),
            await mia.request("TRACE", "/"),
            await mia.request("PUT", "/login"),
            await nobody.get("/livez"),
            await nobody.get("/login"),
            await nobody.get("/"),
            await nobody.post("/login", content=b"x" * 20_000, headers={"content-type": "text/plain"}),
            await nobody.get("/login", headers={"host": "evil.example.org"}),
            await nobody.get("/static/console.css"),
            await nobody.get("/static/nothing-here"),
        ]
        for answer in answers:
            csp = answer.headers["content-security-policy"]
            assert csp.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
            assert "unsafe" not in csp and "*" not in csp and "http" not in csp
            assert "frame-ancestors 'none'" in csp and "base-uri 'none'" in csp and "form-action 'self'" in csp
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert "server" not in answer.headers
            if "/static/" not in str(answer.url):
                assert answer.headers["cache-control"] == "no-store", answer.url
        assert [answer.status_code for answer in answers[5:7]] == [405, 405]
        kept = await nobody.get("/static/console.css?0123")
        assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        missing = await site.client().get("/static/none.css?1")
        assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-cache"), "an error is not kept"
        assert answers[-2].headers["cache-control"] == "no-cache" and "etag" in answers[-2].headers

    run(tmp_path, scenario)


def test_over_tls_a_browser_is_told_to_stay_with_it(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        over_tls, plain = site.client(scheme="https"), site.client()
        for path in ("/login", "/api/v1/studies", "/static/console.css"):
            assert (await over_tls.get(path)).headers["strict-transport-security"] == "max-age=31536000"
            assert "strict-transport-security" not in (await plain.get(path)).headers

    run(tmp_path, scenario)


def test_a_body_that_is_too_large_is_refused_before_it_is_read_to_its_end(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        nobody = site.client()
        read = 0

        async def endless() -> Any:
            nonlocal read
            while True:
                read += 4096
                yield b"x" * 4096

        answer = await nobody.post(
            "/login", content=endless(), headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == 413 and read < 100_000
        mia = await site.as_("operator")
        told = await mia.post("/api/v1/orders", content=b"{}", headers={"content-length": "99999999"})
        assert told.status_code == 413

    run(tmp_path, scenario)


def test_a_form_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
            answer = await site.client().post("/login", content=b"--y\r\nnonsense", headers={"content-type": kind})
            assert answer.status_code in (400, 401), kind

    run(tmp_path, scenario)


# ── every route ───────────────────────────────────────────────────────────────────────────────────────────────────

PUBLIC = {"/help", "/livez", "/readyz", "/version", "/login", "/logout", "/setup", "/static/{path:path}"}


def filled(path: str) -> str:
    """A path with something in the place of its parameters."""
    parts = [("1" if part.startswith("{") else part) for part in path.split("/")]
    return "/".join(parts)


def test_every_route_is_refused_to_nobody_and_to_every_role_that_may_not(tmp_path: Path) -> None:
    async def scenario(site: Console) -> None:
        scripts = {role: site.with_token(role.value) for role in Role}
        people = {role: await site.as_(role.value) for role in Role}
        nobody = site.client()
        asked = 0
        for route in site.routes:
            if route.asks.right is None:
                assert route.path in PUBLIC, f"{route.path} is for anybody: should it be?"
                continue
            for method in route.methods:
                path = filled(route.path)
                is_api = path.startswith("/api/")
                answer = await nobody.request(method, path)
                assert answer.status_code == (401 if is_api else 303), (method, path)
                if is_api:
                    assert answer.headers["content-type"] == "application/problem+json", path
                    assert answer.headers["www-authenticate"] == 'Bearer realm="gateway"', path
                assert is_api or answer.headers["location"].startswith("/login"), (method, path)
                lacking = [role for role in Role if route.asks.right not in role.rights]
                for role in lacking:
                    assert (await scripts[role].request(method, path)).status_code == 403, (method, path, role)
                for role in lacking[-1:]:  # the greatest that may not, also by a session
                    assert (await people[role].request(method, path)).status_code == 403, (method, path, role)
                asked += 1
        assert asked > 10

    run(tmp_path, scenario)


def test_no_route_that_changes_something_asks_for_less_than_the_right_to_operate(tmp_path: Path) -> None:
    harmless = {"/login", "/logout", "/setup", "/account", "/studies", "/rules/try", "/api/v1/rules/explain"}
    harmless |= {
        "/audit/trail",
        "/api/v1/studies/search",
    }  # searches with a body, as names and Patient IDs are for no address
    harmless |= {"/instances/{id}/download", "/studies/{key}/download"}  # which say why, for the trail

    async def scenario(site: Console) -> None:
        for route in site.routes:
            if set(route.methods) - {"GET", "HEAD"} and route.path not in harmless:
                assert route.asks.right in (Right.OPERATE, Right.ADMINISTER), f"{route.methods} {route.path}"

    run(tmp_path, scenario)
