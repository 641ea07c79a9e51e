"""What the checker looks at: the spool's files, the ledger's rows, and text where no patient may be named.

`read_spool` reads files by the Part 10 format (file meta by pydicom, data set bytes after it) and asks `gateway.spool`
only whether a file would be adopted. `LedgerView` is one consistent look at a ledger: `read` reads the tables of
either kind, read-only, `from_ledger` asks the public methods of any implementation (which tell no checksum).
`Sinks` collects logs, metrics, pages and command lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pynetdicom.dsutils import split_dataset

from tests.harness.data import sha256_from
from tests.harness.ledgerrows import Ask, Source, Unreadable, look

if TYPE_CHECKING:
    from gateway.ledger.base import Ledger

PAGE = 5000
CANCELLED = "cancelled:"  # how the reason of a cancelled instance begins


@dataclass(frozen=True, slots=True)
class SpoolCopy:
    """A file of the spool with a readable file meta. `complete`: record, length and checksum hold (adoptable)."""

    path: str  # relative to the spool
    instance_id: str
    sop_instance_uid: str
    sha256: str
    complete: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LedgerDelivery:
    """A delivery as the ledger has it."""

    destination: str
    state: str


@dataclass(frozen=True, slots=True)
class LedgerInstance:
    """An instance as the ledger has it. `checksum` is hexadecimal xxh3-128, "" when it was not told."""

    instance_id: str
    sop_instance_uid: str
    state: str
    checksum: str = ""
    discarded: bool = False  # by a rule
    cancelled: bool = False  # as a whole, by a person, while held or quarantined
    destinations: tuple[str, ...] = ()  # by its decision
    deliveries: tuple[LedgerDelivery, ...] = ()

    @property
    def over(self) -> bool:
        """Settled or beyond: nothing will be sent any more, and its file may go."""
        return self.state in {"settled", "purging", "purged"}


@dataclass(frozen=True, slots=True)
class LedgerView:
    """One look at a ledger."""

    instances: Mapping[str, LedgerInstance] = field(default_factory=dict)
    problem: str = ""  # why it could not be read; then `instances` is empty

    def by_uid(self) -> dict[str, list[LedgerInstance]]:
        """SOP Instance UID → its arrivals."""
        found: dict[str, list[LedgerInstance]] = {}
        for one in self.instances.values():
            found.setdefault(one.sop_instance_uid, []).append(one)
        return found

    @classmethod
    def read(cls, source: Source) -> LedgerView:
        """Read the tables in one read-only transaction. A ledger that cannot be read gives a view with a problem."""
        try:
            with look(source) as ask:
                return cls._read(ask)
        except Unreadable as error:
            return cls(problem=str(error))

    @classmethod
    def _read(cls, ask: Ask) -> LedgerView:
        deliveries: dict[int, list[LedgerDelivery]] = {}
        for seq, name, state in ask(
            "SELECT d.instance_seq, n.name, d.state FROM delivery d JOIN destination n USING (destination_key)"
        ):
            deliveries.setdefault(seq, []).append(LedgerDelivery(name, state))
        audited = ask("SELECT count(*) FROM audit WHERE action = 'cancel'")[0][0] > 0
        instances = {}
        for seq, instance_id, uid, state, reason, checksum, named, discard in ask(
            "SELECT i.seq, i.instance_id, i.sop_instance_uid, i.state, i.reason, p.checksum, "
            "d.destinations, d.discard FROM instance i "
            "LEFT JOIN payload p ON p.instance_seq = i.seq AND p.chain = '' "
            "LEFT JOIN decision d USING (decision_key)"
        ):
            instances[instance_id] = LedgerInstance(
                instance_id,
                uid,
                state,
                bytes(checksum or b"").hex(),
                discarded=discard is not None,
                cancelled=audited and reason.startswith(CANCELLED),
                destinations=tuple(json.loads(named)) if named else (),
                deliveries=tuple(deliveries.get(seq, ())),
            )
        return cls(instances)

    @classmethod
    def from_ledger(cls, ledger: Ledger) -> LedgerView:
        """Ask a ledger's public methods. A settled instance without deliveries, but with a reason, was discarded."""
        from gateway.ledger.base import InstanceFilter

        instances = {}
        offset = 0
        while rows := ledger.list_instances(InstanceFilter(), PAGE, offset):
            offset += len(rows)
            deliveries: dict[str, list[LedgerDelivery]] = {}
            for one in ledger.deliveries_of([row.instance_id for row in rows]):
                deliveries.setdefault(one.instance_id, []).append(LedgerDelivery(one.destination, str(one.state)))
            for row in rows:
                of_it = tuple(deliveries.get(row.instance_id, ()))
                instances[row.instance_id] = LedgerInstance(
                    row.instance_id,
                    row.sop_instance_uid,
                    str(row.state),
                    discarded=not of_it and bool(row.reason) and not row.reason.startswith(CANCELLED),
                    cancelled=row.reason.startswith(CANCELLED),
                    destinations=tuple({delivery.destination for delivery in of_it}),
                    deliveries=of_it,
                )
        return cls(instances)


def read_spool(directory: Path) -> list[SpoolCopy]:
    """Every Part 10 file below `incoming`. Files that are purged meanwhile, and files without a file meta, are left
    out: a purge empties a file, and then takes its name away."""
    problems = _not_adoptable(directory)
    found = []
    # os.walk goes on where a purge has just taken a folder away; rglob does not.
    folders = [(folder, names) for folder, _, names in os.walk(directory / "incoming")]
    for path in sorted(Path(folder, name) for folder, names in folders for name in names if name.endswith(".dcm")):
        relative = path.relative_to(directory).as_posix()
        try:
            meta, offset = split_dataset(path)
            sha = sha256_from(path, offset)
            if path.stat().st_size == 0:
                continue
        except FileNotFoundError:
            continue
        except Exception:  # noqa: S112 - unreadable as Part 10: an empty pool file, or one that was never finished
            continue
        arrival_uid, problem = problems.get(relative, ("", "not looked at"))
        uid = arrival_uid or str(meta.get("MediaStorageSOPInstanceUID", ""))
        found.append(SpoolCopy(relative, path.stem, uid, sha, not problem, problem))
    return found


def _not_adoptable(directory: Path) -> dict[str, tuple[str, str]]:
    """Relative path → (SOP Instance UID of the command, why it would not be adopted or "")."""
    from gateway.spool import Spool, scan

    spool = Spool(directory, min_free_bytes=0, ballast_bytes=0)
    return {
        found.relative: ("", found.reason or str(found.state))
        if found.arrival is None
        else (found.arrival.sop_instance_uid, "")
        for found in scan(spool, verify=True)
    }


class Sinks:
    """Places where a canary must not be. Texts are added as they are met; folders are read when `texts` is called."""

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._trees: list[tuple[Path, tuple[Path, ...]]] = []
        self._lock = threading.Lock()

    def add(self, name: str, text: str | bytes) -> None:
        """Add a text under a name for the report (a page's URL, `metrics`, …); the same name again appends."""
        raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
        with self._lock:
            self._texts[name] = self._texts.get(name, b"") + raw

    def add_tree(self, folder: Path, leave_out: Iterable[Path] = ()) -> None:
        """Add a file, or every file below a folder, but for those below the paths left out (spool, ledger, audit)."""
        self._trees.append((folder, tuple(path.resolve() for path in leave_out)))

    def add_state_dir(self, state_dir: Path, spool_dir: Path) -> None:
        """Everything in a state folder but spool, ledger, and the audit trail's own files."""
        ledger = [path for path in state_dir.glob("ledger*") if path.suffix != ".lock"]
        trail = (state_dir / "audit").glob("trail-*.jsonl")
        self.add_tree(state_dir, [spool_dir, *ledger, *trail])

    def sample_processes(self, pids: Iterable[int]) -> None:
        """Add command line, environment and name of processes as they are now."""
        for pid in pids:
            for what in ("cmdline", "environ", "comm"):
                with contextlib.suppress(OSError):
                    self._keep_once(f"/proc/{pid}/{what}", Path(f"/proc/{pid}/{what}").read_bytes())

    def _keep_once(self, name: str, raw: bytes) -> None:
        with self._lock:
            if raw not in self._texts.get(name, b""):
                self._texts[name] = self._texts.get(name, b"") + raw

    def texts(self) -> Iterable[tuple[str, bytes]]:
        """Every text with its name."""
        with self._lock:
            held = list(self._texts.items())
        yield from held
        for folder, leave_out in self._trees:
            for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
                resolved = path.resolve()
                if any(resolved == one or one in resolved.parents for one in leave_out) or not path.is_file():
                    continue
                with contextlib.suppress(FileNotFoundError):
                    yield str(path), path.read_bytes()


class ProcessWatch:
    """Samples the processes below a pid, in a thread, into sinks, until closed."""

    def __init__(self, sinks: Sinks, pid: int, interval_s: float = 0.2) -> None:
        self._sinks, self._pid, self._interval_s = sinks, pid, interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._sinks.sample_processes([self._pid, *descendants(self._pid)])
            if self._stopping.wait(self._interval_s):
                return

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def parents() -> dict[int, int]:
    """pid → parent's pid of every process there is."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name stands in brackets and may hold anything, brackets too (proc(5)).
                found[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, by pid."""
    tree = parents()
    found: list[int] = []
    wanted = {pid}
    while wanted:
        wanted = {child for child, parent in tree.items() if parent in wanted}
        found += wanted
    return sorted(found)
