"""Copies in the spool: whole and durable under their final name, or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gateway.errors import SpoolError, SpoolFull
from gateway.model import PayloadFile
from gateway.spool import Spool, SpoolFile, SpoolWriter, derive, remove_half_made, remove_strays
from tests.harness.machine import Tmpfs
from tests.unit.spool_kit import make_meta, make_spool

ID = "0198c0de" + "0" * 24
DIGEST = "0a1b2c3d"
PATH = f"derived/0198c0de/{DIGEST}-{ID}.dcm"


def make(spool: Spool, data: bytes = b"data set") -> PayloadFile:
    return derive(spool, ID, DIGEST, make_meta(), len(data), lambda writer: writer.write(data))


def copies(spool: Spool) -> list[str]:
    top = spool.directory / "derived"
    return sorted(str(path.relative_to(spool.directory)) for path in top.rglob("*") if path.is_file())


def test_a_copy_is_whole_under_its_name(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    data = os.urandom(300_000)
    payload = make(spool, data)
    assert payload.path == PATH
    assert copies(spool) == [PATH]
    with SpoolFile.open(spool, payload) as file:
        file.verify(payload.checksum)
        assert file.pread(0, payload.length) == data


def test_a_copy_that_is_made_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    first = make(spool)
    with SpoolFile.open(spool, first) as read_by_someone:
        spool.path(PATH).write_bytes(b"damaged")
        again = make(spool)
        assert again == first
        assert copies(spool) == [PATH]
        assert read_by_someone.length == len(b"data set")


def test_what_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)

    def fill(writer: SpoolWriter) -> None:
        writer.write(bytes(100_000))
        raise KeyError("a step")

    with pytest.raises(KeyError):
        derive(spool, ID, DIGEST, make_meta(), 0, fill)
    assert copies(spool) == []


def test_half_of_the_room_below_the_watermark_is_for_copies_and_the_rest_is_not(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "disk", 24 << 20) as disk:
        spool = make_spool(disk.path / "spool", min_free_bytes=20 << 20)
        disk.fill(leave_bytes=18 << 20)
        assert spool.room().low
        payload = make(spool, bytes(1 << 20))
        assert payload.length == 1 << 20
        other = ID[:-1] + "1"

        def fill(writer: SpoolWriter) -> None:
            for _ in range(16):
                writer.write(bytes(1 << 20))

        with pytest.raises(SpoolFull):  # seen while it is written
            derive(spool, other, DIGEST, make_meta(), 0, fill)
        with pytest.raises(SpoolFull, match="none of the last 10485760 is for copies"):  # not begun
            derive(spool, other, DIGEST, make_meta(), 16 << 20, fill)
        disk.fill(leave_bytes=9 << 20, name="more")
        with pytest.raises(SpoolFull, match="none of the last 10485760 is for copies"):
            derive(spool, other, DIGEST, make_meta(), 5, lambda writer: writer.write(b"small"))
        assert copies(spool) == [PATH]


def test_a_copy_that_cannot_be_put_in_its_place_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make_spool(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(SpoolFull):
        make(spool)
    assert copies(spool) == []


def test_strays_go_and_what_the_ledger_knows_stays(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    make(spool)
    stray = spool.path(PATH).with_name(f"0123456789abcdef-{DIGEST}-{ID}.dcm")
    stray.write_bytes(b"half of it")
    lone = spool.directory / "derived" / "0198c0df"
    lone.mkdir()
    (lone / f"{DIGEST}-{ID}.dcm").write_bytes(b"")
    asked: list[str] = []

    def known(instance_ids: list[str]) -> set[str]:
        asked.extend(instance_ids)
        return {PATH}

    assert remove_strays(spool, known) == {}
    assert set(asked) == {ID}
    assert copies(spool) == [PATH]
    assert not lone.exists()


def test_what_a_session_left_half_made_goes_with_it_and_nothing_else_does(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    make(spool)
    half: list[Path] = []

    def dies(writer: SpoolWriter) -> None:
        half.append(spool.path(writer.relative))
        half.append(half[0].with_name(half[0].name.replace("s7-", "s77-")))
        half[1].write_bytes(half[0].read_bytes())  # another session's
        os.link(half[0], tmp_path / "kept")
        raise KeyError

    with pytest.raises(KeyError):
        derive(spool, ID, DIGEST, make_meta(), 0, dies, maker=7)
    os.link(tmp_path / "kept", half[0])  # as if it had been killed
    assert remove_half_made(spool, 7) == {}
    assert copies(spool) == sorted([PATH, str(half[1].relative_to(spool.directory))])


def test_a_folder_that_cannot_be_listed_holds_nobody_up(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    make(spool)
    (spool.directory / "derived" / "0198c0de").rename(tmp_path / "elsewhere")
    (spool.directory / "derived" / "0198c0de").symlink_to("0198c0de")  # ELOOP
    failed = remove_strays(spool, lambda _: set())
    assert list(failed) == ["derived/0198c0de"]


def test_without_a_spool_it_says_so(tmp_path: Path) -> None:
    spool = make_spool(tmp_path / "spool")
    (tmp_path / "spool" / "derived").rmdir()
    with pytest.raises(SpoolError, match="is the spool mounted"):
        make(spool)
