"""Whether the audit repository, the syslog server that the trail is sent to, answers."""

from __future__ import annotations

from gateway.audit.server import AuditRepository, Transport
from gateway.audit.syslog import End, connect, said

ANSWER_S = 5.0


def look_at_repository(server: AuditRepository) -> tuple[bool, str]:
    """Whether it takes a connection, and ends it in order, with a sentence. Nothing is sent. Blocks, ANSWER_S or so."""
    try:
        link = connect(server)
        ended = link.end(ANSWER_S)
    except OSError as error:
        return False, f"cannot be reached: {said(error)}"
    if ended is End.BROKEN and link.why:
        return False, f"takes the connection and does not end it in order: {link.why}"
    if ended is End.BROKEN:
        whose = ", or does not trust the gateway's certificate" if server.transport is Transport.TLS else ""
        return False, f"takes the connection and does not end it in order: it hangs{whose}"
    if server.transport is Transport.UDP:
        return True, "whether it is there cannot be known over UDP"
    if ended is End.UNSAID:
        return True, "answers, but ends a connection without a close_notify (RFC 5425 4.4): what it read is not known"
    return True, "answers"
