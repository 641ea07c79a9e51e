"""A gateway with real traffic behind a console: what the tests of pages and the pictures of the handbook share.

`pacs` takes everything; `dr` refuses whatever is no CT; nobody listens at `research`, where MR goes too. What has no
Patient ID is held by a rule, what is no image of ours matches none, and what is no DICOM inside is quarantined. So
there is something of each: delivered, held by a destination's answer, waiting, held without a route, quarantined.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.archivescript import SUCCESS, Behaviour, StoreFacts
from tests.harness.console import add_users
from tests.harness.data import Instance, make_instance
from tests.harness.gatewayconfig import GatewayConfig
from tests.harness.gatewayprocess import GatewayProcess
from tests.harness.rawpeer import RawScu
from tests.harness.tools import free_port, wait_until

MR = "1.2.840.10008.5.1.4.1.1.4"
US = "1.2.840.10008.5.1.4.1.1.6.1"
REFUSED = 0xA900

RULES = """\
# Where images go. The first rule that holds wins over all that send.
rules:
  - name: without-a-patient-id
    match:
      PatientID: {absent: true}
    hold: "there is no patient ID: call the modality"
  - name: ct-and-mr-to-pacs-and-dr
    match:
      Modality: [CT, MR]
    send_to: [pacs, dr]
  - name: mr-to-research
    match:
      Modality: MR
      StudyDescription: "*BRAIN*"
    send_to: [research]
tests:
  - name: a CT goes to both archives
    instance: {Modality: CT, PatientID: "1"}
    expect: {destinations: [pacs, dr]}
"""


class ConsoleSite:
    """See the module's docstring. Started by `with`; the users are those of `tests.harness.console`, and `console` are
    further keys of the configuration's section."""

    def __init__(self, folder: Path, rules: str = RULES, *, users: bool = True, **console: object) -> None:
        self._stack, self._users = ExitStack(), users
        self.pacs = OurArchive()
        self.dr = OurArchive(on_store=_takes_ct_alone)
        self.research = OurArchive(port=free_port())
        destinations = {"pacs": self.pacs, "dr": self.dr, "research": self.research}
        self.config = GatewayConfig(
            folder,
            {name: archive.port for name, archive in destinations.items()},
            rules={"10-radiology.yaml": rules},
            audit={"quiet": "1 s"},
            console={"users": str(folder / "users.yaml"), **console},
            spool={"keep": "1 h"},
            destination_defaults={"attempts": 2},
        )
        self.gateway = GatewayProcess(self.config)

    def __enter__(self) -> Self:
        for archive in (self.pacs, self.dr):
            self._stack.enter_context(archive)
        self._write_ports()
        self.config.folder.mkdir(parents=True, exist_ok=True)
        if self._users:
            add_users(self.config.folder / "users.yaml")
        self._stack.callback(self.gateway.close)
        self.gateway.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _write_ports(self) -> None:
        """An archive has its port once it serves."""
        for name, archive in (("pacs", self.pacs), ("dr", self.dr)):
            self.config.document["destinations"][name]["port"] = archive.port

    @property
    def address(self) -> str:
        """Where the console is."""
        return f"http://{self.config.host}:{self.config.console_port}"

    def send(self, instances: Sequence[Instance], calling: str = "CT1") -> None:
        """Send instances, each of which is stored."""
        with RawScu(self.config.port) as scu:
            pairs = dict.fromkeys((each.sop_class_uid, each.transfer_syntax_uid) for each in instances)
            scu.associate(list(pairs), calling=calling)
            for each in instances:
                context = scu.context_for(each.sop_class_uid, each.transfer_syntax_uid)
                status = scu.store(context, each.sop_class_uid, each.sop_instance_uid, each.data)
                assert status == 0, f"0x{status:04X}"
            scu.release()

    def settle(self) -> None:
        """Wait until nothing is on its way but what waits for `research`."""

        def still() -> bool:
            view = self.gateway.ledger()
            states = {row.state for row in view.instances.values()}
            under_way = {
                one.state for row in view.instances.values() for one in row.deliveries if one.destination != "research"
            }
            return not view.problem and "received" not in states and not under_way & {"ready", "leased", "deferred"}

        wait_until(still, 60, lambda: f"quiet: {self.gateway.deliveries()}\n{self.gateway.log()[-2000:]}")

    def some_of_each(self) -> None:
        """Send something that ends in each way, and wait for it."""
        self.send([image(seed, "CT", "Doe^Jane", "D-1001", "CHEST CT", InstanceNumber=str(seed)) for seed in (1, 2, 3)])
        self.send([image(11, "MR", "Roe^Richard", "R-2002", "BRAIN MR")], calling="MR1")
        self.send([image(21, "CT", "Poe^Nobody", None, "CHEST CT")])
        self.send([image(31, "US", "Low^Ute", "L-3003", "ABDOMEN US")], calling="US1")
        broken = image(41, "CT", "Bro^Ken", "B-4004", "CHEST CT")
        self.send([_cut(broken)])
        self.settle()


def image(seed: int, modality: str, name: str, patient_id: str | None, description: str, **more: object) -> Instance:
    """An instance of a study that this patient has one of."""
    classes = {"CT": wire.CT_IMAGE_STORAGE, "MR": MR, "US": US}
    study = f"1.2.826.0.1.3680043.9999.{sum(map(ord, name))}"
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": classes[modality],
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.1",
        "Modality": modality,
        "PatientName": name,
        "PatientID": patient_id,
        "AccessionNumber": f"A{sum(map(ord, name)):05d}",
        "StudyDescription": description,
        "SeriesDescription": f"{modality} series",
        "StudyDate": "20261120",
    }
    return make_instance(seed=seed, pixel_bytes=512, **{**values, **more})


def _cut(whole: Instance) -> Instance:
    """A data set that ends in the middle of an element."""
    return Instance(whole.data[:77], whole.sop_class_uid, whole.sop_instance_uid, whole.transfer_syntax_uid, "")


def _takes_ct_alone(facts: StoreFacts) -> Behaviour:
    if facts.sop_class_uid == wire.CT_IMAGE_STORAGE:
        return SUCCESS
    return Behaviour(status=REFUSED, store=False)
