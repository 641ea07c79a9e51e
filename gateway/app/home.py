"""Which home a process is of: a random id, kept in a file of the state folder.

On a ledger that several hosts share, a session names the home of its process. Whoever holds the lock of a state folder
knows that every earlier process of this home is dead, and of no other.

The id is made once, under the name it keeps only when it is on the disk; of several processes that make it at once,
all take that of the first. It goes where the state folder goes: a gateway that is moved to another machine is the same
one. It must not be in two places: of a copy of a machine, remove the file before the copy is started.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from gateway.errors import GatewayError
from gateway.spool.directory import fsync_folder

HOME_FILE = "home"
_ID = re.compile(r"[0-9a-f]{32}")


def home_of(state_dir: Path) -> str:
    """The id of a state folder, which is made where there is none. :raises GatewayError: it cannot be read or made."""
    path = state_dir / HOME_FILE
    try:
        if not path.exists():
            _make(path)
        text = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise GatewayError(f"cannot read or make {path}: {error.strerror}") from error
    if _ID.fullmatch(text) is None:
        raise GatewayError(
            f"{path} does not hold the id of this state folder. With all processes of this host stopped, remove the "
            "file: a new one is made at the next start"
        )
    return text


def known_home(state_dir: Path) -> str:
    """The id of a state folder; "" where it has none yet: nothing is made. :raises GatewayError: it cannot be read."""
    return home_of(state_dir) if (state_dir / HOME_FILE).exists() else ""


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{secrets.token_hex(16)}\n".encode("ascii"))
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster: its id is taken
            os.link(fresh, path)
    finally:
        fresh.unlink()
    fsync_folder(str(path.parent))
