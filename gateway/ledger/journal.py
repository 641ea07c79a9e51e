"""What was delivered and the ledger is still to be told of, kept where the death of the process does not reach.

A forwarder goes on with the next delivery while the outcome of its last one waits for a transaction that it shares with
others. Until that has committed, the outcome stands here: one write into a small file beside the ledger, or, where
several hosts share a spool, there, in a folder of this host's home. Whoever voids the session of a dead forwarder reads
it, and tells the ledger in the same transaction; so that a kill leaves no more deliveries untold than if each had
waited. A power cut may take it, as it may take the newest commits.

The file is a ring of SLOTS outcomes behind a head, so that it never grows and needs no room once it is there. What is
read from it may long be recorded: an outcome names its lease, and counts only while the delivery is still leased so.
There is one file a session, `outcomes-<session id>`. It means something only while that session is open in the ledger;
and as another ledger may be put in the place of this one, whose sessions have the same numbers, the head says when the
session was opened, and only that one's counts.

Only deliveries that the destination has accepted are kept: any other outcome, forgotten, costs one more try.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

import xxhash

from gateway.dicom.status import describe
from gateway.model import DeliveryState, LeftBehind, Outcome, Session

SLOTS = 512
BEHIND = SLOTS // 2  # outcomes that may wait at once: a slot is written over only long after its outcome was recorded

_PREFIX = "outcomes-"
_MAGIC = b"GWOUTCM1"
_HEAD = struct.Struct("<8sQQ")  # magic, session id, when it was opened (ms)
_SLOT = struct.Struct("<QQi8sI")  # delivery id, token, status, code, checksum of these
_SLOT_BYTES = 64
_NO_STATUS = -1


class OutcomeJournal:
    """The file of one session, written by its process. Makes it anew."""

    def __init__(self, folder: Path, session: Session) -> None:
        self._path = _path(folder, session.session_id)
        self._next = 0
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            head = _HEAD.pack(_MAGIC, session.session_id, session.opened_at_ms)
            os.write(self._fd, head.ljust((1 + SLOTS) * _SLOT_BYTES, b"\0"))
        except BaseException:
            self.close()
            raise

    def write(self, outcome: Outcome) -> None:
        """Keep an outcome of state DELIVERED. :raises OSError: it is not kept."""
        status = _NO_STATUS if outcome.status is None else outcome.status
        slot = _SLOT.pack(outcome.delivery_id, outcome.token, status, outcome.code.encode("ascii"), 0)
        slot = slot[:-4] + xxhash.xxh32_digest(slot[:-4])
        os.pwrite(self._fd, slot, (1 + self._next % SLOTS) * _SLOT_BYTES)
        self._next += 1

    def close(self) -> None:
        """Remove the file: everything in it is recorded, or nothing was."""
        os.close(self._fd)
        with contextlib.suppress(OSError):  # one that stays means nothing without its session
            self._path.unlink()


def left_behind(folder: Path, session_id: int) -> LeftBehind | None:
    """What a session's process had delivered of late. The process must be dead, or ask for itself. No file: None."""
    try:
        content = _path(folder, session_id).read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEAD.size:
        return None
    magic, of_session, opened_at_ms = _HEAD.unpack_from(content)
    if magic != _MAGIC or of_session != session_id:
        return None
    found = []
    for offset in range(_SLOT_BYTES, len(content) - _SLOT_BYTES + 1, _SLOT_BYTES):
        slot = content[offset : offset + _SLOT.size]
        delivery_id, token, status, code, _ = _SLOT.unpack(slot)
        if delivery_id and xxhash.xxh32_digest(slot[:-4]) == slot[-4:]:
            found.append(
                Outcome(
                    delivery_id=delivery_id,
                    token=token,
                    state=DeliveryState.DELIVERED,
                    code=code.rstrip(b"\0").decode("ascii"),
                    reason=describe(status) if status > 0 else "",
                    status=None if status == _NO_STATUS else status,
                )
            )
    return LeftBehind(opened_at_ms, tuple(found))


def forget(folder: Path, session_id: int) -> None:
    """Remove a session's file: the session is voided."""
    with contextlib.suppress(OSError):
        _path(folder, session_id).unlink()


def sessions(folder: Path) -> list[int]:
    """The sessions that have a file here."""
    names = (path.name.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _path(folder: Path, session_id: int) -> Path:
    return folder / f"{_PREFIX}{session_id}"
