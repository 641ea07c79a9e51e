"""Errors of the API: problem details, in our words, without a value that somebody sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from gateway.console.api.problems import MEDIA_TYPE
from tests.harness.console import Console, console

T = TypeVar("T")
CANARY = "CANARY-4711"


def at(folder: Path, scenario: Callable[[Console], Awaitable[T]]) -> T:
    """Run a scenario on a console."""

    async def whole() -> T:
        async with console(folder) as site:
            return await scenario(site)

    return asyncio.run(whole())


def is_problem(answer: httpx.Response, status: int) -> dict[str, object]:
    """What a problem says; it says it as one should."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    said: dict[str, object] = answer.json()
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    assert CANARY not in answer.text
    return said


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing-here", 404),
        ("DELETE", "/orders", 405),
        ("GET", "/orders", 405),
        ("GET", f"/studies/{CANARY}", 422),
        ("GET", f"/studies?limit={CANARY}", 422),
        ("GET", f"/studies?state={CANARY}&date_from={CANARY}", 422),
        ("GET", "/studies?limit=201", 422),
        ("GET", f"/studies?patient_id=%00{CANARY}", 422),
        ("GET", f"/instances/..%2f{CANARY}/x", 404),
        ("GET", f"/instances/{CANARY}%0A", 404),
        ("GET", f"/instances/x/file?reason=a%0A{CANARY}", 422),
        ("GET", f"/instances/x/file?chain=%1B{CANARY}", 422),
        ("GET", f"/attention/items?kind={CANARY}", 422),
    ],
)
def test_what_cannot_be_asked_for_is_a_problem(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def scenario(site: Console) -> httpx.Response:
        return await site.with_token("operator").request(method, f"/api/v1{path}")

    is_problem(at(tmp_path, scenario), status)


def test_nobody_and_somebody_without_the_right_are_told_so(tmp_path: Path) -> None:
    async def scenario(site: Console) -> tuple[httpx.Response, httpx.Response]:
        return (
            await site.client().get("/api/v1/studies"),
            await site.with_token("observer").get("/api/v1/studies"),
        )

    nobody, observer = at(tmp_path, scenario)
    is_problem(nobody, 401)
    assert nobody.headers["www-authenticate"].startswith("Bearer")
    assert "patients" in str(is_problem(observer, 403)["detail"])


@pytest.mark.parametrize(
    ("body", "at_place"),
    [
        ({"order": CANARY, "which": {"all": True}, "reason": "x"}, "body.order"),
        ({"order": "hold", "which": {"states": [CANARY]}, "reason": "x"}, "body.which.states.0"),
        ({"order": "hold", "which": {CANARY: 1}, "reason": "x"}, "body.which.…"),
        ({"order": "hold", "which": {"all": True}}, "body.reason"),
        ({"order": "hold", "which": {"all": True}, "reason": ""}, "body.reason"),
        ({"order": "hold", "which": {"all": True}, "reason": f"a\nb{CANARY}"}, "body.reason"),
        ({"order": "hold", "which": {"all": True}, "reason": "x", "to": ["dr"]}, "body"),
        ([CANARY], "body"),
    ],
)
def test_an_order_that_is_not_valid_is_told_its_place_and_no_value(tmp_path: Path, body: object, at_place: str) -> None:
    async def scenario(site: Console) -> httpx.Response:
        return await site.with_token("operator").post("/api/v1/orders", json=body)

    answer = at(tmp_path, scenario)
    said = errors_of(answer)
    assert at_place in [each["at"] for each in said]


def errors_of(answer: httpx.Response) -> list[dict[str, str]]:
    """The errors of a 422."""
    said = is_problem(answer, 422)
    errors = said["errors"]
    assert isinstance(errors, list)
    assert errors
    return errors


def test_an_order_for_everything_has_to_say_so(tmp_path: Path) -> None:
    async def scenario(site: Console) -> httpx.Response:
        body = {"order": "hold", "which": {}, "reason": "x"}
        return await site.with_token("operator").post("/api/v1/orders", json=body)

    assert "`all`" in str(is_problem(at(tmp_path, scenario), 400)["detail"])


def test_a_body_that_is_no_json_is_a_problem(tmp_path: Path) -> None:
    async def scenario(site: Console) -> httpx.Response:
        headers = {"content-type": "application/json"}
        return await site.with_token("operator").post("/api/v1/orders", content=f"{{{CANARY}", headers=headers)

    is_problem(at(tmp_path, scenario), 422)


def test_a_ledger_that_is_gone_is_a_problem_that_says_nothing_of_where_it_is(tmp_path: Path) -> None:
    async def scenario(site: Console) -> httpx.Response:
        await site.context.ledger.close()
        return await site.with_token("operator").post("/api/v1/destinations/pacs/pause")

    said = is_problem(at(tmp_path, scenario), 409)
    assert str(tmp_path) not in str(said)
