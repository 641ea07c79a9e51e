"""An Orthanc with its index and storage in a temporary folder, HTTP and DICOM on loopback only.

It accepts every transfer syntax it knows and unknown SOP classes, keeps what it gets uncompressed, and overwrites an
instance that comes again. `contents` reads data sets back from its storage through the REST interface.
Orthanc parses what it receives and writes it anew, so bytes that another writer encoded differently come back
re-encoded; compare with an instance sent to it directly.
"""

from __future__ import annotations

import hashlib
import io
import json
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.tools import Process, free_port, program, wait_until


class Orthanc:
    """See the module's docstring. `extra` overrides configuration keys."""

    def __init__(self, directory: Path, *, ae_title: str = "ORTHANC", port: int | None = None, **extra: Any) -> None:
        self.directory = directory
        self.ae_title = ae_title
        self.port = free_port() if port is None else port
        self.http_port = free_port()
        self._program = program("Orthanc")
        self.process: Process | None = None
        self.configuration: dict[str, Any] = {
            "Name": "test",
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "index"),
            "StorageCompression": False,
            "Plugins": [],
            "HttpServerEnabled": True,
            "HttpPort": self.http_port,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": True,
            "DicomAet": ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomCheckModalityHost": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "UnknownSopClassAccepted": True,
            "AcceptedTransferSyntaxes": ["1.*"],
            "OverwriteInstances": True,
            "DicomThreadsCount": 4,
            "DicomModalities": {},
            "OrthancPeers": {},
            **extra,
        }

    def start(self) -> Self:
        """Start it, and wait until REST and DICOM answer. Its storage survives a restart."""
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "orthanc.json"
        configuration.write_text(json.dumps(self.configuration, indent=1))
        self.process = Process([self._program, configuration], self.directory / "log", "orthanc")
        self.process.wait_for_port(self.http_port, timeout_s=60)
        self.process.wait_for_port(self.port, timeout_s=60)
        return self

    def stop(self) -> None:
        """End it in order."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def get(self, path: str) -> bytes:
        """GET a path of its REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def instances(self) -> dict[str, str]:
        """SOP Instance UID → Orthanc's identifier."""
        listing = json.loads(self.get("/instances?expand&since=0&limit=1000000"))
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in listing}

    def find(self, sop_instance_uid: str) -> bytes | None:
        """The data set bytes of one instance, None when Orthanc has none of that UID."""
        where = f"http://127.0.0.1:{self.http_port}/tools/lookup"
        with urllib.request.urlopen(where, data=sop_instance_uid.encode(), timeout=60) as answer:
            found = [one["ID"] for one in json.loads(answer.read()) if one["Type"] == "Instance"]
        return self.dataset(found[0]) if found else None

    def dataset(self, identifier: str) -> bytes:
        """The data set bytes of an instance as its storage holds them."""
        raw = self.get(f"/instances/{identifier}/file")
        return dataset_bytes(raw)

    def contents(self) -> dict[str, list[str]]:
        """sop_instance_uid → [SHA-256 of the data set] (one copy each: it overwrites)."""
        return {uid: [hashlib.sha256(self.dataset(name)).hexdigest()] for uid, name in self.instances().items()}

    def wait_for(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until it holds this many instances."""

        def enough() -> bool:
            return bool(json.loads(self.get("/statistics"))["CountInstances"] >= count)

        wait_until(enough, timeout_s, f"Orthanc to hold {count} instances", interval_s=0.1)


def dataset_bytes(part10: bytes) -> bytes:
    """The bytes after the file meta information."""
    return part10[_offset(part10) :]


def _offset(part10: bytes) -> int:
    """Where the data set begins: 132 bytes, the group length element (12 bytes), and what it counts (PS3.10 7.1)."""
    assert part10[128:132] == b"DICM"
    buffer = io.BytesIO(part10)
    buffer.seek(132)
    element = buffer.read(12)
    assert element[:6] == b"\x02\x00\x00\x00UL", "file meta information without a group length"
    return 144 + int.from_bytes(element[8:12], "little")
