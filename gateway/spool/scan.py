"""What lies in the spool: for adoption at a start or after a receiver's death, and for `gateway recover`.

Adoption, as the callers do it: ask the ledger which of `instance_ids` of the dead generations it knows → `scan` the
others with `verify` and tell the ledger of the complete ones → `remove_incomplete` with all ids that it knows now. So
what is known is never read, and a long queue makes no long start. A file is

  complete     record, name and length hold (and, with `verify`, the data set's checksum);
  empty        a pool file that was never used;
  incomplete   its header was never written to its end (`record` says how that is known): it was never acknowledged;
  damaged      its header was written and does not hold, or it holds and the rest does not agree with it, or another
               version of the gateway wrote it. After a power cut this is what is left of an arrival that was not
               acknowledged; otherwise the disk has lost something. It is never removed: a person decides;
  unreadable   the file system refused to read it (now).

Only names of the spool's own form are looked at; anything else a person may have put there is left alone. `derived` is
never scanned: copies are recomputed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import SpoolCorrupt, SpoolError, SpoolMissing
from gateway.model import Arrival
from gateway.spool.directory import INCOMING, Spool
from gateway.spool.intake import GENERATION, SUFFIX
from gateway.spool.reader import DamagedInstance, EmptyFile, UnreadableFile, read_arrival
from gateway.spool.record import DamagedHeader, UnknownVersion
from gateway.spool.system import spool_error

_BATCH = re.compile(r"[0-9]{6,}", re.ASCII)
_FILE = re.compile(rf"[0-9a-f]{{32}}{re.escape(SUFFIX)}", re.ASCII)


class FoundState(StrEnum):
    """See the module's docstring."""

    COMPLETE = "complete"
    EMPTY = "empty"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Found:
    """One file of the spool. `arrival` is there when it is complete, `reason` when it is not."""

    relative: str
    generation: str
    instance_id: str
    state: FoundState
    arrival: Arrival | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """What `remove_incomplete` did: files removed, files neither complete nor to be removed, and what it could not do.

    `failed`: the path of a file or folder that should be gone (or is, but not durably), and why.
    """

    removed: tuple[Found, ...]
    kept: tuple[Found, ...]
    failed: Mapping[str, SpoolError]


def generations_of(spool: Spool) -> list[str]:
    """The generations that have a folder. Raises SpoolError."""
    return _names(spool, INCOMING, GENERATION)


def instance_ids(spool: Spool, generations: Collection[str] | None = None) -> Iterator[str]:
    """The id of every file below `incoming`, or of some generations only; from the names, nothing is read."""
    return (instance_id for _, instance_id in _files(spool, generations))


def scan(
    spool: Spool, generations: Collection[str] | None = None, verify: bool = False, skip: Collection[str] = ()
) -> Iterator[Found]:
    """Every file below `incoming`, or of some generations only, by generation and in the order of arrival.

    Files whose instance id is in `skip` are left out, unread, and one that vanishes meanwhile. Raises SpoolError when
    a folder cannot be listed.
    """
    for relative, instance_id in _files(spool, generations):
        if instance_id in skip:
            continue
        found = _look(spool, relative, instance_id, verify)
        if found is not None:
            yield found


def remove_incomplete(spool: Spool, dead_generations: Collection[str], known: Collection[str]) -> Removal:
    """Remove what was never acknowledged: empty and incomplete files of generations whose process is known to be dead.

    Files whose instance id is in `known` (the ledger has it) are not looked at. `kept` names those of the others that
    are damaged, and those that cannot be read; the data sets' checksums are not read here.
    Folders left empty go too. One that cannot be removed is named and holds up no other: it does no harm where it is,
    and the next start tries again. Raises SpoolError when a folder cannot be listed.
    """
    unwanted: list[Found] = []
    kept: list[Found] = []
    for found in scan(spool, dead_generations, skip=known):
        if found.state in (FoundState.EMPTY, FoundState.INCOMPLETE):
            unwanted.append(found)
        elif found.state is not FoundState.COMPLETE:
            kept.append(found)
    failed = spool.try_unlink(found.relative for found in unwanted)
    for generation in dead_generations:
        failed |= _remove_empty_folders(spool, generation)
    removed = tuple(found for found in unwanted if found.relative not in failed)
    return Removal(removed, tuple(kept), failed)


def _files(spool: Spool, generations: Collection[str] | None) -> Iterator[tuple[str, str]]:
    if generations is None:
        generations = generations_of(spool)
    for generation in sorted(generations):
        if GENERATION.fullmatch(generation) is None:
            raise SpoolError(f"not a generation: {generation[:80]!r}")
        for batch in _names(spool, f"{INCOMING}/{generation}", _BATCH):
            folder = f"{INCOMING}/{generation}/{batch}"
            for name in _names(spool, folder, _FILE):
                yield f"{folder}/{name}", name[: -len(SUFFIX)]


def _names(spool: Spool, folder: str, form: re.Pattern[str]) -> list[str]:
    try:
        names = os.listdir(os.path.join(spool.directory, folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise spool_error(error, f"cannot list {folder}") from error
    return sorted(name for name in names if form.fullmatch(name))


def _look(spool: Spool, relative: str, instance_id: str, verify: bool) -> Found | None:
    path = spool.path(relative)
    generation = relative.split("/")[1]
    try:
        arrival = read_arrival(path, relative, verify)
    except SpoolMissing:
        return None
    except (DamagedInstance, DamagedHeader, UnknownVersion) as error:
        return Found(relative, generation, instance_id, FoundState.DAMAGED, reason=str(error))
    except UnreadableFile as error:
        return Found(relative, generation, instance_id, FoundState.UNREADABLE, reason=str(error))
    except EmptyFile as error:
        return Found(relative, generation, instance_id, FoundState.EMPTY, reason=str(error))
    except SpoolCorrupt as error:
        return Found(relative, generation, instance_id, FoundState.INCOMPLETE, reason=str(error))
    return Found(relative, generation, instance_id, FoundState.COMPLETE, arrival)


def _remove_empty_folders(spool: Spool, generation: str) -> dict[str, SpoolError]:
    """Remove what is empty of a generation's folders; what failed, by the generation's folder."""
    folder = f"{INCOMING}/{generation}"
    try:
        for batch in _names(spool, folder, _BATCH):
            spool.remove_empty(spool.full_path(f"{folder}/{batch}"))
        spool.remove_empty(spool.full_path(folder))
    except OSError as error:
        return {folder: spool_error(error, f"cannot remove an empty folder of {folder}")}
    return {}
