"""`gateway check`: everything that is wrong, at once, before it matters."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Collection
from pathlib import Path

from gateway import document
from gateway.app.broker import look_at_broker
from gateway.app.examined import ExaminedLedger, examine_ledger
from gateway.app.home import known_home
from gateway.app.keys import read_keys
from gateway.app.others import OtherHosts, look_at_others
from gateway.app.reidentification import read_public_key
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    counted,
    named_in,
    now_ms,
    open_ledger,
    read_config,
    show_json,
    show_table,
)
from gateway.cli.peers import echo_all
from gateway.config import Config
from gateway.errors import ConfigurationError, LedgerError, Problem, QueueError, SpoolError
from gateway.flow.reload import read_rules, validate_rules
from gateway.transform import NO_KEYS, Keys
from gateway.transform import load as load_rules
from gateway.work.broker import Broker


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    check = add_command(
        commands,
        "check",
        _check,
        "validate configuration, rules and their tests; echo every destination",
        "gateway check --config deploy/gateway.yaml",
        "Says everything that is wrong at once, each with file:line:column, looks at Redis where queue.url names one, "
        "and at PostgreSQL where ledger.url does, then sends a C-ECHO to every destination. Where the spool is shared "
        "it says which of the hosts that run have another one, and whose clock differs. Exit code 2: the gateway would "
        "not start; 1: a destination, Redis or PostgreSQL does not answer, one of these cannot do all that is needed, "
        "or a host has another spool.",
    )
    add_config(check)
    add_json(check)
    check.add_argument("--no-echo", action="store_true", help="do not contact the destinations")


def _check(arguments: argparse.Namespace) -> int:
    try:
        config = _config_and_rules(arguments)
        broker = _usable_broker(config, arguments.config)
    except ConfigurationError as error:
        if not arguments.json:
            raise
        problems = [dataclasses.asdict(problem) for problem in error.problems]
        show_json({"configuration": str(arguments.config), "problems": problems})
        return 2
    files = read_rules(config.rules.dir)
    plan = load_rules(files, config.destinations, read_keys(config)).plan
    echoes = {} if arguments.no_echo else asyncio.run(echo_all(config))
    ledger = examine_ledger(config)
    others = _others(config)
    silent = [name for name, (reachable, _) in echoes.items() if not reachable]
    not_well = bool(silent or ledger.errors or others.errors or (broker is not None and (broker.away or broker.errors)))
    if arguments.json:
        show_json(
            {
                "configuration": str(arguments.config),
                "problems": [],
                "rules": {"files": list(files), "rules": len(plan.rules), "revision": plan.revision},
                "redis": None if broker is None else dataclasses.asdict(broker),
                "destinations": {name: {"reachable": ok, "text": text} for name, (ok, text) in echoes.items()},
                "ledger": {"errors": ledger.errors, "warnings": ledger.warnings},
                "hosts": {"errors": others.errors, "warnings": others.warnings},
            }
        )
        return int(not_well)
    print(f"configuration  {arguments.config}: good")
    rules, tests, in_files = (
        counted(len(plan.rules), "rule"),
        counted(len(plan.tests), "test"),
        counted(len(files), "file"),
    )
    print(f"rules          {config.rules.dir}: {rules} and {tests} in {in_files}, good; revision {plan.revision}")
    if broker is not None:
        _show_broker(broker)
    _show_ledger(ledger)
    rows = []
    for name, (ok, text) in echoes.items():
        destination = config.destinations[name]
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        rows.append((name, where, "answers" if ok else "does not answer", text))
    if rows:
        print()
    show_table("", ("destination", "where", "C-ECHO", "says"), rows, "destinations   not contacted")
    for what, texts in (("error", others.errors), ("warning", others.warnings)):
        for text in texts:
            print(f"\nhosts          {what}: {text}")
    return int(not_well)


def _show_ledger(ledger: ExaminedLedger) -> None:
    if ledger.server:
        print(f"ledger         {ledger.server}: answers")
    for error in ledger.errors:
        print(f"ledger         error: {error}")
    for warning in ledger.warnings:
        print(f"ledger         warning: {warning}")


def _show_broker(broker: Broker) -> None:
    if broker.away:
        print(f"queue          {broker.away}; without it the gateway works by its ledger")
    else:
        print(f"queue          Redis {broker.version or '(its version is not told)'}: answers")
    for error in broker.errors:
        print(f"queue          error: {error}")
    for warning in broker.warnings:
        print(f"queue          warning: {warning}")


def _others(config: Config) -> OtherHosts:
    """What is wrong with the other hosts, where the spool is shared."""
    if not config.spool.shared:
        return OtherHosts()
    try:
        with open_ledger(config) as ledger:
            return look_at_others(ledger, config.spool.dir, known_home(config.state_dir), now_ms, time.sleep)
    except (LedgerError, SpoolError) as error:
        return OtherHosts(warnings=(f"nobody knows of other hosts: {error}",))


def _config_and_rules(arguments: argparse.Namespace) -> Config:
    """The configuration, when it and its rules are good. :raises ConfigurationError: with what is wrong with both."""
    problems: list[Problem] = []
    config: Config | None = None
    folder: Path | None
    destinations: Collection[str] | None
    keys: Keys = NO_KEYS
    try:
        config = read_config(arguments)
        keys = read_keys(config)
        folder, destinations = config.rules.dir, config.destinations
        read_public_key(config)
    except ConfigurationError as error:
        problems += error.problems
        folder, destinations = _where_rules_are(arguments.config)
    if folder is not None:
        try:
            with named_in(folder):
                validate_rules(read_rules(folder), destinations, keys)
        except ConfigurationError as error:
            problems += error.problems
    if config is None or problems:
        raise ConfigurationError(problems)
    return config


def _usable_broker(config: Config, path: Path) -> Broker | None:
    """What Redis is like, where queue.url names one. :raises ConfigurationError: it is wrong, or must not be used."""
    try:
        broker = look_at_broker(config)
    except QueueError as error:
        raise ConfigurationError([Problem(str(path), 0, 0, str(error))]) from None
    if broker is not None and broker.evicts:
        raise ConfigurationError([Problem(str(path), 0, 0, broker.evicts)])
    return broker


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
