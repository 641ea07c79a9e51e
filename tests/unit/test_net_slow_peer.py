"""A peer that reads slowly, and one that stops: progress is what its TCP has taken, not what our kernel holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.dicom.negotiation import propose
from gateway.dicom.pdu import AssociateRQ
from gateway.errors import PeerError
from gateway.net import driver
from gateway.net.driver import Ticker
from gateway.net.requestor import RequestorLimits, open_association
from tests.harness.archive import Behaviour, OurArchive
from tests.harness.tools import require

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
MIB = 1 << 20
LIMITS = RequestorLimits(response_timeout_s=2.0, progress_timeout_s=0.9)
SO_SNDBUFFORCE = 32  # socket(7): beyond net.core.wmem_max, for root


@pytest.fixture(autouse=True)
def ticks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "TICK_S", 0.1)


async def chunks(count: int) -> AsyncIterator[tuple[bytes, bool]]:
    """Data set bytes, a MiB at a time."""
    for number in range(count):
        yield bytes(MIB), number == count - 1


async def store(
    archive: OurArchive, size_mib: int, send_buffer_bytes: int = 0, limits: RequestorLimits = LIMITS, before: int = 0
) -> int:
    """Send so many MiB over an association of its own; the status. `before` that, so many messages of a byte."""
    request = AssociateRQ("ARCHIVE", "GATEWAY", tuple(propose([(CT, EXPLICIT)])[0]), 16384, "1.2.3")
    association = await open_association(archive.host, archive.port, request, limits, Ticker())
    if send_buffer_bytes:
        assert association.driver._socket is not None
        association.driver._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, send_buffer_bytes)
    context_id = association.context_for(CT, EXPLICIT)
    assert context_id is not None
    for number in range(before):
        assert await association.store(context_id, CT, f"1.2.3.5.{number}", memoryview(b"1")) == 0
    status = await association.store(context_id, CT, "1.2.3.4", chunks(size_mib))
    await association.release()
    return status


def test_a_peer_that_reads_slowly_is_waited_for_although_our_kernel_takes_bytes_in_gulps() -> None:
    """1 MB/s, and a deadline of 0.9 s: a kernel that has grown its buffer, as on a long fat queue, asks for more only
    when a third of it is empty, every 1.4 s here."""
    require("root")
    slow = Behaviour(bytes_per_s=1e6)
    with OurArchive(receive_buffer_bytes=65536, on_store=lambda facts: slow) as archive:
        assert asyncio.run(store(archive, 6, send_buffer_bytes=2 * MIB)) == 0
        assert archive.count == 1


@pytest.mark.parametrize("before", [0, 1], ids=["the first message", "a later message"])
def test_no_deadline_but_progress_runs_while_a_message_is_being_sent(before: int) -> None:
    """Sending takes several times what an association, or a response, may take."""
    limits = RequestorLimits(association_timeout_s=0.5, response_timeout_s=0.5, progress_timeout_s=20.0)
    slow = Behaviour(bytes_per_s=2e6)
    with OurArchive(
        receive_buffer_bytes=65536,
        on_store=lambda facts: slow if facts.sop_instance_uid == "1.2.3.4" else Behaviour(),
    ) as archive:
        assert asyncio.run(store(archive, 12, limits=limits, before=before)) == 0
        assert archive.count == 1 + before


def test_a_peer_that_stops_reading_is_given_up() -> None:
    with (
        OurArchive(receive_buffer_bytes=65536, on_store=lambda facts: Behaviour(stop_reading_after=MIB)) as archive,
        pytest.raises(PeerError),
    ):
        asyncio.run(asyncio.wait_for(store(archive, 16), 30))
