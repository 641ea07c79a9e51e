"""The spool: the files that hold every acknowledged instance. No module but this package opens them.

::

    <spool>/incoming/<generation>/<batch>/<instance id>.dcm      as they arrived
    <spool>/derived/…                                            copies made by transforms; recomputed when lost
    <spool>/ballast                                              room kept for the moment the disk is full
    <spool>/hosts/… and outcomes/…                               of hosts that share it (see `shared`)

A *generation* is the token of one receiver process; a *batch* is one filling of its pool. Names are ours alone: no text
from a peer becomes part of a path. One instance is one DICOM Part 10 file that describes itself (see `record`).

The way of an instance: `Intake.fill` (in a thread) creates empty files under their final names and makes the folders
durable, once for many → `Intake.begin` takes one → `SpoolWriter.write` per fragment → `SpoolWriter.finish` fills in the
record, last → `Flusher.start` has it made durable by the kernel, with one flush → the sender may be answered with
Success → `SpoolWriter.close`. There is no rename: a file whose header was never written to its end was never
acknowledged.

Rules:
  - Success is sent only for a writer whose flush ended with None. A failed flush is never tried again on that file:
    `discard` it and answer 0xA700.
  - A complete file is never removed except by `Spool.unlink`, which the purge calls after its durable commit.
  - `remove_incomplete` touches only generations that the caller knows to be dead.
  - Reading is `pread`, never a memory map: a truncated mapped file kills the process.
  - Whatever the file system says comes out as SpoolFull, SpoolMissing, SpoolCorrupt or SpoolError; nothing here logs.

Modules: `record` (the file format, pure), `system` and `aio` (system calls that Python lacks), `directory` (folder,
room, ballast, unlink), `shared` (several hosts), `flush` (how files become durable), `intake` (pool and writer),
`derived` (copies), `reader`, `scan` (adoption and recovery). Callers: flow/receive (Intake), flow/intake (Flusher),
flow/route (SpoolFile, derive), flow/forward (SpoolFile), flow/sweep (unlink, ballast), adoption and `gateway recover`
(scan, remove_incomplete).
"""

from gateway.spool.derived import derive, remove_half_made, remove_strays
from gateway.spool.directory import Room, Spool
from gateway.spool.flush import Flusher
from gateway.spool.intake import ArrivalMeta, Intake, SpoolWriter
from gateway.spool.reader import SpoolFile, bring_in, read_arrival
from gateway.spool.scan import Found, FoundState, Removal, generations_of, instance_ids, remove_incomplete, scan

__all__ = [
    "ArrivalMeta",
    "Flusher",
    "Found",
    "FoundState",
    "Intake",
    "Removal",
    "Room",
    "Spool",
    "SpoolFile",
    "SpoolWriter",
    "bring_in",
    "derive",
    "generations_of",
    "instance_ids",
    "read_arrival",
    "remove_half_made",
    "remove_incomplete",
    "remove_strays",
    "scan",
]
