"""The pool and the writer: what is begun ends as a whole file, or as none."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SpoolError, SpoolFull
from gateway.spool import FoundState, Intake, SpoolFile, read_arrival, scan
from gateway.spool.intake import GATHER_BYTES, WriterState
from tests.harness.durable import flush
from tests.unit.spool_kit import (
    GENERATION,
    files_in,
    folders_in,
    make_intake,
    make_meta,
    make_spool,
    payload_of,
    store,
)


def test_a_fill_makes_empty_files_under_their_final_names(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=5)
    assert intake.available == 5
    files = files_in(spool)
    assert len(files) == 5
    assert all(path.stat().st_size == 0 and path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert folders_in(spool) == [GENERATION, f"{GENERATION}/000000"]


def test_an_empty_pool_refuses_until_it_is_filled_again(tmp_path: Path) -> None:
    intake = make_intake(make_spool(tmp_path), pool_size=2)
    store(intake, b"one")
    store(intake, b"two")
    assert intake.available == 0
    with pytest.raises(SpoolFull, match="pool"):
        intake.begin(make_meta())
    intake.fill()
    assert intake.available == 2
    store(intake, b"three")


def test_instance_ids_rise_over_fills_and_are_handed_out_in_order(tmp_path: Path) -> None:
    intake = Intake(make_spool(tmp_path), GENERATION, 5000)
    intake.fill()
    writers = [intake.begin(make_meta()) for _ in range(400)]
    ids = [writer.instance_id for writer in writers]
    assert ids == sorted(set(ids))
    for writer in writers:
        writer.close()
    everything = [path.stem for path in files_in(intake.spool)]
    intake.fill()
    assert max(everything) < min({path.stem for path in files_in(intake.spool)} - set(everything))


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 100, 16_372, GATHER_BYTES - 1, GATHER_BYTES, 200_001]), max_size=12))
def test_any_fragments_end_as_the_same_bytes(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    spool = make_spool(tmp_path_factory.mktemp("spool"))
    intake = make_intake(spool, pool_size=1)
    data = os.urandom(sum(sizes))
    writer = intake.begin(make_meta())
    at = 0
    scratch = bytearray(max(sizes, default=0))  # reused for each fragment, as a receive buffer is
    for size in sizes:
        scratch[:size] = data[at : at + size]
        writer.write(memoryview(scratch)[:size])
        at += size
    assert writer.length == len(data)
    arrival = writer.finish()
    assert flush([writer]) == [None]
    writer.close()
    assert arrival.checksum == xxhash.xxh3_128_digest(data)
    assert arrival.length == len(data)
    assert read_arrival(spool.path(arrival.path), arrival.path, verify=True) == arrival
    with SpoolFile.open(spool, payload_of(arrival)) as file:
        assert file.pread(0, len(data) + 1) == data


def test_an_unfinished_file_is_not_complete_at_any_moment(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=1)
    writer = intake.begin(make_meta())
    piece = bytes(50_000)
    for _ in range(6):
        writer.write(piece)
        [found] = scan(spool)
        assert found.state in (FoundState.EMPTY, FoundState.INCOMPLETE)
        assert found.arrival is None
    writer.finish()
    [found] = scan(spool)
    assert found.state is FoundState.COMPLETE
    writer.close()


def test_a_large_instance_is_written_back_as_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[int, int]] = []
    real = __import__("gateway.spool.system", fromlist=["x"]).start_writeback

    def watched(fd: int, offset: int, length: int) -> None:
        ranges.append((offset, length))
        real(fd, offset, length)

    monkeypatch.setattr("gateway.spool.system.start_writeback", watched)
    arrival = store(make_intake(make_spool(tmp_path)), bytes(10_000_000), fragment=262_144)
    assert len(ranges) == 2
    assert ranges[0][0] == arrival.offset
    assert ranges[1][0] == sum(ranges[0])


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=1)
    writer = intake.begin(make_meta())
    writer.write(bytes(100_000))
    assert writer.discard() is True
    assert files_in(spool) == []
    assert folders_in(spool) == []
    assert writer.state is WriterState.CLOSED


def test_discard_of_a_file_that_someone_removed_is_fine(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    writer = make_intake(spool, pool_size=1).begin(make_meta())
    files_in(spool)[0].unlink()
    assert writer.discard() is True


def test_a_durable_file_can_not_be_discarded(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool)
    writer = intake.begin(make_meta())
    writer.write(b"data")
    writer.finish()
    assert flush([writer]) == [None]
    assert writer.state is WriterState.DURABLE
    with pytest.raises(RuntimeError):
        writer.discard()
    writer.close()
    writer.close()
    with pytest.raises(RuntimeError):
        writer.discard()
    assert [found.state for found in scan(spool)].count(FoundState.COMPLETE) == 1


def test_calls_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    writer = make_intake(spool).begin(make_meta())
    with pytest.raises(RuntimeError):
        flush([writer])
    writer.finish()
    with pytest.raises(RuntimeError):
        writer.write(b"late")
    with pytest.raises(RuntimeError):
        writer.finish()
    assert flush([writer]) == [None]
    with pytest.raises(RuntimeError):
        flush([writer])
    writer.close()


def test_close_removes_what_was_not_used_and_keeps_what_was(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=3)
    arrival = store(intake, b"kept")
    begun = intake.begin(make_meta())
    intake.close()
    assert [path.name for path in files_in(spool)] == sorted([f"{arrival.instance_id}.dcm", f"{begun.instance_id}.dcm"])
    begun.write(b"still works")
    last = begun.finish()
    assert flush([begun]) == [None]
    begun.close()
    assert read_arrival(spool.path(last.path), last.path, verify=True) == last
    with pytest.raises(SpoolError):
        intake.fill()


def test_close_of_an_unused_intake_leaves_no_folder(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool)
    intake.fill()
    intake.close()
    assert folders_in(spool) == []


@pytest.mark.parametrize("generation", ["", "short", "UPPERCASE", "../../..", "a" * 65, "abcdefg\n", "abcd/efgh"])
def test_a_generation_that_is_no_token_is_refused(tmp_path: Path, generation: str) -> None:
    with pytest.raises(ValueError, match="generation"):
        Intake(make_spool(tmp_path), generation, 4)


def test_two_intakes_of_one_generation_do_not_meet(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    one, two = make_intake(spool, pool_size=3), make_intake(spool, pool_size=3)
    store(one, b"1")
    store(two, b"2")
    assert len(files_in(spool)) == 6
    assert folders_in(spool) == [GENERATION, f"{GENERATION}/000000", f"{GENERATION}/000001"]


def test_purging_beside_a_live_intake_never_costs_it_a_file(tmp_path: Path) -> None:
    """Every file is unlinked as soon as it is stored, from another thread, so that folders vanish all the time."""
    spool = make_spool(tmp_path)
    intake = Intake(spool, GENERATION, 2)
    stored: list[str] = []
    more = threading.Condition()
    failures: list[BaseException] = []
    done = False

    def purge() -> None:
        try:
            while True:
                with more:
                    more.wait_for(lambda: stored or done, timeout=30)
                    paths, stored[:] = list(stored), []
                    if not paths:
                        return
                spool.unlink(paths)
        except BaseException as error:
            failures.append(error)

    purger = threading.Thread(target=purge)
    purger.start()
    for number in range(400):
        if not intake.available:
            intake.fill()
            assert intake.available == 2
        arrival = store(intake, b"x" * (number % 50))
        with more:
            stored.append(arrival.path)
            more.notify()
    with more:
        done = True
        more.notify()
    purger.join(30)
    assert not purger.is_alive()
    assert failures == []
    intake.close()
    assert files_in(spool) == []
    assert folders_in(spool) == []


def test_a_pool_file_that_vanished_is_passed_over(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=2)
    files_in(spool)[0].unlink()
    store(intake, b"the second one")
    assert intake.available == 0


def test_without_descriptors_nothing_is_begun_and_nothing_is_lost(tmp_path: Path) -> None:
    import resource

    intake = make_intake(make_spool(tmp_path), pool_size=3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    lowest = os.dup(0)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
        os.close(lowest)
        taken.append(os.dup(0))
        with pytest.raises(SpoolError, match="Too many open files"):
            intake.begin(make_meta())
        with pytest.raises(SpoolError):
            intake.fill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert intake.available == 3
    store(intake, b"again")


def test_a_spool_folder_that_is_gone_is_said_so(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (tmp_path / "spool" / "incoming").rmdir()
    with pytest.raises(SpoolError, match="mounted"):
        Intake(spool, GENERATION, 2).fill()
