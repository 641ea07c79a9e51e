"""Senders that nobody knows: each that is refused is an alert in the audit trail, but not each time.

A host is told of when it is refused first, and again after AGAIN_S with how often it was since. What many hosts do at
once (a scan) is bounded by EACH_HOUR: the log has a line of each kind of them, and the metric counts all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.flow.notes import Notes
from gateway.ledger.trail import Note, NoteKind

UNKNOWN_SENDER = "unknown sender"  # what the alert is about, see `gateway.flow.told.ALERTS`
AGAIN_S = 600.0
HOUR_S = 3600.0
EACH_HOUR = 60
_HOSTS_MAX = 256


@dataclass(slots=True)
class _Host:
    told_s: float
    since: int = 0  # refused since it was told of


class Strangers:
    """See the module's docstring. `clock_s` is monotonic."""

    def __init__(self, notes: Notes, clock_ms: Callable[[], int], clock_s: Callable[[], float]) -> None:
        self._notes = notes
        self._clock_ms, self._clock_s = clock_ms, clock_s
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._hour_s, self._in_hour = 0.0, 0

    def refused(self, calling_ae_title: str, peer_host: str) -> None:
        """An association of this host, which called itself so, was rejected: no source has both."""
        now_s = self._clock_s()
        if now_s - self._hour_s >= HOUR_S:
            self._hour_s, self._in_hour = now_s, 0
        host = self._hosts.get(peer_host)
        if host is not None and now_s - host.told_s < AGAIN_S:
            host.since += 1
            return
        if self._in_hour >= EACH_HOUR:
            return
        self._in_hour += 1
        times = 1 if host is None else host.since + 1
        self._hosts[peer_host] = _Host(now_s)
        self._hosts.move_to_end(peer_host)
        while len(self._hosts) > _HOSTS_MAX:
            self._hosts.popitem(last=False)
        text = "association rejected: no source has this calling AE title and address" + (
            f" ({times} times since the last alert)" if times > 1 else ""
        )
        self._notes.put(
            Note(
                NoteKind.ALERT,
                self._clock_ms(),
                actor=f"ae:{calling_ae_title}",
                address=peer_host,
                what=UNKNOWN_SENDER,
                subject=peer_host,
                text=text,
                count=times,
                failed=True,
            )
        )
