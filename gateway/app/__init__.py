"""The composition root: configuration in, running roles out. The only place where the parts are put together.

`host` is the supervisor's side (`gateway run`), `receiver`, `worker`, `forwarder` and `console` are the roles, `common`
is what they share, `recover` rebuilds a ledger, `moving` moves one to PostgreSQL. `gateway.cli` calls the functions
that stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from gateway.app.common import open_ledger_of, work_queue
from gateway.model import Role

__all__ = ["open_ledger_of", "run", "run_role", "work_queue"]


def run(config_path: Path, roles: Sequence[Role], workers: int | None = None) -> int:
    """Start this host and serve until stopped; returns the exit code. `workers`: how many, if not as configured.

    :raises ConfigurationError, AlreadyRunning, LedgerError, SpoolError, QueueError: it cannot start.
    """
    from gateway.app.host import run_host

    return run_host(config_path, roles, workers)


def run_role(role: Role, index: int, config_path: Path) -> int:
    """Be one role's process, until told to stop. Only that role's module is imported: idle memory counts."""
    main: Callable[[int, Path], int] = import_module(f"gateway.app.{role}").main
    return main(index, config_path)
