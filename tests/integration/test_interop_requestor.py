"""Our requestor beside peers that answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from gateway.dicom.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, verification_context
from gateway.dicom.pdu import AssociateRQ
from gateway.errors import AssociationRejected
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation, RequestorLimits, open_association
from tests.harness.archive import Admission, OurArchive

LIMITS = RequestorLimits(association_timeout_s=20)
REQUEST = AssociateRQ(
    called_ae_title="ARCHIVE",
    calling_ae_title="GATEWAY",
    contexts=(verification_context(),),
    max_pdu_length=16384,
    implementation_class_uid=IMPLEMENTATION_CLASS_UID,
    implementation_version_name=IMPLEMENTATION_VERSION_NAME,
)
LOOPS = [pytest.param(uvloop.new_event_loop, id="uvloop"), pytest.param(asyncio.new_event_loop, id="asyncio")]


async def _while_the_loop_is_busy(port: int, use: Callable[[ClientAssociation], None]) -> None:
    """Open 40 associations while another task never lets the loop sleep, as a loaded forwarder's loop does not."""

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - it is there to keep the loop busy
            await asyncio.sleep(0)

    busy = asyncio.create_task(spin())
    try:
        for _ in range(40):
            use(await open_association("127.0.0.1", port, REQUEST, LIMITS, Ticker()))
    finally:
        busy.cancel()


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_an_answer_that_comes_before_we_wait_for_it_is_not_missed(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with OurArchive() as archive, asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_while_the_loop_is_busy(archive.port, lambda association: association.abort("seen")))
        assert len(archive.tally.associations) == 40


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_rejection_that_comes_before_we_wait_for_it_is_not_missed(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    rejecting = OurArchive(on_associate=lambda request, number: Admission(reject=(1, 1, 7)))
    with rejecting as archive, asyncio.Runner(loop_factory=loop_factory) as runner:

        async def rejected() -> None:
            for _ in range(20):
                with pytest.raises(AssociationRejected) as caught:
                    await _while_the_loop_is_busy(archive.port, lambda association: None)
                assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 7)

        runner.run(rejected())
