"""How files become durable: each by itself, many at once."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import SpoolError
from gateway.spool import Flusher, flush


class File:
    """Something to flush, and what was said of it."""

    def __init__(self, fd: int, relative: str) -> None:
        self.fd = fd
        self.relative = relative
        self.said: list[SpoolError | None] = []

    def begin_flush(self) -> int:
        return self.fd

    def end_flush(self, error: SpoolError | None) -> None:
        self.said.append(error)


@pytest.fixture(params=["kernel", "threads"])
def flusher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flusher]:
    if request.param == "threads":
        monkeypatch.setattr("gateway.spool.aio._NUMBERS", {})  # a processor whose numbers are not known
    with contextlib.closing(Flusher()) as made:
        assert (made._kernel is None) == (request.param == "threads")
        yield made


def files(folder: Path, count: int) -> list[File]:
    found = []
    for number in range(count):
        fd = os.open(folder / f"{number}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"data")
        found.append(File(fd, f"incoming/{number}"))
    return found


@pytest.mark.parametrize("count", [0, 1, 2, 20, flush.SLOTS + 44])
def test_every_file_is_told_once(flusher: Flusher, tmp_path: Path, count: int) -> None:
    made = files(tmp_path, count)
    assert flusher.flush(made) == [None] * count
    assert all(file.said == [None] for file in made)
    for file in made:
        os.close(file.fd)


def test_of_many_only_the_failed_one_is_told_so(flusher: Flusher, tmp_path: Path) -> None:
    """A pipe has nothing to be flushed to: fdatasync(2) says EINVAL."""
    made = files(tmp_path, 5)
    reading, writing = os.pipe()
    made.insert(2, File(writing, "incoming/pipe"))
    results = flusher.flush(made)
    assert [index for index, error in enumerate(results) if error] == [2]
    assert str(results[2]) == "cannot flush incoming/pipe: Invalid argument"
    assert made[2].said == [results[2]]
    os.close(reading)
    for file in made:
        os.close(file.fd)


def test_the_descriptor_is_readable_when_and_only_when_something_has_ended(flusher: Flusher, tmp_path: Path) -> None:
    assert select.select([flusher], [], [], 0) == ([], [], [])
    flusher.serve()  # nothing to tell
    (file,) = files(tmp_path, 1)
    told: list[SpoolError | None] = []
    flusher.start(file, told.append)
    assert select.select([flusher], [], [], 30)[0]
    assert file.said == []
    flusher.serve()
    assert file.said == told == [None]
    assert select.select([flusher], [], [], 0) == ([], [], [])
    os.close(file.fd)
