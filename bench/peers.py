"""The gateway, and what it is compared with: each takes instances on `port`, and some pass them to an archive.

`start` starts one, `cpu_s` is what all its processes have used. Peers run with TCP_NODELAY=1 (see `__main__`), which
DCMTK reads: Debian's leaves Nagle's algorithm on, and then every instance waits for a delayed ACK (`StorescpSide` can).

============  =================================================================  =============================
side          what it is                                                         durable before its response
============  =================================================================  =============================
`gateway`     one process of each role, log level info                           yes
`orthanc`     storage, index, a Lua script that forwards and deletes             yes (SyncStorageArea)
`socat`       a byte relay: no upper layer, no storage                           no
`storescp`    DCMTK's, `+B`: writes what it reads; a process an association      no
`pynetdicom`  its storescp: writes what it reads; a thread an association        no
============  =================================================================  =============================
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.processes import cpu_s
from tests.harness.dcmtk import DcmtkStorescp
from tests.harness.evidence import descendants
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.orthanc import Orthanc
from tests.harness.tools import Process, free_port, program

FORWARD_AND_DELETE = """
function OnStoredInstance(instanceId, tags, metadata, origin)
  Delete(SendToModality(instanceId, 'archive'))
end
"""


class Side(ABC):
    """One thing that takes instances."""

    counts_cpu = True

    def __init__(self, port: int) -> None:
        self.port = port

    @abstractmethod
    def start(self) -> Self:
        """Start it and wait until it serves."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its first process; all others descend from it."""

    def idle(self) -> None:
        """Wait until it has nothing left to do."""
        return

    def clear(self) -> None:
        """Remove what it keeps of what it was sent, where that is not its own business."""
        return

    def cpu_s(self) -> float:
        """CPU seconds of all its processes, with those that have ended."""
        return cpu_s(self.pid)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class GatewaySide(Side):
    """Forwards to each of the archives; without any, every instance is discarded once it is routed, so that receiving
    is all that is measured."""

    def __init__(self, folder: Path, archive_ports: Sequence[int], **sections: Mapping[str, Any]) -> None:
        ports = {f"archive-{number}": port for number, port in enumerate(archive_ports)}
        discard = 'rules: [{name: everything, discard: "measured"}]\n'
        rules = None if ports else {"10-all.yaml": discard}
        config = GatewayConfig(folder, ports or {"nobody": free_port()}, rules=rules, log={"level": "info"}, **sections)
        self.gateway = GatewayProcess(config)
        super().__init__(self.gateway.config.port)

    def start(self) -> Self:
        self.gateway.start()
        return self

    def close(self) -> None:
        self.gateway.close()

    @property
    def pid(self) -> int:
        return self.gateway.supervisor_pid()

    def idle(self) -> None:
        self.gateway.wait_idle(120)


class OrthancSide(Side):
    """Orthanc as a store-and-forward gateway."""

    def __init__(self, folder: Path, archive_port: int) -> None:
        script = folder / "forward.lua"
        script.write_text(FORWARD_AND_DELETE)
        self.orthanc = Orthanc(
            folder / "orthanc",
            DicomModalities={"archive": ["ARCHIVE", "127.0.0.1", archive_port]},
            LuaScripts=[str(script)],
            MaximumPduLength=131072,
        )
        super().__init__(self.orthanc.port)

    def start(self) -> Self:
        self.orthanc.start()
        return self

    def close(self) -> None:
        self.orthanc.stop()

    @property
    def pid(self) -> int:
        assert self.orthanc.process is not None
        return self.orthanc.process.pid


class SocatSide(Side):
    """A relay between two sockets. It does not wait for the processes it forks, so that nobody counts their CPU."""

    counts_cpu = False

    def __init__(self, folder: Path, archive_port: int) -> None:
        super().__init__(free_port())
        listen = f"TCP-LISTEN:{self.port},bind=127.0.0.1,fork,reuseaddr,nodelay"
        self._argv = [program("socat"), "-b", "262144", listen, f"TCP:127.0.0.1:{archive_port},nodelay"]
        self._folder = folder
        self._process: Process | None = None

    def start(self) -> Self:
        self._process = Process(self._argv, self._folder / "log", "socat")
        self._process.wait_for_port(self.port)
        return self

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class StorescpSide(Side):
    """DCMTK's storescp, writing into `directory`. `nagle`: as Debian ships it."""

    def __init__(self, directory: Path, *, port: int | None = None, nagle: bool = False) -> None:
        self.directory = directory
        self.storescp = DcmtkStorescp(directory, port=port, max_pdu=131072, options=["--fork"])
        if nagle:
            self.storescp.argv = [program("env"), "-u", "TCP_NODELAY", *self.storescp.argv]
        super().__init__(self.storescp.port)

    def start(self) -> Self:
        self.storescp.start()
        return self

    def close(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)  # it forks no more
        for pid in descendants(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.storescp.stop()

    @property
    def pid(self) -> int:
        assert self.storescp.process is not None
        return self.storescp.process.pid

    def clear(self) -> None:
        _empty(self.directory)


class PynetdicomSide(Side):
    """pynetdicom's storescp, writing into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(free_port())
        self._folder = folder
        self._process: Process | None = None

    def start(self) -> Self:
        self._folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-ba", "127.0.0.1", "-pdu", "131072"]
        argv += ["-od", str(self._folder), str(self.port)]
        self._process = Process(argv, self._folder.with_name(f"{self._folder.name}-log"), "storescp")
        self._process.wait_for_port(self.port)
        return self

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def clear(self) -> None:
        _empty(self._folder)


def _empty(folder: Path) -> None:
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)
