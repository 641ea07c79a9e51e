"""The bad network is bad in exactly the way asked for."""

from __future__ import annotations

import time

import pytest

from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.data import make_instance
from tests.harness.proxy import TcpProxy
from tests.harness.rawpeer import Closed, RawScu
from tests.harness.tools import wait_until

BIG = make_instance(pixel_bytes=300_000)


def connected(proxy: TcpProxy, timeout_s: float = 10.0) -> RawScu:
    scu = RawScu(proxy.port, timeout_s=timeout_s)
    scu.associate([(wire.CT_IMAGE_STORAGE, wire.EXPLICIT_LE)])
    return scu


def store(scu: RawScu) -> int:
    return scu.store(1, BIG.sop_class_uid, BIG.sop_instance_uid, BIG.data)


def test_it_passes_throttles_stalls_cuts_and_flips() -> None:
    with OurArchive() as archive, TcpProxy(archive.port) as proxy:
        scu = connected(proxy)
        assert store(scu) == 0

        proxy.up.bytes_per_s = 600_000
        begun = time.monotonic()
        assert store(scu) == 0
        assert time.monotonic() - begun > 0.3
        proxy.up.bytes_per_s = 0

        proxy.down.stalled = True
        scu.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            store(scu)
        proxy.down.stalled = False
        scu.recv_message(5)
        assert archive.contents() == {BIG.sop_instance_uid: [BIG.sha256] * 3}

        proxy.up.flip_at = 250_000
        assert store(connected(proxy)) == 0
        assert archive.stored(BIG.sop_instance_uid)[-1].sha256 != BIG.sha256
        proxy.up.flip_at = None

        for how in ("rst", "fin"):
            proxy.up.cut_after, proxy.up.cut = 100_000, how
            with pytest.raises(Closed):
                store(connected(proxy))
        proxy.up.cut_after = None
        assert archive.count == 4

        scu = connected(proxy)
        proxy.cut_all()
        with pytest.raises(Closed):
            store(scu)

        proxy.refuse = True
        with pytest.raises((Closed, ConnectionError)):
            connected(proxy)
        proxy.refuse = False
        proxy.black_hole = True
        with pytest.raises(TimeoutError):
            connected(proxy, timeout_s=0.2)
        wait_until(lambda: proxy.connections == 7)


def test_with_several_targets_it_passes_to_the_next_when_one_refuses() -> None:
    with OurArchive() as one, OurArchive() as other, TcpProxy(one.port, also=[("127.0.0.1", other.port)]) as proxy:
        assert [store(connected(proxy)) for _ in range(4)] == [0] * 4
        assert (one.count, other.count) == (2, 2)
        one.stop()
        assert [store(connected(proxy)) for _ in range(4)] == [0] * 4
        assert (one.count, other.count) == (2, 6)
        other.stop()
        with pytest.raises((Closed, OSError)):
            connected(proxy)
        assert proxy.unserved == 1
