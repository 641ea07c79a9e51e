"""schemathesis on a running gateway with data: no error of the server, and no answer but what the description allows.

A few examples an operation; `make fuzz-api` takes many (GATEWAY_FUZZ_API says how many).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.console.access.roles import Role
from gateway.console.api import api_app
from tests.harness.data import make_instance, make_instances
from tests.integration.api_site import ApiSite, running_api

EXAMPLES = int(os.environ.get("GATEWAY_FUZZ_API", "3"))
MANY = 100  # then also each boundary of each parameter, which schemathesis calls coverage
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def description() -> dict[str, Any]:
    """The API's description, but for the stream, which does not end."""
    found: dict[str, Any] = copy.deepcopy(api_app(None).openapi())
    del found["paths"]["/events"]
    return found


@schemathesis.serializer("application/dicom")
def as_it_is(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    """A file is its bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


SCHEMA = schemathesis.openapi.from_dict(description())


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with running_api(tmp_path_factory.mktemp("api")) as api:
        api.site.send([*make_instances(8, seed=81, patients=2), make_instance(seed=82, PatientID="QA 1")]).check()
        api.site.gateway.wait_idle()
        yield api


@pytest.fixture(scope="module")
def real(api: ApiSite) -> dict[str, Any]:
    """Things that are there, by the name of the parameter that they can be."""
    study = api.get("/studies")["items"][0]
    instance = api.get(f"/studies/{study['study_key']}/instances")["items"][0]
    return {
        "study_key": study["study_key"],
        "instance_id": instance["instance_id"],
        "uid": instance["sop_instance_uid"],
        "name": "pacs",
        "revision": api.get("/rules")["revision"],
    }


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate] if EXAMPLES >= MANY else [Phase.generate],
    derandomize=EXAMPLES < MANY,
)
def test_no_request_is_answered_otherwise_than_described(
    api: ApiSite, real: dict[str, Any], case: schemathesis.Case
) -> None:
    headers = {"authorization": f"Bearer {api.tokens[Role.ADMINISTRATOR]}"}
    base = f"{api.url}/api/v1"
    case.call_and_validate(base_url=base, headers=headers, checks=CHECKS, timeout=60)
    for name in case.path_parameters or {}:
        if name in real:
            case.path_parameters[name] = real[name]
    if case.path_parameters:
        case.call_and_validate(base_url=base, headers=headers, checks=CHECKS, timeout=60)


def test_the_gateway_came_through_it(api: ApiSite) -> None:
    assert api.get("/overview")["destinations"]
    log = api.site.gateway.log()
    assert "console_error" not in log
    assert "child_died" not in log
