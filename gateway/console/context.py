"""What the console's services are given: made once by `gateway.app.console`, and handed down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.audit.verify import Verdict
    from gateway.config import Config
    from gateway.console.access.door import Door
    from gateway.console.access.oidc import Provider
    from gateway.console.live import Live
    from gateway.console.metrics import HostMetrics
    from gateway.console.services.system import Checker
    from gateway.flow.notes import Notes
    from gateway.ledger.look import LedgerLook
    from gateway.ledger.thread import LedgerThread
    from gateway.spool import Spool
    from gateway.transform import Keys
    from gateway.work.base import Stage


@dataclass(frozen=True, slots=True)
class Context:
    """See the module's docstring.

    :ivar config: the configuration in force, asked for anew each time: it changes with a reload.
    :ivar look: what pages and API read of the ledger.
    :ivar ledger: for orders.
    :ivar host: the host's metrics, and why it is not ready.
    :ivar wake: wakes a stage up, after an order.
    :ivar keys: what rules need to be loaded with (`gateway.app.keys`).
    :ivar config_path: gateway.yaml.
    :ivar door: who somebody is, users and their tokens.
    :ivar notes: what people were shown and took out, for the audit trail.
    :ivar live: figures of the last hour, and of now.
    :ivar checker: what `gateway check` finds.
    :ivar stopping: set when the console stops: what goes on and on ends.
    :ivar verify_trail: whether this host's audit trail is as it was written; blocks.
    :ivar provider: of single sign-on, where there is one.
    """

    config: Callable[[], Config]
    look: LedgerLook
    ledger: LedgerThread
    spool: Spool
    host: HostMetrics
    clock_ms: Callable[[], int]
    wake: Callable[[Stage], None]
    keys: Keys
    config_path: Path
    door: Door
    notes: Notes
    live: Live
    checker: Checker
    stopping: asyncio.Event
    verify_trail: Callable[[], Verdict]
    provider: Provider | None = None
