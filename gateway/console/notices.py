"""What is wrong without keeping the host from being ready: a source that is silent, a certificate that expires, an
audit trail that is not written or not sent, rules or a configuration that are refused, instances that nobody routes.
Read out of the metrics of this host's processes, and of the ledger, as alerts read them, so that the console says by
itself what an alert says where there is Prometheus.

Called by `gateway.console.metrics` and `gateway.console.services.overview`. Names are those of the configuration, never
a peer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.words import age

CERTIFICATE_LEFT_S, CERTIFICATE_URGENT_S = 21 * 86_400, 3 * 86_400
SYSLOG_BEHIND_S = 600
ROUTING_OLD_S = 900
_GAUGE = re.compile(
    rb"^gateway_(source_last_received_timestamp_seconds|source_silent_after_seconds"
    rb"|certificate_expiry_timestamp_seconds|audit_trail_up|audit_syslog_behind_seconds"
    rb"|rules_refused|configuration_refused)"
    rb'\{process="[^"]*"(?:,(?:source|certificate)="([^"]*)")?\} (\S+)$',
    re.MULTILINE,
)
_Found = dict[tuple[bytes, bytes], list[float]]  # (which, name) → what each process says


class NoticeKind(StrEnum):
    """What it is about."""

    SOURCE_SILENT = "source_silent"
    CERTIFICATE_EXPIRES = "certificate_expires"
    TRAIL_STOPPED = "trail_stopped"
    SYSLOG_BEHIND = "syslog_behind"
    RULES_REFUSED = "rules_refused"
    CONFIGURATION_REFUSED = "configuration_refused"
    ROUTING_OLD = "routing_old"


@dataclass(frozen=True, slots=True)
class Notice:
    """One of them. Holds no patient data.

    :ivar name: of the source or the certificate; "" where there is but one.
    :ivar seconds: silent for so long; expires in so long (below 0: it has); the syslog server is so far behind; the
        oldest instance waits for so long.
    """

    kind: NoticeKind
    name: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """In a sentence."""
        match self.kind:
            case NoticeKind.SOURCE_SILENT:
                return f"Nothing has come from {self.name} for {age(self.seconds)}"
            case NoticeKind.CERTIFICATE_EXPIRES:
                until = f"expires in {age(self.seconds)}" if self.seconds > 0 else "has expired"
                return f"The certificate {self.name} {until}"
            case NoticeKind.TRAIL_STOPPED:
                return "The audit trail is not written"
            case NoticeKind.SYSLOG_BEHIND:
                return f"The audit repository is {age(self.seconds)} behind"
            case NoticeKind.RULES_REFUSED:
                return "The rule files are refused: the last good rules go on"
            case NoticeKind.CONFIGURATION_REFUSED:
                return "The changed configuration is refused: the one before it goes on"
            case NoticeKind.ROUTING_OLD:
                return f"Images have waited for {age(self.seconds)} to be routed"


def notices(texts: Iterable[bytes], now_ms: int) -> list[Notice]:
    """What the processes' metrics say now, in the order of `NoticeKind` and of names."""
    found: _Found = {}
    for text in texts:
        for which, name, value in _GAUGE.findall(text):
            found.setdefault((which, name), []).append(float(value))
    return [*_sources(found, now_ms / 1000), *_certificates(found, now_ms / 1000), *_trail(found), *_refused(found)]


def with_arrivals(
    found: Iterable[Notice],
    arrivals_ms: Mapping[str, int],
    silent_after_s: Mapping[str, float | None],
    now_ms: int,
) -> list[Notice]:
    """The notices of a host, but of sources what the ledger says, where it has something of them: another host may
    receive what this one does not, and a receiver that was just started has heard nothing yet.

    :param arrivals_ms: source → when the newest instance of it arrived, on whichever host.
    """
    kept = [each for each in found if each.kind is not NoticeKind.SOURCE_SILENT or each.name not in arrivals_ms]
    silent = [
        Notice(NoticeKind.SOURCE_SILENT, source, (now_ms - arrivals_ms[source]) / 1000)
        for source, after_s in sorted(silent_after_s.items())
        if after_s is not None and source in arrivals_ms and now_ms - arrivals_ms[source] > after_s * 1000
    ]
    return [*silent, *kept]


def of_routing(since_ms: int | None, now_ms: int) -> list[Notice]:
    """Whether instances wait to be routed for too long: the oldest of them since `since_ms`, None where none waits."""
    waits_s = 0.0 if since_ms is None else (now_ms - since_ms) / 1000
    return [Notice(NoticeKind.ROUTING_OLD, seconds=waits_s)] if waits_s > ROUTING_OLD_S else []


def _of(found: _Found, which: bytes, one: Callable[[list[float]], float]) -> dict[str, float]:
    """name → the one of all processes' values that counts."""
    return {name.decode(): one(values) for (each, name), values in sorted(found.items()) if each == which}


def _sources(found: _Found, now_s: float) -> Iterator[Notice]:
    last_s = _of(found, b"source_last_received_timestamp_seconds", max)
    for name, after_s in _of(found, b"source_silent_after_seconds", max).items():
        silent_s = now_s - last_s.get(name, now_s)
        if silent_s > after_s:
            yield Notice(NoticeKind.SOURCE_SILENT, name, silent_s)


def _certificates(found: _Found, now_s: float) -> Iterator[Notice]:
    for name, at_s in _of(found, b"certificate_expiry_timestamp_seconds", min).items():
        if at_s - now_s < CERTIFICATE_LEFT_S:
            yield Notice(NoticeKind.CERTIFICATE_EXPIRES, name, at_s - now_s)


def _trail(found: _Found) -> Iterator[Notice]:
    if not max(found.get((b"audit_trail_up", b""), ()), default=1.0):  # 0 of all but the process that writes it
        yield Notice(NoticeKind.TRAIL_STOPPED)
    behind_s = max(found.get((b"audit_syslog_behind_seconds", b""), ()), default=0.0)
    if behind_s > SYSLOG_BEHIND_S:
        yield Notice(NoticeKind.SYSLOG_BEHIND, seconds=behind_s)


def _refused(found: _Found) -> Iterator[Notice]:
    for kind in (NoticeKind.RULES_REFUSED, NoticeKind.CONFIGURATION_REFUSED):
        if max(found.get((kind.value.encode(), b""), ()), default=0.0):
            yield Notice(kind)
