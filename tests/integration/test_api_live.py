"""Live values of a running gateway: events for who listens, `gateway top`, and nothing of a patient for an observer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.console.access.roles import Role
from gateway.console.api import api_app
from gateway.console.api.events import EACH_MAX
from tests.harness.console import PASSWORD
from tests.harness.data import make_instance, make_instances
from tests.harness.tools import Completed, require, wait_until
from tests.integration.api_site import TOKEN_NAME, ApiSite, running_api
from tests.integration.cli_site import ROOT, command
from tests.unit.test_docs_api import EXAMPLES

CANARY = "CANARYXYZ"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    with running_api(tmp_path_factory.mktemp("api")) as api:
        yield api


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Name and data of each event of a stream."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_who_listens_is_told_of_what_comes_in_while_it_comes(api: ApiSite) -> None:
    with api.as_(Role.OBSERVER).stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events(stream.iter_lines())
        name, before = next(told)
        assert name == "live"
        api.site.send([make_instance(seed=71)]).check()
        after = next(data for name, data in told if data["received"] > before["received"])
        assert after["at_ms"] > before["at_ms"]
        assert set(after) == set(api_app(None).openapi()["components"]["schemas"]["Sample"]["properties"])


def test_the_stream_ends_with_the_session(api: ApiSite) -> None:
    with httpx.Client(base_url=api.url, timeout=30) as browser:
        assert browser.post("/login", data={"name": "observer", "password": PASSWORD}).status_code == 303
        with browser.stream("GET", "/api/v1/events") as stream:
            told = events(stream.iter_lines())
            assert next(told)[0] == "live"
            api.site.run("user", "role", "observer", "viewer").check()
            last = list(told)[-1]
    api.site.run("user", "role", "observer", "observer").check()
    assert last == ("end", {"because": "the session has ended"})


def test_who_asks_for_many_streams_at_once_gets_no_more_than_one_after_the_other(api: ApiSite) -> None:
    headers = {"authorization": f"Bearer {api.tokens[Role.VIEWER]}"}

    async def scenario() -> list[int]:
        async with httpx.AsyncClient(base_url=f"{api.url}/api/v1", headers=headers, timeout=30) as client:
            requests = [client.build_request("GET", "/events") for _ in range(3 * EACH_MAX)]
            answers = await asyncio.gather(*(client.send(request, stream=True) for request in requests))
            for answer in answers:
                await answer.aclose()
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(scenario()) == [200] * EACH_MAX + [503] * 2 * EACH_MAX


def test_nobody_takes_the_places_of_all_who_listen(api: ApiSite) -> None:
    opened: list[Any] = []
    client = httpx.Client(base_url=f"{api.url}/api/v1", timeout=30, limits=httpx.Limits(max_connections=100))
    headers = {"authorization": f"Bearer {api.tokens[Role.OBSERVER]}"}
    try:
        for _ in range(EACH_MAX):
            context = client.stream("GET", "/events", headers=headers)
            lines = context.__enter__().iter_lines()
            opened.append((context, lines))  # which would end with its iterator
            assert next(lines) == "retry: 3000"
        refused = client.get("/events", headers=headers)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        with api.as_(Role.VIEWER).stream("GET", "/events") as other:
            assert other.status_code == 200, "and others may"
    finally:
        for context, _ in opened:
            context.__exit__(None, None, None)
        client.close()


# ── top ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def top(api: ApiSite, *options: str, token: str | None = None, url: str = "") -> Completed:
    """`gateway top` with a token in its environment."""
    env = {"GATEWAY_TOKEN": api.tokens[Role.OBSERVER] if token is None else token, "PATH": os.environ["PATH"]}
    return command("top", "--url", url or api.url, *options, cwd=api.site.folder, env=env)


def test_top_shows_how_the_gateway_is_as_the_api_says_it(api: ApiSite) -> None:
    said = json.loads(top(api, "--json").check().stdout)
    assert [each["name"] for each in said["overview"]["destinations"]] == ["dr", "pacs"]
    phantom = make_instance(seed=72, PatientID="QA 1")
    api.site.send([phantom]).check()
    wait_until(lambda: api.get("/attention")["items"], 30, "what is held")
    frame = top(api, "--once").check().stdout
    assert " ready" in frame.splitlines()[0]
    for words in ("dr", "pacs", "● ", "up", "held", "a phantom"):
        assert words in frame, frame


def test_top_on_a_terminal_goes_on_until_ctrl_c(api: ApiSite) -> None:
    leader, follower = os.openpty()
    env = {"GATEWAY_TOKEN": api.tokens[Role.OBSERVER], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    argv = [sys.executable, "-m", "gateway", "top", "--url", api.url]
    # Who runs the tests in the background may ignore Ctrl-C, and children with him.
    heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=env, preexec_fn=heeds
    ) as top_shown:
        os.close(follower)
        seen = b""
        while seen.count(b"destination") < 2:  # two frames
            seen += os.read(leader, 1 << 16)
        top_shown.send_signal(signal.SIGINT)
        while top_shown.poll() is None:
            with contextlib.suppress(OSError):  # the other end is closed
                os.read(leader, 1 << 16)
        assert top_shown.returncode == 130
    os.close(leader)
    assert b"pacs" in seen


def test_top_says_what_is_wrong_and_what_to_do(api: ApiSite) -> None:
    for run, words in (
        (top(api, "--once", token=""), "no API token: put one into $GATEWAY_TOKEN"),
        (top(api, "--once", token="gwt_nothing"), "`gateway token add` makes another"),  # noqa: S106
        (top(api, "--once", url="http://127.0.0.1:1"), "connection refused"),
        (top(api, "--once", url="http://console.example:80"), "over http the token could be read on the way"),
        (top(api, "--once", url="ftp://x"), "no address of a console"),
        (top(api, "--once", url=f"http://127.0.0.1:{api.site.gateway.config.port}"), "what answers is no console"),
    ):
        assert (run.returncode, run.stdout) == (2, "")
        assert words in run.stderr
        assert api.tokens[Role.OBSERVER] not in run.stderr


# ── no patient data for who may see none ──────────────────────────────────────────────────────────────────────────────


def paths_with_values(api: ApiSite, values: dict[str, str]) -> list[str]:
    """Every GET of the API, its path filled with things that are there; but for the stream."""
    found = []
    for path, methods in api_app(None).openapi()["paths"].items():
        if "get" in methods and path != "/events":
            for name, value in values.items():
                path = path.replace(f"{{{name}}}", value)
            assert "{" not in path, f"{path}: say what can stand there"
            found.append(path)
    return found


def test_an_observer_sees_nothing_of_a_patient_whatever_he_asks_for_and_no_error_tells(api: ApiSite) -> None:
    marked = make_instance(
        seed=73,
        PatientID=f"{CANARY}-ID",
        PatientName=f"{CANARY}^NAME",
        AccessionNumber=f"{CANARY}-ACC",
        StudyDescription=f"{CANARY} DESCRIPTION",
        SeriesDescription=f"{CANARY} SERIES",
        InstitutionName=f"{CANARY} HOSPITAL",
    )
    held = make_instance(seed=74, Modality="US", PatientID=f"{CANARY}-HELD", AccessionNumber=f"{CANARY}-ACC2")
    api.site.send([marked, held]).check()
    whole, other = (api.instance_of(each.sop_instance_uid) for each in (marked, held))
    api.post("/orders", {"order": "resend", "which": {"patient_id": f"{CANARY}-ID"}, "reason": "a canary"})
    secret = [CANARY.encode(), *(each.encode() for instance in (marked, held) for each in instance.canaries)]
    for instance in (marked, held):
        uids = (instance.sop_instance_uid, instance.study_instance_uid, instance.series_instance_uid)
        secret += [uid.encode() for uid in uids if uid]
    secret += [whole["instance_id"].encode(), other["instance_id"].encode()]
    values = {
        "name": "pacs",
        "study_key": str(whole["study_key"]),
        "instance_id": whole["instance_id"],
        "revision": api.get("/rules")["revision"],
    }
    seen_by_a_viewer = b""
    for path in [*paths_with_values(api, values), "/openapi.json"]:
        needed = {"params": {"uid": marked.sop_instance_uid, "kind": "held", "reason": "no rule matches"}}
        observed = api.as_(Role.OBSERVER).get(path, **needed)
        assert observed.status_code in (200, 403), (path, observed.text)
        seen_by_a_viewer += api.as_(Role.VIEWER).get(path, **needed).content
        answers = [observed, api.nobody.get(path, **needed)]
        answers += [api.as_(role).get(f"{path}/{CANARY}") for role in (Role.OBSERVER, Role.ADMINISTRATOR)]
        answers.append(api.as_(Role.ADMINISTRATOR).get(path, params={"limit": CANARY, "kind": CANARY}))
        for answer in answers:
            if answer.status_code == 200 and answer is not observed:
                continue
            for each in secret:
                assert each not in answer.content, (path, each)
    assert CANARY.encode() in seen_by_a_viewer, "there was something to be seen"
    with api.as_(Role.OBSERVER).stream("GET", "/events") as stream:
        _, live = next(events(stream.iter_lines()))
    assert all(each not in json.dumps(live).encode() for each in secret)
    frame = top(api, "--json").check().stdout.encode()
    assert all(each not in frame for each in secret)


# ── docs/api.md ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_examples_of_the_document_run_one_after_the_other(api: ApiSite, tmp_path: Path) -> None:
    require("curl")
    api.site.send(list(make_instances(2, seed=91))).check()
    api.site.gateway.wait_idle()
    assert len(EXAMPLES) >= 7
    env = {"PATH": "/usr/bin:/bin", "GATEWAY_URL": api.url, "GATEWAY_TOKEN": api.tokens[Role.OPERATOR]}
    for example in EXAMPLES:
        ran = subprocess.run(
            ["bash", "-euc", example], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, f"{example}\n{ran.stdout[-500:]}\n{ran.stderr}"
    assert (tmp_path / "image.dcm").read_bytes()[128:132] == b"DICM"


def test_the_stream_ends_when_the_gateway_stops(api: ApiSite) -> None:
    """The last test of this module."""
    assert TOKEN_NAME
    with api.as_(Role.OBSERVER).stream("GET", "/events") as stream:
        told = events(stream.iter_lines())
        assert next(told)[0] == "live"
        os.kill(api.site.gateway.supervisor_pid(), signal.SIGTERM)
        last = list(told)[-1]
    assert last == ("end", {"because": "the gateway stops"})
