"""What the console's door needs, looked at before a start and by `gateway check`; imports nothing of the web."""

from __future__ import annotations

from importlib.util import find_spec

from gateway.config import Config
from gateway.console.access.users import UsersFile
from gateway.console.tls import certified
from gateway.errors import ConfigurationError, Problem


def require_door(config: Config) -> None:
    """Refuse a start with a certificate or a users file that cannot be used.

    :raises ConfigurationError: with every problem.
    """
    problems: list[Problem] = []
    try:
        UsersFile(config.console.users).read()
    except ConfigurationError as error:
        problems += error.problems
    files = config.console.tls
    try:
        if files is not None:
            certified(files.certificate, files.key)
    except ConfigurationError as error:
        problems += error.problems
    if config.console.oidc is not None and find_spec("authlib") is None:
        problems.append(Problem("console.oidc", 0, 0, "needs packages: pip install 'dicom-gateway[oidc]'"))
    if problems:
        raise ConfigurationError(problems)
