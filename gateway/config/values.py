"""What the configuration says, as frozen values. `gateway.config.load` makes them; whoever needs one is handed it.

Rules:
  - a key of the file is the field's name without its unit: `min_free` → `min_free_bytes`, `keep` → `keep_s`;
  - the defaults stand here and nowhere else (docs/configuration.md is held to them by a test);
  - seconds are floats (`500 ms` is 0.5), bytes are integers, paths are absolute, names and titles are stripped;
  - a value that may carry a password (`url`) stays out of every `repr`;
  - mappings are read-only and keep the order of the file.

No method here decides anything: who may send is `flow`'s business, what a status means the forwarder's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType

from gateway.audit.server import AuditRepository

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
MINUTE_S = 60.0
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S

SOURCE_CALLING_AE_TITLE = "$source"
"""`Destination.calling_ae_title`: keep the calling AE title of the association that brought the instance."""

UNKNOWN_SOURCE = "unknown"
"""What a sender is called that no entry of `sources` describes. No entry may have this name."""

Network = IPv4Network | IPv6Network


class DestinationType(StrEnum):
    """How a destination is spoken to."""

    DICOM = "dicom"


class Duplicates(StrEnum):
    """What a destination wants of an exact duplicate."""

    DELIVER = "deliver"
    SKIP = "skip"


class Transcode(StrEnum):
    """What becomes of an instance whose transfer syntax a destination does not accept."""

    NONE = "none"  # it is held
    LOSSLESS = "lossless"  # a copy goes, in a transfer syntax that it accepts, made without any loss


class Priority(StrEnum):
    """The priority of our C-STORE requests."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def code(self) -> int:
        """The value of (0000,0700), PS3.7 9.3.1.1: MEDIUM 0, HIGH 1, LOW 2."""
        return {Priority.MEDIUM: 0, Priority.HIGH: 1, Priority.LOW: 2}[self]


class Disposition(StrEnum):
    """What the forwarder does about a C-STORE status, where the configuration changes its table."""

    DELIVERED = "delivered"  # the peer has it
    RETRY = "retry"  # the instance's trouble: tried `attempts` times, then held
    THROTTLE = "throttle"  # the destination's trouble: its window shrinks, the instance waits by its age
    HOLD = "hold"  # held at once


class ConsoleRole(StrEnum):
    """What a person may on the console, the least first (`gateway.console.access.roles`)."""

    OBSERVER = "observer"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"  # console on a terminal, json otherwise
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """Where instances are kept, and how much room must stay free."""

    dir: Path
    min_free_bytes: int = 5 * GIB
    keep_s: float = 0.0
    ballast_bytes: int = 16 * MIB
    pool_size: int = 256
    shared: bool = False


@dataclass(frozen=True, slots=True)
class RulesConfig:
    """Where the rule files are, and how much is remembered of what was routed, to try other rules on."""

    dir: Path
    history_s: float = 7 * DAY_S
    history_size_bytes: int = 256 * MIB


@dataclass(frozen=True, slots=True)
class PseudonymKey:
    """Where a secret is that `deidentify` makes pseudonyms with."""

    name: str
    file: Path


@dataclass(frozen=True, slots=True)
class Reidentification:
    """Whom what stands behind pseudonyms is kept for; None keeps nothing."""

    public_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that senders connect to.

    `ae_titles` are the called AE titles it answers to (empty: any). `abstract_syntaxes` None means any storage class;
    `transfer_syntaxes` empty means any, in the proposer's order; else ours.
    """

    name: str
    host: str
    port: int
    ae_titles: tuple[str, ...] = ()
    accept_unknown: bool = False
    abstract_syntaxes: tuple[str, ...] | None = None
    transfer_syntaxes: tuple[str, ...] = ()
    max_pdu_length: int = 256 * KIB
    max_associations: int = 200
    max_associations_per_host: int = 50
    artim_timeout_s: float = 30.0
    idle_timeout_s: float = 10 * MINUTE_S
    progress_timeout_s: float = 60.0
    max_object_bytes: int = 16 * GIB
    backlog: int = 512


@dataclass(frozen=True, slots=True)
class Source:
    """Who may send. Empty `ae_titles` or `hosts` do not restrict; at least one of them is given.

    `silent_after_s`: after how long without an instance an alert tells of it; None for never.
    """

    name: str
    ae_titles: tuple[str, ...] = ()
    hosts: tuple[Network, ...] = ()
    silent_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where instances go.

    `calling_ae_title` may be `SOURCE_CALLING_AE_TITLE`. `statuses` maps patterns such as `0xA7xx` (hexadecimal digits
    in upper case, `x` for any digit) to dispositions; the pattern with the fewest `x` wins.
    """

    name: str
    ae_title: str
    host: str
    port: int
    calling_ae_title: str
    type: DestinationType = DestinationType.DICOM
    max_associations: int = 4
    max_pdu_length: int = 256 * KIB
    connect_timeout_s: float = 10.0
    association_timeout_s: float = 30.0
    response_timeout_s: float = 60.0
    progress_timeout_s: float = 60.0
    idle_timeout_s: float = 5.0
    give_up_after_s: float = 7 * DAY_S
    retry_min_s: float = 30.0
    retry_max_s: float = HOUR_S
    attempts: int = 5
    probe_min_s: float = 5.0
    probe_max_s: float = 5 * MINUTE_S
    duplicates: Duplicates = Duplicates.DELIVER
    priority: Priority = Priority.MEDIUM
    require_transform: str | None = None
    transcode: Transcode = Transcode.NONE
    statuses: Mapping[str, Disposition] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class LedgerConfig:
    """Where the state of everything is kept."""

    url: str = field(default="sqlite", repr=False)


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """How the stages wake each other up."""

    url: str = field(default="local", repr=False)


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """An address that serves HTTP."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a server's certificate and its key are."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Oidc:
    """A provider of OpenID Connect, and what its claims give people on the console."""

    issuer: str
    client_id: str
    roles: Mapping[str, ConsoleRole]
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "preferred_username"
    role_claim: str = "groups"


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """The address that serves pages, API and health, and who may see them.

    `host_names` are those by which browsers reach it, besides addresses; `proxies` those whose headers are believed.
    """

    users: Path
    host: str = "127.0.0.1"
    port: int = 8080
    host_names: tuple[str, ...] = ()
    proxies: tuple[Network, ...] = ()
    tls: TlsFiles | None = None
    oidc: Oidc | None = None
    session_idle_s: float = HOUR_S
    session_s: float = 12 * HOUR_S


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The audit trail: where its files are, what chains them, when a transfer is told, who hears of it besides."""

    dir: Path
    source_id: str
    key: Path | None = None
    segment_size_bytes: int = 64 * MIB
    quiet_s: float = 10.0
    latest_s: float = 5 * MINUTE_S
    site_id: str | None = None
    syslog: AuditRepository | None = None


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes of each role this host runs."""

    receiver: int = 1
    worker: int = 1
    forwarder: int = 1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What one worker process may use: address space, and time for one batch."""

    memory_bytes: int = GIB
    time_s: float = 30.0


@dataclass(frozen=True, slots=True)
class LogConfig:
    """How much is logged, and how it looks."""

    format: LogFormat = LogFormat.AUTO
    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of gateway.yaml, checked."""

    ae_title: str
    state_dir: Path
    spool: SpoolConfig
    rules: RulesConfig
    listeners: Mapping[str, Listener]
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    host: str
    console: ConsoleConfig
    audit: AuditConfig
    ledger: LedgerConfig = field(default_factory=LedgerConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    metrics: HttpAddress = field(default_factory=lambda: HttpAddress("127.0.0.1", 9464))
    processes: Processes = field(default_factory=Processes)
    worker: WorkerConfig = field(default_factory=WorkerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    pseudonym_keys: Mapping[str, PseudonymKey] = field(default_factory=lambda: MappingProxyType({}))
    reidentification: Reidentification = field(default_factory=Reidentification)
