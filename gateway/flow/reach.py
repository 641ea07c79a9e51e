"""Whether destinations can be reached: a C-ECHO each, as `gateway echo`, `gateway check` and the console send it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from gateway.config.values import Destination
from gateway.dicom.status import describe
from gateway.errors import PeerError
from gateway.flow.line import Line
from gateway.net.driver import Ticker

DEFAULT_CALLING = "GATEWAY"


async def echo(destination: Destination) -> tuple[bool, str]:
    """Whether a destination can be reached, and a sentence. A refused Verification counts as reachable."""
    calling = destination.calling_ae_title
    if calling.startswith("$"):
        calling = DEFAULT_CALLING
    began = time.monotonic()
    try:
        status = await Line(destination, Ticker()).echo(calling)
    except PeerError as error:
        return False, str(error)
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    if status is None:
        return True, f"reachable in {took}; it does not accept Verification"
    return status == 0, f"{describe(status)} in {took}"


async def echo_all(destinations: Mapping[str, Destination]) -> dict[str, tuple[bool, str]]:
    """Echo every destination, all at once."""
    results = await asyncio.gather(*(echo(destination) for destination in destinations.values()))
    return dict(zip(destinations, results, strict=True))
