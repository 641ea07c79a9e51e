"""The table of the section `audit`, and of what stands below it."""

from __future__ import annotations

from gateway.audit.server import AuditRepository, Transport
from gateway.config import values as v
from gateway.config.dicom_kinds import HOST
from gateway.config.kinds import PATH, Text, choice, duration, number, size
from gateway.config.sections import Key, Nested, Section


def _identifier(text: str) -> str:
    if not text.isprintable() or len(text) > 64:
        raise ValueError("must have 1 to 64 printable characters")
    return text


_IDENTIFIER = Text("text", _identifier)

SYSLOG = Section(
    "audit.syslog",
    AuditRepository,
    (
        Key("host", HOST, "The audit repository's address."),
        Key("port", number(1, 65535), "Its port: 6514 for `tls`, and what the receiver says for the others."),
        Key(
            "transport",
            choice(Transport),
            "`tls`: RFC 5425. `tcp` and `udp` (RFC 5426) send patient data in the clear, and `udp` loses messages.",
        ),
        Key(
            "ca",
            PATH,
            "The authorities (PEM) that its certificate has to be of; without it those that the machine trusts.",
        ),
        Key("server_name", HOST, "The name that its certificate has to bear; without it that is `host`."),
        Key("certificate", PATH, "The certificate (PEM) by which it knows the gateway."),
        Key("key", PATH, "Its private key (PEM), not encrypted, where that is not in the same file."),
    ),
)

AUDIT = Section(
    "audit",
    v.AuditConfig,
    (
        Key("dir", PATH, "The folder of the trail's files.", "`<state_dir>/audit`"),
        Key(
            "key",
            PATH,
            "A file with a secret, 16 bytes or more: with it nobody who can write the files can make them anew.",
        ),
        Key("segment_size", size(4 * v.KIB, v.GIB), "Past this size the next file begins."),
        Key("quiet", duration(0.1, v.HOUR_S), "A transfer is told when nothing more came of it for so long."),
        Key("latest", duration(1, 24 * v.HOUR_S), "And at the latest after so long, if it still goes on."),
        Key("source_id", _IDENTIFIER, "What the gateway is called in messages (AuditSourceID).", "`<host>`"),
        Key("site_id", _IDENTIFIER, "What its site is called there (AuditEnterpriseSiteID)."),
        Key("syslog", Nested(SYSLOG), "Where messages are sent besides; without it they stay in the files."),
    ),
)
