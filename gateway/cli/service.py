"""`gateway run`, `worker`, `recover`, `demo`: the gateway itself. Imports little: every role starts through here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    counted,
    named_in,
    plain,
    read_config,
    show_json,
)
from gateway.errors import UsageError
from gateway.model import STARTED_ROLES, Role

MAX_WORKERS = 64


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
    _add_roles(commands)
    recover = add_command(
        commands,
        "recover",
        _recover,
        "rebuild a lost or damaged ledger from the spool",
        "gateway recover --config gateway.yaml",
        "For a ledger that is lost or damaged, while the gateway is stopped. A damaged ledger is put aside, never "
        "deleted. Every whole instance of the spool is then in a new ledger, held (recovered) until it is released: "
        "what had been delivered already is no longer known, and is sent again after a release.",
    )
    add_config(recover)
    add_json(recover)
    _add_demo(commands)


def _add_roles(commands: Commands) -> None:
    """What runs as this host, all of it or in parts."""
    run = add_command(
        commands,
        "run",
        _run,
        "start the gateway on this host",
        "gateway run --config /etc/gateway/gateway.yaml",
        "Start the gateway on this host and stay in the foreground. SIGTERM or Ctrl-C stops it in order, "
        "SIGHUP reads configuration and rules again.",
    )
    add_config(run)
    run.add_argument(
        "--roles",
        type=_roles,
        default=STARTED_ROLES,
        metavar="ROLE,…",
        help=f"start only these of {', '.join(STARTED_ROLES)} (default: all)",
    )
    worker = add_command(
        commands,
        "worker",
        _worker,
        "start workers on this host, and nothing else",
        "gateway worker --count 4 --config /etc/gateway/gateway.yaml",
        "Start so many workers on a host that adds CPU to a gateway, and stay in the foreground, as "
        "`gateway run --roles worker` does. With Redis (queue.url) they are workers of RQ, which `rq info` shows. They "
        "find their work in the ledger, so ledger.url must be PostgreSQL where they run beside other hosts.",
    )
    add_config(worker)
    worker.add_argument("--count", type=_count, metavar="N", help="how many (default: processes.worker)")
    role = commands.add_parser("_role")  # how the supervisor starts a role; not for people, and not in the help
    role.add_argument("role", type=Role, choices=STARTED_ROLES)
    role.add_argument("index", type=int)
    role.add_argument("--config", type=Path, required=True)
    role.set_defaults(run=_role)


def _add_demo(commands: Commands) -> None:
    demo = add_command(
        commands,
        "demo",
        _demo,
        "the main job on sample data, with two archives of its own, in a temporary folder",
        "gateway demo\n  gateway demo --stay",
        "Two archives, the gateway between them and a modality that sends pydicom's sample instances. Succeeds only if "
        "each archive has every instance that the rules send there, unaltered.",
    )
    demo.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder and leave everything there")
    staying = demo.add_mutually_exclusive_group()
    staying.add_argument(
        "--stay",
        action="store_true",
        default=None,
        help="run on with more traffic until Ctrl-C, to look around (default: on a terminal)",
    )
    staying.add_argument("--no-stay", action="store_false", dest="stay", help="end after the table")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_WORKERS):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_WORKERS}")
    return int(text)


def _roles(text: str) -> tuple[Role, ...]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in STARTED_ROLES:
            raise argparse.ArgumentTypeError(f"{name!r} is not to be started: choose from {', '.join(STARTED_ROLES)}")
    return tuple(map(Role, names))


def _run(arguments: argparse.Namespace) -> int:
    from gateway.app import run
    from gateway.app.host import CONSOLE_MISSING, lacks_console

    config = read_config(arguments)
    if lacks_console(config, arguments.roles):  # to whoever starts it, also where the log's level leaves warnings out
        print(f"gateway: warning: {CONSOLE_MISSING}", file=sys.stderr)
    with named_in(config.rules.dir):
        return run(arguments.config, arguments.roles)


def _worker(arguments: argparse.Namespace) -> int:
    from gateway.app import run

    config = read_config(arguments)
    if config.queue.url == "local" and config.ledger.url == "sqlite":
        raise UsageError(
            "these workers would share work with nobody: ledger.url is sqlite and queue.url is local, which belong to "
            "one `gateway run`. For more workers on this host set processes.worker; for workers on other hosts set "
            "ledger.url to postgresql://…, and queue.url to redis://… (see docs/scaling.md)"
        )
    with named_in(config.rules.dir):
        return run(arguments.config, (Role.WORKER,), arguments.count)


def _role(arguments: argparse.Namespace) -> int:
    from gateway.app import run_role

    return run_role(arguments.role, arguments.index, arguments.config)


def _recover(arguments: argparse.Namespace) -> int:
    from gateway.app.recover import recover

    found = recover(read_config(arguments))
    if arguments.json:
        show_json(found)
        return 0 if not found["damaged"] else 1
    if found["put_aside"]:
        print(f"the old ledger is kept as {found['put_aside']}")
    print(f"{counted(found['recovered'], 'instance')} in the new ledger, held (recovered)")
    for line in found["damaged"]:
        print(f"left where it is, not whole: {plain(line)}", file=sys.stderr)
    if found["recovered"]:
        print("look at them with `gateway list --state held`, send them with `gateway release --state held`")
    return 0 if not found["damaged"] else 1


def _demo(arguments: argparse.Namespace) -> int:
    from gateway.demo.show import run_demo

    return run_demo(arguments.keep, arguments.stay)
