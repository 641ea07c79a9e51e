"""A ledger as it looks after a year: many studies, nearly all of them delivered and purged, the newest under way, and
here and there what somebody has to look after. Made by SQL in bulk, in seconds for 10^5 instances; there are no files.

`fill_year` makes it in SQLite; `gateway.ledger.postgres.copying.copy_ledger` makes the same of it in PostgreSQL. Names
and figures are drawn from a seed: the same ledger every time, of people who never were.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from gateway.ledger.sqlite import SqliteLedger

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
DESTINATIONS = ("archive", "pacs", "research", "teaching")
GIANT_SHARE = 0.012  # of all instances: one study of a size that somebody will send some day
RESEARCH_SHARE = 0.18  # of the instances: what goes there
REASONS = (
    ("refused", "0xA700: out of resources"),
    ("failed", "0xC001: cannot understand"),
    ("failed", "0x0110: processing failure"),
    ("context", "presentation context not accepted: abstract syntax not supported"),
    ("transform", "anonymise, step 3 (deidentify): Pixel Data has a burned-in annotation"),
    ("gave_up", "not delivered within 7 d: connection refused"),
    ("unconfigured", "destination removed from the configuration"),
)
HOLDS = ("no rule matches", "the patient ID is missing: call the sender", "recovered")
QUARANTINES = ("its data set cannot be read: truncated at byte 4,096", "checksum does not hold", "ended 5 workers")
_RULES = {
    "10-archive.yaml": "rules:\n  - {name: everything-to-the-archive, match: {}, send_to: [archive]}\n",
    "20-radiology.yaml": "rules:\n  - {name: ct-and-mr-to-pacs, match: {Modality: [CT, MR]}, send_to: [pacs]}\n"
    "  - {name: the-rest-to-pacs, match: {not: {Modality: [CT, MR]}}, send_to: [pacs]}\n",
    "30-research.yaml": "rules:\n  - {name: thorax-to-research, match: {StudyDescription: '*THORAX*'}, "
    "send_to: [research]}\n",
}
_FAMILIES = (
    "Adams,Baker,Brandt,Costa,Dubois,Eriksson,Fischer,Garcia,Horvath,Ivanova,Jensen,Kowalska,Lindqvist,Martin,Novák,"
    "O'Neill,Petrov,Quinn,Rossi,Schäfer,Tanaka,Ueda,van der Vries,Wang,Yilmaz,Zimmermann,Öztürk,Müller,Ångström"
)
_GIVEN = "Anna,Bea,Carl,Dora,Emil,Fay,Georg,Hana,Ines,Jan,Kai,Lea,Max,Nora,Otto,Pia,René,Sofia,Timo,Ulla,Vera,Zoë"


class _Kind(NamedTuple):
    modality: str
    sop_class_uid: str
    share: float
    series: int
    instances: int  # a series
    length: int
    source: str
    descriptions: tuple[str, ...]


_KINDS = (
    _Kind("CR", "1.2.840.10008.5.1.4.1.1.1", 0.35, 1, 2, 8_400_000, "cr1", ("HAND LEFT", "KNEE RIGHT", "THORAX PA")),
    _Kind("DX", "1.2.840.10008.5.1.4.1.1.1.1", 0.15, 1, 2, 16_800_000, "dx1", ("THORAX PA", "PELVIS AP")),
    _Kind("US", "1.2.840.10008.5.1.4.1.1.6.1", 0.2, 1, 6, 921_600, "us1", ("ABDOMEN", "THYROID", "CAROTIDS")),
    _Kind("MR", "1.2.840.10008.5.1.4.1.1.4", 0.15, 3, 7, 131_072, "mr1", ("HEAD", "KNEE RIGHT", "SPINE L")),
    _Kind("CT", "1.2.840.10008.5.1.4.1.1.2", 0.14, 2, 15, 524_288, "ct1", ("THORAX WITH CONTRAST", "ABDOMEN", "HEAD")),
    _Kind("MG", "1.2.840.10008.5.1.4.1.1.1.2", 0.01, 1, 4, 33_600_000, "mg1", ("SCREENING",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Year:
    """What is to be made. `waiting` deliveries wait for `research`, `stopped` ones are held or dead."""

    studies: int = 100_000
    instances: int = 1_000_000
    waiting: int = 100_000
    stopped: int = 20_000
    seed: int = 1


@dataclass(slots=True)
class _Made:
    """Rows, and counters of what they say."""

    instances: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[tuple[int, str]] = field(default_factory=Counter)
    decided: Counter[tuple[int, int]] = field(default_factory=Counter)
    spool_bytes: int = 0
    waiting: int = 0
    stopped: int = 0


def fill_year(path: Path, year: Year = Year(), now_ms: int = 0) -> None:
    """Make the ledger at `path`, where there is none or an empty one. `now_ms`: the end of the year; 0: now."""
    now_ms = now_ms or time.time_ns() // 1_000_000
    ledger = SqliteLedger.open(path)
    ledger.sync_destinations(dict.fromkeys(DESTINATIONS, False), now_ms)
    ledger.save_destination("research", "down", 0.0, "connection refused", now_ms + 40_000, now_ms)
    ledger.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN EXCLUSIVE")
        indices = _drop_indices(connection)
        _fill(connection, year, now_ms)
        for statement in indices:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _drop_indices(connection: sqlite3.Connection) -> list[str]:
    """Away with the indices, which are made faster at the end: what makes each of them again."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"')
    return [statement for _, statement in found]


def _fill(connection: sqlite3.Connection, year: Year, now_ms: int) -> None:
    draw = random.Random(year.seed)
    keys = {name: key for key, name in connection.execute("SELECT destination_key, name FROM destination")}
    decisions = _decisions(connection, now_ms)
    for key, kind in enumerate(_KINDS, 1):
        facts = (f"{key:016x}", "main", kind.source, kind.source.upper(), "GATEWAY", f"10.0.0.{key}")
        connection.execute("INSERT INTO association VALUES (?, ?, ?, ?, ?, ?, ?)", (key, *facts))
    made = _Made()
    rows = _Rows(year, now_ms, draw, [keys[name] for name in DESTINATIONS], decisions, made)
    for batch in _batches(rows.studies(), 2_000):
        _insert(connection, "study", [each.study for each in batch if each.study])
        _insert(connection, "series", list(chain.from_iterable(each.series for each in batch)))
        _insert(connection, "instance", list(chain.from_iterable(each.instances for each in batch)))
        _insert(connection, "payload", list(chain.from_iterable(each.payloads for each in batch)))
        _insert(connection, "delivery", list(chain.from_iterable(each.deliveries for each in batch)))
    connection.executemany("INSERT INTO instance_count VALUES (?, ?)", made.instances.items())
    connection.executemany(
        "INSERT INTO delivery_count VALUES (?, ?, ?)", [(*key, n) for key, n in made.deliveries.items()]
    )
    connection.executemany(
        "INSERT INTO decision_count VALUES (?, ?, ?)", [(*key, n) for key, n in made.decided.items()]
    )
    connection.execute("UPDATE spool_count SET bytes = ?", (made.spool_bytes,))
    _orders(connection, draw, now_ms)


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        columns = f" ({_COLUMNS[table]})" if table in _COLUMNS else ""
        connection.executemany(f"INSERT INTO {table}{columns} VALUES ({marks})", rows)  # noqa: S608 - a table of ours


_COLUMNS = {
    "instance": "seq, instance_id, state, reason, association_key, sop_class_uid, sop_instance_uid, received_at_ms, "
    "recorded_at_ms, duplicate, decision_key, series_key, instance_number, settled_at_ms",
    "payload": "instance_seq, chain, path, data_offset, length, checksum, sop_class_uid, sop_instance_uid, "
    "transfer_syntax_uid",
    "delivery": "instance_seq, destination_key, state, attempts, due_at_ms, created_at_ms, queued_at_ms, "
    "updated_at_ms, code, reason, status",
}


def _batches(studies: Iterator[_Study], size: int) -> Iterator[list[_Study]]:
    while batch := list(islice(studies, size)):
        yield batch


def _decisions(connection: sqlite3.Connection, now_ms: int) -> dict[str, int]:
    """Three revisions of rules, and the decisions of the last one: which there are, by name."""
    for number in range(3):
        files = json.dumps({name: f"# {number}\n{text}" for name, text in _RULES.items()})
        row = (f"{number:064x}", files, now_ms - (3 - number) * 20 * DAY_MS, int(number == 2))
        connection.execute("INSERT INTO rule_set (revision, files, stored_at_ms, current) VALUES (?, ?, ?, ?)", row)
    archive = "everything-to-the-archive"
    made = {
        "cross": ([archive, "ct-and-mr-to-pacs"], ["archive", "pacs"], None),
        "plain": ([archive, "the-rest-to-pacs"], ["archive", "pacs"], None),
        "cross thorax": ([archive, "ct-and-mr-to-pacs", "thorax-to-research"], [*DESTINATIONS[:3]], None),
        "plain thorax": ([archive, "the-rest-to-pacs", "thorax-to-research"], [*DESTINATIONS[:3]], None),
        **{hold: ([], [], hold) for hold in HOLDS[:2]},
    }
    for key, (matched, destinations, hold) in enumerate(made.values(), 1):
        decision = (key, f"{2:064x}", 4, json.dumps(matched), json.dumps(destinations), hold, None)
        connection.execute("INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", decision)
    return dict(zip(made, range(1, len(made) + 1), strict=True))


def _orders(connection: sqlite3.Connection, draw: random.Random, now_ms: int) -> None:
    actions = ("hold", "release", "resend", "cancel", "pause", "unpause")
    rows = []
    for number in range(500):
        action = draw.choice(actions)
        which = {"destination": draw.choice(DESTINATIONS)} if number % 2 else {"study_instance_uid": f"2.25.{number}"}
        at_ms = now_ms - (500 - number) * 17 * HOUR_MS
        rows.append(
            (
                at_ms,
                f"console:{draw.choice(('anna', 'otto', 'vera'))}",
                action,
                json.dumps(which),
                "on the phone",
                number,
            )
        )
    connection.executemany(
        "INSERT INTO audit (at_ms, actor, action, filter, reason, count) VALUES (?, ?, ?, ?, ?, ?)", rows
    )


@dataclass(slots=True)
class _Study:
    """The rows of one study."""

    study: Sequence[Any]
    series: list[Sequence[Any]] = field(default_factory=list)
    instances: list[Sequence[Any]] = field(default_factory=list)
    payloads: list[Sequence[Any]] = field(default_factory=list)
    deliveries: list[Sequence[Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Rows:
    """Draws studies, the oldest first."""

    year: Year
    now_ms: int
    draw: random.Random
    destinations: list[int]
    decisions: dict[str, int]
    made: _Made
    families: list[str] = field(default_factory=lambda: _FAMILIES.split(","))
    given: list[str] = field(default_factory=lambda: _GIVEN.split(","))
    seq: int = 0
    series_key: int = 0

    def studies(self) -> Iterator[_Study]:
        """All of them, and what was received just now and is of none yet."""
        giant = max(1, int(self.year.instances * GIANT_SHARE))
        left = self.year.instances - giant
        average = sum(kind.share * kind.series * kind.instances for kind in _KINDS)
        factor = left / self.year.studies / average
        for key in range(1, self.year.studies + 1):
            kind = self.draw.choices(_KINDS, [kind.share for kind in _KINDS])[0]
            sizes = [max(1, round(self.draw.uniform(0.5, 1.5) * kind.instances * factor)) for _ in range(kind.series)]
            if key == self.year.studies // 2:
                kind, sizes = _KINDS[4], [giant // 2 + 1, giant // 2 + 1]
            age_ms = (self.year.studies - key) * 365 * DAY_MS // self.year.studies
            yield self._study(key, kind, sizes, self.now_ms - age_ms - 60_000)
        yield self._unrouted()

    def _study(self, key: int, kind: _Kind, sizes: Sequence[int], at_ms: int) -> _Study:
        draw = self.draw
        person = draw.randrange(self.year.studies // 3 + 1)
        name = f"{self.families[person % len(self.families)]}^{self.given[person // 7 % len(self.given)]}"
        date = time.strftime("%Y%m%d", time.gmtime(at_ms / 1000))
        description = draw.choice(kind.descriptions)
        made = _Study((key, f"2.25.{10**30 + key}", f"P{person:06}", name, "HOSPITAL", f"A{key:08}", date, description))
        fate = draw.random()
        for number, size in enumerate(sizes, 1):
            self.series_key += 1
            uid = f"2.25.{10**31 + self.series_key}"
            made.series.append((self.series_key, key, uid, str(number), f"SERIES {number}", kind.modality))
            for instance in range(1, size + 1):
                self._instance(made, kind, description, instance, at_ms, fate)
        return made

    def _instance(self, made: _Study, kind: _Kind, description: str, number: int, at_ms: int, fate: float) -> None:
        self.seq += 1
        at_ms += number * 40
        held = HOLDS[int(fate * 1e6) % 2] if 0.5 < fate < 0.5005 else ""
        thorax = " thorax" if "THORAX" in description else ""
        name = held or ("cross" if kind.modality in ("CT", "MR") else "plain") + thorax
        states = [] if held else self._deliveries(made, 3 if thorax else 2, at_ms, fate)
        reason, settled_at_ms = held, None
        if held:
            state = "held"
        elif any(each not in ("delivered", "cancelled") for each in states):
            state = "routed"
        else:
            settled_at_ms = at_ms + 3_000
            state = "purged" if self.now_ms - at_ms > 3 * DAY_MS else "settled"
        if 0.6 < fate < 0.6002 and state == "settled":
            state, reason, settled_at_ms = "quarantined", QUARANTINES[1], None
        self._row(made, kind, state, reason, at_ms, self.decisions[name], self.series_key, str(number), settled_at_ms)

    def _row(
        self, made: _Study, kind: _Kind, state: str, reason: str, at_ms: int, decision: int | None,
        series_key: int | None, number: str, settled_at_ms: int | None,
    ) -> None:  # fmt: skip
        uids = kind.sop_class_uid, f"2.25.{10**32 + self.seq}"
        instance_id = f"{at_ms:012x}{self.seq:020x}"
        made.instances.append(
            (self.seq, instance_id, state, reason, _KINDS.index(kind) + 1, *uids, at_ms, at_ms + 15, "none", decision,
             series_key, number, settled_at_ms)
        )  # fmt: skip
        path, checksum = f"incoming/00000000-0000/000000/{instance_id}.dcm", self.seq.to_bytes(16, "big")
        made.payloads.append((self.seq, "", path, 1200, kind.length, checksum, *uids, "1.2.840.10008.1.2.1"))
        self.made.instances[state] += 1
        self.made.spool_bytes += kind.length if state != "purged" else 0
        if decision is not None and self.now_ms - at_ms < 31 * DAY_MS:
            self.made.decided[at_ms // HOUR_MS * HOUR_MS, decision] += 1

    def _deliveries(self, made: _Study, count: int, at_ms: int, fate: float) -> list[str]:
        age_ms, states = self.now_ms - at_ms, []
        status: int | None
        for key in self.destinations[:count]:
            state, code, reason, status, due_at_ms = "delivered", "success", "", 0, 0
            if key == self.destinations[2] and self._waits(age_ms):
                state, code, reason, status = "deferred", "connection", "connection refused", None
                due_at_ms = self.now_ms + 40_000
            elif age_ms < 90_000:
                state, code, status = "ready", "", None
            elif self._stops(fate):
                (code, reason), status = REASONS[int(fate * 1e7) % len(REASONS)], None
                state = "dead" if code == "gave_up" else "held"
            attempts = 0 if state == "ready" else 1 + int(state != "delivered") * 11
            moved_ms = at_ms + 2_000 + (7 * DAY_MS if state == "dead" else 0)
            times = (due_at_ms, at_ms + 50, at_ms + 50, min(moved_ms, self.now_ms))
            made.deliveries.append((self.seq, key, state, attempts, *times, code, reason, status))
            self.made.deliveries[key, state] += 1
            states.append(state)
        return states

    def _waits(self, age_ms: int) -> bool:
        """Whether research, which went down some time ago, has not got it yet."""
        share = self.year.waiting / self.year.instances
        if self.made.waiting >= self.year.waiting or age_ms > 365 * DAY_MS * share / RESEARCH_SHARE:
            return False
        self.made.waiting += 1
        return True

    def _stops(self, fate: float) -> bool:
        share = self.year.stopped / self.year.instances
        if self.made.stopped >= self.year.stopped or not 0.1 < fate < 0.1 + share:
            return False
        self.made.stopped += 1
        return True

    def _unrouted(self) -> _Study:
        made = _Study(())
        for number in range(20):
            self.seq += 1
            self._row(made, _KINDS[4], "received", "", self.now_ms - 1_000 + number * 40, None, None, "", None)
        for number in range(60):
            self.seq += 1
            at_ms = self.now_ms - number * HOUR_MS
            self._row(made, _KINDS[4], "quarantined", QUARANTINES[number % 3], at_ms, None, None, "", None)
        return made
