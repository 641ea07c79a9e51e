"""What happens at the console's door, told once: as a log line with a metric, and to the audit trail.

Events that anybody can cause without end (a wrong token, a request from another site, a way back from a provider that
nobody was sent to) are told once a minute for each address, kind and person; the metric counts all of them. Addresses
of IPv6 count by their /64. No event holds a password, a token or a cookie.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from gateway import telemetry
from gateway.console.access.roles import How
from gateway.console.access.throttle import network_of

QUIET_S = 60.0
_REMEMBERED = 1000


class AccessEvent(StrEnum):
    """What happened. The audit trail makes messages of it: user authentication, or a security alert."""

    LOGGED_IN = "logged_in"
    LOG_IN_FAILED = "log_in_failed"  # name and password do not belong together, or the provider said no
    LOG_IN_THROTTLED = "log_in_throttled"
    LOGGED_OUT = "logged_out"
    SET_UP = "set_up"  # the first administrator was made with the set-up token
    SET_UP_FAILED = "set_up_failed"
    USERS_CHANGED = "users_changed"  # the users file is another one
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a word
    FORBIDDEN = "forbidden"  # somebody known asked for what he may not
    CROSS_SITE = "cross_site"  # another site sent somebody's browser, or the host was none of ours

    @property
    def is_good(self) -> bool:
        """Whether somebody got what he asked for."""
        return self in (AccessEvent.LOGGED_IN, AccessEvent.LOGGED_OUT, AccessEvent.SET_UP, AccessEvent.USERS_CHANGED)


_SPARED = (
    AccessEvent.TOKEN_REFUSED,
    AccessEvent.FORBIDDEN,
    AccessEvent.CROSS_SITE,
    AccessEvent.LOG_IN_THROTTLED,
    AccessEvent.SET_UP_FAILED,
)


@dataclass(frozen=True, slots=True)
class Access:
    """One event. `person` is who it is or says he is, `address` where he comes from, `how` by what he is known, and
    `actor` who it is in the audit trail, where that is known (`Person.actor`)."""

    event: AccessEvent
    person: str = ""
    role: str = ""
    how: str = ""
    address: str = ""
    reason: str = ""
    actor: str = ""


Audit = Callable[[Access], None]


@dataclass(slots=True)
class Teller:
    """Tells. `audit` is called for every event that is told, from the event loop: it must not block."""

    audit: Audit
    _last_s: OrderedDict[tuple[AccessEvent, str, str], float] = field(default_factory=OrderedDict)

    def tell(self, access: Access, now_s: float) -> None:
        """Tell of an event."""
        telemetry.access_counted(access.event)
        key = access.event, network_of(access.address), access.actor or access.person
        if _is_endless(access) and not self._is_due(key, now_s):
            return
        telemetry.access(
            access.event,
            good=access.event.is_good,
            person=access.person,
            role=access.role,
            how=access.how,
            address=access.address,
            reason=access.reason,
        )
        self.audit(access)

    def _is_due(self, key: tuple[AccessEvent, str, str], now_s: float) -> bool:
        last_s = self._last_s.get(key)
        if last_s is not None and now_s - last_s < QUIET_S:
            return False
        self._last_s[key] = now_s
        self._last_s.move_to_end(key)
        while len(self._last_s) > _REMEMBERED:
            self._last_s.popitem(last=False)
        return True


def _is_endless(access: Access) -> bool:
    """Whether nothing else bounds how often it can happen: log-ins by password are throttled."""
    return access.event in _SPARED or (access.event is AccessEvent.LOG_IN_FAILED and access.how == How.OIDC)
