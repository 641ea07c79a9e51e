"""What people order: hold, release, resend, cancel; pause, resume, probe and retry of a destination; drain of a host.

Each is one call of the ledger with its audit row, and wakes the roles up. `carry_out` and its like are for whoever has
a ledger open (the commands); the asynchronous functions go through the console's ledger thread.

A **rehearsal** (`dry_run`) says what an order would do, and does nothing: the ledger carries it out and takes it back.
Where it means more than COUNT_MAX of anything, that would hold up everybody who writes: then it is only counted, to
COUNT_MAX, and `at_least` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.errors import NotThere, UsageError
from gateway.ledger.base import InstanceFilter, Ledger, Left, Ordered
from gateway.model import Role
from gateway.transform import Keys, load
from gateway.work.base import Stage

if TYPE_CHECKING:
    from gateway.console.context import Context

DRAINED_ROLES = (Role.RECEIVER, Role.WORKER, Role.FORWARDER)  # a console takes no work that another could have
REASON_MAX = 500


class Kind(StrEnum):
    """What can be ordered for instances and their deliveries."""

    HOLD = "hold"
    RELEASE = "release"
    RESEND = "resend"
    CANCEL = "cancel"


class DestinationKind(StrEnum):
    """What can be ordered for a destination."""

    PAUSE = "pause"
    RESUME = "resume"
    PROBE = "probe"
    RETRY = "retry"  # what is deferred is tried now: drain it


@dataclass(frozen=True, slots=True)
class Order:
    """An order for instances and their deliveries.

    :ivar to: of a resend: (): where each was delivered.
    :ivar everything: that `which` restricts nothing is meant so.
    """

    kind: Kind
    which: InstanceFilter
    reason: str = ""
    to: tuple[str, ...] = ()
    everything: bool = False

    def require_meaning(self) -> None:
        """:raises UsageError: it would mean every instance, and nobody said so."""
        if self.which == InstanceFilter() and not self.everything:
            raise UsageError("say which instances are meant, or `all`")


@dataclass(frozen=True, slots=True)
class Done:
    """What an order did, or would do.

    :ivar moved: deliveries, and instances without a route, that it moved.
    :ivar left_for: what it means and had to leave as it is, by why; as in `Ordered`.
    :ivar instances: how many instances it means; None where it means deliveries, and of what is no rehearsal.
    :ivar at_least: there are more than that.
    """

    kind: Kind
    moved: int
    left_for: Mapping[Left, int] = field(default_factory=dict)
    dry_run: bool = False
    instances: int | None = None
    at_least: bool = False

    @property
    def left(self) -> int:
        """How many it left in all."""
        return sum(self.left_for.values())

    @property
    def left_because(self) -> Left | None:
        """Why it left most of them."""
        return max(self.left_for, key=lambda why: self.left_for[why], default=None)


@dataclass(frozen=True, slots=True)
class DestinationDone:
    """What an order for a destination did: how many deliveries (of a retry), or whether it changed anything."""

    kind: DestinationKind
    destination: str
    moved: int


@dataclass(frozen=True, slots=True)
class Drained:
    """For how many of the roles an order changed whether they take work."""

    host: str
    roles: tuple[Role, ...]
    draining: bool
    changed: int


# ── for whoever has a ledger open ─────────────────────────────────────────────────────────────────────────────────────


def require_destinations(ledger: Ledger, names: Collection[str]) -> None:
    """A destination that never was is a slip of the finger. :raises NotThere: naming those there are."""
    known = [state.name for state in ledger.destinations()]
    for name in names:
        if name not in known:
            raise NotThere("destination", name, known)


def require_host(ledger: Ledger, host: str) -> None:
    """A host that never was is a slip of the finger. :raises NotThere: naming those there are."""
    known = {row.host for row in ledger.processes()} | {row.host for row in ledger.draining()}
    if host not in known:
        raise NotThere("host", host, sorted(known))


def carry_out(ledger: Ledger, order: Order, actor: str, now_ms: int, keys: Keys, *, rehearse: bool = False) -> Done:
    """Give an order. :raises UsageError: it names a destination that there is not, or nothing at all."""
    order.require_meaning()
    which, reason = order.which, order.reason
    require_destinations(ledger, [*order.to, *([which.destination] if which.destination else [])])
    match order.kind:
        case Kind.HOLD:
            ordered = ledger.hold(which, reason, actor, now_ms, rehearse)
        case Kind.CANCEL:
            ordered = ledger.cancel(which, reason, actor, now_ms, rehearse)
        case Kind.RELEASE:
            ordered = ledger.release(which, actor, now_ms, reason, rehearse)
        case Kind.RESEND:
            in_force = _in_force(ledger, keys)
            ordered = Ordered(ledger.resend(which, order.to, actor, now_ms, in_force, reason, rehearse))
    return Done(order.kind, ordered.moved, ordered.left, rehearse)


def _in_force(ledger: Ledger, keys: Keys) -> Callable[[str], str]:
    """What chains of transforms are called by the rules in force."""
    revision = ledger.current_revision()
    if not revision:
        return str
    return load(ledger.load_rules(revision).files, None, keys).in_force


def order_destination(
    ledger: Ledger, kind: DestinationKind, name: str, actor: str, now_ms: int, reason: str = ""
) -> DestinationDone:
    """Give an order for a destination. :raises UsageError: there is none of that name."""
    require_destinations(ledger, [name])
    match kind:
        case DestinationKind.PAUSE | DestinationKind.RESUME:
            paused = kind is DestinationKind.PAUSE
            before = next(state.paused for state in ledger.destinations() if state.name == name)
            ledger.pause_destination(name, paused, actor, now_ms, reason)
            moved = int(before is not paused)
        case DestinationKind.PROBE:
            moved = int(ledger.probe_destination(name, actor, now_ms, reason))
        case DestinationKind.RETRY:
            moved = ledger.try_now(name, actor, now_ms, reason)
    return DestinationDone(kind, name, moved)


def order_drain(
    ledger: Ledger, host: str, roles: Sequence[Role], draining: bool, actor: str, now_ms: int, reason: str = ""
) -> Drained:
    """Have roles of a host take no more work, or take work again. :raises UsageError: there is no such host or role."""
    if Role.CONSOLE in roles or not roles:
        raise UsageError("a console takes no work, and is needed: it cannot be drained")
    require_host(ledger, host)
    changed = ledger.set_draining(host, roles, draining, actor, now_ms, reason)
    return Drained(host, tuple(roles), draining, changed)


# ── for the console ───────────────────────────────────────────────────────────────────────────────────────────────────


async def give(context: Context, order: Order, actor: str, *, dry_run: bool = False) -> Done:
    """Give an order, or rehearse it. :raises UsageError: see `carry_out`. LedgerError."""
    keys, clock_ms = context.keys, context.clock_ms
    if not dry_run:
        done = await context.ledger.call(lambda ledger: carry_out(ledger, order, actor, clock_ms(), keys))
        wake_all(context)
        return done
    order.require_meaning()
    look = context.look
    meant = await (look.sent_again if order.kind is Kind.RESEND else look.affected)(order.which)
    instances = None if meant.instances is None else sum(meant.instances.values())
    if meant.more:
        moved = max(instances or 0, sum(meant.deliveries.values()))
        return Done(order.kind, moved, dry_run=True, instances=instances, at_least=True)
    done = await context.ledger.call(lambda ledger: carry_out(ledger, order, actor, clock_ms(), keys, rehearse=True))
    return replace(done, instances=instances)


async def give_destination(
    context: Context, kind: DestinationKind, name: str, actor: str, reason: str = ""
) -> DestinationDone:
    """Give an order for a destination. :raises UsageError: there is none of that name. LedgerError."""
    now_ms = context.clock_ms()
    done = await context.ledger.call(lambda ledger: order_destination(ledger, kind, name, actor, now_ms, reason))
    wake_all(context)
    return done


async def give_drain(
    context: Context, host: str, roles: Sequence[Role], draining: bool, actor: str, reason: str = ""
) -> Drained:
    """Drain a host, or undo it. :raises UsageError: see `order_drain`. LedgerError."""
    now_ms = context.clock_ms()
    return await context.ledger.call(lambda ledger: order_drain(ledger, host, roles, draining, actor, now_ms, reason))


def wake_all(context: Context) -> None:
    """Something has changed in the ledger: have every stage look."""
    for stage in Stage:
        context.wake(stage)
