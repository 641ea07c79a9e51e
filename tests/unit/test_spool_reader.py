"""Reading: exactly the data set's bytes, and trouble told apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import SpoolCorrupt, SpoolError, SpoolMissing
from gateway.model import Arrival
from gateway.spool import Spool, SpoolFile, read_arrival
from tests.unit.spool_kit import make_intake, make_spool, payload_of, store

DATA = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spool, Arrival]:
    spool = make_spool(tmp_path_factory.mktemp("spool"))
    return spool, store(make_intake(spool), DATA)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, len(DATA) + 100), length=st.integers(0, len(DATA) + 100))
def test_pread_is_a_slice_of_the_data_set(kept: tuple[Spool, Arrival], offset: int, length: int) -> None:
    spool, arrival = kept
    with SpoolFile.open(spool, payload_of(arrival)) as file:
        expected = DATA[offset : offset + length]
        assert file.pread(offset, length) == expected
        assert file.read(offset, length) == expected


def test_negative_offsets_never_reach_the_header(kept: tuple[Spool, Arrival]) -> None:
    spool, arrival = kept
    with SpoolFile.open(spool, payload_of(arrival)) as file, pytest.raises(ValueError, match="negative"):
        file.pread(-1, 10)


def test_a_closed_file_is_not_read(kept: tuple[Spool, Arrival]) -> None:
    spool, arrival = kept
    file = SpoolFile.open(spool, payload_of(arrival))
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.pread(0, 1)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool), DATA)
    spool.unlink([arrival.path])
    with pytest.raises(SpoolMissing):
        SpoolFile.open(spool, payload_of(arrival))
    with pytest.raises(SpoolMissing):
        read_arrival(spool.path(arrival.path), arrival.path)


@pytest.mark.parametrize("change", [-1, -len(DATA), 1])
def test_a_file_of_another_length_is_corrupt(tmp_path: Path, change: int) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool), DATA)
    os.truncate(spool.path(arrival.path), arrival.offset + arrival.length + change)
    with pytest.raises(SpoolCorrupt, match="bytes"):
        SpoolFile.open(spool, payload_of(arrival))


def test_a_file_truncated_while_it_is_open_is_corrupt_not_a_crash(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    arrival = store(make_intake(spool), DATA)
    with SpoolFile.open(spool, payload_of(arrival)) as file:
        os.truncate(spool.path(arrival.path), arrival.offset + 1000)
        assert file.pread(0, 1000) == DATA[:1000]
        with pytest.raises(SpoolCorrupt, match="ends after 1000"):
            file.pread(900, 200)


@pytest.mark.parametrize("kind", ["symlink", "folder", "fifo"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    spool = make_spool(tmp_path / "spool")
    arrival = store(make_intake(spool), DATA)
    path = spool.path(arrival.path)
    path.rename(tmp_path / "elsewhere")
    if kind == "symlink":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(SpoolCorrupt):
        SpoolFile.open(spool, payload_of(arrival))
    with pytest.raises(SpoolCorrupt):
        read_arrival(path, arrival.path)


@pytest.mark.parametrize(
    "relative",
    [
        "",
        "/etc/passwd",
        "../x",
        "incoming/../../x",
        "incoming",
        "incoming/",
        "incoming//x",
        "ballast",
        "incoming/.hidden",
        "incoming/a\0b",
        "incoming/a\n",
        "derived/../incoming/x",
        "incoming/" + "a/" * 9 + "b",
        "incoming/" + "a" * 200,
    ],
)
def test_paths_outside_the_spool_are_refused(tmp_path: Path, relative: str) -> None:
    spool = make_spool(tmp_path)
    with pytest.raises(SpoolError, match="not a path"):
        spool.path(relative)
    with pytest.raises(SpoolError, match="not a path"):
        spool.unlink([relative])


def test_paths_inside_are_below_the_folder(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    assert spool.path("derived/x.dcm") == tmp_path / "derived" / "x.dcm"
