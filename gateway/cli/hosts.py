"""`gateway hosts` and `gateway drain`: who takes part and holds what, and how a host goes out of service in order."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Sequence

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    age,
    counted,
    now_ms,
    open_ledger,
    read_config,
    show_json,
    show_table,
    when,
)
from gateway.cli.operate import actor
from gateway.console.services.orders import DRAINED_ROLES, order_drain
from gateway.errors import UsageError
from gateway.ledger.base import DrainRow, Ledger, ProcessRow
from gateway.model import Role

LOOK_S = 0.5
CLOCKS = "`last beat` compares the clock of each host with that of this one"


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    hosts = add_command(
        commands,
        "hosts",
        _hosts,
        "the hosts and processes that take part, and what each holds",
        "gateway hosts",
        "One line a process, on whichever host: since when, how long ago it last beat, what it holds, the destinations "
        "that it serves.",
    )
    drain = add_command(
        commands,
        "drain",
        _drain,
        "have a host finish what it has and take no more",
        "gateway drain host-b --wait\n  gateway drain host-b --undo",
        "Receivers finish their associations and reject new ones, workers finish their batch, forwarders what they are "
        "sending; their destinations go to others. It stays so over restarts, until --undo.",
    )
    drain.add_argument("host", metavar="HOST", help="its name, as `gateway hosts` shows it")
    drain.add_argument(
        "--roles",
        type=_roles,
        default=DRAINED_ROLES,
        metavar="ROLE,…",
        help=f"only these of {', '.join(DRAINED_ROLES)} (default: all)",
    )
    drain.add_argument("--reason", default="", help="why; for the audit trail")
    drain.add_argument("--undo", action="store_true", help="take work again")
    drain.add_argument("--wait", action="store_true", help="return when nothing is held any more")
    for parser in (hosts, drain):
        add_config(parser)
        add_json(parser)


def _roles(text: str) -> tuple[Role, ...]:
    names = [name.strip() for name in text.split(",")]
    if Role.CONSOLE in names:
        raise argparse.ArgumentTypeError("a console takes no work, and is needed: it cannot be drained")
    for name in names:
        if name not in DRAINED_ROLES:
            raise argparse.ArgumentTypeError(f"{name!r} takes no work: choose from {', '.join(DRAINED_ROLES)}")
    return tuple(map(Role, names))


def _hosts(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    with open_ledger(config) as ledger:
        processes, draining = ledger.processes(), ledger.draining()
    now = now_ms()
    if arguments.json:
        show_json(
            {
                "processes": [_as_json(row, now) for row in processes],
                "draining": [
                    {"host": row.host, "role": row.role, "actor": row.actor, "since_ms": row.since_ms}
                    for row in draining
                ],
            }
        )
        return 0
    columns = ("host", "role", "pid", "since", "last beat", "holds", "serves", "is")
    rows = [
        (
            row.host,
            row.role,
            row.pid,
            when(row.opened_at_ms),
            f"{age((now - row.beat_at_ms) / 1000)} ago",
            _held(row),
            ", ".join(row.destinations),
            _how(row),
        )
        for row in processes
    ]
    show_table("", columns, rows, "no process runs, on any host")
    for row in _without_process(draining, processes):
        print(f"{row.host}: {row.role} drained since {when(row.since_ms)} by {row.actor}; no such process runs")
    if len({row.host for row in processes}) > 1:
        print(CLOCKS, file=sys.stderr)
    return 0


def _held(row: ProcessRow) -> str:
    instances = counted(row.instances, "instance") if row.instances else ""
    deliveries = f"{row.deliveries} deliver{'y' if row.deliveries == 1 else 'ies'}" if row.deliveries else ""
    in_hand = f"{row.in_hand} in hand" if row.in_hand else ""
    return ", ".join(part for part in (instances, deliveries, in_hand) if part)


def _how(row: ProcessRow) -> str:
    if not row.draining:
        return "working"
    return "drained" if row.is_drained else "draining"


def _as_json(row: ProcessRow, now: int) -> dict[str, object]:
    return {
        "host": row.host,
        "role": row.role,
        "pid": row.pid,
        "since_ms": row.opened_at_ms,
        "last_beat_age_s": (now - row.beat_at_ms) / 1000,
        "instances": row.instances,
        "deliveries": row.deliveries,
        "in_hand": row.in_hand or 0,
        "destinations": list(row.destinations),
        "is": _how(row),
    }


def _without_process(draining: Sequence[DrainRow], processes: Sequence[ProcessRow]) -> list[DrainRow]:
    there = {(row.host, row.role) for row in processes}
    return [row for row in draining if (row.host, row.role) not in there]


def _drain(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    host, roles = arguments.host, arguments.roles
    if arguments.undo and arguments.wait:
        raise UsageError("--wait is for draining; what is undone takes work again within five seconds")
    with open_ledger(config) as ledger:
        draining = not arguments.undo
        changed = order_drain(ledger, host, roles, draining, actor(), now_ms(), arguments.reason).changed
        left = _wait(ledger, host, roles) if arguments.wait else _left(ledger, host, roles)
    if arguments.json:
        show_json(
            {"host": host, "roles": list(roles), "draining": not arguments.undo, "changed": changed} | _told(left)
        )
    elif arguments.undo:
        print(f"{host}: {', '.join(roles)}: taking work again")
    elif left:
        print(
            f"{host}: {', '.join(roles)}: draining; not done yet: {', '.join(f'{row.role} {row.pid}' for row in left)}"
        )
    else:
        print(f"{host}: {', '.join(roles)}: drained")
    return 0


def _told(left: Collection[ProcessRow]) -> dict[str, object]:
    return {"not_done": [{"role": row.role, "pid": row.pid, "is": _how(row)} for row in left]}


def _left(ledger: Ledger, host: str, roles: Collection[Role]) -> list[ProcessRow]:
    """The processes that are not done yet."""
    return [row for row in ledger.processes() if row.host == host and row.role in roles and not row.is_drained]


def _wait(ledger: Ledger, host: str, roles: Collection[Role]) -> list[ProcessRow]:
    """Look until nothing is held."""
    while left := _left(ledger, host, roles):
        time.sleep(LOOK_S)
    return left
