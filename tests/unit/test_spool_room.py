"""Room: watermark, ballast, and a disk that is really full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import SpoolError, SpoolFull
from gateway.spool import FoundState, Intake, read_arrival, scan
from tests.harness.durable import flush
from tests.harness.tools import program, require, run
from tests.unit.spool_kit import (
    GENERATION,
    files_in,
    folders_in,
    make_intake,
    make_meta,
    make_spool,
    store,
    store_many,
)

MIB = 1024 * 1024


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    kind = str(request.param)
    require("tmpfs" if kind == "tmpfs" else "loop")
    mount, umount = program("mount"), program("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if kind == "tmpfs":
        run([mount, "-t", "tmpfs", "-o", "size=24m,nr_inodes=4k", "spool-test", folder]).check()
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(24 * MIB)
        run([program("mkfs.ext4"), "-q", "-N", "4096", "-m", "0", image]).check()
        run([mount, "-o", "loop", image, folder]).check()
    try:
        yield folder
    finally:
        run([umount, folder]).check()


def fill_disk(folder: Path, leave_bytes: int = 0) -> Path:
    """Use the room up with a file of someone else."""
    path = folder / "someone-else"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
        os.fsync(file.fileno())
        if leave_bytes:
            file.truncate(file.tell() - leave_bytes)
            os.fsync(file.fileno())
    return path


def test_prepare_makes_the_folders_and_is_repeatable(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "spool"
    make_spool(folder, ballast_bytes=1000)
    make_spool(folder, ballast_bytes=1000)
    assert sorted(path.name for path in folder.iterdir()) == ["ballast", "derived", "free", "incoming"]
    assert (folder / "ballast").stat().st_size == 1000
    assert folder.stat().st_mode & 0o777 == 0o700


def test_prepare_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot prepare"):
        make_spool(tmp_path / "file" / "spool")


def test_room_is_what_the_file_system_says(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    room = spool.room()
    told = os.statvfs(tmp_path)
    assert room.total_bytes == told.f_blocks * told.f_frsize
    assert abs(room.free_bytes - told.f_bavail * told.f_frsize) < 1024 * MIB
    assert not room.low


def test_below_the_watermark_nothing_begins(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, min_free_bytes=1 << 60)
    assert spool.room().low
    intake = make_intake(spool)
    with pytest.raises(SpoolFull, match="watermark"):
        intake.begin(make_meta())
    assert intake.available == 4


def test_the_watermark_is_looked_at_while_bytes_arrive(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool", min_free_bytes=16 * MIB)
    intake = make_intake(spool)
    writer = intake.begin(make_meta())
    with pytest.raises(SpoolFull, match="watermark"):
        for _ in range(20):
            writer.write(bytes(MIB))
    assert writer.length < 16 * MIB
    assert writer.discard()
    assert not spool.room().low
    store(intake, b"there is room again")


def test_ballast_is_given_up_once_and_restored(tmp_path: Path) -> None:
    spool = make_spool(tmp_path, ballast_bytes=MIB)
    ballast = tmp_path / "ballast"
    assert ballast.stat().st_blocks * 512 >= MIB, "the room is really taken"
    assert spool.free_ballast() is True
    assert spool.free_ballast() is False
    assert not ballast.exists()
    assert spool.restore_ballast() is True
    assert spool.restore_ballast() is True
    assert ballast.stat().st_size == MIB


def test_ballast_that_would_break_the_watermark_is_not_made(tmp_path: Path) -> None:
    free = make_spool(tmp_path / "probe").room().free_bytes
    spool = make_spool(tmp_path / "spool", min_free_bytes=free, ballast_bytes=8 * MIB)
    assert spool.restore_ballast() is False
    assert not (tmp_path / "spool" / "ballast").exists()


def test_ballast_half_made_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "ballast").write_bytes(b"x")
    make_spool(tmp_path, ballast_bytes=MIB)
    assert (tmp_path / "ballast").stat().st_size == MIB


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_ballast_that_can_neither_be_made_nor_removed_is_an_error_of_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file system that became read-only between the look and the making."""
    spool = make_spool(tmp_path, ballast_bytes=MIB)
    os.truncate(tmp_path / "ballast", 10)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", fail)
    monkeypatch.setattr(os, "unlink", fail)
    if number == errno.ENOSPC:
        assert spool.restore_ballast() is False
    else:
        with pytest.raises(SpoolError, match="cannot make the ballast"):
            spool.restore_ballast()
    monkeypatch.undo()
    assert spool.restore_ballast() is True


def test_a_disk_full_in_mid_object_leaves_nothing_and_recovers(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool")
    intake = make_intake(spool, pool_size=20)
    kept = store(intake, os.urandom(300_000))
    someone = fill_disk(small_disk, leave_bytes=2 * MIB)

    writer = intake.begin(make_meta())
    with pytest.raises(SpoolFull):
        for _ in range(100):
            writer.write(os.urandom(100_000))
        writer.finish()
        raise flush([writer])[0] or AssertionError("4 MiB went into 2")
    with pytest.raises(RuntimeError):
        writer.finish()
    assert writer.discard()

    states = [found.state for found in scan(spool, verify=True)]
    assert states.count(FoundState.COMPLETE) == 1
    assert set(states) == {FoundState.COMPLETE, FoundState.EMPTY}
    assert read_arrival(spool.path(kept.path), kept.path, verify=True) == kept
    someone.unlink()
    store(intake, os.urandom(3_000_000))


def test_the_ballast_is_room_for_others_when_the_disk_is_full(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool", ballast_bytes=4 * MIB)
    fill_disk(small_disk)
    ledger = small_disk / "outcomes"
    with pytest.raises(OSError, match="No space"), ledger.open("wb", buffering=0) as file:
        for _ in range(32):
            file.write(bytes(64 * 1024))
        os.fsync(file.fileno())
    assert spool.restore_ballast() is True
    assert spool.free_ballast() is True
    with ledger.open("wb", buffering=0) as file:
        for _ in range(32):
            assert file.write(bytes(64 * 1024)) == 64 * 1024
        os.fsync(file.fileno())
    assert spool.restore_ballast() is False


def test_without_inodes_the_pool_is_what_could_be_made(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool")
    intake = Intake(spool, GENERATION, 5000)
    intake.fill()
    assert 1000 < intake.available < 5000
    assert spool.room().low, "without inodes the intake is closed"
    with pytest.raises(SpoolFull, match="watermark"):
        intake.begin(make_meta())
    with pytest.raises(SpoolFull, match="No space"):
        intake.fill()
    assert folders_in(spool) == [GENERATION, f"{GENERATION}/000000"]
    intake.close()
    assert files_in(spool) == []
    assert not spool.room().low, "looked at anew: `begin` is content with a look of a moment ago"
    intake = make_intake(spool)
    store(intake, b"inodes are there again")


def test_empty_files_are_given_up_when_inodes_are_scarce(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool")
    intake = make_intake(spool, pool_size=1200)
    paths = [arrival.path for _ in range(12) for arrival in store_many(intake, b"content", 100)]
    assert spool.try_unlink(paths, keep=True) == {}
    assert len(os.listdir(small_disk / "spool" / "free")) == 1200
    others = small_disk / "others"
    others.mkdir()
    for number in range(5000):
        if spool.room().few_inodes:
            break
        (others / str(number)).touch()
    assert spool.room().low
    spool.free_inodes()
    assert os.listdir(small_disk / "spool" / "free") == []
    assert not spool.room().few_inodes


def test_a_read_only_spool_refuses_and_recovers(small_disk: Path) -> None:
    spool = make_spool(small_disk / "spool")
    intake = make_intake(spool)
    arrival = store(intake, b"acknowledged")
    mount = program("mount")
    run([mount, "-o", "remount,ro", small_disk]).check()
    try:
        with pytest.raises(SpoolError, match=r"[Rr]ead-only"):
            intake.begin(make_meta())
        with pytest.raises(SpoolError, match=r"[Rr]ead-only"):
            intake.fill()
        with pytest.raises(SpoolError, match=r"[Rr]ead-only"):
            spool.unlink([arrival.path])
        assert read_arrival(spool.path(arrival.path), arrival.path, verify=True) == arrival
    finally:
        run([mount, "-o", "remount,rw", small_disk]).check()
    assert intake.available == 3
    spool.room(0)  # how it was a moment ago counts for a moment
    store(intake, b"again")
    intake.fill()


def test_unlink_goes_on_after_a_failure_and_says_so(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=2)
    first, second = store(intake, b"1"), store(intake, b"2")
    spool.path(first.path).unlink()
    spool.path(first.path).mkdir()
    with pytest.raises(SpoolError, match=first.instance_id):
        spool.unlink([first.path, second.path])
    assert not spool.path(second.path).exists()


def test_unlink_of_missing_files_is_fine_and_takes_folders_along(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool, pool_size=1), b"1")
    spool.unlink([arrival.path])
    spool.unlink([arrival.path])
    assert folders_in(spool) == []
    assert (tmp_path / "incoming").is_dir()
    (tmp_path / "derived" / "x").mkdir()
    (tmp_path / "derived" / "x" / "y.dcm").write_bytes(b"")
    spool.unlink(["derived/x/y.dcm"])
    assert list((tmp_path / "derived").iterdir()) == []
