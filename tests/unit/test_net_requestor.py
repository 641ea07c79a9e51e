"""The requestor over real sockets, where the peer or its name is not what it should be."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from gateway.dicom.pdu import AssociateRQ, ProposedContext
from gateway.errors import AssociationAborted, ConnectionFailed
from gateway.net.driver import Ticker
from gateway.net.requestor import ClientAssociation, RequestorLimits, open_association
from tests.harness import wire

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"


async def _open(host: str, port: int) -> ClientAssociation:
    request = AssociateRQ("PEER", "GATEWAY", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),))
    return await open_association(host, port, request, RequestorLimits(), Ticker())


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.example"])
def test_what_cannot_be_a_host_name_is_a_failed_connection(host: str) -> None:
    with pytest.raises(ConnectionFailed, match="host name"):
        asyncio.run(_open(host, 104))


def test_a_peer_that_asks_without_end_and_reads_nothing_is_aborted() -> None:
    echoes = wire.p_data(1, wire.c_echo_rq(1), command=True, last=True) * 1000

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(6)
        request = wire.parse_associate(await reader.readexactly(int.from_bytes(header[2:], "big")))
        writer.write(wire.associate_ac(request, {1: (0, IMPLICIT)}))
        with suppress(OSError):
            while True:
                writer.write(echoes)
                await writer.drain()

    async def scenario() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        async with asyncio.timeout(60), await asyncio.start_server(ask, sock=listening, limit=1024) as server:
            association = await _open("127.0.0.1", listening.getsockname()[1])
            with pytest.raises(AssociationAborted, match="asked without end"):
                await association.echo()
            server.close()

    asyncio.run(scenario())
