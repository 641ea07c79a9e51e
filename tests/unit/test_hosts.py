"""The watch over other hosts: who is silent for long is voided, and nobody for the watcher's own absence."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import telemetry
from gateway.errors import SpoolError
from gateway.flow.hosts import AWAY_S, LOOK_S, LOOKS, PATIENCE_S, WORKER_MARGIN_S, HostWatcher, Silences
from gateway.ledger.base import Ledger, OpenSession, Voided
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.model import Beat, Role, Session

HERE, THERE = "0" * 32, "1" * 32


def session(number: int, beats: int, role: Role = Role.RECEIVER, home: str = THERE) -> OpenSession:
    """A session as a look finds it."""
    return OpenSession(Session(number, role, "there", 4711), "", home, beats, 0)


class Looks:
    """A watcher's looks, one after the other, by a clock in the test's hand."""

    def __init__(self, worker_s: float = 0.0) -> None:
        self.silences = Silences(HERE, worker_s)
        self.now_s = 1000.0

    def look(self, *sessions: OpenSession, after_s: float = LOOK_S) -> list[int]:
        """Who is taken for dead at the next look."""
        self.now_s += after_s
        return [each.session.session_id for each, _ in self.silences.look(sessions, self.now_s)]

    def until_dead(self, *sessions: OpenSession) -> float:
        """How long it takes until the first of these is taken for dead."""
        began_s = self.now_s
        while not self.look(*sessions):
            assert self.now_s - began_s < 1000
        return self.now_s - began_s - LOOK_S


def test_who_beats_lives_and_who_is_silent_for_half_a_minute_does_not() -> None:
    looks = Looks()
    for beats in range(20):
        assert looks.look(session(1, beats), session(2, beats)) == []
    quiet = 0
    while not (dead := looks.look(session(1, 100 + quiet), session(2, 19))):
        quiet += 1
    assert dead == [2]
    assert PATIENCE_S <= (quiet + 1) * LOOK_S <= PATIENCE_S + LOOK_S


def test_nobody_is_taken_for_dead_while_the_ledger_takes_no_beats_of_ours_either() -> None:
    looks = Looks()
    for _ in range(40):
        assert looks.look(session(1, 7), session(2, 5, home=HERE)) == []
    for beats in range(6, 5 + int(PATIENCE_S / LOOK_S)):
        assert looks.look(session(1, 7), session(2, beats, home=HERE)) == []
    assert 1 in [dead for beats in range(20, 24) for dead in looks.look(session(1, 7), session(2, beats, home=HERE))]


def test_a_worker_may_be_at_one_instance_for_as_long_as_it_may_take() -> None:
    assert Looks(worker_s=60.0).until_dead(session(1, 1)) == PATIENCE_S
    assert Looks(worker_s=60.0).until_dead(session(1, 1, Role.WORKER)) == 60.0 + WORKER_MARGIN_S
    assert Looks(worker_s=5.0).until_dead(session(1, 1, Role.WORKER)) == PATIENCE_S


def test_sessions_of_ones_own_home_are_the_supervisors() -> None:
    looks = Looks()
    for _ in range(50):
        assert looks.look(session(1, 1, home=HERE)) == []


def test_a_watcher_that_was_away_has_seen_nothing() -> None:
    """Frozen for an hour, or without the ledger: what it knew is old, and the others may have had no ledger either."""
    looks = Looks()
    for _ in range(5):
        assert looks.look(session(1, 1)) == []
    assert looks.look(session(1, 1), after_s=3600) == []
    assert looks.until_dead(session(1, 1)) >= PATIENCE_S - LOOK_S


def test_a_clock_that_jumps_back_begins_anew_too() -> None:
    looks = Looks()
    for _ in range(5):
        looks.look(session(1, 1))
    assert looks.look(session(1, 1), after_s=-100) == []
    assert looks.until_dead(session(1, 1)) >= PATIENCE_S - LOOK_S


@given(st.lists(st.tuples(st.floats(0.1, 60.0), st.booleans()), min_size=1, max_size=60))
def test_nobody_is_taken_for_dead_without_that_many_looks_in_a_row_over_that_time(
    looks_at: list[tuple[float, bool]],
) -> None:
    looks, beats = Looks(), 0
    since_s: float | None = None
    quiet = 0
    for after_s, beat in looks_at:
        beats += beat
        dead = looks.look(session(1, beats), after_s=after_s)
        if since_s is None or beat or after_s > AWAY_S:
            since_s, quiet = looks.now_s, 0
        else:
            quiet += 1
        assert bool(dead) == (quiet >= LOOKS and looks.now_s - since_s >= PATIENCE_S)


# ── with a ledger ─────────────────────────────────────────────────────────────────────────────────────────────────


class World:
    """Two hosts' watchers on one ledger, and a clock in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.ledger = SqliteLedger.open(self.path)
        self.ledger.sync_destinations({"pacs": False}, 1)
        self.now_s = 0.0
        self.adopted: list[str] = []
        self.spool_away = False

    def open(self, role: Role, generation: str = "") -> Session:
        """A process of another host."""
        return self.ledger.open_session(role, "there", 4711, 1, generation, THERE)

    def adopt(self, found: OpenSession) -> None:
        """What the watcher has adopted."""
        if self.spool_away:
            raise SpoolError("the spool is away")
        self.adopted.append(found.generation)

    def watcher(self, thread: LedgerThread) -> HostWatcher:
        """A console's."""
        return HostWatcher(thread, Silences(HERE, 0.0), self.void, self.adopt, lambda: self.now_s)

    @staticmethod
    def void(ledger: Ledger, found: OpenSession) -> Voided | None:
        """As a console does it."""
        return ledger.void_session(found.session.session_id, 2)

    async def watch(self, turns: int, watchers: int = 1) -> None:
        """So many looks, of so many consoles."""
        threads = [LedgerThread(partial(SqliteLedger.open, self.path)) for _ in range(watchers)]
        each = [self.watcher(thread) for thread in threads]
        for _ in range(turns):
            self.now_s += LOOK_S
            await asyncio.gather(*(watcher.turn() for watcher in each))
        for thread in threads:
            await thread.close()


TURNS = int(PATIENCE_S / LOOK_S) + 1


@pytest.mark.parametrize("watchers", [1, 2])
def test_what_a_host_that_is_gone_held_is_free_whoever_watches(
    tmp_path: Path, watchers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("test", format="json")
    world = World(tmp_path)
    forwarder, receiver = world.open(Role.FORWARDER), world.open(Role.RECEIVER, "generation-1")
    world.ledger.own_destinations(forwarder, ["pacs"])
    asyncio.run(world.watch(TURNS - 1, watchers))
    assert len(world.ledger.sessions()) == 2
    asyncio.run(world.watch(TURNS, watchers))
    assert world.ledger.sessions() == []
    assert world.ledger.forwarding().destinations[0].owner is None
    assert set(world.adopted) == {"generation-1"}
    assert world.ledger.beat(receiver, 3) is Beat.VOIDED
    assert capfd.readouterr().err.count('"taken_for_dead"') >= 2
    world.ledger.close()


def test_a_receiver_is_not_voided_before_its_files_are_adopted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody would look for them any more."""
    telemetry.configure("test", format="json")
    world = World(tmp_path)
    world.open(Role.RECEIVER, "generation-1")
    world.spool_away = True

    async def scenario() -> None:
        thread = LedgerThread(partial(SqliteLedger.open, world.path))
        watcher = world.watcher(thread)
        for _ in range(TURNS + 2):
            world.now_s += LOOK_S
            await watcher.turn()
        assert len(world.ledger.sessions()) == 1
        assert '"session_not_voided"' in capfd.readouterr().err
        world.spool_away = False
        world.now_s += LOOK_S
        await watcher.turn()
        assert world.ledger.sessions() == []
        await thread.close()

    asyncio.run(scenario())
    assert world.adopted == ["generation-1"]
    world.ledger.close()
