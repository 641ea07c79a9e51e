"""What a dead receiver leaves in the spool: adopted, removed, or told; what a living one has is left alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.flow.adopt import Adoption, adopt
from gateway.ledger.base import InstanceFilter
from gateway.ledger.sqlite import SqliteLedger
from gateway.spool import Spool
from tests.unit.spool_kit import files_in, make_intake, make_meta, make_spool, store

DEAD, LIVING = "0123abcd-0001", "0123abcd-0002"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger.open(tmp_path / "ledger.db")
    yield opened
    opened.close()


def summary(found: Adoption) -> tuple[int, int, int]:
    return found.adopted, found.removed, len(found.left)


def test_what_was_acknowledged_is_adopted_and_the_rest_removed(spool: Spool, ledger: SqliteLedger) -> None:
    intake = make_intake(spool, DEAD)
    known, unknown = store(intake, b"a" * 1000), store(intake, b"b" * 1000)
    ledger.record_arrivals([known], 1)
    intake.begin(make_meta()).write(b"c" * 200_000)  # cut short
    assert summary(adopt(spool, ledger, [DEAD], 2)) == (1, 2, 0)
    assert [path.stem for path in files_in(spool)] == sorted([known.instance_id, unknown.instance_id])
    assert ledger.known_instances([known.instance_id, unknown.instance_id]) == {known.instance_id, unknown.instance_id}
    assert summary(adopt(spool, ledger, [DEAD], 3)) == (0, 0, 0)


def test_a_living_receiver_keeps_its_pool_and_what_it_is_writing(spool: Spool, ledger: SqliteLedger) -> None:
    make_intake(spool, DEAD)
    living = make_intake(spool, LIVING)
    living.begin(make_meta()).write(b"c" * 200_000)
    store(living, b"d" * 1000)
    assert summary(adopt(spool, ledger, [DEAD], 1)) == (0, 4, 0)
    assert len(files_in(spool)) == 4


def test_a_file_that_cannot_be_removed_is_told_and_holds_up_nothing(
    spool: Spool, ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store(make_intake(spool, DEAD), b"a" * 1000)
    stuck, *unused = [path for path in files_in(spool) if path.stem != kept.instance_id]
    unlink = os.unlink

    def refusing(path: str) -> None:
        if path == str(stuck):
            raise PermissionError(errno.EPERM, "as for an immutable file")
        unlink(path)

    monkeypatch.setattr(os, "unlink", refusing)
    found = adopt(spool, ledger, [DEAD], 1)
    assert summary(found) == (1, len(unused), 0)
    assert {path: str(error) for path, error in found.failed.items()} == {
        str(stuck.relative_to(spool.directory)): f"cannot remove {stuck.relative_to(spool.directory)}: "
        "Operation not permitted"
    }
    assert [path.stem for path in files_in(spool)] == sorted([kept.instance_id, stuck.stem])
    monkeypatch.undo()
    assert summary(adopt(spool, ledger, [DEAD], 2)) == (0, 1, 0)


def test_versions_that_two_receivers_left_are_adopted_in_the_order_in_which_they_came(
    spool: Spool, ledger: SqliteLedger
) -> None:
    first, second = make_intake(spool, LIVING), make_intake(spool, DEAD)  # the later name came first
    one = store(first, b"a" * 1000, make_meta(received_at_ms=1000))
    two = store(second, b"b" * 1000, make_meta(received_at_ms=2000))
    assert adopt(spool, ledger, None, 1).adopted == 2
    newest_first = [row.instance_id for row in ledger.list_instances(InstanceFilter(), 10)]
    assert newest_first == [two.instance_id, one.instance_id]


def test_a_data_set_that_does_not_agree_with_its_checksum_is_told_and_never_adopted(
    spool: Spool, ledger: SqliteLedger
) -> None:
    """After a power cut the record may be on the disk and the data not: that was never acknowledged."""
    arrival = store(make_intake(spool, DEAD), b"a" * 1000)
    path = spool.path(arrival.path)
    with path.open("r+b") as file:
        file.seek(arrival.offset + 500)
        file.write(b"\0")
    found = adopt(spool, ledger, [DEAD], 1)
    assert summary(found) == (0, 3, 1)
    assert found.left[0].instance_id == arrival.instance_id
    assert path.exists()
    assert summary(adopt(spool, ledger, [DEAD], 2)) == (0, 0, 1)
