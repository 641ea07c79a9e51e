"""The syslog server that audit messages are sent to, as the configuration has it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Transport(StrEnum):
    """How messages travel."""

    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True)
class AuditRepository:
    """Where messages go. `ca` None: what the machine trusts; `server_name` None: the certificate has to bear `host`."""

    host: str
    port: int = 6514
    transport: Transport = Transport.TLS
    ca: Path | None = None
    server_name: str | None = None
    certificate: Path | None = None
    key: Path | None = None
