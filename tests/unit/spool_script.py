"""A receiver's use of the spool, small enough to be killed at each of its system calls.

`python -m tests.unit.spool_script SPOOL STEP…` fills a pool, writes `ready` and waits for a line on its standard input.
Then it takes the steps: a number n stores n instances and flushes them together, `large` one of 300 KB, `fill` fills
the pool again, `read` reads what was stored. It writes a line for whatever has become sure, with one system call each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gateway.errors import SpoolError
from gateway.model import Arrival
from gateway.spool import Flusher, Intake, Spool, SpoolFile, SpoolWriter
from tests.unit.spool_kit import GENERATION, make_meta, payload_of

POOL_SIZE = 6


def content(number: int, size: int) -> bytes:
    return bytes((number * 31 + at) & 0xFF for at in range(256)) * (size // 256)


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def store_group(intake: Intake, flusher: Flusher, first: int, count: int, size: int) -> list[Arrival]:
    writers: list[SpoolWriter] = []
    arrivals: list[Arrival] = []
    for number in range(first, first + count):
        try:
            writer = intake.begin(make_meta(sop_instance_uid=f"1.2.{number}"))
        except SpoolError as error:
            tell("refused", number, type(error).__name__, error)
            continue
        try:
            view = memoryview(content(number, size))
            for at in range(0, len(view), 65_536):
                writer.write(view[at : at + 65_536])
            arrivals.append(writer.finish())
            writers.append(writer)
        except SpoolError as error:
            tell("refused", number, type(error).__name__, error)
            writer.discard()
    stored = []
    for writer, arrival, error in zip(writers, arrivals, flusher.flush(writers), strict=True):
        if error is None:
            tell("acknowledged", arrival.instance_id)
            writer.close()
            stored.append(arrival)
        else:
            tell("refused", arrival.sop_instance_uid, type(error).__name__, error)
            writer.discard()
    return stored


def read_all(spool: Spool, arrivals: list[Arrival]) -> None:
    for arrival in arrivals:
        try:
            with SpoolFile.open(spool, payload_of(arrival)) as file:
                tell("read", arrival.instance_id, len(file.pread(0, arrival.length)))
        except SpoolError as error:
            tell("unreadable", type(error).__name__, error)


def main(folder: str, steps: list[str]) -> None:
    spool = Spool(Path(folder), 0, 0)
    spool.prepare()
    intake = Intake(spool, GENERATION, POOL_SIZE)
    intake.fill()
    flusher = Flusher()
    tell("ready")
    sys.stdin.readline()
    stored: list[Arrival] = []
    number = 0
    for step in steps:
        if step == "fill":
            try:
                intake.fill()
                tell("filled", intake.available)
            except SpoolError as error:
                tell("unfilled", intake.available, type(error).__name__, error)
        elif step == "read":
            read_all(spool, stored)
        else:
            count, size = (1, 300_032) if step == "large" else (int(step), 9_216)
            stored += store_group(intake, flusher, number, count, size)
            number += count
    tell("done")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
