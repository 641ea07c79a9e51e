"""What the tests of the delivering side share: a gateway, archives that misbehave, and a look at each delivery."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.crash_kit import Scene, known_instances
from tests.harness.archive import OurArchive
from tests.harness.checker import Report
from tests.harness.data import Instance
from tests.harness.ledgerrows import look
from tests.harness.sender import JournalSender
from tests.harness.tools import wait_until


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as the ledger has it."""

    sop_instance_uid: str
    destination: str
    state: str
    code: str
    reason: str
    status: int | None
    attempts: int
    uncertain: bool


class Delivering(Scene):
    """A scene whose destinations have keys of their own.

    `archives`: name → keys of the destination (`{"attempts": 3}`); a `port` among them stands for the archive's own.
    """

    def __init__(self, folder: Path, archives: Mapping[str, Mapping[str, Any]] | Collection[str], **also: Any) -> None:
        super().__init__(folder, archives=tuple(archives), **also)
        self._sent = 0
        for archive in self.archives.values():  # small buffers: what a peer has not read, it does not have
            archive.stop()
            archive.receive_buffer_bytes = 65536
            archive.start()
        if isinstance(archives, Mapping):
            for name, keys in archives.items():
                self.config.document["destinations"][name] |= keys

    def start(self) -> None:
        """Start the gateway and wait until it is ready."""
        self.gateway.start()

    def archive(self, name: str) -> OurArchive:
        """One of the archives."""
        return self.archives[name]

    def send(self, instances: Iterable[Instance], **also: Any) -> JournalSender:
        """Send instances over one association, see each acknowledged, and wait until the ledger knows them."""
        instances = list(instances)
        sender = JournalSender(self.port, self.journal, instances, **also).run(120)
        assert sender.acknowledged == len(instances), (sender.statuses, sender.problems)
        self._sent += len(instances)
        wait_until(lambda: len(known_instances(self.config.ledger_source)) >= self._sent, 30, "the ledger to know them")
        return sender

    def deliveries(self, destination: str) -> dict[str, Delivery]:
        """SOP Instance UID → its (newest) delivery to a destination."""
        query = (
            "SELECT i.sop_instance_uid, n.name, d.state, d.code, d.reason, d.status, d.attempts, d.uncertain "
            "FROM delivery d JOIN destination n USING (destination_key) JOIN instance i ON i.seq = d.instance_seq "
            "ORDER BY d.delivery_id"
        )
        with look(self.config.ledger_source) as ask:
            return {row[0]: Delivery(*row[:7], bool(row[7])) for row in ask(query) if row[1] == destination}

    def states(self, destination: str) -> dict[str, int]:
        """State → how many deliveries of a destination."""
        return {state: count for (name, state), count in self.gateway.deliveries().items() if name == destination}

    def wait_states(self, destination: str, timeout_s: float = 60.0, **counts: int) -> None:
        """Wait until a destination has exactly so many deliveries in these states."""

        def there() -> bool:
            found = self.states(destination)
            return all(found.get(state, 0) == count for state, count in counts.items())

        wait_until(
            there,
            timeout_s,
            lambda: f"{destination} to be {counts}: {self.states(destination)}\n{self.gateway.log()[-4000:]}",
            interval_s=0.05,
        )

    def metric_up(self, destination: str) -> float:
        """gateway_destination_up."""
        return self.gateway.metric("gateway_destination_up", destination=destination)

    def reload(self) -> None:
        """Write the configuration and have the gateway read it again."""
        self.config.write()
        os.kill(self.gateway.supervisor_pid(), signal.SIGHUP)

    def judge_all_delivered(self, **evidence: Any) -> Report:
        """Nothing lost, false, altered or leaked, and everything is everywhere it belongs."""
        self.settle()
        return self.judge(**evidence).assert_clean(delivered=True)

    def cli(self, *words: str) -> str:
        """What a command says."""
        return self.gateway.cli(*words).check().stdout
