"""gateway.yaml → typed, frozen values.

Only `app`, `cli` and `console` read the configuration; everyone else is handed values.
"""

from gateway.config.changes import reloadable_changes
from gateway.config.load import load
from gateway.config.values import (
    SOURCE_CALLING_AE_TITLE,
    UNKNOWN_SOURCE,
    Config,
    Destination,
    DestinationType,
    Disposition,
    Duplicates,
    HttpAddress,
    LedgerConfig,
    Listener,
    LogConfig,
    LogFormat,
    LogLevel,
    Network,
    Priority,
    Processes,
    QueueConfig,
    RulesConfig,
    Source,
    SpoolConfig,
    Transcode,
    WorkerConfig,
)

__all__ = [
    "SOURCE_CALLING_AE_TITLE",
    "UNKNOWN_SOURCE",
    "Config",
    "Destination",
    "DestinationType",
    "Disposition",
    "Duplicates",
    "HttpAddress",
    "LedgerConfig",
    "Listener",
    "LogConfig",
    "LogFormat",
    "LogLevel",
    "Network",
    "Priority",
    "Processes",
    "QueueConfig",
    "RulesConfig",
    "Source",
    "SpoolConfig",
    "Transcode",
    "WorkerConfig",
    "load",
    "reloadable_changes",
]
