"""The composition root: configuration in, running roles out. The only place where the parts are put together.

`host` is the supervisor's side (`gateway run`), `receiver`, `worker`, `forwarder` and `console` are the roles, `common`
is what they share, `recover` rebuilds a ledger. `gateway.cli` calls the functions that stand here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.app.common import local_queue, open_ledger_of
from gateway.app.recover import recover
from gateway.model import Role

__all__ = ["local_queue", "open_ledger_of", "recover", "run", "run_role"]


def run(config_path: Path, roles: Sequence[Role]) -> int:
    """Start this host and serve until stopped; returns the exit code.

    :raises ConfigurationError, AlreadyRunning, LedgerError, SpoolError: it cannot start.
    """
    from gateway.app.host import run_host

    return run_host(config_path, roles)


def run_role(role: Role, index: int, config_path: Path) -> int:
    """Be one role's process, until told to stop. The role's module is the only one that is imported."""
    if role is Role.RECEIVER:
        from gateway.app.receiver import main
    elif role is Role.WORKER:
        from gateway.app.worker import main
    elif role is Role.FORWARDER:
        from gateway.app.forwarder import main
    else:
        from gateway.app.console import main
    return main(index, config_path)
