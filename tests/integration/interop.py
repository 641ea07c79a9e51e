"""What the interoperability tests share: a gateway among real archives, and what each of them holds.

`Stage` is a gateway with two storescp (one of a process per association and 4,096-byte PDUs, one that serves a single
association at a time), an Orthanc and a pynetdicom SCP behind it; beside it stand a storescp and an Orthanc that
senders can reach directly: what those get is the reference for what the others must hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pynetdicom.dsutils import split_dataset

from tests.harness.data import sha256_from
from tests.harness.dcmtk import DcmtkStorescp
from tests.harness.gatewayprocess import ROOT, GatewayConfig, GatewayProcess
from tests.harness.orthanc import Orthanc
from tests.harness.pynet import PynetdicomScp
from tests.harness.tools import Completed, run, wait_until

# Calling AE titles of senders whose instances would stop an archive: see the rules.
NOT_FOR_ORTHANC = "NOTFORORTHANC"
PYNETDICOM_ONLY = "PYNETONLY"
RULES = f"""
rules:
  - name: everything
    send_to: [pynetdicom]
  - name: dcmtk
    match: {{not: {{calling_ae_title: {PYNETDICOM_ONLY}}}}}
    send_to: [forking, single]
  - name: orthanc
    match: {{not: {{calling_ae_title: [{PYNETDICOM_ONLY}, {NOT_FOR_ORTHANC}]}}}}
    send_to: [orthanc]
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """One data set as an archive got it: what the association said it is, and its bytes' hash."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str


class Shelf:
    """A storescp, and what came to it since one last looked."""

    def __init__(self, scp: DcmtkStorescp) -> None:
        self.scp = scp
        self._seen: set[Path] = set()

    def new(self) -> Counter[Copy]:
        """What was stored since the last call."""
        found: Counter[Copy] = Counter()
        for path in self.scp.files():
            if path not in self._seen:
                self._seen.add(path)
                meta, offset = split_dataset(path)
                uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
                found[Copy(*map(str, uids), sha256_from(path, offset))] += 1
        return found


@dataclass(slots=True)
class Stage:
    """See the module's docstring."""

    gateway: GatewayProcess
    reference: Shelf
    forking: Shelf
    single: Shelf
    orthanc: Orthanc
    direct_orthanc: Orthanc
    pynetdicom: PynetdicomScp

    @property
    def port(self) -> int:
        return self.gateway.config.port


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Start everything; end everything."""
    with contextlib.ExitStack() as peers:
        reference, forking, single = (
            Shelf(peers.enter_context(DcmtkStorescp(folder / name, max_pdu=max_pdu, options=options)))
            for name, max_pdu, options in (
                ("reference", 131072, ()),
                ("forking", 4096, ("--fork",)),
                ("single", 131072, ()),
            )
        )
        orthanc = peers.enter_context(Orthanc(folder / "orthanc"))
        direct_orthanc = peers.enter_context(Orthanc(folder / "direct-orthanc"))
        pynetdicom = peers.enter_context(PynetdicomScp(max_pdu=0))
        config = GatewayConfig(
            folder / "gateway",
            {
                "forking": forking.scp.port,
                "single": {"port": single.scp.port, "max_associations": 1},
                # Orthanc answers 0xA700 when it will not have an instance: its last word, not a full disk.
                "orthanc": {"port": orthanc.port, "statuses": {"0xA700": "hold"}},
                "pynetdicom": pynetdicom.port,
            },
            rules={"10-all.yaml": RULES},
        )
        gateway = peers.enter_context(GatewayProcess(config))
        yield Stage(gateway, reference, forking, single, orthanc, direct_orthanc, pynetdicom)


def gateway_send(files: Sequence[Path], port: int, *, called: str = "GATEWAY", calling: str = "SENDER") -> Completed:
    """`gateway send`: data sets exactly as in the files."""
    argv = [sys.executable, "-m", "gateway", "send", "--to", f"127.0.0.1:{port}", "--called", called]
    return run([*argv, "--calling", calling, "--json", *files], 120, env={"PYTHONPATH": str(ROOT)})


def waves(files: Iterable[Path]) -> list[list[Path]]:
    """Files in groups in which no SOP Instance UID comes twice, so that an archive that overwrites can be looked at."""
    rounds: Counter[str] = Counter()
    found: list[list[Path]] = []
    for path in files:
        uid = _sop_instance_uid(path)
        if rounds[uid] == len(found):
            found.append([])
        found[rounds[uid]].append(path)
        rounds[uid] += 1
    return found


def _sop_instance_uid(path: Path) -> str:
    """As a parser finds it in the data set; the path of what is no DICOM."""
    try:
        return str(dcmread(path, force=True, specific_tags=["SOPInstanceUID"]).get("SOPInstanceUID", path))
    except Exception:  # whatever pydicom makes of a text file
        return str(path)


def sha256_in(orthanc: Orthanc, sop_instance_uid: str) -> str | None:
    """SHA-256 of the data set that Orthanc's storage has of an instance; None when it has none."""
    data = orthanc.find(sop_instance_uid)
    return None if data is None else hashlib.sha256(data).hexdigest()


def settle(gateway: GatewayProcess, timeout_s: float = 60.0) -> None:
    """Wait until the ledger knows all that was acknowledged, and nothing moves any more."""
    received = gateway.metric("gateway_instances_received_total")
    wait_until(lambda: len(gateway.ledger().instances) >= received, timeout_s, f"{received:g} instances in the ledger")
    gateway.wait_idle(timeout_s)
