"""The first page: how the host and its destinations are, what waits, and what somebody has to look after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.console.access.roles import Person
from gateway.console.notices import Notice, of_routing, with_arrivals
from gateway.console.services.attention import TroubleView, attention
from gateway.console.services.queue import DestinationView, destinations
from gateway.model import InstanceState, ProcessCount

if TYPE_CHECKING:
    from gateway.console.context import Context


@dataclass(frozen=True, slots=True)
class Overview:
    """See the module's docstring. Holds no patient data.

    :ivar not_ready: why this host should get no work, in words of /readyz; () where it is ready.
    :ivar notices: what is wrong all the same, with this host or with all of them.
    :ivar routing_since_ms: when the oldest instance arrived that is not routed yet; None where none waits for that.
    :ivar spool_bytes: data sets that the spool holds; `spool_free_bytes` None where the file system does not answer.
    :ivar processes: those that live, of all hosts.
    """

    at_ms: int
    host: str
    version: str
    not_ready: tuple[str, ...]
    notices: tuple[Notice, ...]
    instances: Mapping[InstanceState, int]
    destinations: tuple[DestinationView, ...]
    trouble: tuple[TroubleView, ...]
    waiting: int
    routing_since_ms: int | None
    spool_bytes: int
    spool_free_bytes: int | None
    spool_low: bool
    rules_revision: str
    processes: tuple[ProcessCount, ...]


async def overview(context: Context, person: Person) -> Overview:
    """All of it, as it is now, for the eyes of who asks. :raises LedgerError."""
    gauges, queues, troubles, health, figures = await asyncio.gather(
        context.look.gauges(),
        destinations(context),
        attention(context, person),
        context.host.health(),
        context.host.spool_figures(),
    )
    now_ms = context.clock_ms()
    silent_after_s = {name: source.silent_after_s for name, source in context.config().sources.items()}
    return Overview(
        at_ms=now_ms,
        host=context.config().host,
        version=__version__,
        not_ready=health.not_ready,
        notices=(
            *with_arrivals(health.notices, gauges.source_arrivals_ms, silent_after_s, now_ms),
            *of_routing(gauges.routing_since_ms, now_ms),
        ),
        instances=gauges.instances,
        destinations=tuple(queues),
        trouble=tuple(troubles),
        waiting=sum(each.waiting for each in queues),
        routing_since_ms=gauges.routing_since_ms,
        spool_bytes=gauges.spool_bytes,
        spool_free_bytes=None if figures is None else figures.free_bytes,
        spool_low=figures is not None and figures.low,
        rules_revision=gauges.rules_revision,
        processes=gauges.processes,
    )
