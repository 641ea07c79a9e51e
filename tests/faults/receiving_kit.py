"""What the tests of the receiving side share: a gateway with one archive behind it, its senders and its judge."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.archive import OurArchive
from tests.harness.checker import Evidence, Report, check
from tests.harness.data import Instance
from tests.harness.evidence import LedgerView
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.rawpeer import RawScu
from tests.harness.sender import Journal, JournalSender, read_journal
from tests.harness.tools import wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION

LONG = os.environ.get("GATEWAY_CHAOS") == "long"
CONTEXTS = ((CT_IMAGE_STORAGE, EXPLICIT_LE), (VERIFICATION, IMPLICIT_LE))
CT, ECHO = 1, 3  # the context ids of CONTEXTS
OUT_OF_RESOURCES = 0xA700


@dataclass(slots=True)
class Scene:
    """A running gateway, the archive `pacs` that gets everything, and the journal of what senders were told."""

    gateway: GatewayProcess
    archive: OurArchive
    journal: Journal

    @property
    def port(self) -> int:
        return self.gateway.config.port

    def receiver(self) -> int:
        """The receiver's pid."""
        return self.gateway.pid_of("receiver")

    def send(self, instances: Iterable[Instance], **options: Any) -> JournalSender:
        """Send, once each unless told otherwise, and wait for the answers."""
        return self.sender(instances, **options).run(120)

    def sender(self, instances: Iterable[Instance], **options: Any) -> JournalSender:
        """A sender that is not started yet."""
        return JournalSender(self.port, self.journal, instances, **{"until_success": False, **options})

    def connect(self, timeout_s: float = 30.0) -> RawScu:
        """An association with `CONTEXTS`."""
        scu = RawScu(self.port, timeout_s=timeout_s)
        scu.associate(CONTEXTS)
        return scu

    def serves(self) -> bool:
        """Whether an association and a C-ECHO are answered."""
        with self.connect() as scu:
            served = scu.echo(ECHO) == 0
            scu.release()
        return served

    def files(self) -> list[Path]:
        """Spool files with content: neither of the pool nor settled."""
        found = [
            Path(folder, name)
            for folder, _, names in os.walk(self.gateway.config.spool_dir / "incoming")
            for name in names
        ]
        return [path for path in found if _size(path)]

    def wait_no_files(self, timeout_s: float) -> None:
        """Wait until no spool file has content."""
        wait_until(lambda: not self.files(), timeout_s, lambda: f"the spool to be empty: {self.files()}")

    def log_since(self, mark: int) -> str:
        """The log after a length of it that was noted before."""
        return self.gateway.log()[mark:]

    def judge(self, *, damaged: Collection[str] = (), delivered: bool = True, strangers: bool = False) -> Report:
        """Wait until nothing moves; LOST = FALSE = ALTERED = PHI = 0, and all that was acknowledged has arrived.

        `strangers`: peers without a journal have sent too; only instances of the journal are judged.
        """
        told = read_journal(self.journal.path)
        acknowledged = Counter(one.sop_instance_uid for one in told if one.acknowledged)

        def known() -> bool:
            """What was acknowledged a moment ago may not be in the ledger yet."""
            rows = self.gateway.ledger().by_uid()
            return all(len(rows.get(uid, ())) >= times for uid, times in acknowledged.items())

        wait_until(known, 60, lambda: f"the ledger to know all arrivals:\n{self.gateway.log()[-2000:]}", interval_s=0.1)
        self.gateway.wait_idle(60)
        self.gateway.metrics()
        ledger, contents = self.gateway.ledger(), self.archive.contents()
        if strangers:
            ours = {one.sop_instance_uid for one in told}
            contents = {uid: copies for uid, copies in contents.items() if uid in ours}
            ledger = LedgerView({key: row for key, row in ledger.instances.items() if row.sop_instance_uid in ours})
        evidence = Evidence(
            [self.journal.path],
            spool_dir=None if strangers else self.gateway.config.spool_dir,
            ledger=ledger,
            archives={"pacs": contents},
            routing=lambda uid: ["pacs"],
            sinks=self.gateway.sinks,
            damaged=damaged,
        )
        return check(evidence).assert_clean(delivered=delivered)


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


@contextlib.contextmanager
def scene(
    folder: Path,
    *,
    archive: OurArchive | None = None,
    destination: dict[str, Any] | None = None,
    **sections: Any,
) -> Iterator[Scene]:
    """A gateway below `folder` with one destination, `pacs`. `sections` go to `GatewayConfig`.

    `archive` is started, and stopped at the end; one that runs already (in a network of its own) is its owner's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        pacs = archive or OurArchive()
        if not pacs.port:
            stack.enter_context(pacs)
        journal = stack.enter_context(Journal(folder / "journal.jsonl"))
        config = GatewayConfig(folder, {"pacs": {"port": pacs.port, **(destination or {})}}, **sections)
        gateway = GatewayProcess(config)
        stack.callback(gateway.close)
        yield Scene(gateway.start(timeout_s=90), pacs, journal)
