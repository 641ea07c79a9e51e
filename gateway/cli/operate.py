"""`gateway hold`, `release`, `resend`, `cancel`, `pause` and `resume`: a person's orders, each one audited.

They act on the ledger, whether the gateway runs or not, and wake the roles up. What they would touch is counted and
asked about first, unless `--yes` is given.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable

from gateway.app.keys import keys_at_hand
from gateway.cli.ask import MOST, add_filter, check_filter, filter_of
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
from gateway.errors import UsageError
from gateway.ledger.base import InstanceFilter, Ledger, Ordered
from gateway.transform import load
from gateway.work.base import Stage

CLAIMED = (
    "more are claimed by a forwarder and were not touched: being sent, or the next ones. To reach those not begun: "
    "`gateway pause DESTINATION`, and after two seconds the same order again; then `gateway resume DESTINATION`"
)
OVERTAKEN = (
    "more stay as they are: a later version of each was delivered there, or is being sent, and the older one would be "
    "the last to land. `gateway release --id ID` sends it all the same"
)


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    hold = add_command(
        commands,
        "hold",
        _hold,
        "keep what waits from being sent",
        "gateway hold --study 1.2.3 --reason 'wrong patient'",
    )
    release = add_command(
        commands,
        "release",
        _release,
        "send what is held or dead; route again what was never routed",
        "gateway release --state held --destination pacs",
    )
    resend = add_command(
        commands,
        "resend",
        _resend,
        "send again what is still in the spool",
        "gateway resend --study 1.2.3 --to dr",
        "A new delivery of each instance to --to, or to each destination it was delivered to. Settled instances are "
        "in the spool only as long as `spool.keep` says.",
    )
    resend.add_argument("--to", action="append", default=[], metavar="DESTINATION", help="repeatable")
    cancel = add_command(
        commands,
        "cancel",
        _cancel,
        "give deliveries up for good",
        "gateway cancel --study 1.2.3 --destination research --reason 'consent withdrawn'",
        "What waits, is held or dead is not sent any more. An instance that is needed nowhere else leaves the spool.",
    )
    for parser in (hold, cancel):
        parser.add_argument("--reason", required=True, help="why; for the audit trail")
    for parser in (hold, release, resend, cancel):
        parser.add_argument("--all", action="store_true", help="mean every instance, when nothing else restricts it")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        add_filter(parser)
        add_config(parser)
        add_json(parser)
    for name, text in (("pause", "send nothing to a destination"), ("resume", "send to a destination again")):
        parser = add_command(commands, name, _pause, text, f"gateway {name} pacs")
        parser.add_argument("destination", metavar="DESTINATION", help="its name in the configuration")
        parser.set_defaults(paused=name == "pause")
        add_config(parser)


def _hold(arguments: argparse.Namespace) -> int:
    def act(ledger: Ledger, which: InstanceFilter) -> Ordered:
        return ledger.hold(which, arguments.reason, actor(), now_ms())

    return _act(arguments, "held", act, left="claimed", because=CLAIMED)


def _release(arguments: argparse.Namespace) -> int:
    def act(ledger: Ledger, which: InstanceFilter) -> Ordered:
        return ledger.release(which, actor(), now_ms())

    return _act(arguments, "released", act, left="overtaken", because=OVERTAKEN)


def _resend(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    unknown = [name for name in arguments.to if name not in config.destinations]
    if unknown:
        raise UsageError(f"there is no destination {unknown[0]!r} (there are: {', '.join(config.destinations)})")

    def act(ledger: Ledger, which: InstanceFilter) -> int:
        return ledger.resend(which, arguments.to, actor(), now_ms(), _in_force(ledger, config))

    return _act(arguments, "to be sent again", act)


def _in_force(ledger: Ledger, config: Config) -> Callable[[str], str]:
    """What chains of transforms are called by the rules in force."""
    revision = ledger.current_revision()
    if not revision:
        return str
    return load(ledger.load_rules(revision).files, None, keys_at_hand(config)).in_force


def _cancel(arguments: argparse.Namespace) -> int:
    def act(ledger: Ledger, which: InstanceFilter) -> Ordered:
        return ledger.cancel(which, arguments.reason, actor(), now_ms())

    return _act(arguments, "cancelled", act, left="claimed", because=CLAIMED)


def _pause(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    if arguments.destination not in config.destinations:
        raise UsageError(
            f"there is no destination {arguments.destination!r} (there are: {', '.join(config.destinations)})"
        )
    with open_ledger(config) as ledger:
        ledger.pause_destination(arguments.destination, arguments.paused, actor(), now_ms())
    _wake(config)
    print(f"{arguments.destination}: {'paused' if arguments.paused else 'resumed'}")
    return 0


def actor() -> str:
    """Who gives the order, for the audit trail."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _act(
    arguments: argparse.Namespace,
    done: str,
    act: Callable[[Ledger, InstanceFilter], int | Ordered],
    *,
    left: str = "",
    because: str = "",
) -> int:
    """Give an order and tell what it did. `left` names, and `because` explains, what it means and did not touch."""
    config = read_config(arguments)
    read_unspoken(arguments)
    which = filter_of(arguments)
    if which == InstanceFilter() and not arguments.all:
        raise UsageError("say which instances are meant (see --help), or --all")
    with open_ledger(config) as ledger:
        check_filter(arguments, ledger)
        if not arguments.yes:
            found = len(ledger.list_instances(which, MOST))
            _confirm(f"{found}{'+' if found == MOST else ''} instance{'s' if found != 1 else ''} meant; go on?")
        result = act(ledger, which)
    _wake(config)
    ordered = result if isinstance(result, Ordered) else Ordered(result, 0)
    if arguments.json:
        show_json({done.replace(" ", "_"): ordered.moved} | ({left: ordered.left} if left else {}))
    else:
        print(f"{ordered.moved} {done}")
    if ordered.left:
        print(f"{ordered.left} {because}", file=sys.stderr)
    return 1 if ordered.left else 0


def _confirm(question: str) -> None:
    if not can_ask():
        raise UsageError(
            f"{question.removesuffix('; go on?')}, and nobody can be asked: nothing was done; say --yes to do it"
        )
    if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was changed")


def _wake(config: Config) -> None:
    from gateway.app import work_queue

    queue = work_queue(config)
    for stage in Stage:
        queue.notify(stage)
    queue.close()
