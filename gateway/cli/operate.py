"""`gateway hold`, `release`, `resend`, `cancel`; `pause`, `resume`, `probe`, `retry`: a person's orders, each audited.

They act on the ledger, whether the gateway runs or not, and wake the roles up. What they would touch is counted and
asked about first, unless `--yes` is given.
"""

from __future__ import annotations

import argparse
import sys

from gateway.app.common import user_name
from gateway.app.keys import keys_at_hand
from gateway.cli.ask import MOST, add_filter, filter_of
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    ask,
    can_ask,
    now_ms,
    open_ledger,
    read_config,
    read_unspoken,
    show_json,
)
from gateway.config import Config
from gateway.console.services.orders import (
    DestinationKind,
    Done,
    Kind,
    Order,
    carry_out,
    order_destination,
    require_destinations,
)
from gateway.errors import UsageError
from gateway.ledger.base import InstanceFilter, Left
from gateway.work.base import Stage

CLAIMED = (
    "more are claimed by a forwarder and were not touched: being sent, or the next ones. To reach those not begun: "
    "`gateway pause DESTINATION`, and after two seconds the same order again; then `gateway resume DESTINATION`"
)
OVERTAKEN = (
    "more stay as they are: a later version of each was delivered there, or is being sent, and the older one would be "
    "the last to land. `gateway release --id ID` sends it all the same"
)
UNCONFIGURED = (
    "more stay as they are: their destination is not configured. Put it back into the configuration, or "
    "`gateway cancel` them"
)
QUARANTINED = (
    "more stay as they are: an instance that is quarantined is released by its id alone, when somebody has looked at "
    "it: `gateway release --id ID`"
)
_BECAUSE = {
    Left.CLAIMED: CLAIMED,
    Left.OVERTAKEN: OVERTAKEN,
    Left.UNCONFIGURED: UNCONFIGURED,
    Left.QUARANTINED: QUARANTINED,
}
_DONE: dict[Kind, tuple[str, tuple[Left, ...]]] = {  # what it did in a word, and why it may leave something
    Kind.HOLD: ("held", (Left.CLAIMED,)),
    Kind.RELEASE: ("released", (Left.OVERTAKEN, Left.UNCONFIGURED, Left.QUARANTINED)),
    Kind.RESEND: ("to be sent again", ()),
    Kind.CANCEL: ("cancelled", (Left.CLAIMED,)),
}
_OF_DESTINATIONS = {
    DestinationKind.PAUSE: "send nothing to a destination",
    DestinationKind.RESUME: "send to a destination again",
    DestinationKind.PROBE: "probe a destination that is down at once",
    DestinationKind.RETRY: "try now what waits for a destination's next try",
}


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    hold = add_command(
        commands,
        "hold",
        _order,
        "keep what waits from being sent",
        "gateway hold --study 1.2.3 --reason 'wrong patient'",
    )
    release = add_command(
        commands,
        "release",
        _order,
        "send what is held or dead; route again what was never routed",
        "gateway release --state held --destination pacs",
    )
    resend = add_command(
        commands,
        "resend",
        _order,
        "send again what is still in the spool",
        "gateway resend --study 1.2.3 --to dr",
        "A new delivery of each instance to --to, or to each destination it was delivered to. Settled instances are "
        "in the spool only as long as `spool.keep` says.",
    )
    resend.add_argument("--to", action="append", default=[], metavar="DESTINATION", help="repeatable")
    cancel = add_command(
        commands,
        "cancel",
        _order,
        "give deliveries up for good",
        "gateway cancel --study 1.2.3 --destination research --reason 'consent withdrawn'",
        "What waits, is held or dead is not sent any more. An instance that is needed nowhere else leaves the spool.",
    )
    for parser, kind in ((hold, Kind.HOLD), (release, Kind.RELEASE), (resend, Kind.RESEND), (cancel, Kind.CANCEL)):
        _add_options(parser, kind)
    _add_orders_to_destinations(commands)


def _add_orders_to_destinations(commands: Commands) -> None:
    for each, text in _OF_DESTINATIONS.items():
        parser = add_command(commands, each, _order_destination, text, f"gateway {each} pacs")
        parser.add_argument("destination", metavar="DESTINATION", help="its name in the configuration")
        parser.add_argument("--reason", default="", help="why; for the audit trail")
        parser.set_defaults(order=each)
        add_config(parser)


def _add_options(parser: argparse.ArgumentParser, kind: Kind) -> None:
    """What all orders about instances have."""
    parser.set_defaults(order=kind)
    is_needed = kind in (Kind.HOLD, Kind.CANCEL)
    parser.add_argument("--reason", required=is_needed, default="", help="why; for the audit trail")
    parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
    parser.add_argument("--all", action="store_true", help="mean every instance, when nothing else restricts it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_filter(parser)
    add_config(parser)
    add_json(parser)


def _order(arguments: argparse.Namespace) -> int:
    """Give an order and tell what it did."""
    config = read_config(arguments)
    read_unspoken(arguments)
    which = filter_of(arguments)
    if which == InstanceFilter() and not arguments.all:
        raise UsageError("say which instances are meant (see --help), or --all")
    order = Order(arguments.order, which, arguments.reason, tuple(getattr(arguments, "to", ())), arguments.all)
    keys = keys_at_hand(config)
    with open_ledger(config) as ledger:
        require_destinations(ledger, [*order.to, *([which.destination] if which.destination else [])])
        if arguments.dry_run:
            done = carry_out(ledger, order, actor(), now_ms(), keys, rehearse=True)
        else:
            if not arguments.yes:
                found = len(ledger.list_instances(which, MOST))
                _confirm(f"{found}{'+' if found == MOST else ''} instance{'s' if found != 1 else ''} meant; go on?")
            done = carry_out(ledger, order, actor(), now_ms(), keys)
    if not arguments.dry_run:
        wake(config)
    _tell(arguments, done)
    return 1 if done.left else 0


def _tell(arguments: argparse.Namespace, done: Done) -> None:
    what, reasons = _DONE[done.kind]
    if arguments.json:
        told = {what.replace(" ", "_"): done.moved, **{str(why): done.left_for.get(why, 0) for why in reasons}}
        show_json({**told, **({"dry_run": True} if done.dry_run else {})})
    else:
        print(f"{done.moved} {'would be ' * (done.dry_run and done.kind is not Kind.RESEND)}{what}")
    for why, left in done.left_for.items():
        print(f"{left} {_BECAUSE[why]}", file=sys.stderr)


def _order_destination(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    name = arguments.destination
    with open_ledger(config) as ledger:
        done = order_destination(ledger, arguments.order, name, actor(), now_ms(), arguments.reason)
    wake(config)
    match done.kind:
        case DestinationKind.PAUSE:
            print(f"{name}: paused")
        case DestinationKind.RESUME:
            print(f"{name}: resumed")
        case DestinationKind.PROBE:
            print(f"{name}: {'probed within a second' if done.moved else 'is not down: nothing to probe'}")
        case DestinationKind.RETRY:
            print(f"{name}: {done.moved} tried now, that would have waited")
    return 0


def actor() -> str:
    """Who gives the order, for the audit trail."""
    return f"cli:{user_name()}"


def _confirm(question: str) -> None:
    if not can_ask():
        raise UsageError(
            f"{question.removesuffix('; go on?')}, and nobody can be asked: nothing was done; say --yes to do it"
        )
    if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was changed")


def wake(config: Config) -> None:
    """Have every stage look at the ledger."""
    from gateway.app import work_queue

    queue = work_queue(config)
    for stage in Stage:
        queue.notify(stage)
    queue.close()
