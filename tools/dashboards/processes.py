"""What the gateway runs on: hosts and processes, the ledger, the work queue, certificates."""

from __future__ import annotations

from tools.dashboards.board import Board, Section
from tools.dashboards.panels import (
    ANY_IS_BAD,
    ANY_IS_FAIR,
    BAD,
    FAIR,
    GOOD,
    Column,
    lines,
    on_the_right,
    stat,
    states,
    steps,
    table,
    to_console,
    words,
)

_EACH = "{{instance}} {{process}}"
_RESTARTS = "sum by (instance, child) (increase(gateway_child_starts_total[15m]))"
_IS_UP = words((0, "down", BAD), (1, "up", GOOD))
_DAYS_LEFT = steps((3 * 86400, FAIR), (21 * 86400, GOOD), base=BAD)
_TO_SYSTEM = to_console("System", "/system")

_NOW = Section(
    "Now",
    [
        stat(
            "Hosts",
            "Hosts with a process that lives, as the ledger knows them.",
            "max(gateway_hosts)",
            thresholds=steps((1, GOOD), base=BAD),
            links=[_TO_SYSTEM],
        ),
        stat(
            "Ledger",
            "Whether every host can read the ledger. Without it nothing is routed or sent; what is received is safe in "
            "the spool.",
            "min(gateway_ledger_up)",
            thresholds=steps((1, GOOD), base=BAD),
            mappings=_IS_UP,
        ),
        stat(
            "Silent processes",
            "Processes that did not answer the last scrape: they hang, or the machine is overloaded.",
            'sum(gateway_scrape_sources{state="silent"})',
            thresholds=ANY_IS_BAD,
        ),
        stat(
            "Restarts",
            "Roles that the supervisors started in the last quarter of an hour beyond the first start of each.",
            "sum(increase(gateway_child_starts_total[15m]))",
            unit="short",
            thresholds=steps((1, FAIR), (3, BAD)),
            decimals=0,
        ),
        stat(
            "Warnings",
            "Log lines of level warning or error, a minute.",
            "60 * sum(rate(gateway_problems_total[$__rate_interval]))",
            unit="short",
            thresholds=steps((60, FAIR)),
            decimals=1,
            curve=True,
        ),
        stat(
            "Log lines lost",
            "Log lines that could not be written since the processes were started: a full disk, or nobody who reads.",
            "sum(gateway_log_lines_lost_total)",
            unit="short",
            thresholds=ANY_IS_FAIR,
        ),
        stat(
            "Hosts taken for dead",
            "Processes of other hosts that were silent for half a minute, since the consoles were started: others have "
            "what they held.",
            "sum(gateway_sessions_voided_total)",
            unit="short",
            thresholds=ANY_IS_FAIR,
        ),
        stat(
            "Audit trail behind",
            "Age of the oldest audit message that the syslog server has not got. Nothing is lost: the file has all.",
            "max(gateway_audit_syslog_behind_seconds)",
            unit="s",
            thresholds=steps((60, FAIR), (600, BAD)),
        ),
    ],
)
_PROCESSES = Section(
    "Processes",
    [
        lines(
            "CPU",
            "Cores that each process uses. A receiver, forwarder or worker at 1 is at its end: more processes help.",
            ("rate(process_cpu_seconds_total[$__rate_interval])", _EACH),
            unit="short",
            thresholds=steps((0.9, FAIR)),
        ),
        lines(
            "Memory",
            "Resident memory of each process. It is flat in the long run; workers are ended at worker.memory.",
            ("process_resident_memory_bytes", _EACH),
            unit="bytes",
        ),
        lines(
            "Descriptors",
            "How much of its limit of open files each process uses. At 100 % connections are hung up on.",
            ("process_open_fds / process_max_fds", _EACH),
            unit="percentunit",
            thresholds=steps((0.7, FAIR), (0.9, BAD)),
        ),
        lines(
            "How late event loops are",
            "99 of 100 looks: how long a process with an event loop was too busy for what was due. Tenths of a second "
            "are a host short of CPU, or a disk that blocks.",
            (
                "histogram_quantile(0.99, sum by (instance, process, le) "
                '(rate(gateway_loop_late_seconds_bucket{process!~"worker.*"}[$__rate_interval])))',
                _EACH,
            ),
            unit="s",
            thresholds=steps((0.1, FAIR), (1, BAD)),
        ),
        states(
            "Roles",
            "Whether each role does its work, by host.",
            "min by (instance, child) (gateway_child_up)",
            "{{instance}} {{child}}",
            _IS_UP,
            links=[_TO_SYSTEM],
        ),
        table(
            "Roles started in the last quarter of an hour",
            "How often the supervisor started each role beyond the first time. More than twice: see `child_ended` and "
            "`crashed` in the log.",
            [
                Column("instance", "Host"),
                Column("child", "Role"),
                Column("Value #A", "Starts", "short", thresholds=steps((1, FAIR), (3, BAD))),
            ],
            f"round({_RESTARTS})",
            sort_by="Starts",
        ),
        lines(
            "Processes of all hosts",
            "Processes that live, by role, as the ledger knows them.",
            ("max by (role) (gateway_sessions)", "{{role}}"),
            unit="short",
            steps_between=True,
        ),
        lines(
            "Hosts that drain",
            "Hosts on which a role takes no more work, until `gateway drain HOST --undo`.",
            ("max by (role) (gateway_hosts_draining)", "{{role}}"),
            unit="short",
            steps_between=True,
        ),
    ],
)
_LEDGER = Section(
    "Ledger and work queue",
    [
        lines(
            "Commit to the ledger",
            "From asking for a turn to write until the commit. Over a second the ledger holds everybody up: its disk, "
            "its server, or the network.",
            *(
                (
                    f"histogram_quantile({share}, sum by (le) "
                    "(rate(gateway_ledger_commit_seconds_bucket[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "half within"), (0.99, "99 % within"))
            ),
            unit="s",
            thresholds=steps((0.25, FAIR), (1, BAD)),
        ),
        lines(
            "Commits",
            "Transactions, by process.",
            ("rate(gateway_ledger_commits_total[$__rate_interval])", _EACH),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Jobs of RQ",
            "Jobs in Redis. Each wakes a worker up, and there are never more queued than there are workers, whatever "
            "waits. Failed ones are none of the gateway's making: see job_refused in the log.",
            ("max by (state) (gateway_rq_jobs)", "{{state}}"),
            ("max(gateway_rq_workers)", "workers"),
            unit="short",
        ),
        lines(
            "Jobs run",
            "Jobs that workers ran, and those that were none of ours and were refused.",
            ("sum(rate(gateway_jobs_total[$__rate_interval]))", "run"),
            ("sum by (reason) (rate(gateway_jobs_refused_total[$__rate_interval]))", "refused: {{reason}}"),
            unit="cps",
        ),
        states(
            "Connections to Redis",
            "Those that were lost at least once. Without Redis all goes on by the ledger, a second later.",
            "min by (instance, link) (gateway_redis_up)",
            "{{instance}} {{link}}",
            _IS_UP,
        ),
        lines(
            "Audit trail",
            "Records written into the trail's files, and on the right how old the oldest message is that the syslog "
            "server has not got.",
            ("sum(rate(gateway_audit_records_total[$__rate_interval]))", "records"),
            ("max(gateway_audit_syslog_behind_seconds)", "syslog behind"),
            unit="cps",
            overrides=[on_the_right("syslog behind", "s")],
        ),
        stat(
            "Audit trail's files",
            "Whether they take records; what they do not take waits in the ledger.",
            "min(max by (instance) (gateway_audit_trail_up))",
            thresholds=steps((1, GOOD), base=BAD),
            mappings=words((0, "take none", BAD), (1, "written", GOOD)),
            width=6,
            height=8,
        ),
        table(
            "Certificates",
            "When the certificates in use expire. Renewed files show by themselves.",
            [
                Column("certificate", "Certificate"),
                Column("instance", "Host"),
                Column("Value #A", "Expires in", "s", thresholds=_DAYS_LEFT),
            ],
            "min by (certificate, instance) (gateway_certificate_expiry_timestamp_seconds) - time()",
            none="no certificates in use",
            width=18,
        ),
    ],
)

BOARD = Board(
    "processes",
    "DICOM gateway: processes",
    "What the gateway runs on: hosts and processes, the ledger, the work queue, certificates.",
    [_NOW, _PROCESSES, _LEDGER],
)
