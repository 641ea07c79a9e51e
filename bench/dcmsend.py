"""DCMTK's dcmsend as the sender of a benchmark, and what it sends: seeded files that get new UIDs for every run.

A run is timed from dcmsend's word that it asks for its association (its start, and its look at each file, are no
one's time but its own) to the last file that the archive has closed (`Closings`).
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.data import make_instances, write_part10
from tests.harness.tools import program

TIMEOUT_S = 300.0
_IN_CLOSE_WRITE = 0x8
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Files:
    """`count` Part 10 files of CT instances in `folder`, each with so many bytes of pixels."""

    def __init__(self, folder: Path, count: int, pixel_bytes: int, seed: int) -> None:
        folder.mkdir(parents=True)
        self._number = 0
        self._places: list[tuple[Path, list[int], int]] = []
        for number, instance in enumerate(make_instances(count, pixel_bytes=pixel_bytes, seed=seed)):
            path = write_part10(folder / f"{number:05d}.dcm", instance)
            uid, content = instance.sop_instance_uid.encode(), path.read_bytes()[:4096]
            places = [at for at in range(len(content)) if content.startswith(uid, at)]
            assert len(places) == 2, "once in the file meta information, once in the data set"
            self._places.append((path, places, len(uid)))

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [path for path, _, _ in self._places]

    def renew(self) -> None:
        """Give every instance a SOP Instance UID that was not sent before."""
        for path, places, length in self._places:
            self._number += 1
            uid = f"2.25.{self._number}{os.getpid()}".encode().ljust(length, b"1")
            with path.open("r+b", buffering=0) as file:
                for place in places:
                    os.pwrite(file.fileno(), uid, place)


class Closings:
    """Counts the files that are closed after writing in some folders, and says when (inotify(7))."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        for folder in folders:
            watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_CLOSE_WRITE)
            assert watch >= 0, os.strerror(ctypes.get_errno())

    def wait(self, count: int) -> float:
        """Wait until so many were closed; time.monotonic() of the last one."""
        ends, at = time.monotonic() + TIMEOUT_S, 0.0
        while count > 0:
            left = ends - time.monotonic()
            assert left > 0, f"{count} files are missing"
            if select.select([self._descriptor], [], [], left)[0]:
                data, at = os.read(self._descriptor, 65536), time.monotonic()
                offset = 0
                while offset < len(data):
                    *_, length = _EVENT.unpack_from(data, offset)
                    offset += _EVENT.size + length
                    count -= 1
        return at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Run:
    """When one dcmsend asked for its association, and when it had ended; time.monotonic()."""

    began_s: float
    ended_s: float


def send(paths: Sequence[Path], port: int, *, nagle: bool = False) -> Run:
    """Send files over one association. AssertionError unless each was answered with Success."""
    (run,) = send_at_once([paths], port, nagle=nagle)
    return run


def send_at_once(shares: Sequence[Sequence[Path]], port: int, *, nagle: bool = False) -> list[Run]:
    """Send each share over an association of its own, all at once.

    :param nagle: leave Nagle's algorithm on, as Debian's dcmsend does.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if not nagle:
        environment["TCP_NODELAY"] = "1"
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(lambda share: _send(share, port, environment), shares))


def _send(paths: Sequence[Path], port: int, environment: Mapping[str, str]) -> Run:
    argv = [program("dcmsend"), "-v", "-dn", "-nuc", "-aec", "ANY", "127.0.0.1", str(port), *map(str, paths)]
    began, refused = 0.0, []
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not began and "Requesting Association" in line:
                began = time.monotonic()
            if line.startswith(("E:", "F:")) or ("Received C-STORE Response" in line and "Success" not in line):
                refused.append(line.strip())
        ended = time.monotonic()
    assert process.returncode == 0 and not refused and began, (process.returncode, refused[:3])
    return Run(began, ended)
