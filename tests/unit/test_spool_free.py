"""Files used again: what a purge emptied becomes a file of a pool, and nothing of what was in it is seen again."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import SpoolCorrupt, SpoolMissing
from gateway.flow import send
from gateway.spool import bring_in, read_arrival
from tests.unit.spool_kit import files_in, make_intake, make_spool, payload_of, store


def free_files(folder: Path) -> list[Path]:
    return sorted((folder / "free").iterdir())


def test_a_purged_file_is_emptied_and_its_inode_serves_the_next_pool(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=4)
    arrivals = [store(intake, b"the first content") for _ in range(4)]
    inodes = {os.stat(spool.path(arrival.path)).st_ino for arrival in arrivals}
    assert spool.try_unlink([arrival.path for arrival in arrivals], keep=True) == {}
    assert files_in(spool) == []
    assert [path.stat().st_size for path in free_files(tmp_path)] == [0] * 4
    intake.fill()
    assert free_files(tmp_path) == []
    again = [store(intake, b"another") for _ in range(4)]
    assert {os.stat(spool.path(arrival.path)).st_ino for arrival in again} == inodes
    assert {arrival.instance_id for arrival in again}.isdisjoint(arrival.instance_id for arrival in arrivals)
    for arrival in again:
        assert read_arrival(spool.path(arrival.path), arrival.path, verify=True) == arrival


def test_without_free_files_and_beside_a_faster_process_a_pool_makes_its_own(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=4)
    spool.try_unlink([store(intake, b"content").path for _ in range(4)], keep=True)
    other = make_spool(tmp_path)
    first = os.path.join(tmp_path, "incoming", "first")
    assert other.free.take(first)  # it knows of all four now
    for path in free_files(tmp_path):
        path.unlink()
    assert not other.free.take(os.path.join(tmp_path, "incoming", "second"))
    intake.fill()
    assert intake.available == 4


def test_what_is_no_empty_file_never_gets_into_a_pool(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    (tmp_path / "free" / "full").write_bytes(b"not ours")
    (tmp_path / "free" / "link").symlink_to(tmp_path / "elsewhere")
    intake = make_intake(spool, pool_size=4)
    arrivals = [store(intake, b"content") for _ in range(4)]
    assert free_files(tmp_path) == []
    for arrival in arrivals:
        assert read_arrival(spool.path(arrival.path), arrival.path, verify=True) == arrival
    assert not (tmp_path / "elsewhere").exists()


def test_a_purge_empties_nothing_through_a_link(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    intake = make_intake(spool)
    arrival = store(intake, b"content")
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    spool.path(arrival.path).unlink()
    spool.path(arrival.path).symlink_to(precious)
    assert spool.try_unlink([arrival.path], keep=True) == {}
    assert not spool.path(arrival.path).is_symlink()
    assert precious.read_text() == "of somebody else"


def test_what_a_backup_has_linked_is_neither_emptied_nor_filled_again(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    intake = make_intake(spool, pool_size=2)
    first, second = store(intake, b"content"), store(intake, b"content")
    whole = spool.path(first.path).read_bytes()
    backup = tmp_path / "backup"
    os.link(spool.path(first.path), backup)
    assert spool.try_unlink([first.path, second.path], keep=True) == {}
    assert files_in(spool) == []
    assert backup.read_bytes() == whole
    (free,) = free_files(tmp_path / "spool")
    os.link(free, tmp_path / "backup of an empty one")
    intake.fill()
    for _ in range(2):
        store(intake, b"another")
    assert backup.read_bytes() == whole
    assert (tmp_path / "backup of an empty one").read_bytes() == b""


@pytest.mark.parametrize("moment", ["before the first piece", "between two pieces"])
def test_a_reader_that_stood_still_hands_out_nothing_of_what_came_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The process of a voided lease goes on after the file was purged and belongs to another instance."""
    monkeypatch.setattr(send, "CHUNK_BYTES", 1000)
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=1)
    old, new = b"A" * 3000, b"B" * 3000
    arrival = store(intake, old)
    payload = payload_of(arrival)

    def purge_and_use_again() -> None:
        assert spool.try_unlink([arrival.path], keep=True) == {}
        intake.fill()
        store(intake, new)

    async def scenario() -> bytes:
        got = b""
        with ThreadPoolExecutor(1) as executor:
            data_set = send.DataSet(spool, payload, executor)
            if moment == "before the first piece":
                data_set._file = send.SpoolFile.open(spool, payload)
                purge_and_use_again()
                with pytest.raises(SpoolMissing, match="purged"):
                    data_set._read()
                data_set.close()
                return got
            pieces = data_set.pieces()
            got += (await anext(pieces))[0]
            await asyncio.get_running_loop().run_in_executor(executor, purge_and_use_again)
            with pytest.raises(SpoolMissing, match="purged"):
                while True:
                    got += (await anext(pieces))[0]
            data_set.close()
        return got

    assert set(asyncio.run(scenario())) <= set(old)


@pytest.mark.parametrize("harm", ["", "cut", "changed", "removed"])
def test_what_lies_in_memory_is_read_at_once_and_checked_all_the_same(tmp_path: Path, harm: str) -> None:
    """No thread is asked: there is none here. A file that is not what arrived is not handed out."""
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool), b"content" * 1000)
    path = spool.path(arrival.path)
    if harm == "cut":
        os.truncate(path, path.stat().st_size - 1)
    elif harm == "changed":
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"X")
    elif harm == "removed":
        path.unlink()

    nobody = ThreadPoolExecutor(1)
    nobody.shutdown()
    data_set = send.DataSet(spool, payload_of(arrival), nobody)
    before = len(os.listdir("/proc/self/fd"))
    if harm:
        with pytest.raises((SpoolCorrupt, SpoolMissing)):
            data_set.read_cached(bytearray(10_000))
        data_set.close()
    else:
        assert data_set.read_cached(bytearray(10_000)) == b"content" * 1000
    assert len(os.listdir("/proc/self/fd")) == before


def test_old_files_are_brought_in_and_what_is_not_there_is_left_to_its_reader(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    payload = payload_of(store(make_intake(spool), b"content" * 1000))
    before = len(os.listdir("/proc/self/fd"))
    bring_in(spool, [payload._replace(path="incoming/gone.dcm"), payload, payload._replace(path="incoming")])
    assert len(os.listdir("/proc/self/fd")) == before
    nobody = ThreadPoolExecutor(1)
    data_set = send.DataSet(spool, payload, nobody)
    assert data_set.read_cached(bytearray(10_000)) == b"content" * 1000
