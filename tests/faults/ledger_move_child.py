"""`gateway ledger copy` and `gateway recover` as a process that kills itself at a named point.

    python -m tests.faults.ledger_move_child copy POINT CONFIG URL
    python -m tests.faults.ledger_move_child recover POINT CONFIG

Points: `rows` some are copied; `checked` all are, and the commit was not begun; `marked` the mark is written;
`committed` the commit holds; `renamed` the old ledger has its new name.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.app import moving, recover
from gateway.config import load
from gateway.ledger.postgres import copying


def dying() -> None:
    """What a power cut does to a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(module: Any, name: str) -> None:
    """Die where a function would be called."""
    setattr(module, name, lambda *_, **__: dying())


def after(module: Any, name: str) -> None:
    """Die when a function has done its work."""
    whole: Callable[..., Any] = getattr(module, name)

    def then_die(*words: Any, **more: Any) -> None:
        whole(*words, **more)
        dying()

    setattr(module, name, then_die)


def main(what: str, point: str, config_path: str, url: str = "") -> None:
    """Do it, and die on the way."""
    if point == "rows":
        before(copying, "_set_keys")
    elif point == "checked":
        before(moving, "write_mark") if what == "copy" else before(copying, "_commit")
    elif point == "marked":
        after(moving, "write_mark")
    elif point == "committed":
        after(copying, "_commit")
    else:
        after(moving, "keep_as_copied")
    config = load(Path(config_path), os.environ)
    if what == "copy":
        moving.move_ledger(config, url, lambda done, of: None)
    else:
        recover.recover(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
