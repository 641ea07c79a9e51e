"""A record of the trail as a line of a file, chained to the one before it.

A line is a JSON object in ASCII. Its last field, `hash`, is the SHA-256 of all bytes of the line before it; with a key,
their HMAC-SHA-256. `prev` is the hash of the record before, `seq` counts from 1 without a gap. So a record that was
changed does not fit its own hash, and one that was left out, put in or moved does not fit its neighbours. Who can write
the files can make a new chain, unless there is a key, which he does not have.

    {"seq": 2, "time": "2026-01-01T12:00:00.000Z", "prev": "9f…", "alg": "sha256", "ref": "…", "kind": "transferred",
     …, "xml": "<?xml …", "hash": "3c…"}

Pure: no file, no clock.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.audit.xml import timestamp

FIRST = "0" * 64  # `prev` of the first record
LINE_MAX = 1 << 20  # bytes: no record is as long as that, and no reader takes more
PLAIN, KEYED = "sha256", "hmac-sha256"
TORN = "torn"  # the kind of a record that says what a power cut has left before it
_HASH = b', "hash": "'
_TAIL = re.compile(re.escape(_HASH) + rb'([0-9a-f]{64})"}\n')
TAIL_BYTES = len(_HASH) + 64 + len(b'"}\n')
_SHORT_FIELDS, _SHORT_TEXT = 30, 1000  # what is left of an entry that is too long for a line
_MUST = {"seq": int, "time": str, "prev": str, "alg": str, "kind": str, "ref": str}


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to become a record: `fields` for people and filters, and the message.

    :param ref: names the message, so that one that was written already is known when it comes again.
    """

    at_ms: int
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    xml: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain."""

    seq: int = 0
    hash: str = FIRST


@dataclass(frozen=True, slots=True)
class Record:
    """A line, read. `digest` is what it says its hash is, `body` what that is of."""

    seq: int
    prev: str
    digest: str
    fields: Mapping[str, Any]
    body: bytes

    @property
    def kind(self) -> str:
        """What it is about."""
        return str(self.fields["kind"])

    @property
    def is_keyed(self) -> bool:
        """Whether its hash needs a key."""
        return bool(self.fields["alg"] == KEYED)


def line_of(entry: Entry, before: Head, key: bytes) -> tuple[bytes, Head]:
    """The record that follows `before`, as a line, and the head that it is then. An entry that is too long for a line
    is shortened, and its record says so."""
    body = _body_of(entry, before, key)
    if len(body) + TAIL_BYTES >= LINE_MAX:
        body = _body_of(_shortened(entry), before, key)
    digest = digest_of(body, key)
    return body + _HASH + digest.encode("ascii") + b'"}\n', Head(before.seq + 1, digest)


def _body_of(entry: Entry, before: Head, key: bytes) -> bytes:
    fields = {
        "seq": before.seq + 1,
        "time": timestamp(entry.at_ms),
        "prev": before.hash,
        "alg": KEYED if key else PLAIN,
        "ref": entry.ref,
        "kind": entry.kind,
        **entry.fields,
        **({"xml": entry.xml} if entry.xml else {}),
    }
    return json.dumps(fields).encode("ascii")[:-1]


def _shortened(entry: Entry) -> Entry:
    """The beginning of each field, and the message where that is not what is too long."""

    def short(value: Any) -> Any:
        text = value if isinstance(value, str) else json.dumps(value)
        return value if len(text) <= _SHORT_TEXT else text[:_SHORT_TEXT]

    fields = {name[:_SHORT_TEXT]: short(value) for name, value in [*entry.fields.items()][:_SHORT_FIELDS]}
    xml = entry.xml if len(json.dumps(entry.xml)) < LINE_MAX // 4 else ""
    return Entry(entry.at_ms, entry.kind, fields | {"shortened": True}, xml, entry.ref[:_SHORT_TEXT])


def digest_of(body: bytes, key: bytes) -> str:
    """The hash of a record's body."""
    if key:
        return hmac.new(key, body, hashlib.sha256).hexdigest()
    return hashlib.sha256(body).hexdigest()


def read_line(line: bytes) -> Record | None:
    """The record in a line; None where it is none, or only a part of one. Says nothing of whether its hash holds."""
    digest = digest_said(line[-TAIL_BYTES:])
    if not digest or not line.startswith(b"{"):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or any(not isinstance(fields.get(name), kind) for name, kind in _MUST.items()):
        return None
    del fields["hash"]
    return Record(fields["seq"], fields["prev"], digest, fields, line[:-TAIL_BYTES])


def digest_said(tail: bytes) -> str:
    """What the TAIL_BYTES at the end of a record's line say its hash is; "" where they are no such end."""
    found = _TAIL.fullmatch(tail)
    return "" if found is None else found[1].decode("ascii")


def fault_of(record: Record, before: Head | None, key: bytes) -> str:
    """What is wrong with a record after the one before it (None: not known); "" where nothing is.

    Without a key, hashes that need one are not looked at.
    """
    if record.is_keyed and not key:
        digest = record.digest
    elif record.fields["alg"] in (PLAIN, KEYED):
        digest = digest_of(record.body, key if record.is_keyed else b"")
    else:
        return "says that its hash is of a kind that there is not"
    if not hmac.compare_digest(digest, record.digest):
        return "was changed: it does not fit its own hash"
    if before is None:
        return ""
    if record.seq > before.seq + 1:
        return f"follows number {before.seq}: {record.seq - before.seq - 1} records between them are missing"
    if record.seq <= before.seq:
        return f"follows number {before.seq}: it was put in, or moved"
    if record.prev != before.hash:
        return "does not fit the record before it, which was changed or replaced"
    return ""


def begins_behind(first: Record, known: Head) -> str:
    """What is wrong with a trail that begins with `first`, where `known` was written; "" if nothing is."""
    if known.seq and first.seq > known.seq + 1:
        return f"is the first, and behind number {known.seq}, which was written: those between them are missing"
    if known.seq and first.seq == known.seq + 1 and first.prev != known.hash:
        return f"is the first, and follows another number {known.seq} than was written: the trail was made anew"
    return ""


class Torn:
    """What is between the records and is none: its length and its hash, however long it is. False where nothing is."""

    def __init__(self) -> None:
        self.length = 0
        self.only = b""  # the whole of it, where it came in one piece
        self._hash = hashlib.sha256()
        self._last = b""

    def __bool__(self) -> bool:
        return self.length > 0

    @property
    def lacks_end(self) -> bool:
        """Whether it does not end as a line does."""
        return self._last != b"\n"

    @property
    def sha256(self) -> str:
        """Its hash."""
        return self._hash.hexdigest()

    def add(self, raw: bytes) -> None:
        """There is more of it."""
        self.only = b"" if self.length else raw
        self.length += len(raw)
        self._hash.update(raw)
        self._last = raw[-1:]


def torn_entry(at_ms: int, torn: Torn) -> Entry:
    """The record that says what a power cut, or a disk that was full, left between the records."""
    return Entry(at_ms, TORN, {"torn_bytes": torn.length, "torn_sha256": torn.sha256})


def explains(record: Record, torn: Torn) -> bool:
    """Whether a record says just that of what is before it."""
    said = record.fields.get("torn_bytes"), record.fields.get("torn_sha256")
    return record.kind == TORN and said == (torn.length, torn.sha256)
