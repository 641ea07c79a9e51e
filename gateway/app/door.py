"""The console's door, as the configuration describes it, and what is told about it at the start."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway import telemetry
from gateway.app.common import clock_ms
from gateway.config import Config, ConsoleConfig, ConsoleRole
from gateway.console.access.door import Door
from gateway.console.access.sessions import Sessions
from gateway.console.access.told import Audit
from gateway.console.access.users import UsersFile
from gateway.console.tls import Certificate
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.console.access.oidc import Provider


def open_door(config: Config, audit: Audit) -> Door:
    """The door. Where there is no user yet, the log says how to make the first.

    :param audit: is told of what happens at it, from the event loop.
    """
    settings = config.console
    sessions = Sessions(settings.session_idle_s, settings.session_s)
    door = Door(UsersFile(settings.users), sessions, audit, clock_ms, time.monotonic)
    if _speaks_openly(settings):
        telemetry.problem(
            "console_without_tls",
            host=settings.host,
            reason="names, passwords and patient data cross the network in clear: set console.tls, or bind it to "
            "127.0.0.1 behind a proxy and name that in console.proxies",
        )
    if _needs_first(door, settings):
        telemetry.problem(
            "console_has_no_users",
            setup_token=door.setup.begin(),
            reason="make the first administrator on /setup of the console with this token, within an hour and once; "
            "or by `gateway user add NAME --role administrator`",
        )
    return door


def provider_of(config: Config) -> Provider | None:
    """The provider of single sign-on, where there is one; only then is imported what speaks to it."""
    if config.console.oidc is None:
        return None
    from gateway.console.access.oidc import Provider

    return Provider(config.console.oidc, time.monotonic, time.time)


def certificate_of(config: Config) -> Certificate | None:
    """The console's certificate; None where it speaks HTTP."""
    files = config.console.tls
    return None if files is None else Certificate(files.certificate, files.key)


def _needs_first(door: Door, settings: ConsoleConfig) -> bool:
    """Whether nobody could log in, or no provider makes anybody an administrator."""
    if settings.oidc is not None and ConsoleRole.ADMINISTRATOR in settings.oidc.roles.values():
        return False
    try:
        return not door.file.read()
    except ConfigurationError:  # there are users, in a file that is broken: it is told when it is read
        return False


def _speaks_openly(settings: ConsoleConfig) -> bool:
    if settings.tls is not None or settings.proxies or settings.host == "localhost":
        return False
    try:
        return not ip_address(settings.host).is_loopback
    except ValueError:
        return True
