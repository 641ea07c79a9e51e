"""`gateway run`, `check`, `recover`, `demo`: the gateway itself."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import sys
from collections.abc import Collection
from pathlib import Path

from gateway import document
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    named_in,
    plain,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.peers import echo_all
from gateway.config import Config
from gateway.errors import ConfigurationError, Problem
from gateway.model import Role
from gateway.rules.plan import load as load_rules

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
    run.add_argument(
        "--roles",
        type=_roles,
        default=STARTED_ROLES,
        metavar="ROLE,…",
        help=f"start only these of {', '.join(STARTED_ROLES)} (default: all)",
    )
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
        "gateway demo\n  gateway demo --stay",
        "Two archives, the gateway between them and a modality that sends pydicom's sample instances. Succeeds only if "
        "each archive has every instance that the rules send there, unaltered.",
    )
    demo.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder and leave everything there")
    demo.add_argument(
        "--stay", action="store_true", help="let gateway and archives run on until Ctrl-C, to look around"
    )


def _roles(text: str) -> tuple[Role, ...]:
    try:
        roles = tuple(Role(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: choose from {', '.join(STARTED_ROLES)}") from None
    return roles


def _run(arguments: argparse.Namespace) -> int:
    from gateway.app import run

    config = read_config(arguments)
    with named_in(config.rules.dir):
        return run(arguments.config, arguments.roles)


def _role(arguments: argparse.Namespace) -> int:
    from gateway.app import run_role

    return run_role(arguments.role, arguments.index, arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from gateway.flow.reload import read_rules

    try:
        config = _config_and_rules(arguments)
    except ConfigurationError as error:
        if not arguments.json:
            raise
        problems = [dataclasses.asdict(problem) for problem in error.problems]
        show_json({"configuration": str(arguments.config), "problems": problems})
        return 2
    files = read_rules(config.rules.dir)
    plan = load_rules(files, config.destinations)
    echoes = {} if arguments.no_echo else asyncio.run(echo_all(config))
    silent = [name for name, (reachable, _) in echoes.items() if not reachable]
    if arguments.json:
        show_json(
            {
                "configuration": str(arguments.config),
                "problems": [],
                "rules": {"files": list(files), "rules": len(plan.rules), "revision": plan.revision},
                "destinations": {name: {"reachable": ok, "text": text} for name, (ok, text) in echoes.items()},
            }
        )
        return 1 if silent else 0
    print(f"configuration  {arguments.config}: good")
    counted = f"{_count(len(plan.rules), 'rule')} and {_count(len(plan.tests), 'test')} in {_count(len(files), 'file')}"
    print(f"rules          {config.rules.dir}: {counted}, good; revision {plan.revision}")
    rows = []
    for name, (ok, text) in echoes.items():
        destination = config.destinations[name]
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        rows.append((name, where, "answers" if ok else "does not answer", text))
    if rows:
        print()
    show_table("", ("destination", "where", "C-ECHO", "says"), rows, "destinations   not contacted")
    return 1 if silent else 0


def _config_and_rules(arguments: argparse.Namespace) -> Config:
    """The configuration, when it and its rules are good. :raises ConfigurationError: with what is wrong with both."""
    from gateway.flow.reload import read_rules, validate_rules

    problems: list[Problem] = []
    config: Config | None = None
    folder: Path | None
    destinations: Collection[str] | None
    try:
        config = read_config(arguments)
        folder, destinations = config.rules.dir, config.destinations
    except ConfigurationError as error:
        problems += error.problems
        folder, destinations = _where_rules_are(arguments.config)
    if folder is not None:
        try:
            with named_in(folder):
                validate_rules(read_rules(folder), destinations)
        except ConfigurationError as error:
            problems += error.problems
    if config is None or problems:
        raise ConfigurationError(problems)
    return config


def _where_rules_are(path: Path) -> tuple[Path | None, set[str] | None]:
    """Of a configuration that is not good: the folder of its rules and the destinations' names, as far as they show."""
    try:
        root = document.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ConfigurationError):
        return None, None
    if not isinstance(root, document.Table):
        return None, None
    destinations, rules = root.get("destinations"), root.get("rules")
    folder = rules.get("dir") if isinstance(rules, document.Table) else None
    names = {name for name, _ in destinations} if isinstance(destinations, document.Table) else None
    return path.parent / (folder.text if isinstance(folder, document.Scalar) else "rules"), names


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _recover(arguments: argparse.Namespace) -> int:
    from gateway.app import recover

    found = recover(read_config(arguments))
    if arguments.json:
        show_json(found)
        return 0 if not found["damaged"] else 1
    if found["put_aside"]:
        print(f"the old ledger is kept as {found['put_aside']}")
    print(f"{_count(found['recovered'], 'instance')} in the new ledger, held (recovered)")
    for line in found["damaged"]:
        print(f"left where it is, not whole: {plain(line)}", file=sys.stderr)
    if found["recovered"]:
        print("look at them with `gateway list --state held`, send them with `gateway release --state held`")
    return 0 if not found["damaged"] else 1


def _demo(arguments: argparse.Namespace) -> int:
    from gateway.demo.show import run_demo

    return run_demo(arguments.keep, arguments.stay)
