"""The judge: LOST, FALSE, ALTERED and PHI, and how many duplicates there are.

Inputs (`Evidence`): the journals of what senders were told; the spool folder; a look at the ledger; what each archive
holds; where each instance should go; texts where no patient may be named. All are read as they are now: check when
nothing moves, or when everything is dead.

LOST      answered with Success, yet none of these holds:
          (a) an intact copy is in the spool (data set SHA-256 as sent), and the ledger knows it as not yet settled, or
              does not know it and would adopt it;
          (b) every destination it is to go to has it with the SHA-256 as sent;
          (c) each destination that lacks it was cancelled, or the instance discarded or cancelled, on record.
          Also: fewer arrivals (known or adoptable) than Successes of one content.
FALSE     a delivery is `delivered`, and the archive lacks that instance with that content.
ALTERED   an archive, or an acknowledged file in the spool, holds a data set that no sender sent under that UID.
PHI       a canary outside spool, ledger and audit trail, in plain, upper or lower case, hexadecimal or UTF-16.

`undelivered` lists what is safe in the spool and not everywhere yet: no breach, but not the end of a test either.
`damaged` names UIDs whose spool files the test itself spoilt: LOST and spool ALTERED leave them out, archives do not.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.data import CANARY_LENGTH, CANARY_PREFIX
from tests.harness.evidence import LedgerInstance, LedgerView, Sinks, SpoolCopy, read_spool
from tests.harness.sender import Told, read_journal

__all__ = ["Evidence", "Finding", "Report", "check", "find_canaries"]

Routing = Mapping[str, Collection[str]] | Callable[[str], Collection[str]]
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach. `text` says what was found where."""

    kind: str
    sop_instance_uid: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.sop_instance_uid}: {self.text}"


@dataclass(slots=True)
class Evidence:
    """What the checker reads; see the module's docstring. Leave out what a test does not have.

    `routing` None: the ledger's decisions say where an instance goes. `count_arrivals` False: after `gateway recover`,
    when the ledger no longer knows all arrivals.
    """

    journals: Sequence[Path] = ()
    told: Sequence[Told] = ()
    spool_dir: Path | None = None
    ledger: LedgerView | None = None
    archives: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    routing: Routing | None = None
    sinks: Sinks | None = None
    canaries: Collection[str] = ()
    damaged: Collection[str] = ()
    count_arrivals: bool = True


@dataclass(slots=True)
class Report:
    """The verdict. `duplicates`: copies at a destination beyond those that were acknowledged (or the first).

    `forwarder_duplicates`: copies beyond what the ledger has delivered there.
    """

    sent: int = 0
    acknowledged: int = 0
    lost: list[Finding] = field(default_factory=list)
    false: list[Finding] = field(default_factory=list)
    altered: list[Finding] = field(default_factory=list)
    phi: list[Finding] = field(default_factory=list)
    undelivered: list[Finding] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    forwarder_duplicates: Counter[str] = field(default_factory=Counter)

    @property
    def breaches(self) -> list[Finding]:
        return [*self.lost, *self.false, *self.altered, *self.phi]

    def assert_clean(self, *, delivered: bool = False) -> Report:
        """AssertionError naming the breaches; with `delivered`, also when something has not arrived everywhere."""
        found = self.breaches + (self.undelivered if delivered else [])
        assert not found, f"{self}\n" + "\n".join(str(one) for one in found[:_SHOWN])
        return self

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, acknowledged {self.acknowledged}: LOST {len(self.lost)}, FALSE {len(self.false)}, "
            f"ALTERED {len(self.altered)}, PHI {len(self.phi)}, undelivered {len(self.undelivered)}, "
            f"duplicates {dict(self.duplicates)}, by the forwarder {dict(self.forwarder_duplicates)}"
        )


def check(evidence: Evidence) -> Report:
    """Judge. Nothing is changed; the spool and the ledger may be in use, but then the verdict is of no one moment."""
    return _Check(evidence).run()


class _Check:
    """One run of the checker."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._told = [*evidence.told, *(one for path in evidence.journals for one in read_journal(path))]
        self._sent: dict[str, set[str]] = defaultdict(set)
        self._sha_of: dict[tuple[str, str], str] = {}
        self._checksum_of: dict[tuple[str, str], str] = {}
        self._acknowledged: Counter[tuple[str, str]] = Counter()
        for one in self._told:
            self._sent[one.sop_instance_uid].add(one.sha256)
            if one.xxh3:
                self._sha_of[one.sop_instance_uid, one.xxh3] = one.sha256
                self._checksum_of[one.sop_instance_uid, one.sha256] = one.xxh3
            if one.acknowledged:
                self._acknowledged[one.sop_instance_uid, one.sha256] += 1
        self._ledger = evidence.ledger or LedgerView()
        self._known = self._ledger.by_uid()
        self._copies: dict[str, list[SpoolCopy]] = defaultdict(list)
        if evidence.spool_dir is not None:
            for copy in read_spool(evidence.spool_dir):
                self._copies[copy.sop_instance_uid].append(copy)
        self._report = Report(len({*self._sent}), sum(self._acknowledged.values()))

    def run(self) -> Report:
        for (uid, sha), times in self._acknowledged.items():
            self._judge_acknowledged(uid, sha, times)
        self._judge_delivered()
        self._judge_content()
        self._count_duplicates()
        if self._evidence.sinks is not None:
            for where, word in find_canaries(self._evidence.sinks.texts(), self._evidence.canaries):
                self._report.phi.append(Finding("PHI", "", f"{word!r} in {where}"))
        return self._report

    # ── LOST ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _rows(self, uid: str, sha: str) -> list[LedgerInstance]:
        """The ledger's arrivals of this content; those whose content cannot be told count for each of the UID."""
        checksum = self._checksum_of.get((uid, sha), "")
        return [row for row in self._known.get(uid, ()) if not (row.checksum and checksum) or row.checksum == checksum]

    def _expected(self, uid: str, rows: Sequence[LedgerInstance]) -> set[str] | None:
        """Where it should go; None when nobody says."""
        routing = self._evidence.routing
        if callable(routing):
            return set(routing(uid))
        if routing is not None:
            return set(routing.get(uid, ()))
        named = {name for row in rows for name in row.destinations}
        return named or None

    def _judge_acknowledged(self, uid: str, sha: str, times: int) -> None:
        if uid in self._evidence.damaged:
            return
        rows = self._rows(uid, sha)
        intact = [copy for copy in self._copies.get(uid, ()) if copy.sha256 == sha]
        expected = self._expected(uid, rows)
        missing = {name for name in expected or () if sha not in self._evidence.archives.get(name, {}).get(uid, ())}
        if expected and not missing:
            self._judge_count(uid, sha, times, rows, intact)
            return
        if any(self._safe_in_spool(copy) for copy in intact):
            if missing or expected is None:
                states = sorted({row.state for row in rows})
                self._report.undelivered.append(
                    Finding("UNDELIVERED", uid, f"safe in the spool ({states}); not yet at {sorted(missing)}")
                )
            self._judge_count(uid, sha, times, rows, intact)
            return
        if self._given_up_on_record(rows, missing):
            return
        self._report.lost.append(Finding("LOST", uid, self._trace(rows, intact, missing)))

    def _safe_in_spool(self, copy: SpoolCopy) -> bool:
        """Intact, and something will still be done about it."""
        row = self._ledger.instances.get(copy.instance_id)
        return copy.complete if row is None else not row.over

    def _given_up_on_record(self, rows: Sequence[LedgerInstance], missing: set[str]) -> bool:
        """A person, or a rule that a person wrote, ordered that it need not arrive."""
        for row in rows:
            if row.over and (row.discarded or row.cancelled):
                return True
            cancelled = {one.destination for one in row.deliveries if one.state == "cancelled"}
            if missing and missing <= cancelled:
                return True
        return False

    def _judge_count(
        self, uid: str, sha: str, times: int, rows: Sequence[LedgerInstance], intact: Sequence[SpoolCopy]
    ) -> None:
        """As many arrivals as Successes: a second Success for the same content is a promise of its own."""
        if self._evidence.ledger is None or not self._evidence.count_arrivals or self._ledger.problem:
            return
        adoptable = [copy for copy in intact if copy.complete and copy.instance_id not in self._ledger.instances]
        if len(rows) + len(adoptable) < times:
            text = f"{times} Successes, but {len(rows)} in the ledger and {len(adoptable)} to adopt"
            self._report.lost.append(Finding("LOST", uid, text))

    def _trace(self, rows: Sequence[LedgerInstance], intact: Sequence[SpoolCopy], missing: set[str]) -> str:
        if self._ledger.problem:
            ledger = f"unreadable ({self._ledger.problem})"
        else:
            ledger = "; ".join(f"{row.instance_id} {row.state}" for row in rows) or "unknown"
        spool = "; ".join(f"{copy.path}{copy.problem and f' ({copy.problem})'}" for copy in intact) or "no intact copy"
        return f"ledger: {ledger}; spool: {spool}; missing at: {', '.join(sorted(missing)) or 'nowhere expected'}"

    # ── FALSE ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge_delivered(self) -> None:
        for row in self._ledger.instances.values():
            uid = row.sop_instance_uid
            sha = self._sha_of.get((uid, row.checksum), "")
            for delivery in row.deliveries:
                if delivery.state != "delivered" or delivery.destination not in self._evidence.archives:
                    continue
                there = self._evidence.archives[delivery.destination].get(uid, ())
                wanted = {sha} if sha else self._sent.get(uid, set())
                if not there or (wanted and not wanted & set(there)):
                    text = f"delivered to {delivery.destination}, which has {len(there)} copies, none of them this one"
                    self._report.false.append(Finding("FALSE", uid, f"{row.instance_id} {text}"))

    # ── ALTERED ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge_content(self) -> None:
        for name, contents in self._evidence.archives.items():
            for uid, copies in contents.items():
                for sha in set(copies) - self._sent.get(uid, set()):
                    self._report.altered.append(Finding("ALTERED", uid, f"{name} holds {sha[:16]}…, never sent"))
        for uid, copies_here in self._copies.items():
            for copy in copies_here:
                if uid in self._evidence.damaged or copy.sha256 in self._sent.get(uid, set()):
                    continue
                row = self._ledger.instances.get(copy.instance_id)
                if copy.complete or (row is not None and not row.over):
                    text = f"{copy.path} holds {copy.sha256[:16]}…, never sent {copy.problem}"
                    self._report.altered.append(Finding("ALTERED", uid, text.rstrip()))

    # ── duplicates ────────────────────────────────────────────────────────────────────────────────────────────────

    def _count_duplicates(self) -> None:
        delivered: Counter[tuple[str, str, str]] = Counter()
        for row in self._ledger.instances.values():
            sha = self._sha_of.get((row.sop_instance_uid, row.checksum), "")
            for delivery in row.deliveries:
                if delivery.state == "delivered":
                    delivered[delivery.destination, row.sop_instance_uid, sha] += 1
        for name, contents in self._evidence.archives.items():
            for uid, copies in contents.items():
                for sha, count in Counter(copies).items():
                    self._report.duplicates[name] += max(0, count - max(1, self._acknowledged[uid, sha]))
                    told = delivered[name, uid, sha] or delivered[name, uid, ""]
                    self._report.forwarder_duplicates[name] += max(0, count - max(1, told))


# ── PHI ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_WORD = rb"[A-Za-z0-9]{4,%d}" % (CANARY_LENGTH - len(CANARY_PREFIX))
_PREFIX = CANARY_PREFIX.encode()
_PATTERNS = (
    re.compile(_PREFIX + _WORD, re.IGNORECASE),
    re.compile(_PREFIX.hex().encode() + rb"(?:[3-7][0-9a-f]){4,}", re.IGNORECASE),
    re.compile(b"".join(bytes([letter]) + rb"\x00" for letter in _PREFIX) + rb"(?:[A-Z0-9]\x00){4,}"),
)


def find_canaries(texts: Iterable[tuple[str, bytes]], canaries: Collection[str] = ()) -> list[tuple[str, str]]:
    """(where, word) of every canary of `data.canary`, whole or cut short, and of every further literal given."""
    literals = [re.escape(word.encode()) for word in canaries if not word.startswith(CANARY_PREFIX) and word]
    patterns = [*_PATTERNS, *([re.compile(b"|".join(literals), re.IGNORECASE)] if literals else [])]
    found: dict[tuple[str, str], None] = {}
    for where, raw in texts:
        for pattern in patterns:
            for match in pattern.finditer(raw):
                found[where, match.group().decode("latin-1")] = None
    return list(found)
