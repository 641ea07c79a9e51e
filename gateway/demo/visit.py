"""The demo while somebody looks: the user of its console, where it is, and traffic until Ctrl-C."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from gateway.console.access.passwords import Passwords
from gateway.console.access.roles import Role
from gateway.console.access.userfile import User
from gateway.console.access.users import UsersFile, with_user
from gateway.demo.archive import Archive
from gateway.demo.traffic import forget, traffic
from gateway.flow.scu import FileToSend

USER = "demo"


def addresses(ports: Mapping[str, int], password: str) -> tuple[str, str]:
    """Where console and metrics are, and how to get in."""
    return (
        f"console   http://127.0.0.1:{ports['console']}   log in as {USER} with the password {password}",
        f"metrics   http://127.0.0.1:{ports['metrics']}/metrics",
    )


def make_user(path: Path) -> str:
    """The one user of the demo's console, who may do all but administer; his password, which is of this run alone."""
    password = "-".join(secrets.token_hex(2) for _ in range(4))
    hashed = Passwords().hash(USER, password)
    path.unlink(missing_ok=True)
    UsersFile(path).change(lambda users: with_user(users, User(USER, Role.OPERATOR, hashed)))
    return password


async def stay_on(
    console: Console,
    folder: Path,
    ports: Mapping[str, int],
    password: str,
    files: Sequence[FileToSend],
    archives: Sequence[Archive],
) -> None:
    """Go on with new studies until SIGINT or SIGTERM."""
    config = folder / "gateway.yaml"
    for line in (
        *("", "new studies come as long as you look; dr is off for half a minute now and then; Ctrl-C ends it all", ""),
        *addresses(ports, password),
        f"try       gateway queue --config {config}",
        f"          gateway list --instances --config {config}",
        f"          gateway send FILES --to 127.0.0.1:{ports['port']} --called GATEWAY --calling MODALITY",
    ):
        console.print(line, markup=False, soft_wrap=True)
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, enough.set)
    for archive in archives:
        archive.tell(forget)
    more = asyncio.create_task(traffic(files, ports["port"], archives[-1]), name="traffic")
    await enough.wait()
    more.cancel()
    with suppress(asyncio.CancelledError):
        await more
