"""A file that somebody uploads is explained by a process of its own: what is hostile ends that, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from gateway.console.access.roles import Role
from tests.harness.data import Instance, make_instance, write_part10
from tests.integration.api_site import ApiSite, running_api

DICOM = {"content-type": "application/dicom"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with running_api(tmp_path_factory.mktemp("api")) as api:
        yield api


def part10(api: ApiSite, instance: Instance) -> bytes:
    """An instance as a file."""
    return write_part10(api.site.folder / "upload.dcm", instance).read_bytes()


def too_long(api: ApiSite) -> int:
    """What who announces a terabyte is told, before any of it is read."""
    connection = HTTPConnection(api.url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest("POST", "/api/v1/rules/explain")
        token = f"Bearer {api.tokens[Role.VIEWER]}"
        for name, value in {**DICOM, "authorization": token, "content-length": str(1 << 40)}.items():
            connection.putheader(name, value)
        connection.endheaders(b"x")
        return connection.getresponse().status
    finally:
        connection.close()


def refused(api: ApiSite, body: bytes) -> str:
    """Why a file is not explained; the console lives on, in the same process."""
    pid = api.site.gateway.pid_of("console")
    answer = api.as_(Role.VIEWER).post("/rules/explain", content=body, headers=DICOM)
    assert answer.status_code == 400, answer.text
    assert api.get("/me", Role.OBSERVER)
    assert api.site.gateway.pid_of("console") == pid
    return str(answer.json()["detail"])


def test_a_file_is_explained_by_the_rules_in_force_as_the_command_does_it(api: ApiSite) -> None:
    instance = make_instance(seed=61, PatientID="CANARY 61")
    body = part10(api, instance)
    answer = api.as_(Role.VIEWER).post("/rules/explain", params={"source": "loopback"}, content=body, headers=DICOM)
    found = answer.json()
    assert answer.status_code == 200, found
    assert found["goes_to"] == [{"destination": "pacs", "chain": ""}, {"destination": "dr", "chain": ""}]
    assert [(each["rule"], each["verdict"]) for each in found["rules"]] == [
        ("phantoms", "does not match"),
        ("images", "matches"),
    ]
    said = api.site.json("rules", "explain", str(api.site.folder / "upload.dcm"), "--source", "loopback")
    assert said["destinations"] == [each["destination"] for each in found["goes_to"]]
    assert [each["because"] for each in said["rules"]] == [each["because"] for each in found["rules"]]
    assert found["sentence"] == "goes to: pacs, dr"
    assert api.get("/instances", uid=instance.sop_instance_uid)["items"] == [], "nothing is kept or sent"


def test_what_is_no_file_that_can_be_read_is_told_so(api: ApiSite) -> None:
    assert "the gateway would quarantine it" in refused(api, b"no DICOM")
    assert "the gateway would quarantine it" in refused(api, b"")
    whole = part10(api, make_instance(seed=62))
    assert "the gateway would quarantine it" in refused(api, whole[:-700])
    nested = b"\x08\x00\x40\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 100_000
    head = whole[: whole.index(b"DICM") + 4]
    meta = (
        struct.pack("<HH2sHI", 2, 0, b"UL", 4, 26) + struct.pack("<HH2sH", 2, 0x10, b"UI", 18) + b"1.2.840.10008.1.2\0"
    )
    refused(api, head + meta + nested)


def test_a_time_that_is_none_and_a_file_that_is_too_large_are_refused(api: ApiSite) -> None:
    answer = api.as_(Role.VIEWER).post("/rules/explain", params={"received": "yesterday"}, content=b"x", headers=DICOM)
    assert answer.status_code == 400
    assert "received" in answer.json()["detail"]
    assert too_long(api) == 413
    assert api.as_(Role.OBSERVER).post("/rules/explain", content=b"x", headers=DICOM).status_code == 403
