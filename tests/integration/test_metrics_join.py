"""One scrape shows the whole host: its processes' sockets joined, the dead left out, as Prometheus reads it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway import __version__
from gateway.console.access.throttle import network_of
from gateway.console.app import ADDRESS_LIMIT, Guard, Served, health_routes, metrics_app, serve, serving
from gateway.console.metrics import HostMetrics, SpoolFigures, join
from gateway.errors import LedgerBusy
from gateway.model import DeliveryState, DestinationState, InstanceState, LedgerGauges
from gateway.runfolder import RunFolder
from tests.harness.gatewayprocess import all_stopped
from tests.harness.tools import wait_until

ROOT = Path(__file__).parents[2]
NOW_MS = 1_000_000
GAUGES = LedgerGauges(
    spool_bytes=20,
    queue_depth={("pacs", DeliveryState.READY): 1_000_000, ("pacs", DeliveryState.DELIVERED): 5},
    queue_oldest_ms={"pacs": NOW_MS - 90_000},
    destinations=(DestinationState("pacs"), DestinationState("dr", paused=True)),
    instances={InstanceState.HELD: 3, InstanceState.QUARANTINED: 2, InstanceState.ROUTED: 7},
    rules_revision="abc123",
    source_arrivals_ms={"unknown": NOW_MS - 5_000},
    routing_since_ms=NOW_MS - 30_000,
)


class Processes:
    """Processes that count things and answer on their metrics sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, process: str, destinations: int = 1, instances: int = 3) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.metered", str(self.folder), process]
        started = subprocess.Popen(
            [*command, str(destinations), str(instances)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.running.append(started)
        assert started.stdout is not None and started.stdout.readline() == b"ready\n"
        return started


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path / "run")
    yield processes
    for process in processes.running:
        with contextlib.suppress(BrokenPipeError):
            process.send_signal(signal.SIGCONT)
            process.communicate(timeout=20)


def host(folder: Path, gauges: LedgerGauges | Exception = GAUGES, low: bool = False) -> HostMetrics:
    async def read() -> LedgerGauges:
        if isinstance(gauges, Exception):
            raise gauges
        return gauges

    return HostMetrics(folder, read, lambda: SpoolFigures(10, low), lambda: NOW_MS)


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    names = []
    for family in text_string_to_metric_families(text.decode()):
        names.append(family.name)
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    assert len(names) == len(set(names)), "every family in one piece"
    return found


def value(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


def check_with_promtool(text: bytes) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert os.environ.get("CI") != "true", "promtool is missing: apt-get install prometheus"
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_processes_are_joined_and_prometheus_can_read_it(processes: Processes) -> None:
    processes.start("receiver-0", instances=3)
    processes.start("receiver-1", instances=4)
    processes.start("forwarder-0", destinations=2)
    text = asyncio.run(host(processes.folder).exposition())
    assert value(text, "gateway_instances_received_total", process="receiver-0", source="ct1") == 3
    assert value(text, "gateway_instances_received_total", process="receiver-1", source="ct1") == 4
    assert value(text, "gateway_store_seconds_count", process="receiver-1") == 4
    assert value(text, "gateway_destination_up", process="forwarder-0", destination="archive-1") == 1
    assert value(text, "gateway_queue_depth", destination="pacs", state="ready") == 1_000_000
    assert value(text, "gateway_queue_depth", destination="dr", state="held") == 0
    assert value(text, "gateway_queue_oldest_age_seconds", destination="pacs") == 90
    assert value(text, "gateway_destination_paused", destination="dr") == 1
    assert value(text, "gateway_unrouted_instances") == 3
    assert value(text, "gateway_quarantined_instances") == 2
    assert value(text, "gateway_routing_oldest_age_seconds") == 30
    assert value(text, "gateway_source_last_arrival_timestamp_seconds", source="unknown") == NOW_MS / 1000 - 5
    assert value(text, "gateway_rules_info", revision="abc123") == 1
    assert value(text, "gateway_spool_free_bytes") == 10
    assert value(text, "gateway_spool_bytes") == 20
    assert value(text, "gateway_scrape_sources", state="answered") == 3
    assert value(text, "process_open_fds", process="receiver-0")
    check_with_promtool(text)


def test_a_host_shows_whether_it_is_ready_as_readyz_says(processes: Processes) -> None:
    assert value(asyncio.run(host(processes.folder).exposition()), "gateway_ready") == 1
    assert value(asyncio.run(host(processes.folder, low=True).exposition()), "gateway_ready") == 0
    assert value(asyncio.run(host(processes.folder, LedgerBusy("locked")).exposition()), "gateway_ready") == 0
    processes.start("receiver-0")  # whose intake is closed
    assert value(asyncio.run(host(processes.folder).exposition()), "gateway_ready") == 0


def test_a_destination_that_left_the_configuration_is_nobodys_to_serve_and_what_is_held_for_it_shows(
    processes: Processes,
) -> None:
    gone = DestinationState("old", configured=False)
    gauges = LedgerGauges(destinations=(gone,), queue_depth={("old", DeliveryState.HELD): 3}, rules_revision="r1")
    text = asyncio.run(host(processes.folder, gauges).exposition())
    assert value(text, "gateway_destination_owned", destination="old") is None
    assert value(text, "gateway_queue_depth", destination="old", state="held") == 3


def test_a_file_system_that_counts_no_inodes_shows_none(processes: Processes) -> None:
    text = asyncio.run(host(processes.folder).exposition())
    assert value(text, "gateway_spool_free_bytes") == 10
    assert b"inodes" not in text


def test_a_dead_process_is_left_out_and_its_socket_removed(processes: Processes) -> None:
    processes.start("receiver-0")
    killed = processes.start("receiver-1")
    killed.kill()
    killed.wait()
    metrics = host(processes.folder)
    text = asyncio.run(metrics.exposition())
    assert value(text, "gateway_scrape_sources", state="silent") == 1
    assert value(text, "gateway_scrape_sources", state="answered") == 1
    assert value(text, "gateway_instances_received_total", process="receiver-0", source="ct1") == 3
    assert len(RunFolder(processes.folder).names(".metrics")) == 1
    assert value(asyncio.run(metrics.exposition()), "gateway_scrape_sources", state="silent") == 0


def test_a_frozen_process_costs_its_timeout_and_nothing_else(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.console.metrics.SOURCE_TIMEOUT_S", 0.3)
    processes.start("receiver-0")
    frozen = processes.start("receiver-1")
    frozen.send_signal(signal.SIGSTOP)
    wait_until(lambda: all_stopped(frozen.pid), 10, "it to stop")
    text = asyncio.run(host(processes.folder).exposition())
    assert value(text, "gateway_scrape_sources", state="silent") == 1
    assert value(text, "gateway_instances_received_total", process="receiver-0", source="ct1") == 3
    assert len(RunFolder(processes.folder).names(".metrics")) == 2, "it may wake up again"


@pytest.mark.parametrize("error", [LedgerBusy("locked"), ValueError("CANARY"), TimeoutError()])
def test_without_its_ledger_a_host_still_shows_its_processes(processes: Processes, error: Exception) -> None:
    processes.start("receiver-0")
    text = asyncio.run(host(processes.folder, error).exposition())
    assert value(text, "gateway_ledger_up") == 0
    assert value(text, "gateway_instances_received_total", process="receiver-0", source="ct1") == 3
    assert b"gateway_queue_depth" not in text
    check_with_promtool(text)


def test_families_of_a_text_cut_short_are_not_joined(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(folder.address("half-0.1-a.metrics"))
        listener.listen()

        async def scenario() -> int:
            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"# HELP a_total x\n# TYPE a_total counter\na_total 1")

            gathered, _ = await asyncio.gather(host(tmp_path).gather(), asyncio.to_thread(answer))
            return gathered.silent

        assert asyncio.run(scenario()) == 1


def test_join_keeps_one_head_a_family() -> None:
    one = b'# HELP a x\n# TYPE a gauge\na{process="1"} 1\n# HELP b y\n# TYPE b gauge\nb{process="1"} 2\n'
    two = b'# HELP b y\n# TYPE b gauge\nb{process="2"} 3\n# HELP a x\n# TYPE a gauge\n'
    assert join([one, two]) == (
        b'# HELP a x\n# TYPE a gauge\na{process="1"} 1\n'
        b'# HELP b y\n# TYPE b gauge\nb{process="1"} 2\nb{process="2"} 3\n'
    )
    assert join([]) == b"" and join([one]) == one


def test_reasons_not_ready_come_from_every_side(processes: Processes) -> None:
    async def reasons(gauges: LedgerGauges | Exception, low: bool) -> list[str]:
        return await host(processes.folder, gauges, low).reasons_not_ready()

    assert asyncio.run(reasons(GAUGES, False)) == []
    processes.start("receiver-0")
    assert asyncio.run(reasons(GAUGES, False)) == ["intake_closed"]
    assert asyncio.run(reasons(LedgerGauges(), True)) == ["intake_closed", "no_rules", "spool_low"]
    assert asyncio.run(reasons(LedgerBusy("locked"), False)) == ["intake_closed", "ledger_unreachable"]


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────


def health_app(reasons_not_ready: Callable[[], Awaitable[list[str]]]) -> Guard:
    return Guard(Starlette(routes=health_routes(reasons_not_ready)))


@contextlib.asynccontextmanager
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with serving(app, listener), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as session:
        yield session


def test_health_version_and_headers() -> None:
    reasons: list[str] = []

    async def not_ready() -> list[str]:
        return reasons

    async def scenario() -> None:
        async with client(health_app(not_ready)) as http:
            alive = await http.get("/livez")
            assert (alive.status_code, alive.text) == (200, "alive\n")
            assert (await http.get("/readyz")).json() == {"ready": True, "reasons": []}
            reasons.append("spool_low")
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["reasons"]) == (503, ["spool_low"])
            version = await http.get("/version")
            assert version.json() == {"name": "dicom-gateway", "version": __version__}
            head = await http.head("/version")
            assert (head.status_code, head.content) == (200, b"")
            missing = await http.get("/../../etc/passwd")
            refused = await http.post("/livez", content=b"x" * 100_000)
            assert (missing.status_code, refused.status_code) == (404, 405)
            assert refused.headers["allow"] == "GET, HEAD"
            for answer in (alive, ready, version, head, missing, refused):
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
                assert answer.headers["cache-control"] == "no-store"
                assert "server" not in answer.headers
            for answer in (alive, ready, missing, refused):
                assert __version__ not in answer.text

    asyncio.run(scenario())


def test_an_error_is_a_bare_500() -> None:
    async def broken() -> list[str]:
        raise ValueError("CANARY")

    async def scenario() -> httpx.Response:
        async with client(health_app(broken)) as http:
            return await http.get("/readyz")

    answer = asyncio.run(scenario())
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_metrics_over_http(processes: Processes) -> None:
    processes.start("receiver-0")

    found = host(processes.folder)

    async def scenario() -> tuple[httpx.Response, ...]:
        async with client(metrics_app(found.exposition, found.reasons_not_ready)) as http:
            return tuple([await http.get(path) for path in ("/metrics", "/livez", "/readyz", "/version")])

    answer, alive, ready, nowhere = asyncio.run(scenario())
    assert alive.text == "alive\n", "who restarts what is ill asks where no browser can take all places"
    assert ready.json()["ready"] == (ready.status_code == 200)
    assert nowhere.status_code == 404
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(answer.content, "gateway_instances_received_total", process="receiver-0", source="ct1") == 3


def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.app.REQUEST_TIMEOUT_S", 0.2)

    async def ready() -> list[str]:
        return []

    async def scenario() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        async with serving(health_app(ready), listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET /livez HTTP/1.1\r\n")
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(scenario()) == b""


def test_who_says_a_second_request_letter_by_letter_is_sent_away_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.app.REQUEST_TIMEOUT_S", 0.2)

    async def ready() -> list[str]:
        return []

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        async with serving(health_app(ready), listener), asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"alive\n")).startswith(b"HTTP/1.1 200")
            writer.write(b"GET /livez HTTP/1.1\r\n")
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"x")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await reader.read(1)
            writer.close()

    asyncio.run(scenario())


def test_who_asks_and_does_not_read_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.console.app.WRITE_TIMEOUT_S", 0.2)

    async def scenario() -> None:
        over = asyncio.Event()

        async def much() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(1 << 20)
                    await asyncio.sleep(0)  # as what reads a file would: what is sent to nobody waits for nothing
            finally:
                over.set()

        async def endless(_request: Request) -> Response:
            return StreamingResponse(much())

        listener = socket.create_server(("127.0.0.1", 0))
        app = Guard(Starlette(routes=[Route("/", endless)]))
        async with serving(app, listener), asyncio.timeout(20):
            _reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1000)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await over.wait()
            writer.close()

    asyncio.run(scenario())


def test_one_network_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")


def test_one_address_keeps_nobody_else_from_asking() -> None:
    async def ready() -> list[str]:
        return []

    async def scenario() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        async with serving(health_app(ready), listener), asyncio.timeout(60):
            held = [await asyncio.open_connection(*address) for _ in range(ADDRESS_LIMIT + 20)]
            for reader, _ in held[ADDRESS_LIMIT:]:
                assert await reader.read() == b"", "one too many is sent away"
            reader, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0))
            writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            for _, each in [*held, (reader, writer)]:
                each.close()

    asyncio.run(scenario())


def test_it_stops_when_told_and_finishes_what_is_under_way() -> None:
    async def scenario() -> tuple[int, float]:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> list[str]:
            began.set()
            await go_on.wait()
            return []

        listener = socket.create_server(("127.0.0.1", 0))
        url = "http://{}:{}/readyz".format(*listener.getsockname())
        stop = asyncio.Event()
        task = asyncio.create_task(serve([Served(health_app(slow), listener)], stop))
        async with httpx.AsyncClient() as http:
            request = asyncio.create_task(http.get(url))
            await began.wait()
            stop.set()
            go_on.set()
            status = (await request).status_code
        at = time.monotonic()
        await task
        return status, time.monotonic() - at

    status, seconds = asyncio.run(scenario())
    assert status == 200 and seconds < 3


def test_an_idle_console_sleeps() -> None:
    async def nothing() -> list[str]:
        return []

    def switches() -> int:
        return int(Path("/proc/self/status").read_text().partition("voluntary_ctxt_switches:")[2].split()[0])

    async def scenario() -> int:
        async with client(health_app(nothing)):
            before = switches()
            await asyncio.get_running_loop().run_in_executor(None, _pass, 3.0)
            return switches() - before

    def _pass(seconds: float) -> None:
        until = time.monotonic() + seconds
        signal.sigtimedwait([], until - time.monotonic())

    assert asyncio.run(scenario()) <= 6


def test_a_scrape_of_a_whole_host_stays_small(processes: Processes) -> None:
    """Six processes, 20 destinations. What it takes is measured by `python -m bench scrape`."""
    for name in ("receiver-0", "receiver-1", "worker-0", "worker-1"):
        processes.start(name, destinations=0)
    processes.start("forwarder-0", destinations=20, instances=1)
    processes.start("console-0", destinations=0)
    assert len(asyncio.run(host(processes.folder).exposition())) <= 80_000
