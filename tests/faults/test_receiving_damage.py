"""Spool files that are damaged after their Success: quarantined and told, never sent, never "done"; the others flow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.receiving_kit import Scene, scene
from tests.harness.archive import OurArchive
from tests.harness.data import Instance, make_instances
from tests.harness.strace import Strace, inject
from tests.harness.tools import require, wait_until

PIXELS = 300_000


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def flip_in_pixels(path: Path) -> None:
    flip(path, path.stat().st_size - 1000)


def flip_at_the_end(path: Path) -> None:
    flip(path, path.stat().st_size - 1)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "longer": lengthen,
    "a bit flipped in the pixels": flip_in_pixels,
    "a bit flipped in the last byte": flip_at_the_end,
    "removed": Path.unlink,
    "a folder in its place": replace_by_folder,
    "a link in its place": replace_by_link,
}


def file_of(found: Scene, instance: Instance) -> Path:
    """The spool file of an instance."""
    instance_id = found.gateway.ledger().by_uid()[instance.sop_instance_uid][0].instance_id
    return next(found.gateway.config.spool_dir.glob(f"incoming/*/*/{instance_id}.dcm"))


def state_of(found: Scene, instance: Instance) -> str:
    rows = found.gateway.ledger().by_uid().get(instance.sop_instance_uid, [])
    return rows[0].state if rows else ""


def assert_quarantined(found: Scene, damaged: dict[str, Instance], good: list[Instance]) -> None:
    """The damaged ones are quarantined, with a line and a gauge; the good ones, and only they, are at the archive."""

    def all_told() -> bool:
        return all(state_of(found, one) == "quarantined" for one in damaged.values())

    wait_until(all_told, 60, lambda: str({what: state_of(found, one) for what, one in damaged.items()}))
    wait_until(lambda: len(found.archive.contents()) >= len(good), 60, "the good ones to arrive")
    found.judge(damaged={one.sop_instance_uid for one in damaged.values()}, delivered=False)
    assert found.archive.contents().keys() == {one.sop_instance_uid for one in good}
    ledger = found.gateway.ledger().by_uid()
    told = {line["instance_id"] for line in found.gateway.log_lines(event="quarantined")}
    for one in damaged.values():
        [row] = ledger[one.sop_instance_uid]
        assert "delivered" not in {delivery.state for delivery in row.deliveries}
        assert row.instance_id in told
    assert found.gateway.metric("gateway_quarantined_instances") == len(damaged)


@pytest.mark.parametrize("when", ["before it is routed", "while it waits for its destination"])
def test_a_damaged_spool_file_is_quarantined_and_told_and_never_sent(tmp_path: Path, when: str) -> None:
    """Seven kinds of damage, to files that no worker has read yet, or that wait for an archive that is down."""
    archive = OurArchive()
    with scene(tmp_path, archive=archive) as found:
        instances = list(make_instances(len(DAMAGE) + 3, pixel_bytes=PIXELS, seed=1))
        damaged, good = dict(zip(DAMAGE, instances, strict=False)), instances[len(DAMAGE) :]
        archive.stop()

        def damage() -> None:
            wait_until(lambda: all(state_of(found, one) for one in instances), 30, "the arrivals in the ledger")
            for what, one in damaged.items():
                DAMAGE[what](file_of(found, one))

        if when == "before it is routed":
            with found.gateway.frozen("worker"):
                assert dict(found.send(instances).statuses) == {0: len(instances)}
                damage()
        else:
            assert dict(found.send(instances).statuses) == {0: len(instances)}
            wait_until(lambda: all(state_of(found, one) == "routed" for one in instances), 30, "all to be routed")
            damage()
        archive.start()
        assert_quarantined(found, damaged, good)


def test_a_spool_file_that_cannot_be_read_is_quarantined_and_told(tmp_path: Path) -> None:
    """EIO from the disk when the forwarder reads it: the next instance is sent as if nothing had been."""
    require("strace")
    archive = OurArchive()
    with scene(tmp_path, archive=archive) as found:
        unreadable, good = make_instances(2, pixel_bytes=PIXELS, seed=2)
        archive.stop()
        assert dict(found.send([unreadable, good]).statuses) == {0: 2}
        wait_until(lambda: state_of(found, good) == "routed", 30, "it to be routed")
        path = file_of(found, unreadable)
        reads = ("pread64", "preadv2")
        failing = [inject(reads, error="EIO")]
        forwarder = found.gateway.pid_of("forwarder")
        with Strace.attach(forwarder, tmp_path / "trace", trace=reads, injections=failing, paths=[path]) as strace:
            archive.start()
            assert_quarantined(found, {"unreadable": unreadable}, [good])
            assert any(call.injected for call in strace.calls())
