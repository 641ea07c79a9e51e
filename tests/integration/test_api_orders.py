"""What is ordered through the API happens at the archives, is rehearsed without a trace, and is written down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.console.access.roles import Role
from tests.harness.data import make_instance
from tests.harness.tools import wait_until
from tests.integration.api_site import ApiSite, running_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with running_api(tmp_path_factory.mktemp("api")) as api:
        yield api


def order(kind: str, instance_id: str, **also: Any) -> dict[str, Any]:
    """An order for one instance."""
    return {"order": kind, "which": {"instance_ids": [instance_id]}, "reason": f"to test {kind}", **also}


def state_at(api: ApiSite, instance_id: str, destination: str) -> str:
    """The state of the newest delivery of an instance to a destination."""
    cells = api.get(f"/instances/{instance_id}")["destinations"]
    return str(cells[destination]["deliveries"][-1]["state"])


def test_hold_release_resend_and_cancel_do_at_the_archive_what_they_say(api: ApiSite) -> None:
    api.post("/destinations/dr/pause", {"reason": "to see what waits"})
    instance, other = make_instance(seed=51), make_instance(seed=52)
    api.site.send([instance, other]).check()
    first = api.instance_of(instance.sop_instance_uid)["instance_id"]
    second = api.instance_of(other.sop_instance_uid)["instance_id"]
    wait_until(lambda: state_at(api, first, "dr") == "ready", 30, "a delivery that waits")

    rehearsed = api.post("/orders", order("hold", first, dry_run=True))
    assert (rehearsed["moved"], rehearsed["dry_run"], rehearsed["instances"]) == (1, True, 1)
    assert state_at(api, first, "dr") == "ready"
    assert api.post("/orders", order("hold", first))["moved"] == 1
    assert state_at(api, first, "dr") == "held"
    assert api.post("/orders", order("cancel", second))["moved"] == 1
    assert state_at(api, second, "dr") == "cancelled"

    api.post("/destinations/dr/resume")
    assert api.post("/orders", order("release", first))["moved"] == 1
    wait_until(lambda: instance.sop_instance_uid in api.site.dr.contents(), 30, "what was released")
    assert other.sop_instance_uid not in api.site.dr.contents()
    assert api.post("/orders", order("resend", second, to=["dr"]))["moved"] == 1
    wait_until(lambda: other.sop_instance_uid in api.site.dr.contents(), 30, "what was sent again")

    given = {row["action"]: row for row in api.get("/audit", actor="api:operator/test")["items"]}
    assert {"pause", "hold", "cancel", "unpause", "release", "resend"} <= set(given)
    assert given["hold"]["reason"] == "to test hold"
    assert given["hold"]["which"] == {"instance_ids": [first]}
    assert given["pause"]["reason"] == "to see what waits"


def test_a_destination_that_is_down_is_probed_and_drained_at_once_when_a_person_says_so(api: ApiSite) -> None:
    document = api.site.gateway.config.document
    document["destination_defaults"] |= {"probe_min": "1 h", "probe_max": "1 h", "retry_min": "1 h", "retry_max": "1 h"}
    api.site.gateway.config.write()
    os.kill(api.site.gateway.supervisor_pid(), signal.SIGHUP)
    shown = "/system/configuration"
    slow = lambda: api.get(shown)["configuration"]["destinations"]["dr"]["probe_min_s"] == 3600  # noqa: E731
    wait_until(slow, 30, "the configuration to be taken")
    api.site.dr.stop()
    instance = make_instance(seed=53)
    api.site.send([instance]).check()
    wait_until(lambda: api.get("/destinations/dr")["condition"] == "down", 60, "the destination to be down")
    assert api.get("/destinations/dr")["last_error"]
    api.site.dr.start()
    assert api.post("/destinations/dr/probe")["moved"] == 1
    wait_until(lambda: api.get("/destinations/dr")["condition"] != "down", 30, "the answered probe")
    api.post("/destinations/dr/retry", {"reason": "it is back"})
    wait_until(lambda: instance.sop_instance_uid in api.site.dr.contents(), 30, "what waited for an hour")
    assert api.post("/destinations/dr/probe")["moved"] == 0, "it is up"
    assert api.as_(Role.OPERATOR).post("/destinations/nobody/probe").status_code == 404


def test_a_host_is_drained_and_takes_work_again(api: ApiSite) -> None:
    host = api.get("/system")["host"]
    done = api.post(f"/hosts/{host}/drain", {"draining": True, "roles": ["worker"], "reason": "to look at it"})
    assert (done["changed"], done["roles"]) == (1, ["worker"])

    def worker() -> dict[str, Any]:
        (found,) = api.get("/hosts")["items"]
        return next(process for process in found["processes"] if process["role"] == "worker")

    wait_until(lambda: worker()["is_drained"], 30, "the worker to have finished")
    assert api.post(f"/hosts/{host}/drain", {"draining": False, "roles": ["worker"]})["changed"] == 1
    wait_until(lambda: not worker()["draining"], 30, "the worker to go on")
    assert api.as_(Role.OPERATOR).post("/hosts/nobody/drain", json={"draining": True}).status_code == 404


def test_only_an_operator_orders_and_a_refused_order_changes_nothing(api: ApiSite) -> None:
    before = api.get("/audit")["items"]
    for role in (Role.OBSERVER, Role.VIEWER):
        for path in ("/orders", "/destinations/dr/pause", "/hosts/x/drain", "/system/check"):
            assert api.as_(role).post(path, json={}).status_code == 403, (role, path)
    assert api.nobody.post("/orders", json={}).status_code == 401
    assert api.get("/audit")["items"] == before


def test_an_empty_value_restricts_nothing_and_is_refused(api: ApiSite) -> None:
    """It comes from a variable that nobody has set, and would mean more than was meant."""
    operator = api.as_(Role.OPERATOR)
    for which in (
        {"study_instance_uid": "", "destination": "dr"},
        {"patient_id": "", "states": ["held"]},
        {"instance_ids": [], "source": "ct1"},
        {"destination": "dr", "delivery_states": []},
    ):
        order = {"order": "cancel", "which": which, "reason": "tidy up", "dry_run": True}
        assert operator.post("/orders", json=order).status_code == 422, which
    nothing = {"order": "cancel", "which": {}, "reason": "tidy up"}
    refused = operator.post("/orders", json=nothing)
    assert refused.status_code == 400 and "say which instances are meant" in refused.json()["detail"]
    said = api.site.run("cancel", "--study", "", "--destination", "dr", "--reason", "tidy up", "--yes")
    assert said.returncode == 2 and "argument --study: is empty; leave it out to mean any" in said.stderr


def test_what_is_not_there_is_not_found_and_its_name_is_not_repeated(api: ApiSite) -> None:
    operator = api.as_(Role.OPERATOR)
    by_destination = {"order": "hold", "which": {"destination": "PATIENT-1"}, "reason": "wrong"}
    for path, body in (
        ("/destinations/PATIENT-1/pause", {}),
        ("/hosts/PATIENT-1/drain", {"draining": True}),
        ("/orders", by_destination),
    ):
        answer = operator.post(path, json=body)
        assert answer.status_code == 404, path
        assert "PATIENT-1" not in answer.json()["detail"]
