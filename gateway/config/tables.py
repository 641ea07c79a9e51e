"""Every key of gateway.yaml: one table a section, from which the loader reads and the reference is written.

A row says the key's name, its kind and the sentence that explains it. Its default is the default of the field in
`gateway.config.values`, or, where it depends on another value, the loader's (then the row says it in words). A key
without a default must be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.config import values as v
from gateway.config.audit_keys import AUDIT
from gateway.config.console_keys import CONSOLE
from gateway.config.dicom_kinds import (
    ACCEPTED_AE_TITLE,
    AE_TITLE,
    CALLING_AE_TITLE,
    HOST,
    LEDGER_URL,
    NETWORK,
    QUEUE_URL,
    SOP_CLASS,
    STATUSES,
    TRANSFER_SYNTAX,
)
from gateway.config.kinds import BOOLEAN, NAME, PATH, ListOf, choice, duration, number, size
from gateway.config.sections import Key, Section

_LATER_TYPES = MappingProxyType(
    dict.fromkeys(("dicomweb", "stow", "folder"), "comes with a later release; 'dicom' is what there is")
)


_PORT = number(1, 65535)
_PDU_LENGTH = size(4096, v.MIB)  # PS3.8 D.1.1 allows 0 (no limit); every bound of ours is finite

_SHORT = duration(0.01, v.HOUR_S)
_LONG = duration(0.01, 7 * v.DAY_S)

ROOT = Section(
    "",
    v.Config,
    (
        Key("ae_title", AE_TITLE, "The gateway's own AE title, used where no other is given.", "`GATEWAY`"),
        Key(
            "state_dir",
            PATH,
            "The ledger, the lock and the sockets between the processes. On a local disk, never a network share.",
            "`./state`",
        ),
        Key(
            "host",
            NAME,
            "What this host is called where several share a ledger: each has a name of its own.",
            "the machine's host name, in small letters, with `-` for what a name cannot hold",
        ),
    ),
)

SPOOL = Section(
    "spool",
    v.SpoolConfig,
    (
        Key("dir", PATH, "Where instances are kept until they are delivered.", "`<state_dir>/spool`"),
        Key(
            "min_free",
            size(0, 1024 * 1024 * v.GIB),
            "Below this much free room new instances are refused (0xA700), while forwarding goes on.",
        ),
        Key("keep", duration(0, 366 * v.DAY_S), "How long settled instances stay in the spool, to be sent again."),
        Key(
            "ballast",
            size(0, v.GIB),
            "A file that is given up when the disk is full, so that outcomes can still be recorded.",
        ),
        Key(
            "pool_size",
            number(1, 10_000),
            "How many empty files a receiver creates ahead: who finds none waits for one.",
        ),
        Key(
            "shared",
            BOOLEAN,
            "Whether several hosts mount the folder ([scaling.md](scaling.md#the-shared-spool)).",
            "`true` where `ledger.url` is one of PostgreSQL, else `false`",
        ),
    ),
)

RULES = Section(
    "rules",
    v.RulesConfig,
    (
        Key("dir", PATH, "The folder of the rule files (`*.yaml`), read in name order.", "`./rules`"),
        Key(
            "history",
            duration(0, 366 * v.DAY_S),
            "How long headers of what was routed are remembered, to try other rules on; `0 s`: not at all.",
        ),
        Key("history_size", size(0, 1024 * v.GIB), "How much they may hold; the oldest are forgotten first."),
    ),
)

PSEUDONYM_KEYS = Section(
    "pseudonym_keys",
    v.PseudonymKey,
    (
        Key(
            "file",
            PATH,
            "The file with the secret that pseudonyms are made with: 16 bytes or more, without the end of the line.",
        ),
    ),
    named=True,
)

REIDENTIFICATION = Section(
    "reidentification",
    v.Reidentification,
    (
        Key(
            "public_key",
            PATH,
            "The public key (PEM) that what stands behind pseudonyms is sealed with, and kept; without it, nothing is.",
        ),
    ),
)

LISTENERS = Section(
    "listeners",
    v.Listener,
    (
        Key("host", HOST, "The address to listen on; `0.0.0.0` is every IPv4 interface, `'::'` every interface."),
        Key("port", _PORT, "The TCP port; 104 and 11112 are DICOM's own."),
        Key(
            "ae_titles",
            ListOf(ACCEPTED_AE_TITLE, "any"),
            "The called AE titles it answers to.",
            "`[<ae_title>]`",
        ),
        Key("accept_unknown", BOOLEAN, "Also serve senders that no entry of `sources` describes."),
        Key(
            "abstract_syntaxes",
            ListOf(SOP_CLASS, "every storage class", none=True),
            "The SOP classes it accepts. Verification is always accepted.",
        ),
        Key(
            "transfer_syntaxes",
            ListOf(TRANSFER_SYNTAX, "any, in the sender's order"),
            "The transfer syntaxes it accepts, most preferred first.",
        ),
        Key("max_pdu_length", _PDU_LENGTH, "The largest PDU it tells senders to send."),
        Key("max_associations", number(1, 10_000), "Associations at once, of each receiver process."),
        Key("max_associations_per_host", number(1, 10_000), "Associations at once from one address."),
        Key("artim_timeout", _SHORT, "How long a connection may take to ask for an association."),
        Key("idle_timeout", _LONG, "How long an association may be silent between messages."),
        Key("progress_timeout", _SHORT, "In each such time at least 1 KiB of a message must come, or it is cut off."),
        Key("max_object", size(v.KIB, 1024 * v.GIB), "The largest data set it takes; one twice as large is cut off."),
        Key("backlog", number(1, 65535), "Connections that may wait to be accepted."),
    ),
    named=True,
)

SOURCES = Section(
    "sources",
    v.Source,
    (
        Key("ae_titles", ListOf(ACCEPTED_AE_TITLE, "any"), "The calling AE titles it may use."),
        Key("hosts", ListOf(NETWORK, "any"), "The addresses it may come from. Give one of the two lists at least."),
        Key(
            "silent_after",
            duration(60, 366 * v.DAY_S),
            "It always sends: without an instance for so long, an alert tells of it "
            "([operations.md](operations.md#a-source-is-silent)).",
        ),
    ),
    named=True,
    reloads=True,
)

DESTINATIONS = Section(
    "destinations",
    v.Destination,
    (
        Key("type", choice(v.DestinationType, _LATER_TYPES), "How it is spoken to."),
        Key("ae_title", AE_TITLE, "Its AE title, sent as the called one."),
        Key("host", HOST, "Its address."),
        Key("port", _PORT, "Its TCP port."),
        Key(
            "calling_ae_title",
            CALLING_AE_TITLE,
            "The AE title the gateway calls itself; `$source` passes on that of the sender.",
            "`<ae_title>` of the gateway",
        ),
        Key("max_associations", number(1, 64), "Associations at once, at most."),
        Key("max_pdu_length", _PDU_LENGTH, "The largest PDU it may send to us."),
        Key("connect_timeout", _SHORT, "How long a TCP connection may take."),
        Key("association_timeout", _SHORT, "How long it may take to answer an association request."),
        Key("response_timeout", _LONG, "How long it may take to answer a C-STORE."),
        Key("progress_timeout", _SHORT, "In each such time it must take at least 1 KiB of a message, or is given up."),
        Key("idle_timeout", duration(0, v.HOUR_S), "How long an association is kept for what comes next."),
        Key(
            "give_up_after",
            duration(0.01, 3660 * v.DAY_S),
            "How long an instance is tried while the destination is in trouble; then it is dead, and kept.",
        ),
        Key("retry_min", _LONG, "The shortest wait before an instance is tried again."),
        Key("retry_max", _LONG, "The longest wait before an instance is tried again."),
        Key("attempts", number(1, 1000), "Tries of an instance that the destination itself refuses; then it is held."),
        Key("probe_min", _SHORT, "The shortest wait between probes (C-ECHO) while it is down."),
        Key("probe_max", _LONG, "The longest wait between probes while it is down."),
        Key("duplicates", choice(v.Duplicates), "Whether exact duplicates are sent to it again."),
        Key("priority", choice(v.Priority), "The priority of C-STORE requests; few archives look at it."),
        Key(
            "require_transform",
            NAME,
            "Send it only what went through this transform, never an original: all else is held.",
        ),
        Key(
            "transcode",
            choice(v.Transcode),
            "Whether it gets a copy in another transfer syntax, made without any loss, where it does not accept that "
            "of an instance; else the instance is held.",
        ),
        Key("statuses", STATUSES, "What its C-STORE statuses mean, where that differs from the built-in table."),
    ),
    named=True,
    reloads=True,
)

LEDGER = Section("ledger", v.LedgerConfig, (Key("url", LEDGER_URL, "Where the state of everything is kept."),))
QUEUE = Section("queue", v.QueueConfig, (Key("url", QUEUE_URL, "How the stages wake each other up."),))
METRICS = Section(
    "metrics",
    v.HttpAddress,
    (
        Key("host", HOST, "The address that serves `/metrics`, and `/livez` and `/readyz` for probes."),
        Key("port", _PORT, "Its TCP port."),
    ),
)
PROCESSES = Section(
    "processes",
    v.Processes,
    (
        Key("receiver", number(1, 64), "Processes that receive."),
        Key("worker", number(1, 64), "Processes that read headers and evaluate rules."),
        Key("forwarder", number(1, 64), "Processes that send. Each destination is one's at a time."),
    ),
)
WORKER = Section(
    "worker",
    v.WorkerConfig,
    (
        Key("memory", size(256 * v.MIB, 256 * v.GIB), "The memory one worker may use; past that it is replaced."),
        Key("time", duration(1, v.HOUR_S), "How long one worker may take over its work; past that it is replaced."),
    ),
)
LOG = Section(
    "log",
    v.LogConfig,
    (
        Key("format", choice(v.LogFormat), "`auto` is `console` on a terminal and `json` otherwise."),
        Key("level", choice(v.LogLevel), "The least important lines that are written."),
    ),
)

SECTIONS: Mapping[str, Section] = MappingProxyType(
    {
        section.name: section
        for section in (
            SPOOL, RULES, LISTENERS, SOURCES, DESTINATIONS, LEDGER, QUEUE, METRICS, CONSOLE, AUDIT, PROCESSES, WORKER,
            LOG, PSEUDONYM_KEYS, REIDENTIFICATION,
        )
    }
)  # fmt: skip

DESTINATION_DEFAULTS = "destination_defaults"
"""A section with the keys of one destination, merged under each of them."""

TOP_KEYS: tuple[str, ...] = (*(key.name for key in ROOT.keys), *SECTIONS, DESTINATION_DEFAULTS)
