"""What `gateway check` finds out about the other hosts on a ledger: whether the spool is the same, and the time.

Nobody is asked: hosts that run beat in the ledger, and show their sessions in the folder they take for the spool
(`gateway.spool.shared`). Of a host whose sessions are open and not shown here, that folder is another one.

A clock is compared by heartbeats: one that came between two looks was sent between them, and says what time its host
had then. The ledger's own clock is not needed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import SpoolError
from gateway.ledger.base import Ledger, OpenSession
from gateway.spool import shared

LOOK_S = 6.0  # longer than the time between two beats
STEP_S = 0.25
SKEW_MS = 2_000


@dataclass(frozen=True, slots=True)
class OtherHosts:
    """What is wrong, in words: `errors` lose instances, `warnings` mislead people."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def look_at_others(
    ledger: Ledger, folder: Path | None, home: str, clock_ms: Callable[[], int], wait: Callable[[float], object]
) -> OtherHosts:
    """Look for LOOK_S, where other hosts have open sessions; else there is nothing to find.

    :param folder: the shared spool; None where it is this host's: then only clocks are compared.
    :param home: of this host; "" where it has none yet.
    :raises SpoolError: the folder cannot be looked at.
    """
    if not sessions_of_others(ledger, home):
        return OtherHosts()
    unseen = [] if folder is None else unseen_hosts(ledger, folder, home)
    errors = tuple(
        f"host {host} runs, and does not show itself in {folder}: its spool is another folder, or it cannot "
        "write there. Mount the same one on all hosts"
        for host in unseen
    )
    warnings = tuple(
        f"the clock of host {host} is {abs(skew_ms) / 1000:.1f} s {'ahead' if skew_ms > 0 else 'behind'}, seen from "
        "here: let all hosts keep time by NTP"
        for host, skew_ms in clock_skews(ledger, home, clock_ms, wait).items()
        if abs(skew_ms) > SKEW_MS
    )
    return OtherHosts(errors, warnings)


def sessions_of_others(ledger: Ledger, home: str) -> list[OpenSession]:
    """The open sessions of roles of other homes."""
    return [each for each in ledger.sessions() if each.home not in ("", home) and each.has_role]


def unseen_hosts(ledger: Ledger, folder: Path, home: str) -> list[str]:
    """The names of other hosts of which no open session shows itself in this folder. :raises SpoolError: see above."""
    others: dict[str, list[OpenSession]] = {}
    for each in sessions_of_others(ledger, home):
        others.setdefault(each.home, []).append(each)
    unseen: set[str] = set()
    for other, sessions in others.items():
        try:
            shown = shared.shown(folder, other)
        except OSError as error:
            raise SpoolError(f"cannot look for other hosts in {folder}: {error.strerror}") from error
        if shown.isdisjoint(each.session.session_id for each in sessions):
            unseen.update(each.session.host for each in sessions)
    return sorted(unseen)


def clock_skews(
    ledger: Ledger, home: str, clock_ms: Callable[[], int], wait: Callable[[float], object]
) -> dict[str, int]:
    """How many milliseconds the clock of each other host that beats is ahead of ours, to some STEP_S.

    Of several sessions of a host the one that differs least counts: a beat that waited for the ledger says too little.
    """
    skews: dict[str, int] = {}
    before, before_ms = _beats(ledger, home), clock_ms()
    for _ in range(int(LOOK_S / STEP_S)):
        wait(STEP_S)
        after, after_ms = _beats(ledger, home), clock_ms()
        for session_id, each in after.items():
            earlier = before.get(session_id)
            if earlier is None or each.beats == earlier.beats:
                continue
            skew_ms = each.beat_at_ms - (before_ms + after_ms) // 2
            host = each.session.host
            if host not in skews or abs(skew_ms) < abs(skews[host]):
                skews[host] = skew_ms
        before, before_ms = after, after_ms
    return dict(sorted(skews.items()))


def _beats(ledger: Ledger, home: str) -> dict[int, OpenSession]:
    return {each.session.session_id: each for each in sessions_of_others(ledger, home)}
