"""The API's description: complete, and true of the application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli import main
from gateway.console.api import api_app
from gateway.console.api.problems import MEDIA_TYPE

SCHEMA = api_app(None).openapi()
NO_JSON = {("get", "/events"), ("get", "/instances/{instance_id}/file")}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation."""
    for path, methods in SCHEMA["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


OPERATIONS = [pytest.param(*each, id=f"{each[0]} {each[1]}") for each in operations()]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_each_operation_says_what_it_answers(method: str, path: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    if (method, path) not in NO_JSON:
        assert "$ref" in answers["200"]["content"]["application/json"]["schema"]
    assert {"401", "403", "422", "500", "503"} <= set(answers)
    for status, answer in answers.items():
        if status != "200":
            assert answer["content"] == {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}, status
    assert operation["description"]
    assert operation["tags"]


def test_operations_have_names_of_their_own_and_values_a_schema() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for name, schema in SCHEMA["components"]["schemas"].items():
        assert schema.get("properties") or schema.get("enum"), f"{name} says nothing of what it holds"
        assert schema.get("description") or name.startswith("Page_"), f"{name} is not described"


def test_it_says_how_one_shows_who_one_is() -> None:
    assert SCHEMA["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert SCHEMA["security"] == [{"token": []}, {"session": []}]
    assert SCHEMA["servers"] == [{"url": "/api/v1"}]


def test_the_command_prints_it_without_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "api"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(SCHEMA))
