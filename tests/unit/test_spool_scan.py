"""Adoption: what is complete is found, what never was is removed, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import SpoolError
from gateway.spool import Found, FoundState, Intake, Spool, instance_ids, remove_incomplete, scan
from tests.unit.spool_kit import GENERATION, files_in, folders_in, make_intake, make_meta, make_spool, store

OTHER = "fedc9876-0002"


def by_state(spool: Spool, verify: bool = True) -> dict[FoundState, list[Found]]:
    found: dict[FoundState, list[Found]] = {}
    for one in scan(spool, verify=verify):
        found.setdefault(one.state, []).append(one)
    return found


def leave_everything(spool: Spool, generation: str) -> Intake:
    """What a receiver that was killed leaves: stored, half-written, unused files."""
    intake = make_intake(spool, generation, pool_size=6)
    store(intake, b"complete")
    half = intake.begin(make_meta())
    half.write(bytes(200_000))
    half.close()
    begun = intake.begin(make_meta())
    begun.write(b"still in memory")
    begun.close()
    return intake


def test_each_kind_of_file_is_told_apart(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = leave_everything(spool, GENERATION)
    damaged = store(intake, b"will be damaged")
    with spool.path(damaged.path).open("r+b") as file:
        file.seek(damaged.offset)
        file.write(b"W")
    found = by_state(spool)
    assert {state: len(items) for state, items in found.items()} == {
        FoundState.COMPLETE: 1,
        FoundState.INCOMPLETE: 1,
        FoundState.EMPTY: 3,
        FoundState.DAMAGED: 1,
    }
    assert found[FoundState.DAMAGED][0].instance_id == damaged.instance_id
    # Without `verify` the data set is not read: only the record, the name and the length are looked at.
    assert len(by_state(spool, verify=False)[FoundState.COMPLETE]) == 2


def test_a_scan_gives_what_the_writer_gave(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=20)
    arrivals = [store(intake, os.urandom(number * 5000)) for number in range(20)]
    assert [found.arrival for found in scan(spool, verify=True)] == arrivals


def test_a_scan_of_some_generations_leaves_the_others_out(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    leave_everything(spool, GENERATION)
    leave_everything(spool, OTHER)
    assert {found.generation for found in scan(spool)} == {GENERATION, OTHER}
    assert {found.generation for found in scan(spool, [OTHER])} == {OTHER}
    assert list(scan(spool, ["00000000-never"[:8]])) == []


def test_only_files_of_dead_generations_are_removed(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    leave_everything(spool, GENERATION)
    live = leave_everything(spool, OTHER)
    before = [path for path in files_in(spool) if OTHER in str(path)]
    removal = remove_incomplete(spool, [GENERATION], known=())
    assert len(removal.removed) == 5
    assert removal.kept == ()
    assert [path for path in files_in(spool) if OTHER in str(path)] == before
    [left] = [found for found in scan(spool) if found.generation == GENERATION]
    assert left.state is FoundState.COMPLETE
    store(live, b"the live one goes on")


def test_what_the_ledger_knows_is_never_removed(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool, pool_size=2), b"acknowledged, then hit by a disk error")
    with spool.path(arrival.path).open("r+b") as file:
        file.write(b"damage")
    removal = remove_incomplete(spool, [GENERATION], known={arrival.instance_id})
    assert removal.kept == ()
    assert len(removal.removed) == 1
    assert spool.path(arrival.path).exists()


def test_a_start_reads_only_what_the_ledger_does_not_know(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=3)
    known, unknown = store(intake, b"known"), store(intake, b"unknown")
    spool.path(known.path).write_bytes(b"damage that only a read would find")
    assert set(instance_ids(spool, [GENERATION])) == {path.stem for path in files_in(spool)}
    assert list(instance_ids(spool, [OTHER])) == []
    found = list(scan(spool, [GENERATION], verify=True, skip={known.instance_id}))
    assert [one.arrival for one in found] == [unknown, None]
    assert [one.state for one in found] == [FoundState.COMPLETE, FoundState.EMPTY]


def test_a_file_with_a_record_is_kept_even_when_damaged(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool, pool_size=1), bytes(1000))
    os.truncate(spool.path(arrival.path), arrival.offset + 10)
    removal = remove_incomplete(spool, [GENERATION], known=())
    assert removal.removed == ()
    [kept] = removal.kept
    assert kept.state is FoundState.DAMAGED
    assert "bytes" in kept.reason


def test_a_file_whose_header_lost_a_bit_is_kept_and_one_whose_header_was_cut_short_is_not(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    intake = make_intake(spool, pool_size=2)
    damaged, cut = store(intake, bytes(1000)), store(intake, bytes(1000))
    with spool.path(damaged.path).open("r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 4]))
    with spool.path(cut.path).open("r+b") as file:
        file.seek(512)
        file.write(bytes(cut.offset - 512))
    removal = remove_incomplete(spool, [GENERATION], known=())
    assert [(found.instance_id, found.state) for found in removal.kept] == [(damaged.instance_id, FoundState.DAMAGED)]
    assert "header is damaged" in removal.kept[0].reason
    assert [found.instance_id for found in removal.removed] == [cut.instance_id]
    assert spool.path(damaged.path).exists() and not spool.path(cut.path).exists()


def test_removal_takes_empty_folders_along(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    make_intake(spool, pool_size=3).fill()
    (tmp_path / "incoming" / OTHER / "000000").mkdir(parents=True)
    remove_incomplete(spool, [GENERATION, OTHER], known=())
    assert folders_in(spool) == []


def test_removal_is_repeatable(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    leave_everything(spool, GENERATION)
    assert remove_incomplete(spool, [GENERATION], known=()).removed
    assert remove_incomplete(spool, [GENERATION], known=()).removed == ()


def test_names_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    make_intake(spool, pool_size=1)
    folder = tmp_path / "incoming" / GENERATION / "000000"
    notes = [
        folder / "NOTES.txt",
        folder / ".nfs0001",
        folder / f"{'a' * 31}.dcm",
        tmp_path / "incoming" / "lost+found",
    ]
    for path in notes:
        path.write_text("not ours")
    assert len(list(scan(spool))) == 1
    remove_incomplete(spool, [GENERATION], known=())
    assert all(path.exists() for path in notes)


def test_a_generation_that_is_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="generation"):
        list(scan(make_spool(tmp_path), ["../.."]))


def test_a_file_that_is_no_file_is_unreadable_and_kept(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool, pool_size=1), b"data")
    spool.path(arrival.path).unlink()
    spool.path(arrival.path).symlink_to("/etc/hostname")
    removal = remove_incomplete(spool, [GENERATION], known=())
    assert [found.state for found in removal.kept] == [FoundState.UNREADABLE]
