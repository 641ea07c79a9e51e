"""A very large instance passes in bounded memory, and small ones are served beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archive import OurArchive
from tests.harness.data import make_instances
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.large import LargeStream
from tests.harness.rawpeer import RawScu
from tests.harness.sender import Journal, JournalSender
from tests.harness.tools import wait_until
from tests.load.load_kit import MIB, Growth

LARGE_BYTES = (1024 if os.environ.get("GATEWAY_CHAOS") == "long" else 256) * MIB
CHECK_EVERY_BYTES = LARGE_BYTES // 16
MOST_GROWTH_BYTES = 32 * MIB
SMALL = 5_000


class SmallTraffic:
    """Senders of small instances that go on until told to stop."""

    def __init__(self, port: int, journal: Journal) -> None:
        self._sender = JournalSender(port, journal, make_instances(SMALL, seed=7), associations=2, calling="SMALL")

    @property
    def acknowledged(self) -> int:
        return len(self._sender.latencies_s)

    @property
    def statuses(self) -> dict[int | None, int]:
        return dict(self._sender.statuses)

    def wait_for_more(self, than: int) -> int:
        """Wait for an acknowledgement beyond the first `than`; how many there are."""
        if than >= SMALL:
            return than
        wait_until(lambda: self.acknowledged > than, 30, "a small instance to be acknowledged beside the large one")
        return self.acknowledged

    def __enter__(self) -> SmallTraffic:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.stop()


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_large_instance_passes_in_constant_memory_while_small_ones_are_acknowledged(tmp_path: Path) -> None:
    """The archive gets every byte of the large one; its sender never sees the small ones held up, 16 times on its way.

    Receiver and forwarder rise by less than 32 MiB each above what they took after some small instances.
    """
    large = LargeStream(LARGE_BYTES)
    with (
        OurArchive() as archive,
        Journal(tmp_path / "journal") as journal,
        GatewayProcess(GatewayConfig(tmp_path / "gateway", {"archive": archive.port})) as gateway,
    ):
        warm_up = list(make_instances(200, seed=3))
        JournalSender(gateway.config.port, journal, warm_up, associations=4).run()
        gateway.wait_delivered(len(warm_up), "archive")
        growth = Growth(gateway)
        with SmallTraffic(gateway.config.port, journal) as small:
            assert send(large, gateway.config.port, small) == 0
        assert set(small.statuses) == {0}
        gateway.wait_delivered(len(warm_up) + small.acknowledged + 1, "archive", timeout_s=240)
        assert archive.contents()[large.sop_instance_uid] == [large.sha256]
        risen = growth.bytes_of()
    assert max(risen.values()) < MOST_GROWTH_BYTES, risen


def send(large: LargeStream, port: int, small: SmallTraffic) -> int:
    """C-STORE it, and see to it on the way that small ones are acknowledged; the status."""

    def pieces(piece_bytes: int) -> Iterator[bytes]:
        sent = acknowledged = 0
        for piece in large.pieces(piece_bytes):
            if sent // CHECK_EVERY_BYTES != (sent + len(piece)) // CHECK_EVERY_BYTES:
                acknowledged = small.wait_for_more(acknowledged)
            sent += len(piece)
            yield piece

    with RawScu(port, timeout_s=240) as scu:
        scu.associate([large.context], calling="LARGE")
        number = scu.send_store_stream(1, large.sop_class_uid, large.sop_instance_uid, pieces(scu.max_pdu - 6))
        status = scu.recv_store_status(number)
        scu.release()
    return status
