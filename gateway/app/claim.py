"""A start's claim to its home and its name, on a ledger that several hosts share.

Two machines made from one image have the same home. While one of them runs, the other sees its processes beat; two that
start in the same seconds would both see nobody. So each start opens a session as `supervisor` before it looks, and
beats in a thread of its own until the first of its roles is registered.

Rules:
  - Claims are made one after the other. Of two starts that are one host to the ledger, the later one waits to see the
    earlier beat, and refuses; the earlier one takes no notice of it.
  - Whoever voids the sessions of the home ends every other claim to it in the same transaction. One that was ended
    meanwhile (its process stood still for longer than others look) voids and removes nothing any more: it refuses.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing

from gateway.app.common import clock_ms, open_ledger_of
from gateway.app.home import HOME_FILE, home_of
from gateway.config import Config
from gateway.errors import AlreadyRunning, LedgerError
from gateway.flow.trouble import Trouble
from gateway.ledger.base import Ledger
from gateway.model import Beat, Role, Session

BEAT_S = 1.0  # several times while another start looks (`homes.TWIN_LOOK_S`)
CLOSE_S = 5.0


class HomeClaim:
    """See the module's docstring. Made by `gateway run`; `make` does nothing where nobody shares the ledger."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.session: Session | None = None

    def make(self, ledger: Ledger) -> None:
        """Claim, and go on to beat. :raises LedgerError: it could not be made."""
        home = home_of(self._config.state_dir)
        self.session = ledger.open_session(Role.SUPERVISOR, self._config.host, os.getpid(), clock_ms(), "", home)
        self._thread = threading.Thread(target=self._keep, args=(self.session,), name="claim", daemon=True)
        self._thread.start()

    def require(self, ledger: Ledger) -> None:
        """:raises AlreadyRunning: another start has ended the claim. LedgerError: that is not known."""
        if self.session is not None and ledger.beat(self.session, clock_ms()) is Beat.VOIDED:
            raise self.lost()

    def lost(self) -> AlreadyRunning:
        """What to say where another has ended it."""
        return AlreadyRunning(
            "while this host started, others took it for dead. If it stood still, start it again. Else another machine "
            f"has started with a copy of this state folder: remove {self._config.state_dir / HOME_FILE} on the machine "
            "that has the copy, and start it again"
        )

    def end(self) -> None:
        """The roles beat from now on, or nothing will. Returns at once; may be called again."""
        self._over.set()

    def close(self) -> None:
        """`end`, and wait a moment until the ledger knows, so that the next start need not wait."""
        self.end()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _keep(self, session: Session) -> None:
        trouble = Trouble("claim_not_kept")
        while True:
            try:
                with closing(open_ledger_of(self._config, create=False)) as ledger:
                    while not self._over.wait(BEAT_S):
                        ledger.beat(session, clock_ms())
                        trouble.over()
                    ledger.void_session(session.session_id, clock_ms())
                    return
            except LedgerError as error:
                trouble.tell(reason=str(error))
                time.sleep(BEAT_S)
