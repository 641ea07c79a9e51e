"""Copies that transforms make: `derived/<folder>/<chain digest>-<instance id>.dcm`.

A copy is written under a name of its own, made durable, and then moved to its final one, which depends on instance and
chain alone: a worker that was stopped while it wrote, and whose work another did meanwhile, can at worst put the same
copy there again. What a dead worker left half-made is removed when its session is voided (`remove_half_made`), or at
the next start (`remove_strays`); and whatever is lost is made again: no copy is ever adopted as an arrival.

The watermark does not stop it: copies are what drains a spool in which everything has to be changed first. It uses half
of the room below the watermark; the other half, and the ballast, are the ledger's, or outcomes could not be recorded.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Collection

from gateway.errors import SpoolError, SpoolFull
from gateway.model import PayloadFile
from gateway.spool import system
from gateway.spool.directory import DERIVED, FILE_MODE, FOLDER_MODE, ROOM_MAX_AGE_S, Spool, fsync_folder
from gateway.spool.intake import SUFFIX, ArrivalMeta, SpoolWriter

MAKER = "derived"  # in place of a receiver's generation
STRAY_S = 86_400.0
_MARK = re.compile(r"s(\d+)-")
_FOLDER_DIGITS = 8  # of an instance id: a folder for each 65 s of arrivals


def derived_path(instance_id: str, digest: str) -> str:
    """Where the copy of an instance lies that a chain with this digest makes."""
    return f"{DERIVED}/{instance_id[:_FOLDER_DIGITS]}/{digest}-{instance_id}{SUFFIX}"


def derive(
    spool: Spool,
    instance_id: str,
    digest: str,
    meta: ArrivalMeta,
    length: int,
    fill: Callable[[SpoolWriter], object],
    maker: int = 0,
) -> PayloadFile:
    """Make a copy: `fill` writes its data set. Durable when it returns. Blocking.

    :param digest: of the chain: letters and digits.
    :param length: about how many bytes it will have: it is not begun where there is no room for them.
    :param meta: of the copy: its own UIDs, and facts that may be seen by who gets it.
    :param maker: the session that makes it: what that leaves half-made when it dies, `remove_half_made` finds.
    :raises SpoolFull, SpoolError: nothing of it is left; and so for whatever `fill` raises.
    """
    final = derived_path(instance_id, digest)
    floor_bytes = spool.min_free_bytes // 2
    room = spool.room(ROOM_MAX_AGE_S)
    if room.read_only or room.free_bytes - length < floor_bytes:
        left = f"{room.free_bytes} bytes are free in {spool.directory}"
        raise SpoolFull(f"{left}, and none of the last {floor_bytes} is for copies: make room")
    writer = SpoolWriter(spool, MAKER, *_create(spool, final, maker), meta, floor_bytes=floor_bytes)
    try:
        fill(writer)
        arrival = writer.finish()
        _flush(writer)
    except BaseException:
        writer.discard()
        raise
    writer.close()
    _put(spool, writer.relative, final)
    return PayloadFile(
        path=final,
        offset=arrival.offset,
        length=arrival.length,
        checksum=arrival.checksum,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
    )


def _put(spool: Spool, relative: str, final: str) -> None:
    """Move a durable copy to its place, durably."""
    place = spool.full_path(final)
    try:
        os.rename(spool.full_path(relative), place)
        folder = os.path.dirname(place)
        for each in (folder, os.path.dirname(folder)):
            fsync_folder(each)
    except OSError as error:
        with contextlib.suppress(OSError):  # what is left goes with its session
            os.unlink(spool.full_path(relative))
        raise system.spool_error(error, f"cannot keep {final}") from error


def remove_half_made(spool: Spool, maker: int) -> dict[str, SpoolError]:
    """Remove what a session that is dead had not finished. Returns what was not removed, as `remove_strays` does."""
    failed: dict[str, SpoolError] = {}
    for shard in _listed(spool, DERIVED, failed):
        folder = f"{DERIVED}/{shard}"
        names = [name for name in _listed(spool, folder, failed) if name.startswith(_mark(maker))]
        failed |= spool.try_unlink(f"{folder}/{name}" for name in names)
    return failed


def remove_strays(
    spool: Spool, copies_of: Callable[[list[str]], set[str]], makers: Collection[int] = ()
) -> dict[str, SpoolError]:
    """Remove what dead workers left.

    :param copies_of: the paths of all copies that the ledger knows of some instances.
    :param makers: the sessions of workers that run, on other hosts: what they make stays; so does what has its place
        and is not a day old, which one of them may still have to tell the ledger. No worker of this host runs.
    :returns: what was not removed, or could not be listed, by path, and why: it does no harm where it is.
    """
    failed: dict[str, SpoolError] = {}
    for shard in _listed(spool, DERIVED, failed):
        folder = f"{DERIVED}/{shard}"
        paths = [f"{folder}/{name}" for name in _listed(spool, folder, failed) if name.endswith(SUFFIX)]
        kept = copies_of([path[-32 - len(SUFFIX) : -len(SUFFIX)] for path in paths])
        strays = [path for path in paths if path not in kept]
        failed |= spool.try_unlink(path for path in strays if not makers or _is_left(spool, path, makers))
    return failed


def _is_left(spool: Spool, path: str, makers: Collection[int]) -> bool:
    """Whether nobody is at work on a copy. A wrong answer costs work: whatever is lost is made again."""
    maker = _MARK.match(path.rsplit("/", 1)[1])
    if maker is not None:
        return int(maker[1]) not in makers
    try:
        return time.time() - os.stat(spool.full_path(path)).st_mtime > STRAY_S
    except OSError:
        return False


def _mark(maker: int) -> str:
    return f"s{maker}-"


def _listed(spool: Spool, folder: str, failed: dict[str, SpoolError]) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(spool.directory, folder)))
    except (NotADirectoryError, FileNotFoundError):
        return []
    except OSError as error:
        failed[folder] = system.spool_error(error, f"cannot list {folder}")
        return []


def _create(spool: Spool, final: str, maker: int) -> tuple[str, int]:
    """A new file in the folder of `final`: its name, and a descriptor."""
    folder, name = final.rsplit("/", 1)
    temporary = f"{folder}/{_mark(maker)}{secrets.token_hex(8)}-{name}"
    while True:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(spool.directory, folder), FOLDER_MODE)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            return temporary, os.open(spool.full_path(temporary), flags, FILE_MODE)
        except FileNotFoundError as error:
            if not os.path.isdir(os.path.join(spool.directory, DERIVED)):
                raise system.spool_error(error, f"cannot make {temporary}: is the spool mounted?") from error
            # A purge removed the empty folder between the two calls.
        except OSError as error:
            raise system.spool_error(error, f"cannot make {temporary}") from error


def _flush(writer: SpoolWriter) -> None:
    found: SpoolError | None = None
    try:
        os.fdatasync(writer.begin_flush())
    except OSError as error:
        found = system.spool_error(error, f"cannot flush {writer.relative}")
    writer.end_flush(found)
    if found is not None:
        raise found
