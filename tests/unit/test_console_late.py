"""The console's application is built when somebody first asks for it, and once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from starlette.responses import PlainTextResponse

from gateway.console.late import Late, guarded_site
from tests.harness.console import console

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HEAVY = ("fastapi", "pydantic", "jinja2", "markdown_it", "pygments", "authlib", "gateway.console.pages")


def test_a_console_at_which_nobody_looks_has_not_loaded_what_pages_and_api_are_made_of() -> None:
    code = f"import sys, gateway.app.console; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_many_who_ask_first_wait_for_one_application_built_beside_the_event_loop() -> None:
    built: list[str] = []
    go_on = threading.Event()

    def build() -> ASGIApp:
        built.append(threading.current_thread().name)
        assert go_on.wait(20)
        return PlainTextResponse("it")

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=guarded_site(Late(build)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asking = [asyncio.create_task(client.get("/")) for _ in range(5)]
            await asyncio.sleep(0)
            go_on.set()  # which nobody could, if the event loop stood still
            return await asyncio.gather(*asking)

    answers = asyncio.run(scenario())
    assert [answer.text for answer in answers] == ["it"] * 5
    assert len(built) == 1 and built[0] != threading.current_thread().name
    assert answers[0].headers["x-frame-options"] == "DENY"


def test_one_that_cannot_be_built_is_a_bare_error_and_is_tried_again() -> None:
    tries = iter([MemoryError("of a secret"), None])

    def build() -> ASGIApp:
        if (error := next(tries)) is not None:
            raise error
        return PlainTextResponse("it")

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=guarded_site(Late(build)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.get("/"), await client.get("/")]

    failed, served = asyncio.run(scenario())
    assert (failed.status_code, "secret" in failed.text, failed.headers["x-frame-options"]) == (500, False, "DENY")
    assert (served.status_code, served.text) == (200, "it")


def test_the_site_it_builds_is_the_one_whose_routes_are_walked(tmp_path: Path) -> None:
    async def scenario() -> tuple[str, str]:
        async with console(tmp_path) as site:
            from gateway.console.late import late_site

            transport = httpx.ASGITransport(app=late_site(site.context))
            async with httpx.AsyncClient(transport=transport, base_url=str(site.client().base_url)) as client:
                return (await client.get("/login")).text, (await site.client().get("/login")).text

    late, walked = asyncio.run(scenario())
    assert late == walked and "password" in late
