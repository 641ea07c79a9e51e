"""The start of one host beside others, on a ledger and a spool that they share.

With SQLite the lock on the state folder proves that every earlier process is dead. On a ledger that several hosts use
it proves so for the sessions of this home only; whatever is of others is left to them, and to the watcher that sees
them fall silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.app.common import clock_ms, journal_dir, left_behind, shares_ledger
from gateway.app.home import home_of
from gateway.app.others import sessions_of_others, unseen_hosts
from gateway.config import Config
from gateway.errors import AlreadyRunning, LedgerDamaged, LedgerError, SpoolError
from gateway.flow.adopt import Adoption, adopt, adopt_at_start
from gateway.ledger import journal
from gateway.ledger.base import Ledger, OpenSession
from gateway.model import InstanceState, Role, Session
from gateway.spool import FoundState, Spool, generations_of, remove_strays, scan, shared

TWIN_LOOK_S = 6.0  # longer than the time between two beats
LOOK_STEP_S = 0.25
SHOW_LOOKS = 8


def refuse_new_ledger(ledger: Ledger, spool: Spool) -> None:
    """:raises LedgerDamaged: the ledger has just been made, and the spool holds what it does not know."""
    if not ledger.is_empty():
        return
    # What a receiver of this ledger wrote before anything was recorded is no sign of another ledger; what is not whole
    # would not be sent, and is there after a recovery too.
    unknown = ledger.unknown_generations(generations_of(spool))
    if any(found.state is FoundState.COMPLETE for found in scan(spool, unknown, verify=True)):  # ends at the first
        raise LedgerDamaged(no_ledger("the ledger is new", spool))


def refuse_left_ledger(ledger: Ledger, left: Path) -> None:
    """:raises LedgerError: the shared ledger is new, while this host has one of SQLite at `left`."""
    if left.exists() and ledger.is_empty():
        raise LedgerError(
            f"ledger.url names a ledger that is new, but this host has one at {left}. Move that there by `gateway "
            "ledger copy`, while ledger.url is `sqlite`; or, if nothing of it is needed, rename it"
        )


def no_ledger(what: str, spool: Spool) -> str:
    """What to say of a spool without its ledger."""
    return (
        f"{what}, but the spool {spool.directory} holds instances. To start with an empty ledger would send them all "
        "again. Put the ledger back, or run `gateway recover`: it makes a new one, in which they are held until you "
        "release them"
    )


def refuse_twin(
    ledger: Ledger, config: Config, wait: Callable[[float], object] = time.sleep, own: Session | None = None
) -> None:
    """See that no other machine is this host: by its name, or by a copy of its state folder.

    Sessions that should be dead are looked at for TWIN_LOOK_S; after an orderly stop there are none.

    :param own: the session of this start: a start that came later refuses because of it (`gateway.app.claim`).
    :raises AlreadyRunning: one of them beats.
    """
    home = home_of(config.state_dir)
    before = {each.session.session_id: each for each in _namesakes(ledger, config.host, home, own)}
    for _ in range(int(TWIN_LOOK_S / LOOK_STEP_S) if before else 0):
        wait(LOOK_STEP_S)
        for each in _namesakes(ledger, config.host, home, own):
            seen = before.get(each.session.session_id)
            if seen is None or each.beats > seen.beats:
                raise AlreadyRunning(_twin(config, each, home))


def _namesakes(ledger: Ledger, host: str, home: str, own: Session | None) -> list[OpenSession]:
    """Whoever else is this host, but for starts that are not before this one."""
    same = [each for each in ledger.sessions() if each.home and (each.home == home or each.session.host == host)]
    return [each for each in same if each.has_role or own is None or each.session.session_id < own.session_id]


def _twin(config: Config, other: OpenSession, home: str) -> str:
    if other.home == home:
        return (
            f"another machine runs with a copy of this state folder (host {other.session.host!r} beats under the id in "
            f"{config.state_dir / 'home'}). Remove that file on the machine that has the copy, and start it again"
        )
    return (
        f"another machine on this ledger is called {config.host!r} too, and it runs. Give each host a name of its own "
        "(`host` in the configuration)"
    )


def refuse_unshared_spool(ledger: Ledger, config: Config) -> None:
    """:raises SpoolError: other hosts run on the ledger, and this one says that it has its spool for itself."""
    home = home_of(config.state_dir)
    others = sorted({each.session.host for each in sessions_of_others(ledger, home)})
    if others and not config.spool.shared:
        raise SpoolError(
            f"{', '.join(others)} run on the same ledger, and `spool.shared` is false here: each would take what the "
            "other has received for lost. Mount one spool on all hosts, and leave `spool.shared` out"
        )


def refuse_empty_spool(ledger: Ledger, spool: Spool) -> None:
    """:raises SpoolError: the ledger has instances whose files should be there, and the folder has never been a spool:
    it is where one will be mounted."""
    if not spool.home or (spool.directory / shared.HOSTS).is_dir() or generations_of(spool):
        return
    waiting = sum(n for state, n in ledger.gauges().instances.items() if state is not InstanceState.PURGED)
    if waiting:
        raise SpoolError(
            f"{spool.directory} is empty, but the ledger has {waiting} instances whose files should be in it: mount "
            "the shared spool there, or set `spool.dir` to it. If the spool is lost, put the newest backup of it there"
        )


def refuse_other_spool(ledger: Ledger, spool: Spool, wait: Callable[[float], object] = time.sleep) -> None:
    """:raises SpoolError: other hosts run, and none of them shows itself in this folder: it is another one."""
    for _ in range(SHOW_LOOKS if spool.home else 0):
        others = {each.session.host for each in sessions_of_others(ledger, spool.home)}
        if not others or others != set(unseen_hosts(ledger, spool.directory, spool.home)):
            return
        wait(LOOK_STEP_S)  # one that has just opened its session shows itself in a moment
    if spool.home:
        raise SpoolError(
            f"{spool.directory} is not the folder that {', '.join(sorted(others))} work in, which run on the same "
            "ledger: mount the shared spool there, or set `spool.dir` to it"
        )


def void_earlier(ledger: Ledger, config: Config, own: Session | None = None) -> None:
    """Free what the processes of an earlier run of this home held, but for what they had delivered.

    :param own: the session of this start, which stays. :raises LeaseLost: somebody has ended it: nothing was done.
    """
    home = home_of(config.state_dir)
    folder = journal_dir(config)
    sessions = journal.sessions(folder)
    found = {session_id: left_behind(config, session_id) for session_id in sessions}
    left = {session_id: each for session_id, each in found.items() if each is not None}
    # A ledger of SQLite may have been moved here from another state folder, with sessions of that home.
    ledger.void_all(clock_ms(), left, home if shares_ledger(config) else None, own)
    for session_id in sessions:
        journal.forget(folder, session_id)


def adopt_earlier(ledger: Ledger, config: Config, spool: Spool) -> Adoption:
    """Adopt what dead receivers left. :raises SpoolError, LedgerError: it can be called again."""
    if not shares_ledger(config):
        return adopt(spool, ledger, None, clock_ms())
    return adopt_at_start(spool, ledger, home_of(config.state_dir), clock_ms())


def remove_earlier_copies(ledger: Ledger, config: Config, spool: Spool) -> Mapping[str, SpoolError]:
    """Remove what dead workers left half-made, or did not tell of. Returns what was not removed."""
    makers = [each.session.session_id for each in ledger.sessions() if each.session.role is Role.WORKER]
    return remove_strays(spool, ledger.copies_of, makers)
