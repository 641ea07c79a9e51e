"""Disks that fail under the audit trail: no record is written twice, and none counts that is in memory alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.audit.files import files_in
from gateway.audit.verify import verify
from gateway.errors import TrailError
from tests.harness.machine import LoopExt4, Tmpfs
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, run
from tests.unit.test_audit_trail import entry, trail

MIB = 1 << 20

# As the keeper does it: what of a batch is there is not written again.
WRITER = """
import sys
from pathlib import Path
from gateway.errors import TrailError
from tests.unit.test_audit_trail import entry, trail

made, failed = trail(Path(sys.argv[1])), 0
for last in (3, 8, 8, 9):
    there = made.written("b/")
    fresh = [entry(number) for number in range(1, last + 1) if f"b/{number}" not in there]
    try:
        made.append(fresh)
    except TrailError:
        failed += 1
made.close()
print("failed", failed)
"""


def test_records_of_a_flush_that_failed_are_not_written_twice_and_go_on_in_another_file(tmp_path: Path) -> None:
    require("strace")
    folder = tmp_path / "audit"
    argv = [sys.executable, "-c", WRITER, str(folder)]
    # The first flush is that of the new folder's file; then one each append.
    refused = [inject("fdatasync", error="EIO", when=3)]
    ended = run(Strace.command(tmp_path / "trace", argv, trace="fdatasync", injections=refused)).check()
    assert "failed 1" in ended.output
    paths = files_in(folder)
    verdict = verify(paths)
    assert (verdict.fault, verdict.records, verdict.notes) == (None, 9, [])
    assert [path.name for path in paths] == ["trail-000000000001.jsonl", "trail-000000000009.jsonl"]


def test_records_that_the_disk_did_not_take_are_not_there_for_whoever_opens_the_files_next(tmp_path: Path) -> None:
    require("loop")
    with Tmpfs(tmp_path / "outer", 64 * MIB) as outer, LoopExt4(outer.path / "inner", 128 * MIB) as inner:
        made = trail(inner.path / "audit")
        made.append([entry(1), entry(2)])
        outer.fill()
        with pytest.raises(TrailError, match=r"No space left on device|Input/output error"):
            made.append([entry(number, text="x" * 40_000) for number in range(3, 60)])
        assert verify(files_in(inner.path / "audit")).records == 59  # in memory
        made.close()
        with pytest.raises(TrailError):  # the disk takes nothing, not even the record that says so
            trail(inner.path / "audit")
        assert verify(files_in(inner.path / "audit")).records == 2
