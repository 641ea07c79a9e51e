"""A spool that several hosts mount."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.errors import SpoolCorrupt, SpoolError, SpoolMissing
from gateway.spool import Spool, SpoolFile, shared
from gateway.spool.reader import UnreadableFile
from gateway.spool.shared import PATIENCE_S, REFUSALS, Missing, Refused
from tests.unit.spool_kit import make_intake, payload_of, store

HERE, THERE = "a" * 32, "b" * 32
TROUBLE = [errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EACCES, errno.EHOSTDOWN, errno.EREMOTEIO]


def spool_of(folder: Path, home: str, ballast_bytes: int = 0) -> Spool:
    spool = Spool(folder, 0, ballast_bytes, home)
    spool.prepare(join=True)
    return spool


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_many_hosts_prepare_it_at_once(tmp_path: Path) -> None:
    homes = [f"{number:032x}" for number in range(8)]
    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda home: spool_of(tmp_path / "spool", home, 4096), homes))
    assert names(tmp_path / "spool" / "hosts") == names(tmp_path / "spool" / "outcomes") == set(homes)
    assert {f"ballast-{home}" for home in homes} < names(tmp_path / "spool")


def test_each_host_gives_up_its_own_ballast(tmp_path: Path) -> None:
    here, there = spool_of(tmp_path, HERE, 4096), spool_of(tmp_path, THERE, 4096)
    assert here.free_ballast()
    assert not here.free_ballast()
    assert (tmp_path / f"ballast-{THERE}").stat().st_size == 4096
    assert there.free_ballast()
    assert here.restore_ballast()


def test_what_was_one_hosts_is_put_away_when_it_becomes_shared(tmp_path: Path) -> None:
    alone = Spool(tmp_path, 0, 4096)
    alone.prepare()
    kept = store(make_intake(alone), b"content").path
    assert alone.try_unlink([kept], keep=True) == {}
    assert names(tmp_path / "free")
    spool_of(tmp_path, HERE)
    assert names(tmp_path / "free") == set()
    assert "ballast" not in names(tmp_path)


def test_nothing_is_taken_for_removed_while_the_spool_itself_is_gone(tmp_path: Path) -> None:
    here = spool_of(tmp_path / "spool", HERE)
    arrival = store(make_intake(here), b"content")
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    (tmp_path / "spool").mkdir()  # the mount point without its mount
    assert list(here.try_unlink([arrival.path])) == [arrival.path]
    (tmp_path / "spool").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "spool")
    assert here.try_unlink([arrival.path, "incoming/never/there.dcm"]) == {}


def test_no_purged_file_is_used_again(tmp_path: Path) -> None:
    here, there = spool_of(tmp_path, HERE), spool_of(tmp_path, THERE)
    arrival = store(make_intake(here), b"content")
    with SpoolFile.open(there, payload_of(arrival)) as reading:
        assert here.try_unlink([arrival.path], keep=True) == {}
        make_intake(here, "0123abcd-0002", 8)
        assert names(tmp_path / "free") == set()
        assert reading.pread(0, 7) == b"content"
        assert there.holds(arrival.path), "what was read is its own, and nobody has to ask"


def test_a_file_that_is_not_there_is_the_hosts_trouble_before_it_is_lost(tmp_path: Path) -> None:
    here = spool_of(tmp_path, HERE)
    now = [100.0]
    here._missing = Missing(lambda: now[0])
    arrival = store(make_intake(here), b"content")
    away = tmp_path / "away"
    here.path(arrival.path).rename(away)
    payload = payload_of(arrival)
    for now[0] in (100.0, 100.0 + PATIENCE_S / 2):
        with pytest.raises(SpoolError, match="may still appear") as raised:
            SpoolFile.open(here, payload)
        assert not isinstance(raised.value, SpoolMissing)
    away.rename(here.path(arrival.path))
    SpoolFile.open(here, payload).close()
    here.path(arrival.path).unlink()
    now[0] += PATIENCE_S
    with pytest.raises(SpoolError, match="may still appear"):  # counted anew: it was there
        SpoolFile.open(here, payload)
    now[0] += PATIENCE_S
    with pytest.raises(SpoolMissing):
        SpoolFile.open(here, payload)


def test_a_file_of_a_spool_that_is_one_hosts_is_lost_at_once(tmp_path: Path) -> None:
    alone = Spool(tmp_path, 0, 0)
    alone.prepare()
    arrival = store(make_intake(alone), b"content")
    alone.path(arrival.path).unlink()
    with pytest.raises(SpoolMissing):
        SpoolFile.open(alone, payload_of(arrival))


def test_nothing_is_lost_while_the_spool_is_not_mounted_and_nothing_is_put_in_its_place(tmp_path: Path) -> None:
    here = spool_of(tmp_path / "spool", HERE)
    now = [100.0]
    here._missing = Missing(lambda: now[0])
    arrival = store(make_intake(here), b"content")
    (tmp_path / "spool").rename(tmp_path / "unmounted")
    (tmp_path / "spool").mkdir()
    for now[0] in (100.0, 1000.0):
        with pytest.raises(SpoolError, match="mounted") as raised:
            SpoolFile.open(here, payload_of(arrival))
        assert not isinstance(raised.value, SpoolMissing)
    with pytest.raises(SpoolError, match="mounted"):
        Spool(tmp_path / "spool", 0, 0, HERE).prepare()
    assert names(tmp_path / "spool") == set()
    (tmp_path / "spool").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "spool")
    SpoolFile.open(here, payload_of(arrival)).close()


def test_what_is_remembered_of_missing_files_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "REMEMBERED", 3)
    missing = Missing(lambda: 1.0)
    for number in range(10):
        missing.is_lost(str(number))
    assert list(missing._since) == ["7", "8", "9"]


def test_a_session_shows_itself_until_it_is_over_or_its_host_starts_again(tmp_path: Path) -> None:
    spool_of(tmp_path, HERE)
    spool_of(tmp_path, THERE)
    for home, session_id in ((HERE, 7), (HERE, 8), (THERE, 9)):
        shared.show(tmp_path, home, session_id)
    shared.hide(tmp_path, HERE, 8)
    assert shared.shown(tmp_path, HERE) == {7}
    spool_of(tmp_path, HERE)
    assert (shared.shown(tmp_path, HERE), shared.shown(tmp_path, THERE)) == (set(), {9})
    assert shared.shown(tmp_path, "c" * 32) == set()


def refusing(number: int) -> Callable[..., bytes]:
    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", TROUBLE, ids=errno.errorcode.get)
def test_trouble_of_the_mount_says_nothing_of_a_file_and_of_a_disk_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    alone = Spool(tmp_path / "alone", 0, 0)
    alone.prepare()
    for spool in (spool_of(tmp_path / "shared", HERE), alone):
        payload = payload_of(store(make_intake(spool), b"content"))
        kinds = []
        with SpoolFile.open(spool, payload) as file:
            for function, read in (
                ("pread", lambda file=file: file.pread(0, 7)),
                ("fstat", lambda spool=spool, payload=payload: SpoolFile.open(spool, payload)),
                ("open", lambda spool=spool, payload=payload: SpoolFile.open(spool, payload)),
            ):
                with monkeypatch.context() as patch, pytest.raises(SpoolError) as raised:
                    patch.setattr(os, function, refusing(number))
                    read()
                kinds.append(type(raised.value))
            with monkeypatch.context() as patch:
                patch.setattr(os, "preadv", refusing(number))
                if spool is alone:
                    with pytest.raises(UnreadableFile):
                        file.read_cached(memoryview(bytearray(7)))
                else:
                    assert not file.read_cached(memoryview(bytearray(7))), "a thread reads it, and may wait"
        assert kinds == [UnreadableFile if spool is alone else SpoolError] * 3


def test_a_file_that_alone_is_refused_again_and_again_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = spool_of(tmp_path, HERE)
    now = [100.0]
    here._refused = Refused(lambda: now[0])
    payload = payload_of(store(make_intake(here), b"content"))

    def kinds(steps_s: Sequence[float]) -> list[type[Exception]]:
        found = []
        for now[0] in steps_s:
            with monkeypatch.context() as patch, pytest.raises(SpoolError) as raised:
                patch.setattr(os, "pread", refusing(errno.EIO))
                with SpoolFile.open(here, payload) as file:
                    file.pread(0, 7)
            found.append(type(raised.value))
        return found

    assert kinds([100.0] * REFUSALS) == [SpoolError] * REFUSALS, "not for long enough"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.EIO))  # the server is in trouble: counted anew afterwards
        assert kinds([100.0 + PATIENCE_S]) == [SpoolError]
    steps_s = [200.0 + step * PATIENCE_S / (REFUSALS - 1) for step in range(REFUSALS)]
    assert kinds(steps_s) == [SpoolError] * (REFUSALS - 1) + [UnreadableFile]
    assert names(tmp_path / "hosts" / HERE) == set(), "what was written to see is gone"


def test_what_was_read_of_a_shared_spool_still_condemns_a_file(tmp_path: Path) -> None:
    here = spool_of(tmp_path, HERE)
    intake = make_intake(here)
    short, linked = store(intake, b"content"), store(intake, b"content")
    path = here.path(short.path)
    path.write_bytes(path.read_bytes()[:-1])
    here.path(linked.path).unlink()
    here.path(linked.path).symlink_to(path)
    for arrival in (short, linked):
        with pytest.raises(SpoolCorrupt):
            SpoolFile.open(here, payload_of(arrival))
