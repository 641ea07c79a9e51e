"""A disk that stands still, and one that fails, below the kernel's own flushes: a file system whose disk is a file.

strace cannot put a fault into these: what became of a flush is no system call's result.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateway.errors import SpoolError
from gateway.spool import Flusher, FoundState, scan
from tests.faults.receiving_kit import scene
from tests.harness.data import make_instance, make_instances
from tests.harness.machine import LoopExt4, Tmpfs
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until
from tests.unit.spool_kit import make_intake, make_meta, make_spool

MIB = 1 << 20


def test_while_the_disk_stands_still_nobody_is_told_success_and_others_are_served(tmp_path: Path) -> None:
    """The file is complete and not durable: no answer. Echoes are answered meanwhile, and the disk goes on: Success."""
    require("loop")
    with (
        LoopExt4(tmp_path / "outer", 192 * MIB) as outer,
        LoopExt4(outer.path / "inner", 96 * MIB) as inner,
        scene(tmp_path / "gateway", spool={"dir": str(inner.path / "spool"), "min_free": "4 MiB"}) as found,
    ):
        first, second = make_instances(2, pixel_bytes=4000, seed=40)
        assert dict(found.send([first]).statuses) == {0: 1}
        found.wait_no_files(30)
        spool = make_spool(inner.path / "spool")
        with outer.frozen():
            sender = found.sender([second], timeout_s=60).start()
            wait_until(
                lambda: any(file.state is FoundState.COMPLETE for file in scan(spool, verify=True)),
                30,
                "the file to be complete",
            )
            for _ in range(5):
                assert found.serves()
            assert not sender.done, "answered although the flush had not returned"
        sender.join(60)
        assert dict(sender.statuses) == {0: 1}
        found.judge()


def test_what_the_disk_did_not_take_is_not_durable(tmp_path: Path) -> None:
    """The disk is full below the file system, which has room: EIO for the file, and one that was taken before stays."""
    require("loop")
    with Tmpfs(tmp_path / "outer", 64 * MIB) as outer, LoopExt4(outer.path / "inner", 256 * MIB) as inner:
        intake = make_intake(make_spool(inner.path / "spool"), pool_size=8)
        with contextlib.closing(Flusher()) as flusher:
            good = intake.begin(make_meta())
            good.write(bytes(range(256)) * 4096)
            good.finish()
            assert flusher.flush([good]) == [None]
            outer.fill()
            bad = intake.begin(make_meta())
            bad.write(bytes(range(256)) * 4 * 4096)
            bad.finish()
            (error,) = flusher.flush([bad])
            assert isinstance(error, SpoolError)
            assert "cannot flush" in str(error)
        for writer in (good, bad):
            writer.close()


def test_where_the_kernel_takes_no_flush_threads_do(tmp_path: Path) -> None:
    """As in a sandbox that forbids the calls: all is taken, by fdatasync."""
    require("strace")
    with scene(tmp_path / "gateway") as found:
        refused = [inject("io_submit", error="EPERM")]
        with Strace.attach(
            found.receiver(), tmp_path / "trace", trace=["io_submit", "fdatasync"], injections=refused
        ) as strace:
            sent = found.send(list(make_instances(12, pixel_bytes=3000, seed=41)), associations=3)
            calls = [call.name for call in strace.calls()]
        assert dict(sent.statuses) == {0: 12}
        assert calls.count("fdatasync") >= 12
        assert dict(found.send([make_instance(pixel_bytes=3000, seed=42)]).statuses) == {0: 1}
        found.judge()
