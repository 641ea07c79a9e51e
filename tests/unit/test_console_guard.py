"""A route says what it asks for, or the console's application is not built; who has not got it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from gateway.console.access import body, guard
from gateway.console.access.asks import Asks, UndeclaredRoute, needs, public
from gateway.console.access.guard import api_router, guarded
from gateway.console.access.roles import How, Person, Right, Role


@needs(Right.PATIENTS)
async def page(_request: Request) -> Response:
    return PlainTextResponse("a study")


@public
async def anybody(_request: Request) -> Response:
    return PlainTextResponse("alive")


async def silent(_request: Request) -> Response:
    return PlainTextResponse("says nothing")


class _As:
    """Around an application: everybody who asks is this person."""

    def __init__(self, app: Starlette, person: Person | None) -> None:
        self._app, self._person = app, person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = {"person": self._person, "session": None, "address": "192.0.2.1", "tell": lambda access: None}
        await self._app({**scope, "state": state}, receive, send)


def api() -> FastAPI:
    router = api_router()

    @router.post("/orders")
    @needs(Right.OPERATE)
    async def orders() -> dict[str, int]:
        return {"touched": 0}

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router, prefix="/deep")
    return app


def ask(routes: Sequence[BaseRoute], role: Role | None, method: str, path: str, **headers: str) -> httpx.Response:
    guarded(routes)
    person = Person("mia", role, How.SESSION) if role else None

    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(app=_As(Starlette(routes=list(routes)), person))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as http:
            return await http.request(method, path, headers=headers)

    return asyncio.run(scenario())


def routes() -> list[BaseRoute]:
    return [Route("/study", page), Route("/livez", anybody), Mount("/api/v1", api())]


def test_each_role_has_the_rights_of_the_one_before_and_one_more() -> None:
    assert [len(role.rights) for role in Role] == [1, 2, 3, 4]
    assert Role.OBSERVER.rights == {Right.STATE}
    assert Role.ADMINISTRATOR.rights == set(Right)
    assert Role.VIEWER.within(Role.OPERATOR) and not Role.OPERATOR.within(Role.VIEWER)


def test_an_actor_says_by_what_he_was_known() -> None:
    assert Person("mia", Role.VIEWER, How.SESSION).actor == "console:mia"
    assert Person("mia", Role.VIEWER, How.OIDC).actor == "oidc:mia"
    assert Person("mia", Role.VIEWER, How.TOKEN, "scripts").actor == "api:mia/scripts"


def test_the_walk_finds_pages_and_routes_of_the_api() -> None:
    found = {(route.path, route.methods): route.asks for route in guarded(routes())}
    assert found == {
        ("/study", ("GET", "HEAD")): Asks(Right.PATIENTS),
        ("/livez", ("GET", "HEAD")): Asks(None),
        ("/api/v1/deep/orders", ("POST",)): Asks(Right.OPERATE),
    }


def test_nobody_is_sent_to_the_login_and_back_by_a_page() -> None:
    answer = ask(routes(), None, "GET", "/study?name=A%26B")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fstudy%3Fname%3DA%2526B")


def test_nobody_on_a_part_of_a_page_leaves_the_page() -> None:
    answer = ask(routes(), None, "GET", "/study", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


def test_nobody_gets_401_of_the_api() -> None:
    answer = ask(routes(), None, "POST", "/api/v1/deep/orders")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="gateway"')


def test_somebody_without_the_right_gets_403() -> None:
    assert ask(routes(), Role.OBSERVER, "GET", "/study").status_code == 403
    assert ask(routes(), Role.VIEWER, "POST", "/api/v1/deep/orders").status_code == 403


def test_somebody_with_the_right_gets_in_and_anybody_where_all_may() -> None:
    assert ask(routes(), Role.VIEWER, "GET", "/study").text == "a study"
    assert ask(routes(), Role.OPERATOR, "POST", "/api/v1/deep/orders").json() == {"touched": 0}
    assert ask(routes(), None, "GET", "/livez").text == "alive"


def test_whom_nobody_knows_has_less_time_for_his_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.access.body.UNKNOWN_TIMEOUT_S", 0.05)

    @needs(Right.STATE)
    async def known(_request: Request) -> Response:
        return PlainTextResponse("read")

    taken = [Route("/known", known, methods=["POST"]), Route("/open", anybody, methods=["POST"])]
    guarded(taken)

    async def answers(person: Person | None, path: str) -> int:
        came = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b"a"
            await came.wait()
            yield b"b"

        transport = httpx.ASGITransport(app=_As(Starlette(routes=taken), person))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as http:
            asked = asyncio.ensure_future(http.post(path, content=slowly()))
            if person is not None:
                asyncio.get_running_loop().call_later(0.2, came.set)
            return (await asked).status_code

    mia = Person("mia", Role.OBSERVER, How.TOKEN)
    assert asyncio.run(answers(None, "/open")) == 408
    assert asyncio.run(answers(mia, "/known")) == 200


def test_a_page_that_does_not_say_what_it_asks_for_is_refused() -> None:
    with pytest.raises(UndeclaredRoute, match=r"/page: say what it asks for"):
        guarded([Route("/page", silent)])


def test_a_route_of_the_api_that_does_not_say_is_refused() -> None:
    router = api_router()
    with pytest.raises(UndeclaredRoute, match=r"/orders: say what it asks for"):
        router.get("/orders")(silent)


def test_a_route_of_another_router_is_refused() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    other = APIRouter()
    other.get("/orders")(page)
    app.include_router(other)
    with pytest.raises(UndeclaredRoute, match=r"/api/orders: routes of the API are those of an api_router"):
        guarded([Mount("/api", app)])


def test_a_description_of_the_api_that_fastapi_would_show_to_anybody_is_refused() -> None:
    with pytest.raises(UndeclaredRoute, match=r"/api/openapi.json"):
        guarded([Mount("/api", FastAPI())])


def test_a_mounted_application_without_routes_must_be_public() -> None:
    async def files(scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)

    with pytest.raises(UndeclaredRoute, match=r"/files: say what it asks for"):
        guarded([Mount("/files", files)])
    with pytest.raises(UndeclaredRoute, match=r"can only be public"):
        guarded([Mount("/files", needs(Right.STATE)(files))])
    assert guarded([Mount("/files", public(files))])[0].asks == Asks(None)


def test_of_large_bodies_a_route_has_one_at_a_time() -> None:
    most = now = 0

    @needs(Right.STATE, 10 << 20)
    async def upload(request: Request) -> Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        size = len(await request.body())
        now -= 1
        return PlainTextResponse(str(size))

    routes = [Route("/upload", upload, methods=["POST"])]
    guarded(routes)
    app = _As(Starlette(routes=routes), Person("mia", Role.VIEWER, How.TOKEN, "t"))

    async def scenario() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://console") as http:
            answers = await asyncio.gather(*(http.post("/upload", content=b"x" * (2 << 20)) for _ in range(5)))
            return [answer.text for answer in answers]

    assert asyncio.run(scenario()) == [str(2 << 20)] * 5
    assert most == 1


def test_who_waits_too_long_for_whoever_uploads_slowly_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "TURN_TIMEOUT_S", 0.05)
    monkeypatch.setattr(body, "BODY_TIMEOUT_S", 0.5)

    @needs(Right.PATIENTS, 2 * guard.BODY_BYTES)
    async def large(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    async def scenario() -> list[int]:
        routes = [Route("/large", large, methods=["POST"])]
        guarded(routes)
        begun, codes = asyncio.Event(), list[int]()

        async def never_done() -> AsyncIterator[bytes]:
            yield b"x"
            begun.set()
            await asyncio.Event().wait()

        app = _As(Starlette(routes=routes), Person("mia", Role.VIEWER, How.TOKEN))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            slow = asyncio.create_task(client.post("/large", content=never_done()))
            await begun.wait()
            codes.append((await client.post("/large", content=b"abc")).status_code)
            codes.append((await slow).status_code)
            codes.append((await client.post("/large", content=b"abc")).status_code)
        return codes

    assert asyncio.run(scenario()) == [503, 408, 200]
