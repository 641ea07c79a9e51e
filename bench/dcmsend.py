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

from pydicom.filereader import read_file_meta_info

from tests.harness.data import make_instances, write_part10
from tests.harness.tools import program

TIMEOUT_S = 300.0
_IN_CLOSE_WRITE = 0x8
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Files:
    """Part 10 files to send."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._number = 0
        self._places = [(path, *_uid_places(path)) for path in paths]

    def renew(self) -> None:
        """Give every instance a SOP Instance UID that was not sent before."""
        for path, places, length in self._places:
            self._number += 1
            uid = f"2.25.1{os.getpid():07}{self._number:0{length - 13}}".encode()
            with path.open("r+b", buffering=0) as file:
                for place in places:
                    os.pwrite(file.fileno(), uid, place)


def make_files(folder: Path, count: int, pixel_bytes: int, seed: int) -> Files:
    """`count` files of CT instances in a new folder, each with so many bytes of pixels."""
    folder.mkdir(parents=True)
    instances = make_instances(count, pixel_bytes=pixel_bytes, seed=seed)
    return Files([write_part10(folder / f"{number:05d}.dcm", one) for number, one in enumerate(instances)])


def _uid_places(path: Path) -> tuple[list[int], int]:
    """Where the SOP Instance UID stands in a file, and its length."""
    with path.open("rb") as file:
        content = file.read(4096)
    uid = str(read_file_meta_info(path).MediaStorageSOPInstanceUID).encode()
    places = [at for at in range(len(content)) if content.startswith(uid, at)]
    assert len(places) == 2, "once in the file meta information, once in the data set"
    return places, len(uid)


class Closings:
    """Counts the files that are closed after writing in some folders, and says when (inotify(7))."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._count, self._at_s = 0, 0.0
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        for folder in folders:
            watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_CLOSE_WRITE)
            assert watch >= 0, os.strerror(ctypes.get_errno())

    def wait(self, count: int) -> float:
        """Wait until so many were closed in all; time.monotonic() of the last one that was seen."""
        ends_s = time.monotonic() + TIMEOUT_S
        while self._count < count:
            left_s = ends_s - time.monotonic()
            assert left_s > 0, f"{count - self._count} files are missing"
            if select.select([self._descriptor], [], [], left_s)[0]:
                data, self._at_s = os.read(self._descriptor, 65536), time.monotonic()
                offset = 0
                while offset < len(data):
                    *_, length = _EVENT.unpack_from(data, offset)
                    offset += _EVENT.size + length
                    self._count += 1
        return self._at_s

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


def send_with_every_context(path: Path, port: int) -> Run:
    """Send a file with storescu, which proposes all the storage SOP classes that it knows (dcmsend: those it needs)."""
    return _send([path], port, {**os.environ, "TCP_NODELAY": "1"}, ("storescu", "-v"))


def _send(
    paths: Sequence[Path],
    port: int,
    environment: Mapping[str, str],
    sender: Sequence[str] = ("dcmsend", "-v", "-dn", "-nuc"),
) -> Run:
    name, *options = sender
    argv = [program(name), *options, "-aec", "ANY", "127.0.0.1", str(port), *map(str, paths)]
    began, refused = 0.0, []
    with subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not began and "Requesting Association" in line:
                began = time.monotonic()
            if line.startswith(("E:", "F:")) or (" Response" in line and "Success" not in line):
                refused.append(line.strip())
        ended = time.monotonic()
    assert process.returncode == 0 and not refused and began, (process.returncode, refused[:3])
    return Run(began, ended)
