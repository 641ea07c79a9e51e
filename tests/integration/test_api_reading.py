"""What the API shows of a running gateway is so: each resource, under traffic."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import httpx
import pydicom
import pytest

from gateway.console.access.roles import Role
from tests.harness.archive import Behaviour
from tests.harness.data import Instance, make_instance, make_instances, write_part10
from tests.harness.tools import wait_until
from tests.integration.api_site import ApiSite, running_api

DICOM = {"content-type": "application/dicom"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with running_api(tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture(scope="module")
def sent(api: ApiSite) -> Instance:
    """A CT that both archives have."""
    instances = list(make_instances(3, seed=41))
    api.site.send(instances).check()
    api.site.gateway.wait_idle()
    return instances[0]


def test_a_study_is_found_by_what_people_know_of_it(api: ApiSite, sent: Instance) -> None:
    study = api.study_of(sent.study_instance_uid)
    name, patient_id = study["patient_name"], study["patient_id"]
    for search in (
        {"uid": sent.sop_instance_uid},
        {"patient_id": patient_id},
        {"patient_name": name.split("^")[0][:3] + "*"},
        {"source": "loopback", "state": "settled", "patient_id": patient_id},
        {"date_from": study["study_date"], "date_to": study["study_date"], "uid": sent.study_instance_uid},
    ):
        found = api.get("/studies", **search)
        assert study["study_key"] in [each["study_key"] for each in found["items"]], search
    assert api.get("/studies", uid="1.2.3.4") == {"items": [], "next": None}


def test_a_study_s_page_has_its_series_and_what_each_destination_got(api: ApiSite, sent: Instance) -> None:
    key = api.study_of(sent.study_instance_uid)["study_key"]
    whole = api.get(f"/studies/{key}")
    assert whole["study"]["study_instance_uid"] == sent.study_instance_uid
    assert whole["deliveries"] == {"dr": {"delivered": 3}, "pacs": {"delivered": 3}}
    assert whole["decisions"][0]["decision"]["matched"] == ["images"]
    assert sum(series["instances"] for series in whole["series"]) == 3
    page = api.get(f"/studies/{key}/instances", limit=2)
    assert len(page["items"]) == 2
    rest = api.get(f"/studies/{key}/instances", limit=2, after=page["next"])
    assert rest["next"] is None
    every = [*page["items"], *rest["items"]]
    assert len({each["instance_id"] for each in every}) == 3
    for each in every:
        assert {name: cell["deliveries"][-1]["state"] for name, cell in each["destinations"].items()} == {
            "dr": "delivered",
            "pacs": "delivered",
        }
    happened = [moment["what"] for moment in api.get(f"/studies/{key}/timeline")["moments"]]
    assert {"received", "routed", "delivered", "settled"} <= set(happened)
    assert api.as_(Role.VIEWER).get("/studies/999999999").status_code == 404


def test_an_instance_says_how_it_came_why_it_went_there_and_what_became_of_it(api: ApiSite, sent: Instance) -> None:
    whole = api.instance_of(sent.sop_instance_uid)
    assert whole["association"]["source"] == "loopback"
    assert whole["decision"]["destinations"] == ["pacs", "dr"]
    assert [payload["chain"] for payload in whole["payloads"]] == [""]
    assert whole["destinations"]["pacs"]["deliveries"][0]["status"] == 0
    moments = api.get(f"/instances/{whole['instance_id']}/timeline")["moments"]
    assert [moment["at_ms"] for moment in moments] == sorted(moment["at_ms"] for moment in moments)
    assert api.as_(Role.VIEWER).get("/instances/nobody").status_code == 404


def test_a_file_is_what_was_sent_and_the_audit_trail_says_who_took_it(api: ApiSite, sent: Instance) -> None:
    instance_id = api.instance_of(sent.sop_instance_uid)["instance_id"]
    answer = api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file", params={"reason": "for a report"})
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-disposition"] == f'attachment; filename="{instance_id}.dcm"'
    read = pydicom.dcmread(BytesIO(answer.content))
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == sent.sop_instance_uid
    data_set = answer.content[-len(sent.data) :]
    assert hashlib.sha256(data_set).digest() == hashlib.sha256(sent.data).digest()
    (row,) = api.get("/audit", action="download", about=instance_id)["items"]
    assert (row["actor"], row["reason"], row["count"]) == ("api:viewer/test", "for a report", 1)
    gone = api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file", params={"chain": "no-such~1"})
    assert gone.status_code == 404


def test_a_file_that_is_damaged_ends_early_and_one_that_is_lost_is_gone(api: ApiSite) -> None:
    instance = make_instance(seed=45)
    api.site.send([instance]).check()
    api.site.gateway.wait_idle()
    instance_id = api.instance_of(instance.sop_instance_uid)["instance_id"]
    (path,) = api.site.gateway.config.spool_dir.rglob(f"{instance_id}.dcm")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(httpx.RemoteProtocolError):
        api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file")
    path.write_bytes(whole[:-1])
    assert api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file").status_code == 503
    path.unlink()

    def gone() -> bool:  # on a shared spool it may still appear for some seconds
        answer = api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file")
        assert answer.status_code in (410, 503)
        return bool(answer.json()["title"] == "Gone")

    wait_until(gone, 30, "the file to be given up")
    path.write_bytes(whole)
    assert api.as_(Role.VIEWER).get(f"/instances/{instance_id}/file").content.endswith(instance.data)


def test_destinations_say_how_they_are_and_what_waits(api: ApiSite, sent: Instance) -> None:
    answer = api.get("/destinations", Role.OBSERVER)
    assert [each["name"] for each in answer["items"]] == ["dr", "pacs"]
    pacs = api.get("/destinations/pacs", Role.OBSERVER)
    assert (pacs["condition"], pacs["waiting"], pacs["stopped"], pacs["last_error"]) == ("up", 0, 0, "")
    assert pacs["states"]["delivered"] >= 3
    assert pacs["port"] == api.site.pacs.port
    assert sum(cell["count"] for cell in pacs["by_age"]) == 0
    assert api.as_(Role.OBSERVER).get("/destinations/nobody").status_code == 404


def test_what_stopped_is_grouped_by_reason_with_what_to_do(api: ApiSite) -> None:
    phantom = make_instance(seed=43, PatientID="QA 1")
    refused = make_instance(seed=44)
    was, api.site.dr.on_store = api.site.dr.on_store, lambda facts: Behaviour(status=0xA900)
    try:
        api.site.send([phantom, refused]).check()

        def troubles() -> list[dict[str, object]]:
            return [each for each in api.get("/attention", Role.OBSERVER)["items"] if each["code"] == "refused"]

        wait_until(troubles, 60, "the delivery to be held")
    finally:
        api.site.dr.on_store = was
    groups = {(each["kind"], each["destination"]): each for each in api.get("/attention", Role.OBSERVER)["items"]}
    held, unrouted = groups["held", "dr"], groups["held", ""]
    assert (held["of"], held["code"], held["count"]) == ("delivery", "refused", 1)
    assert held["what_to_do"]
    assert (unrouted["of"], unrouted["reason"]) == ("instance", "a phantom")
    for group, instance in ((held, refused), (unrouted, phantom)):
        named = {name: group[name] for name in ("kind", "destination", "code", "group")}
        (item,) = api.get("/attention/items", Role.VIEWER, **named)["items"]
        assert item["instance_id"] == api.instance_of(instance.sop_instance_uid)["instance_id"]
        which = {"instance_ids": [item["instance_id"]]}
        api.post("/orders", {"order": "cancel", "which": which, "reason": "tidy up"})


def test_rules_are_shown_with_what_they_matched(api: ApiSite, sent: Instance) -> None:
    current = api.get("/rules", Role.OBSERVER)
    assert [file["name"] for file in current["files"]] == ["10-site.yaml"]
    assert current["current"] is True
    assert api.get("/rules/matches", Role.OBSERVER)["by_rule"]["images"] >= 3
    revisions = api.get("/rules/revisions", Role.OBSERVER)["items"]
    assert revisions[0]["revision"] == current["revision"]
    assert api.get(f"/rules/revisions/{current['revision']}", Role.OBSERVER) == current
    assert api.as_(Role.OBSERVER).get("/rules/revisions/unheardof").status_code == 404


def test_the_system_says_who_takes_part_and_what_a_check_finds(api: ApiSite) -> None:
    system = api.get("/system", Role.OBSERVER)
    (host,) = system["hosts"]
    assert host["host"] == system["host"]
    assert {process["role"] for process in host["processes"]} == {"receiver", "worker", "forwarder", "console"}
    assert [each["host"] for each in api.get("/hosts", Role.OBSERVER)["items"]] == [host["host"]]
    found = api.get("/system/check", Role.OBSERVER)
    assert (found["level"], found["echoed"]) == ("good", False)
    assert {"configuration", "rules"} <= {each["about"] for each in found["findings"]}
    echoed = api.post("/system/check", {"echo": True})
    assert {each["name"] for each in echoed["findings"] if each["about"] == "destination"} == {"pacs", "dr"}
    shown = api.get("/system/configuration", Role.ADMINISTRATOR)["configuration"]
    assert shown["destinations"]["pacs"]["port"] == api.site.pacs.port


def test_the_overview_has_all_of_it_and_live_figures_begin(api: ApiSite, sent: Instance) -> None:
    overview = api.get("/overview", Role.OBSERVER)
    assert overview["not_ready"] == []
    assert [each["name"] for each in overview["destinations"]] == ["dr", "pacs"]
    assert overview["instances"]["settled"] >= 3
    assert overview["spool_free_bytes"] > 0
    samples = wait_until(lambda: api.get("/live", Role.OBSERVER)["samples"], 30, "a sample")
    assert {"dr", "pacs"} <= set(samples[-1]["delivered"])
    me = api.get("/me", Role.VIEWER)
    assert (me["name"], me["role"], me["rights"], me["how"]) == ("viewer", "viewer", ["state", "patients"], "token")


def test_who_has_an_answer_already_is_told_so(api: ApiSite, sent: Instance) -> None:
    client = api.as_(Role.OBSERVER)
    first = client.get("/rules")
    again = client.get("/rules", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = client.get("/rules", headers={"if-none-match": '"another"'})
    assert other.status_code == 200


def test_the_audit_trail_tells_who_searched_and_who_was_shown_whose_images(api: ApiSite, sent: Instance) -> None:
    key = api.get("/studies", Role.VIEWER, uid=sent.study_instance_uid)["items"][0]["study_key"]
    for _ in range(3):
        api.get(f"/studies/{key}", Role.VIEWER)

    def records(kind: str, who: str, **which: str) -> list[Any]:
        found: list[Any] = api.get("/audit/trail", Role.ADMINISTRATOR, kind=kind, who=who, limit=200, **which)["items"]
        return found

    of_it = {"study_instance_uid": sent.study_instance_uid}
    wait_until(lambda: records("query", "viewer") and records("accessed", "viewer", **of_it), 60, "the records")
    (shown,) = records("accessed", "viewer", **of_it)  # one, however often the page was asked for
    assert (shown["who"], shown["address"], shown["outcome"]) == ("api:viewer/test", "127.0.0.1", 0)
    wait_until(lambda: len(records("transferred", "", **of_it)) == 3, 60, "what came, and went to two archives")
    verified = api.get("/audit/verification")
    assert (verified["whole"], verified["fault"]) == (True, None)
    assert verified["records"] > 3
    assert api.as_(Role.OPERATOR).get("/audit/verification").status_code == 403


# ── an uploaded file is explained by a process of its own: what is hostile ends that, and nothing else ────────────────


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
