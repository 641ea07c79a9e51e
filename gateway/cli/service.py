"""`gateway run`, `check`, `recover`, `demo`: the gateway itself."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.peers import echo_all
from gateway.model import Role

STARTED_ROLES = (Role.RECEIVER, Role.WORKER, Role.FORWARDER, Role.CONSOLE)


def add_commands(commands: Commands) -> None:
    """Add this module's commands."""
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
    run.add_argument("--roles", type=_roles, default=STARTED_ROLES, metavar="ROLE,…", help="start only these roles")
    role = commands.add_parser("_role")  # how the supervisor starts a role; not for people, and not in the help
    role.add_argument("role", type=Role)
    role.add_argument("index", type=int)
    role.add_argument("--config", type=Path, required=True)
    role.set_defaults(run=_role)

    check = add_command(
        commands,
        "check",
        _check,
        "validate configuration, rules and their tests; echo every destination",
        "gateway check --config deploy/gateway.yaml",
        "Says everything that is wrong at once, each with file:line:column, then sends a C-ECHO to every destination. "
        "Exit code 2: the gateway would not start; 1: a destination does not answer.",
    )
    add_config(check)
    add_json(check)
    check.add_argument("--no-echo", action="store_true", help="do not contact the destinations")

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

    demo = add_command(
        commands,
        "demo",
        _demo,
        "the main job on sample data, with two archives of its own, in a temporary folder",
        "gateway demo",
    )
    demo.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder and leave everything there")


def _roles(text: str) -> tuple[Role, ...]:
    try:
        roles = tuple(Role(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: choose from {', '.join(STARTED_ROLES)}") from None
    return roles


def _run(arguments: argparse.Namespace) -> int:
    from gateway.app import run

    read_config(arguments)
    return run(arguments.config, arguments.roles)


def _role(arguments: argparse.Namespace) -> int:
    from gateway.app import run_role

    return run_role(arguments.role, arguments.index, arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from gateway.flow.reload import read_rules, validate_rules

    config = read_config(arguments)
    files = read_rules(config.rules.dir)
    plan = validate_rules(files, config.destinations)
    echoes = {} if arguments.no_echo else asyncio.run(echo_all(config))
    silent = [name for name, (reachable, _) in echoes.items() if not reachable]
    if arguments.json:
        show_json(
            {
                "configuration": str(arguments.config),
                "rules": {"files": list(files), "rules": len(plan.rules), "revision": plan.revision},
                "destinations": {name: {"reachable": ok, "text": text} for name, (ok, text) in echoes.items()},
            }
        )
        return 1 if silent else 0
    print(f"configuration  {arguments.config}: good")
    print(f"rules          {len(plan.rules)} in {len(files)} files, their tests pass; revision {plan.revision}")
    rows = []
    for name, (ok, text) in echoes.items():
        destination = config.destinations[name]
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        rows.append((name, where, "answers" if ok else "does not answer", text))
    show_table("destinations", ("name", "where", "C-ECHO", ""), rows, "destinations   not contacted")
    return 1 if silent else 0


def _recover(arguments: argparse.Namespace) -> int:
    from gateway.app import recover

    found = recover(read_config(arguments))
    if arguments.json:
        show_json(found)
        return 0 if not found["damaged"] else 1
    if found["put_aside"]:
        print(f"the old ledger is kept as {found['put_aside']}")
    print(f"{found['recovered']} instances are in the new ledger, held (recovered)")
    for line in found["damaged"]:
        print(f"left where it is, not whole: {line}", file=sys.stderr)
    if found["recovered"]:
        print("look at them with `gateway list --state held`, send them with `gateway release --state held`")
    return 0 if not found["damaged"] else 1


def _demo(arguments: argparse.Namespace) -> int:
    from gateway.demo.show import run_demo

    return run_demo(arguments.keep)
