"""What the console's process does about the audit trail: the keeper, notes of what happens at its door, and the sender
where there is a syslog server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from gateway import telemetry
from gateway.app.audit_trail import names_of, open_trail
from gateway.app.common import clock_ms
from gateway.app.home import home_of
from gateway.audit.sender import Sender, Tell
from gateway.config import Config
from gateway.console.access.told import Access, AccessEvent
from gateway.errors import LedgerError
from gateway.flow.keeper import Keeper, Patience
from gateway.flow.notes import Notes
from gateway.ledger.thread import LedgerThread
from gateway.ledger.trail import Note, NoteKind
from gateway.model import Role, Session

_ALERTS = {
    AccessEvent.LOG_IN_THROTTLED: "log-in throttled",
    AccessEvent.SET_UP_FAILED: "set-up refused",
    AccessEvent.TOKEN_REFUSED: "token refused",
    AccessEvent.FORBIDDEN: "forbidden",
    AccessEvent.CROSS_SITE: "cross-site request",
}


class HostTrail:
    """What the console's process does about the trail: keeper, notes, and the sender where there is a server."""

    def __init__(self, config: Callable[[], Config], ledger: LedgerThread, session: Session) -> None:
        first = config()
        self.notes = Notes(ledger)
        self._ledger = ledger
        self._session = session
        self._sender = sender_of(first)
        self.keeper = Keeper(
            ledger,
            session,
            lambda known: open_trail(first, known),
            lambda: names_of(config()),
            clock_ms,
            Patience(first.audit.quiet_s, first.audit.latest_s),
            self._sender.wake if self._sender is not None else lambda: None,
            home=home_of(first.state_dir),
        )
        if self._sender is not None:
            self._sender.start()

    def access(self, access: Access) -> None:
        """What happened at the console's door."""
        self.notes.put(note_of(access, clock_ms()))

    async def finish(self) -> None:
        """Write and send what there is; also of transfers that are not quiet yet, where no other host's console is left
        to write them."""
        await self.notes.flush()
        await self.keeper.finish(all_of_it=await self._is_last())
        if self._sender is not None:
            await asyncio.to_thread(self._sender.stop)

    async def _is_last(self) -> bool:
        try:
            opened = await self._ledger.call(lambda ledger: ledger.sessions())
        except LedgerError:
            return False  # and what there is waits in it
        consoles = {each.session.session_id for each in opened if each.session.role is Role.CONSOLE}
        return consoles <= {self._session.session_id}


def sender_of(config: Config) -> Sender | None:
    """What sends the messages on, where that is configured."""
    server = config.audit.syslog
    if server is None:
        return None
    if server.certificate is not None:
        telemetry.certificate(name="audit", file=server.certificate)
    tell = Tell(
        lambda up, reason: telemetry.audit_syslog(up=up, reason=reason),
        telemetry.audit_syslog_behind,
        telemetry.audit_syslog_unsaid,
        telemetry.audit_syslog_again,
    )
    return Sender(config.audit.dir, server, config.host, str(os.getpid()), tell, clock_ms)


def note_of(access: Access, now_ms: int) -> Note:
    """What happened at the door, as a note."""
    actor = access.actor or f"console:{access.person or 'unknown'}"
    text = access.reason
    if access.event in (AccessEvent.LOGGED_IN, AccessEvent.LOG_IN_FAILED):
        failed = access.event is AccessEvent.LOG_IN_FAILED
        return Note(NoteKind.LOGIN, now_ms, actor, access.address, what=access.how, text=text, failed=failed)
    if access.event is AccessEvent.LOGGED_OUT:
        return Note(NoteKind.LOGOUT, now_ms, actor, access.address, what=access.how)
    if access.event in (AccessEvent.SET_UP, AccessEvent.USERS_CHANGED):
        return Note(NoteKind.ALERT, now_ms, actor, access.address, what="users changed", subject="users", text=text)
    what = _ALERTS[access.event]
    return Note(NoteKind.ALERT, now_ms, actor, access.address, what=what, text=text or what, failed=True)
