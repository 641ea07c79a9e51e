"""DCMTK's storescp, dcmsend, storescu and echoscu.

`storescp` (3.6.7) stores with `+B`: data set bytes exactly as read from the network. It accepts every transfer syntax
that DCMTK knows (`+xa`) and unknown SOP classes (`-pm`). DCMTK's senders write a data set anew from what they parsed,
so that its bytes on the wire need not be those of the file; `sent_by_dcmtk` says what they really send. They leave
Nagle's algorithm on, which makes storescp and Orthanc slow receivers; `env=NODELAY` turns it off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pynetdicom.dsutils import split_dataset

from tests.harness.archive import OurArchive
from tests.harness.data import dataset_sha256, sha256_from
from tests.harness.tools import Completed, Process, free_port, program, run

NODELAY = {"TCP_NODELAY": "1"}


class DcmtkStorescp:
    """A storescp that writes Part 10 files into `directory`.

    `max_pdu` is 4096…131072. `options` are further words of its command line, for example `--abort-during`,
    `--sleep-after 5`, `--refuse`, `+xi`; with a transfer syntax option of your own, set `accept_all` to False.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        ae_title: str = "STORESCP",
        max_pdu: int = 16384,
        accept_all: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.port = free_port() if port is None else port
        self.ae_title = ae_title
        self.argv = [program("storescp"), "-v", "-dhl", "-aet", ae_title, "-pdu", str(max_pdu)]
        self.argv += ["-od", str(directory), "+uf", "-fe", ".dcm", "+B", "-pm"]
        self.argv += (["+xa"] if accept_all else []) + [*options, str(self.port)]
        self.process: Process | None = None

    def start(self) -> Self:
        """Start it, and wait until it listens. May be called again after `stop`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = Process(self.argv, self.directory.with_name(f"{self.directory.name}-log"), "storescp")
        self.process.wait_for_port(self.port)
        return self

    def stop(self) -> None:
        """End it; an association under way breaks."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def files(self) -> list[Path]:
        """The files it has written."""
        return sorted(self.directory.glob("*.dcm"))

    def contents(self) -> dict[str, list[str]]:
        """sop_instance_uid → SHA-256 of the data set of every copy."""
        return contents_of(self.files())


def contents_of(files: Sequence[Path]) -> dict[str, list[str]]:
    """sop_instance_uid → SHA-256 of the data set, of Part 10 files in order of their modification."""
    found: dict[str, list[str]] = {}
    for path in sorted(files, key=lambda one: one.stat().st_mtime_ns):
        meta, offset = split_dataset(path)
        found.setdefault(str(meta.MediaStorageSOPInstanceUID), []).append(sha256_from(path, offset))
    return found


def dcmsend(
    files: Sequence[Path],
    port: int,
    *,
    calling: str = "DCMSEND",
    called: str = "GATEWAY",
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> Completed:
    """Send files over as few associations as possible, never decompressing (`-dn`), not halting on bad ones."""
    argv = [program("dcmsend"), "-v", "-dn", "-nh", "-nuc", "-aet", calling, "-aec", called, *options]
    return run([*argv, "127.0.0.1", str(port), *files], timeout_s, env=env)


def storescu(
    files: Sequence[Path],
    port: int,
    *,
    calling: str = "STORESCU",
    called: str = "GATEWAY",
    options: Sequence[str] = ("-R",),
    env: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> Completed:
    """Send files over one association; compressed ones need their proposal option (`-xs`, `-xv`, …)."""
    argv = [program("storescu"), "-v", "-nh", "-aet", calling, "-aec", called, *options]
    return run([*argv, "127.0.0.1", str(port), *files], timeout_s, env=env)


def echoscu(port: int, *, calling: str = "ECHOSCU", called: str = "GATEWAY", options: Sequence[str] = ()) -> Completed:
    """C-ECHO; exit code 0 means Success."""
    return run([program("echoscu"), "-v", "-aet", calling, "-aec", called, *options, "127.0.0.1", str(port)], 30)


@dataclass(frozen=True, slots=True)
class Sent:
    """What dcmsend puts on the wire for a file, or why it does not."""

    path: Path
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    sha256: str = ""
    as_in_file: bool = False
    data: bytes = b""
    reason: str = ""


def sent_by_dcmtk(files: Sequence[Path]) -> list[Sent]:
    """Send each file with dcmsend, alone, to an archive of ours: the reference for what must come out elsewhere."""
    found = []
    with OurArchive(keep_data=True) as archive:
        for path in files:
            before = archive.count
            done = dcmsend([path], archive.port)
            if archive.count != before + 1:
                lines = [line for line in done.output.splitlines() if line.startswith(("E:", "F:", "W:"))]
                found.append(Sent(path, reason="; ".join(lines)[:300] or f"dcmsend exited with {done.returncode}"))
                continue
            stored = archive.all_stored()[-1]
            data = archive.data[stored.sop_instance_uid].pop()
            same = dataset_sha256(path) == stored.sha256
            found.append(Sent(path, stored.sop_instance_uid, stored.transfer_syntax_uid, stored.sha256, same, data))
    return found
