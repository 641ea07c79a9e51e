"""`gateway demo`: the main job on real input, shown to a person, judged by checksums.

In a temporary folder: two archives, the gateway between them with the embedded default, and a modality that sends
pydicom's packaged sample instances by C-STORE. Every instance goes to the archive `pacs`, CT and MR also to `dr`. The
demo succeeds only if each archive has exactly the instances that the rules send there, each with the SHA-256 of the
data set that was sent.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.config.values import Destination
from gateway.demo.archive import Archive, Stored
from gateway.dicom.header import AttributePath, Wanted, read_header
from gateway.errors import HeaderError
from gateway.flow.scu import FileToSend, Sent, find_files, send_files

READY_S = 20.0
ARRIVE_S = 60.0
MODALITY: AttributePath = (0x00080060,)
CROSS_SECTIONAL = {"CT", "MR"}

CONFIGURATION = """\
ae_title: GATEWAY
state_dir: ./state
spool: {{dir: ./state/spool, min_free: 64 MiB, ballast: 1 MiB}}
rules: {{dir: ./rules}}
listeners:
  main: {{host: 127.0.0.1, port: {port}, ae_titles: [GATEWAY]}}
sources:
  modality: {{ae_titles: [MODALITY], hosts: [127.0.0.1]}}
destinations:
  pacs: {{ae_title: PACS, host: 127.0.0.1, port: {pacs}}}
  dr: {{ae_title: DR, host: 127.0.0.1, port: {dr}}}
metrics: {{host: 127.0.0.1, port: {metrics}}}
console: {{host: 127.0.0.1, port: {console}}}
log: {{format: json}}
"""

RULES = """\
rules:
  - name: everything-to-pacs
    send_to: [pacs]
  - name: ct-and-mr-to-dr
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


def run_demo(keep: Path | None) -> int:
    """Run the demo; 0 only if everything arrived unaltered.

    :param keep: a folder to work in and leave behind; else a temporary one.
    """
    console = Console()
    with _folder(keep) as folder:
        return asyncio.run(_demo(console, folder, keep is not None))


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
        yield Path(name)


async def _demo(console: Console, folder: Path, kept: bool) -> int:
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
    log = (folder / "gateway.log").open("wb")
    gateway = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "run", "--config", str(folder / "gateway.yaml")),
        stdout=log,
        stderr=log,
        env={key: value for key, value in os.environ.items() if not key.startswith("GATEWAY")},
    )
    try:
        if not await _ready(ports["console"], gateway):
            console.print(f"the gateway did not start; its log:\n{_tail(folder / 'gateway.log')}", markup=False)
            return 1
        _introduce(console, folder, ports, archives)
        await _send_and_wait(console, expected, ports["port"], arrived)
        metrics = await asyncio.to_thread(_get, f"http://127.0.0.1:{ports['metrics']}/metrics")
    finally:
        with suppress(ProcessLookupError):
            gateway.send_signal(signal.SIGTERM)
        await gateway.wait()
        log.close()
        for archive in archives:
            await archive.stop()
    good = _judge(console, expected, surprises, metrics)
    if not good:
        console.print(f"the gateway's log ends with:\n{_tail(folder / 'gateway.log')}", markup=False)
    if kept:
        console.print(f"everything is left in {folder}", markup=False)
    return 0 if good else 1


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
            header = read_header(source, file.part10.transfer_syntax_uid, Wanted.of([MODALITY]))
        except HeaderError:
            continue  # some of pydicom's files are broken on purpose
        same = (header.sop_instance_uid, header.sop_class_uid)
        if same != (file.part10.sop_instance_uid, file.part10.sop_class_uid):
            continue
        modality = header.text(MODALITY[0])
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


def _introduce(console: Console, folder: Path, ports: dict[str, int], archives: list[Archive]) -> None:
    console.print(f"gateway   GATEWAY@127.0.0.1:{ports['port']}   in {folder}", highlight=False)
    for archive in archives:
        console.print(
            f"archive   {archive.name.upper()}@127.0.0.1:{archive.port}   in {archive.folder}", highlight=False
        )
    console.print(f"console   http://127.0.0.1:{ports['console']}/readyz", highlight=False)
    console.print(f"metrics   http://127.0.0.1:{ports['metrics']}/metrics\n", highlight=False)


async def _send_and_wait(console: Console, expected: list[Expected], port: int, arrived: asyncio.Event) -> None:
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
            if time.monotonic() >= deadline:
                return


def _judge(console: Console, expected: list[Expected], surprises: list[Stored], metrics: str) -> bool:
    table = Table(title=None)
    for column in ("instance", "modality", "rule", "destination", "outcome"):
        table.add_column(column)
    table.add_column("ms", justify="right")
    counts: Counter[str] = Counter()
    for item in expected:
        for destination in item.destinations:
            outcome, took = _outcome(item, destination)
            counts[outcome] += 1
            rule = "everything-to-pacs" if destination == "pacs" else "ct-and-mr-to-dr"
            style = "green" if outcome == "unaltered" else "bold red"
            name = Text(item.file.path.name)
            table.add_row(name, item.modality, rule, destination, Text(outcome, style=style), took)
    console.print(table)
    received = sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("gateway_instances_received_total")
    )
    console.print(
        f"{len(expected)} instances sent, {received:.0f} received by the gateway's count, "
        + ", ".join(f"{count} deliveries {outcome}" for outcome, count in counts.items()),
        highlight=False,
    )
    for surprise in surprises:
        console.print(f"not expected: {surprise.archive} was sent {surprise.path.name}", style="bold red")
    return not surprises and set(counts) == {"unaltered"}


def _outcome(item: Expected, destination: str) -> tuple[str, str]:
    if item.sent is None or not item.sent.stored:
        return f"not accepted: {item.sent.text if item.sent else 'not sent'}", ""
    if destination not in item.arrived:
        return "not delivered", ""
    stored, at = item.arrived[destination]
    took = f"{(at - item.sent_at) * 1000:.0f}"
    return ("unaltered" if stored.sha256 == item.sha256 else "ALTERED"), took


def _tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
