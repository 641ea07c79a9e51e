"""`gateway check`: everything that is wrong, at once, before it matters."""

from __future__ import annotations

import argparse
import dataclasses

from gateway.app.checked import Checked, check
from gateway.app.examined import ExaminedLedger
from gateway.cli.common import (
    Commands,
    add_command,
    add_config,
    add_json,
    config_path,
    counted,
    show_json,
    show_table,
)
from gateway.errors import ConfigurationError
from gateway.work.broker import Broker


def add_commands(commands: Commands) -> None:
    """Add this module's command."""
    command = add_command(
        commands,
        "check",
        _check,
        "validate configuration, rules and their tests; echo every destination",
        "gateway check --config deploy/gateway.yaml",
        "Says everything that is wrong at once, each with file:line:column, looks at Redis where queue.url names one, "
        "and at PostgreSQL where ledger.url does, then sends a C-ECHO to every destination, and connects "
        "to the syslog server of the audit trail. Where the spool is shared it says which of the hosts that run have "
        "another one, and whose clock differs. Exit code 2: the gateway would not start; 1: a destination, the syslog "
        "server, Redis or PostgreSQL does not answer, one of these cannot do all that is needed, or a host has another "
        "spool.",
    )
    add_config(command)
    add_json(command)
    command.add_argument(
        "--no-echo", action="store_true", help="contact neither the destinations nor the syslog server"
    )


def _check(arguments: argparse.Namespace) -> int:
    try:
        checked = check(config_path(arguments), echo=not arguments.no_echo)
    except ConfigurationError as error:
        if not arguments.json:
            raise
        problems = [dataclasses.asdict(problem) for problem in error.problems]
        show_json({"configuration": str(arguments.config), "problems": problems})
        return 2
    if arguments.json:
        _show_as_json(str(arguments.config), checked)
    else:
        _show(str(arguments.config), checked)
    return int(not checked.is_well)


def _show_as_json(name: str, checked: Checked) -> None:
    broker, ledger, others = checked.broker, checked.ledger, checked.others
    plan, echoes, heard = checked.plan, checked.echoes, checked.repository
    show_json(
        {
            "configuration": name,
            "problems": [],
            "rules": {"files": list(checked.files), "rules": len(plan.rules), "revision": plan.revision},
            "redis": None if broker is None else dataclasses.asdict(broker),
            "destinations": {name: {"reachable": ok, "text": text} for name, (ok, text) in echoes.items()},
            "audit": None if heard is None else {"reachable": heard[0], "text": heard[1]},
            "ledger": {"errors": ledger.errors, "warnings": ledger.warnings},
            "hosts": {"errors": others.errors, "warnings": others.warnings},
        }
    )


def _show(name: str, checked: Checked) -> None:
    plan, broker = checked.plan, checked.broker
    print(f"configuration  {name}: good")
    rules, tests = counted(len(plan.rules), "rule"), counted(len(plan.tests), "test")
    held = f"{rules} and {tests} in {counted(len(checked.files), 'file')}"
    print(f"rules          {checked.config.rules.dir}: {held}, good; revision {plan.revision}")
    if broker is not None:
        _show_broker(broker)
    _show_ledger(checked.ledger)
    _show_echoes(checked)
    if checked.repository is not None:
        ok, text = checked.repository
        print(f"\naudit          {'' if ok else 'error: '}the syslog server {text}")
    for what, texts in (("error", checked.others.errors), ("warning", checked.others.warnings)):
        for text in texts:
            print(f"\nhosts          {what}: {text}")


def _show_echoes(checked: Checked) -> None:
    rows = []
    for name, (ok, text) in checked.echoes.items():
        destination = checked.config.destinations[name]
        where = f"{destination.ae_title}@{destination.host}:{destination.port}"
        rows.append((name, where, "answers" if ok else "does not answer", text))
    if rows:
        print()
    show_table("", ("destination", "where", "C-ECHO", "says"), rows, "destinations   not contacted")


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
