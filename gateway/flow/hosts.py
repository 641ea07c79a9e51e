"""The watch over other hosts: whose processes are heard of no more, and what becomes of what they held.

A supervisor ends the sessions of its own children, and those of its state folder at its start. Of a host that is gone
nobody does; so each console looks at the sessions of all other homes every LOOK_S. One that has not beaten for
PATIENCE_S, by the watcher's own clock, is voided: others have what it held from then on, its destinations too. Of a
receiver what lies complete in the spool is adopted first.

Rules:
  - Beats are compared with those of the look before, never with a clock of another host.
  - A watcher that was away itself (frozen, suspended, without the ledger) begins anew: it has not seen the others be
    silent. Neither could they beat where it was the ledger that was away; nor where that can be read and takes no
    beats (full, read-only, busy with one long order): then those of this host stand still too.
  - A worker may be at one thing for `worker.time` without a word, and has WORKER_MARGIN_S more, if that is longer: not
    both, for what it had claimed is to be everywhere a minute after its host is gone.
  - A receiver that was voided and lives, cut off from the ledger, may acknowledge for a while what it then cannot
    record: that is looked for as long as consoles run (`gateway.app.leftovers`).
  - Two that watch do the same twice, which changes nothing. Who was voided and lives all the same learns it by its next
    beat, claim or outcome, ends, and is started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway import telemetry
from gateway.errors import LedgerError, SpoolError
from gateway.flow.uptime import uptime_s
from gateway.ledger.base import Ledger, OpenSession, Voided
from gateway.ledger.thread import LedgerThread
from gateway.model import Role

LOOK_S = 5.0
PATIENCE_S = 30.0
WORKER_MARGIN_S = 10.0  # past `worker.time`, at which a worker ends itself: two beats
AWAY_S = 3 * LOOK_S  # between two looks: then this process was away itself
LOOKS = 4  # in a row, at which nothing new was seen


@dataclass(slots=True)
class _Silence:
    """Since when a session has had so many beats, and at how many looks that was seen."""

    beats: int
    since_s: float
    looks: int = 0


class Silences:
    """Whom nothing was heard of, and for how long. Knows no clock but the one handed in.

    :param home: whose sessions are somebody else's to judge.
    :param worker_s: how long a worker may be at one thing.
    """

    def __init__(self, home: str, worker_s: float) -> None:
        self._home = home
        self._worker_patience_s = max(PATIENCE_S, worker_s + WORKER_MARGIN_S)
        self._looked_at_s: float | None = None
        self._silences: dict[int, _Silence] = {}
        self._own_beats: dict[int, int] = {}
        self._stuck_looks = 0

    def look(self, sessions: Sequence[OpenSession], now_s: float) -> list[tuple[OpenSession, float]]:
        """Those that are to be taken for dead, each with how long it was silent."""
        if self._looked_at_s is None or not 0 <= now_s - self._looked_at_s <= AWAY_S:
            self._silences.clear()
        self._looked_at_s = now_s
        if self._nobody_beats(sessions):
            self._silences.clear()
        before, self._silences = self._silences, {}
        dead = []
        for each in sessions:
            if each.home == self._home:
                continue
            silence = before.get(each.session.session_id)
            if silence is None or silence.beats != each.beats:
                silence = _Silence(each.beats, now_s)
            else:
                silence.looks += 1
            self._silences[each.session.session_id] = silence
            patience_s = self._worker_patience_s if each.session.role is Role.WORKER else PATIENCE_S
            silent_s = now_s - silence.since_s
            if silence.looks >= LOOKS and silent_s >= patience_s:
                dead.append((each, silent_s))
        return dead

    def _nobody_beats(self, sessions: Sequence[OpenSession]) -> bool:
        """Whether the ledger has taken no beat of this host's own processes for two looks: they live, as this one."""
        own = {each.session.session_id: each.beats for each in sessions if each.home == self._home}
        self._stuck_looks = self._stuck_looks + 1 if own and own == self._own_beats else 0
        self._own_beats = own
        return self._stuck_looks >= 2


class HostWatcher:
    """See the module's docstring.

    :param void: ends a session, in the ledger's thread, unless it has beaten since: then None.
    :param adopt: adopts what a receiver has left complete in the spool; called in a thread, before `void`.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        silences: Silences,
        void: Callable[[Ledger, OpenSession], Voided | None],
        adopt: Callable[[OpenSession], None],
        clock_s: Callable[[], float] = uptime_s,
    ) -> None:
        self._ledger = ledger
        self._silences = silences
        self._void = void
        self._adopt = adopt
        self._clock_s = clock_s

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(LOOK_S)

    async def turn(self) -> None:
        """One look, and what follows. What fails is done at the next look that finds the same."""
        now_s = self._clock_s()
        try:
            sessions = await self._ledger.call(_open_sessions)
        except LedgerError as error:
            telemetry.problem("hosts_not_watched", reason=str(error))
            return
        for each, silent_s in self._silences.look(sessions, now_s):
            try:
                await self._end(each, silent_s)
            except (LedgerError, SpoolError) as error:
                telemetry.problem("session_not_voided", host=each.session.host, reason=str(error))

    async def _end(self, found: OpenSession, silent_s: float) -> None:
        if found.generation:
            await asyncio.to_thread(self._adopt, found)
        voided = await self._ledger.call(lambda ledger: self._void(ledger, found))
        if voided is None:
            return  # it has beaten since
        session = found.session
        telemetry.taken_for_dead(
            host=session.host,
            role=session.role,
            pid=session.pid,
            silent_s=silent_s,
            instances=voided.instances,
            deliveries=voided.deliveries,
        )


def _open_sessions(ledger: Ledger) -> list[OpenSession]:
    return ledger.sessions()
