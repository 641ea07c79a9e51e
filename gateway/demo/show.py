"""`gateway demo`: the main job on real input, shown to a person, judged by checksums.

In a temporary folder: two archives, the gateway between them with the embedded default, and a modality that sends
pydicom's packaged sample instances by C-STORE. Every instance goes to the archive `pacs`, CT and MR also to `dr`. The
demo succeeds only if each archive has exactly the instances that the rules send there, and the data set in each file
that it wrote has the SHA-256 of the one that was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.config.values import Destination
from gateway.demo.archive import Archive, Stored
from gateway.demo.visit import addresses, make_user, stay_on
from gateway.dicom.header import Wanted, read_header
from gateway.errors import HeaderError, UsageError
from gateway.flow.scu import FileToSend, Sent, find_files, look_at, send_files

READY_S = 20.0
ARRIVE_S = 60.0
MODALITY = 0x00080060
CROSS_SECTIONAL = {"CT", "MR"}
RULE_OF = {"pacs": "all-to-pacs", "dr": "ct-mr-to-dr"}
GOOD = "unaltered"

CONFIGURATION = """\
ae_title: GATEWAY
state_dir: ./state
spool: {{dir: ./state/spool, min_free: 64 MiB, ballast: 1 MiB}}
rules: {{dir: ./rules}}
listeners:
  main: {{host: 127.0.0.1, port: {port}, ae_titles: [GATEWAY]}}
sources:
  modality: {{ae_titles: [MODALITY], hosts: [127.0.0.1]}}
destination_defaults: {{association_timeout: 5 s, response_timeout: 10 s, retry_min: 1 s, retry_max: 5 s}}
destinations:
  pacs: {{ae_title: PACS, host: 127.0.0.1, port: {pacs}}}
  dr: {{ae_title: DR, host: 127.0.0.1, port: {dr}}}
metrics: {{host: 127.0.0.1, port: {metrics}}}
console: {{host: 127.0.0.1, port: {console}, users: ./users.yaml}}
log: {{format: json}}
"""

RULES = """\
rules:
  - name: all-to-pacs
    send_to: [pacs]
  - name: ct-mr-to-dr
    match:
      Modality: [CT, MR]
    send_to: [dr]
tests:
  - name: a CT goes to both archives
    instance: {Modality: CT}
    expect: {destinations: [pacs, dr]}
  - name: an ultrasound stays out of DR
    instance: {Modality: US}
    expect: {destinations: [pacs]}
"""


@dataclass(slots=True)
class Expected:
    """An instance that was sent: what must arrive, and where."""

    file: FileToSend
    sha256: str
    modality: str
    sent_at: float = 0.0
    sent: Sent | None = None
    arrived: dict[str, tuple[Stored, float]] = field(default_factory=dict)

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where the demo's rules send it."""
        return ("pacs", "dr") if self.modality in CROSS_SECTIONAL else ("pacs",)


def run_demo(keep: Path | None, stay: bool | None = None) -> int:
    """Run the demo; 0 only if everything arrived unaltered.

    :param keep: a folder to work in and leave behind; else a temporary one.
    :param stay: run on after the table, with more traffic, until SIGINT or SIGTERM; None: where somebody looks on.
    :raises UsageError: the folder cannot be used.
    """
    console = Console(highlight=False)
    if stay is None:
        stay = console.is_terminal and not os.environ.get("CI")
    try:
        with _folder(keep) as folder:
            return asyncio.run(_demo(console, folder, keep is not None, stay))
    except OSError as error:
        where = keep or tempfile.gettempdir()
        raise UsageError(
            f"the demo cannot work in {where}: {error.strerror or error}; name another with --keep"
        ) from None


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
        yield Path(name)


async def _demo(console: Console, folder: Path, kept: bool, stay: bool) -> int:
    expected = samples()
    if not expected:
        console.print("no sample files were found: is pydicom installed with its data?")
        return 1
    by_uid = {item.file.part10.sop_instance_uid: item for item in expected}
    arrived = asyncio.Event()
    surprises: list[Stored] = []

    def stored(item: Stored) -> None:
        wanted = by_uid.get(item.sop_instance_uid)
        if wanted is None or item.archive not in wanted.destinations or item.archive in wanted.arrived:
            surprises.append(item)
        else:
            wanted.arrived[item.archive] = (item, time.monotonic())
        arrived.set()

    archives = [Archive(name, folder / name, stored) for name in ("pacs", "dr")]
    for archive in archives:
        archive.start()
    ports = _write_configuration(folder, archives)
    password = make_user(folder / "users.yaml")
    async with _running(folder) as gateway:
        if not await _ready(ports["console"], gateway):
            console.print(f"the gateway did not start; its log:\n{_tail(folder / 'gateway.log')}", markup=False)
            return 1
        _introduce(console, folder, ports, archives, password)
        await _send_and_wait(console, expected, ports["port"], arrived, gateway)
        good = _judge(console, expected, surprises, await _received(ports))
        if stay:
            files = [item.file for item in expected]
            await stay_on(console, folder, ports, password, files, archives)
    for archive in archives:
        await archive.stop()
    if not good:
        console.print(f"the gateway's log ends with:\n{_tail(folder / 'gateway.log')}", markup=False)
    if kept:
        console.print(f"everything is left in {folder}", markup=False, soft_wrap=True)
    return 0 if good else 1


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The gateway as a child, stopped in order at the end."""
    with (folder / "gateway.log").open("wb") as log:
        gateway = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            *("-m", "gateway", "run", "--config", str(folder / "gateway.yaml")),
            stdout=log,
            stderr=log,
            env={key: value for key, value in os.environ.items() if not key.startswith("GATEWAY")},
        )
        try:
            yield gateway
        finally:
            with suppress(ProcessLookupError):
                gateway.send_signal(signal.SIGTERM)
            await gateway.wait()


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def samples() -> list[Expected]:
    """pydicom's packaged sample instances that are storage instances, each SOP Instance UID once."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found: dict[str, Expected] = {}
    for file in find_files([folder], lambda path, why: None):
        data = file.path.read_bytes()[file.part10.offset :]
        try:
            source = _Bytes(data)
            header = read_header(source, file.part10.transfer_syntax_uid, Wanted.of([(MODALITY,)]))
        except HeaderError:
            continue  # some of pydicom's files are broken on purpose
        same = (header.sop_instance_uid, header.sop_class_uid)
        if same != (file.part10.sop_instance_uid, file.part10.sop_class_uid):
            continue
        modality = header.text(MODALITY)
        found.setdefault(header.sop_instance_uid, Expected(file, hashlib.sha256(data).hexdigest(), modality))
    return list(found.values())


class _Bytes:
    """A data set in memory, for the header reader."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def _write_configuration(folder: Path, archives: list[Archive]) -> dict[str, int]:
    ports = dict(zip(("port", "metrics", "console"), _free_ports(3), strict=True))
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "10-demo.yaml").write_text(RULES)
    where = {archive.name: archive.port for archive in archives}
    (folder / "gateway.yaml").write_text(CONFIGURATION.format(**ports, **where))
    return ports


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(sock.getsockname()[1]) for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


async def _ready(port: int, gateway: asyncio.subprocess.Process) -> bool:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and gateway.returncode is None:
        try:
            await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/readyz")
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return True
    return False


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an http URL on the loopback, made above
        return str(answer.read().decode())


def _introduce(console: Console, folder: Path, ports: dict[str, int], archives: list[Archive], password: str) -> None:
    lines = [f"gateway   GATEWAY@127.0.0.1:{ports['port']}   in {folder}"]
    lines += [
        f"archive   {archive.name.upper()}@127.0.0.1:{archive.port}   in {archive.folder}" for archive in archives
    ]
    for line in (*lines, *addresses(ports, password), ""):
        console.print(line, markup=False, soft_wrap=True)


async def _received(ports: dict[str, int]) -> int:
    """How many instances the gateway says it received, by its metrics."""
    try:
        metrics = await asyncio.to_thread(_get, f"http://127.0.0.1:{ports['metrics']}/metrics")
    except OSError:
        return 0
    found = [line for line in metrics.splitlines() if line.startswith("gateway_instances_received_total")]
    return round(sum(float(line.rpartition(" ")[2]) for line in found))


async def _send_and_wait(
    console: Console,
    expected: list[Expected],
    port: int,
    arrived: asyncio.Event,
    gateway: asyncio.subprocess.Process,
) -> None:
    by_path = {item.file.path: item for item in expected}
    waiting = sum(len(item.destinations) for item in expected)
    peer = Destination(name="gateway", ae_title="GATEWAY", host="127.0.0.1", port=port, calling_ae_title="MODALITY")
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        sending = progress.add_task("sent", total=len(expected))
        delivered = progress.add_task("delivered", total=waiting)

        def told(sent: Sent) -> None:
            item = by_path[sent.file.path]
            item.sent, item.sent_at = sent, time.monotonic() - sent.seconds
            progress.advance(sending)

        await send_files([item.file for item in expected], peer, told)
        deadline = time.monotonic() + ARRIVE_S
        while True:
            done = sum(len(item.arrived) for item in expected)
            progress.update(delivered, completed=done)
            stored = [item for item in expected if item.sent is not None and item.sent.stored]
            if done >= sum(len(item.destinations) for item in stored):
                return
            arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(arrived.wait(), min(1.0, max(0.01, deadline - time.monotonic())))
            if time.monotonic() >= deadline or gateway.returncode is not None:
                return


def _judge(console: Console, expected: list[Expected], surprises: list[Stored], received: int) -> bool:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("instance", overflow="fold")
    for column in ("modality", "rule", "destination"):
        table.add_column(column, no_wrap=True)
    table.add_column("outcome", overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True)
    counts: Counter[str] = Counter()
    for item in expected:
        for destination in item.destinations:
            outcome, took = _outcome(item, destination)
            counts[outcome] += 1
            style = "green" if outcome == GOOD else "bold red"
            name = Text(item.file.path.name)
            rule = RULE_OF[destination]
            table.add_row(name, Text(item.modality), rule, destination, Text(outcome, style=style), took)
    console.print(table)
    summary = ", ".join(f"{count} deliveries {outcome}" for outcome, count in counts.items())
    console.print(
        f"\n{len(expected)} instances sent, {received} received by the gateway's count, {summary}",
        markup=False,
        soft_wrap=True,
    )
    for surprise in surprises:
        console.print(
            f"not expected: {surprise.archive} was sent {surprise.path.name}", style="bold red", soft_wrap=True
        )
    return not surprises and set(counts) == {GOOD}


def _outcome(item: Expected, destination: str) -> tuple[str, str]:
    if item.sent is None or not item.sent.stored:
        return f"not accepted: {item.sent.text if item.sent else 'not sent'}", ""
    if destination not in item.arrived:
        return "not delivered", ""
    stored, at = item.arrived[destination]
    took = f"{(at - item.sent_at) * 1000:.0f}"
    try:
        sha256 = _data_set_sha256(stored.path)
    except (OSError, HeaderError):
        return "MISSING", took
    return (GOOD if sha256 == item.sha256 else "ALTERED"), took


def _data_set_sha256(path: Path) -> str:
    """Of the data set in a Part 10 file."""
    file = look_at(path)
    with path.open("rb") as handle:
        handle.seek(file.part10.offset)
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
