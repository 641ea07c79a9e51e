"""What `gateway check` finds out, for the command and for the console: everything that is wrong, at once.

A configuration that is not good, rules that are not, and a Redis that must not be used raise `ConfigurationError`; all
else is told.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway import document
from gateway.app.audit_trail import require_trail
from gateway.app.broker import look_at_broker
from gateway.app.common import clock_ms, open_ledger_of
from gateway.app.doorstep import require_door
from gateway.app.examined import ExaminedLedger, examine_ledger
from gateway.app.home import known_home
from gateway.app.keys import read_keys
from gateway.app.others import OtherHosts, look_at_others
from gateway.app.reidentification import read_public_key
from gateway.app.repository import look_at_repository
from gateway.config import Config, load
from gateway.console.services.system import Finding, Level
from gateway.errors import ConfigurationError, GatewayError, LedgerError, Problem, QueueError, SpoolError
from gateway.flow.reach import echo_all
from gateway.flow.reload import read_rules, validate_rules
from gateway.rules.plan import Plan
from gateway.transform import NO_KEYS, Keys
from gateway.transform import load as load_rules
from gateway.work.broker import Broker


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of a configuration that is good. `broker` None: the queue is local."""

    config: Config
    files: Mapping[str, str]
    plan: Plan
    broker: Broker | None
    echoes: Mapping[str, tuple[bool, str]]  # by destination: whether it can be reached, and a sentence
    repository: tuple[bool, str] | None  # the same of the syslog server of the audit trail, where there is one
    ledger: ExaminedLedger
    others: OtherHosts

    @property
    def is_well(self) -> bool:
        """Nothing is wrong that keeps the gateway from doing all it should."""
        silent = any(not reachable for reachable, _ in self.echoes.values())
        silent = silent or (self.repository is not None and not self.repository[0])
        broken = self.broker is not None and (self.broker.away or self.broker.errors)
        return not (silent or broken or self.ledger.errors or self.others.errors)


def check(path: Path, *, echo: bool) -> Checked:
    """Look at all of it. Blocks, for as long as destinations, Redis and PostgreSQL take to answer.

    :param path: gateway.yaml, which is there.
    :raises ConfigurationError: with everything that is wrong.
    """
    config = _config_and_rules(path)
    broker = _usable_broker(config, path)
    files = read_rules(config.rules.dir)
    plan = load_rules(files, config.destinations, read_keys(config)).plan
    echoes = asyncio.run(echo_all(config.destinations)) if echo else {}
    server = config.audit.syslog if echo else None
    repository = look_at_repository(server) if server is not None else None
    return Checked(config, files, plan, broker, echoes, repository, examine_ledger(config), _others(config))


def findings(path: Path, *, echo: bool) -> list[Finding]:
    """The same in words, for the console; never raises for what is wrong with the gateway."""
    try:
        return list(_told(path, check(path, echo=echo)))
    except ConfigurationError as error:
        return [_problem(each) for each in error.problems]
    except (GatewayError, OSError) as error:
        return [Finding("configuration", "", Level.ERROR, str(error))]


def _told(path: Path, checked: Checked) -> list[Finding]:
    plan = checked.plan
    told = [
        Finding("configuration", "", Level.GOOD, f"{path}: good"),
        Finding(
            "rules",
            "",
            Level.GOOD,
            f"{checked.config.rules.dir}: {len(plan.rules)} rules and {len(plan.tests)} tests in "
            f"{len(checked.files)} files, good; revision {plan.revision}",
        ),
    ]
    if checked.broker is not None:
        broker = checked.broker
        if broker.away:
            told.append(Finding("queue", "", Level.ERROR, broker.away))
        told += _of("queue", broker.errors, broker.warnings)
    if checked.ledger.server:
        told.append(Finding("ledger", "", Level.GOOD, f"{checked.ledger.server}: answers"))
    told += _of("ledger", checked.ledger.errors, checked.ledger.warnings)
    told += _of("hosts", checked.others.errors, checked.others.warnings)
    for name, (reachable, text) in checked.echoes.items():
        told.append(Finding("destination", name, Level.GOOD if reachable else Level.ERROR, text))
    if checked.repository is not None:
        reachable, text = checked.repository
        told.append(Finding("audit", "", Level.GOOD if reachable else Level.ERROR, f"the syslog server {text}"))
    return told


def _problem(problem: Problem) -> Finding:
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    return Finding("configuration", "", Level.ERROR, problem.message, place)


def _of(about: str, errors: Collection[str], warnings: Collection[str]) -> list[Finding]:
    return [
        *(Finding(about, "", Level.ERROR, text) for text in errors),
        *(Finding(about, "", Level.WARNING, text) for text in warnings),
    ]


def _others(config: Config) -> OtherHosts:
    """What is wrong with the other hosts, where the spool is shared."""
    if not config.spool.shared:
        return OtherHosts()
    try:
        with closing(open_ledger_of(config, create=False)) as ledger:
            return look_at_others(ledger, config.spool.dir, known_home(config.state_dir), clock_ms, time.sleep)
    except (LedgerError, SpoolError) as error:
        return OtherHosts(warnings=(f"nobody knows of other hosts: {error}",))


def _config_and_rules(path: Path) -> Config:
    """The configuration, when it and its rules are good. :raises ConfigurationError: with what is wrong with both."""
    problems: list[Problem] = []
    config: Config | None = None
    folder: Path | None
    destinations: Collection[str] | None
    keys: Keys = NO_KEYS
    try:
        config = load(path, os.environ)
        keys = read_keys(config)
        folder, destinations = config.rules.dir, config.destinations
        read_public_key(config)
        require_trail(config)
        require_door(config)
    except ConfigurationError as error:
        problems += error.problems
        folder, destinations = _where_rules_are(path)
    if folder is not None:
        try:
            validate_rules(read_rules(folder), destinations, keys)
        except ConfigurationError as error:
            problems += [problem.under(folder) for problem in error.problems]
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
