"""The system: hosts and their processes, the version, the configuration in force with its secrets masked, and what
`gateway check` finds."""

from __future__ import annotations

import asyncio
import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway import __version__
from gateway.console.access.roles import Person, Right
from gateway.ledger.look import HostRow

if TYPE_CHECKING:
    from gateway.console.context import Context

MASK = "•••"
CHECK_KEPT_MS = 60_000


_UNTOLD = "What is wrong there is told to who may see patient data, and by `gateway check` on the host."


class Level(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    WARNING = "warning"  # something is not well
    ERROR = "error"  # the gateway would not start, or would lose instances


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `gateway check` says. Holds no patient data."""

    about: str  # configuration, rules, queue, ledger, hosts, destination, audit
    name: str  # of the destination; else ""
    level: Level
    text: str
    place: str = ""  # file:line:column, where it is about what stands there


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `gateway check` found, and when."""

    at_ms: int
    echoed: bool  # destinations were sent a C-ECHO
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        return max((each.level for each in self.findings), key=list(Level).index, default=Level.GOOD)


@dataclass(frozen=True, slots=True)
class System:
    """This host, and all that take part."""

    host: str
    version: str
    python: str
    ledger: str  # sqlite or postgresql
    queue: str  # local or redis
    spool_shared: bool
    hosts: tuple[HostRow, ...]


async def system(context: Context) -> System:
    """See `System`. :raises LedgerError."""
    config = context.config()
    return System(
        host=config.host,
        version=__version__,
        python=platform.python_version(),
        ledger="sqlite" if config.ledger.url == "sqlite" else "postgresql",
        queue="local" if config.queue.url == "local" else "redis",
        spool_shared=config.spool.shared,
        hosts=tuple(await context.look.hosts()),
    )


async def hosts(context: Context) -> Sequence[HostRow]:
    """The hosts by name, and their processes. :raises LedgerError."""
    return await context.look.hosts()


def checks_for(found: CheckResult, person: Person) -> CheckResult:
    """What somebody may be told of them: what stands in rules is patient data (`services.rules`)."""
    if person.may(Right.PATIENTS):
        return found
    return replace(
        found, findings=tuple(replace(each, text=_UNTOLD) if each.place else each for each in found.findings)
    )


class Checker:
    """Runs the checks of `gateway check`, one at a time, and remembers what the last one found.

    :param check: does it, blocking, in a thread; True sends C-ECHOs.
    """

    def __init__(self, check: Callable[[bool], Sequence[Finding]], clock_ms: Callable[[], int]) -> None:
        self._check = check
        self._clock_ms = clock_ms
        self._last: CheckResult | None = None
        self._one_at_a_time = asyncio.Lock()

    async def result(self, *, echo: bool, again: bool = False) -> CheckResult:
        """What the last check found, if it is CHECK_KEPT_MS old at most and echoed where that is asked for; else a new
        one's."""
        async with self._one_at_a_time:
            last = self._last
            if again or last is None or self._is_old(last) or (echo and not last.echoed):
                findings = await asyncio.to_thread(self._check, echo)
                last = self._last = CheckResult(self._clock_ms(), echo, tuple(findings))
            return last

    def _is_old(self, result: CheckResult) -> bool:
        return not 0 <= self._clock_ms() - result.at_ms <= CHECK_KEPT_MS


# ── configuration ─────────────────────────────────────────────────────────────────────────────────────────────────────


def configuration(context: Context) -> dict[str, Any]:
    """The configuration in force, defaults filled in, as names and plain values. Of a field that stays out of every
    `repr` nothing is shown but, of a URL, its scheme, host and path."""
    shown = _shown(context.config())
    assert isinstance(shown, dict)  # noqa: S101 - a dataclass is shown as one
    return shown


def _shown(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _shown(getattr(value, field.name)) if field.repr else _masked(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(name): _shown(each) for name, each in value.items()}
    if isinstance(value, (tuple, list, frozenset)):
        return [_shown(each) for each in value]
    if isinstance(value, (Path, StrEnum, IPv4Network, IPv6Network)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return MASK


def _masked(value: object) -> object:
    if value in ("", None):
        return value
    text = str(value)
    if "://" not in text:
        return text if text in ("sqlite", "local") else MASK
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    except ValueError:
        return MASK
    secret = "" if parts.username is None and parts.password is None else f"{MASK}@"
    return f"{parts.scheme}://{secret}{host}{port}{parts.path}"
