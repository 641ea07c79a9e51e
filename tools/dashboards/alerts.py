"""Alerts: when somebody is to be told, what, and where it is written what to do.

A gateway is a job of Prometheus: `job: gateway` in its configuration, or another name, but one for all hosts of a
ledger. What the ledger says is the same on all its hosts, so that `max by (job, …)` makes one alert of it. Each alert
waits for as long as the trouble may heal by itself.

`value` is what is looked at, `when` what makes it an alert; a test shows that each value is there on a gateway that
runs. Summary and description name destinations, sources, hosts and processes: never anything of a patient.
"""

from __future__ import annotations

from gateway.console.notices import CERTIFICATE_LEFT_S, CERTIFICATE_URGENT_S, ROUTING_OLD_S, SYSLOG_BEHIND_S
from tools.dashboards.rulefile import CRITICAL, WARNING, Alert, Group

JOB = "gateway"

_WHERE = "on {{ $labels.instance }}"
_TO = "{{ $labels.destination }}"
_AGE = "{{ $value | humanizeDuration }}"

HOSTS = Group(
    "hosts",
    "Hosts and processes: is the gateway there, and does it take work?",
    [
        Alert(
            "GatewayGone",
            f'up{{job="{JOB}"}}',
            "== 0",
            "2m",
            CRITICAL,
            f"The gateway does not answer {_WHERE}",
            "Prometheus cannot scrape its metrics: the host, the gateway or the way there is down. What it had "
            "acknowledged is in its spool; senders that cannot connect keep their images.",
            "the-gateway-does-not-answer",
        ),
        Alert(
            "GatewayNotScraped",
            f'absent(up{{job="{JOB}"}})',
            "== 1",
            "5m",
            CRITICAL,
            "Prometheus knows no gateway",
            f"No target of the job {JOB} is configured or found: no alert of the gateway can come.",
            "the-gateway-does-not-answer",
        ),
        Alert(
            "GatewayNotReady",
            "min by (job, instance) (gateway_ready)",
            '== 0 unless on (job, instance) max by (job, instance) (gateway_not_ready{reason="drained"}) == 1',
            "2m",
            CRITICAL,
            f"The gateway is not ready {_WHERE}",
            "/readyz says why. It takes no new work there, or a part of it does not run; what it has goes on as far as "
            "it can.",
            "a-host-is-not-ready",
        ),
        Alert(
            "GatewayIntakeStopped",
            'max by (job, instance, reason) (gateway_not_ready{reason=~"intake_closed|spool_low|no_descriptors"})',
            "== 1",
            "1m",
            CRITICAL,
            f"The gateway takes no images {_WHERE}: {{{{ $labels.reason }}}}",
            "Senders are turned away and keep their images; many give up after some tries. What was acknowledged goes "
            "on to its destinations.",
            "intake-is-closed",
        ),
        Alert(
            "GatewayProcessSilent",
            'max by (job, instance) (gateway_scrape_sources{state="silent"})',
            "> 0",
            "2m",
            WARNING,
            f"{{{{ $value }}}} processes of the gateway are silent {_WHERE}",
            "They live and do not say how they are: they hang, or the machine is overloaded. The supervisor ends "
            "those that hang.",
            "a-process-is-silent",
        ),
        Alert(
            "GatewayProcessRestarts",
            "sum by (job, instance, child) (increase(gateway_child_starts_total[15m]))",
            "> 2.5",  # three: `increase` reckons beyond the scrapes that it has, and of two makes 2.03
            "0m",
            WARNING,
            f"{{{{ $labels.child }}}} is started again and again {_WHERE}",
            "It dies or hangs. Nothing is lost: what it held is freed, what it received is adopted; little gets done.",
            "a-role-dies-or-hangs-again-and-again",
        ),
        Alert(
            "GatewayRoleMissing",
            'max by (job, role) (gateway_sessions{role=~"receiver|worker|forwarder"})',
            "== 0",
            "2m",
            CRITICAL,
            "No {{ $labels.role }} of the gateway runs on any host",
            "Without a receiver nothing is taken, without a worker nothing is routed, without a forwarder nothing is "
            "sent. What was acknowledged is kept until one runs again.",
            "a-role-runs-nowhere",
        ),
        Alert(
            "GatewayHostGone",
            "sum by (job) (increase(gateway_sessions_voided_total[1h]))",
            "> 0",
            "0m",
            WARNING,
            "A host of the gateway was taken for dead in the last hour",
            "Processes of it were silent for half a minute, and others have what they held. At most what was in flight "
            "is sent twice. There is less to work with until it is back; `gateway hosts` shows whether it is.",
            "a-host-is-gone",
        ),
        Alert(
            "GatewayRedisLost",
            "min by (job, instance, link) (gateway_redis_up)",
            "== 0",
            "5m",
            WARNING,
            f"The gateway has no Redis {_WHERE}",
            "Wake-ups come by a look at the ledger, a second later, and nothing else is lost. It is Redis, or the way "
            "to it.",
            "redis-is-away",
        ),
        Alert(
            "GatewayLogLinesLost",
            "sum by (job, instance) (increase(gateway_log_lines_lost_total[15m]))",
            "> 0",
            "0m",
            WARNING,
            f"Log lines of the gateway are lost {_WHERE}",
            "Its standard error cannot be written: a full disk, or nobody who reads. The gateway goes on.",
            "log-lines-are-missing",
        ),
    ],
)

DESTINATIONS = Group(
    "destinations",
    "Destinations: do they answer, and does what waits get there?",
    [
        Alert(
            "GatewayDestinationDown",
            "min by (job, destination) (gateway_destination_up)",
            "== 0",
            "5m",
            WARNING,
            f"The destination {_TO} is down",
            "It does not answer, or refuses the gateway: its own trouble, or the network's. Images for it wait in the "
            "spool and go by themselves when it is back; other destinations are not affected.",
            "a-destination-is-down",
        ),
        Alert(
            "GatewayBacklogOld",
            "max by (job, destination) (gateway_queue_oldest_age_seconds)",
            "> 3600",
            "5m",
            CRITICAL,
            f"Images for {_TO} have waited for {_AGE}",
            "The destination is down, too slow or paused, or nobody serves it. Nothing is lost; somebody may be "
            "waiting for these images.",
            "something-waits-too-long",
        ),
        Alert(
            "GatewayDestinationUnserved",
            "max by (job, destination) (gateway_destination_owned)",
            "== 0",
            "2m",
            CRITICAL,
            f"Nobody serves the destination {_TO}",
            "No forwarder of any host has it: they do not run, are drained, or their configuration does not have it.",
            "nobody-serves-a-destination",
        ),
        Alert(
            "GatewayHeld",
            'max by (job, destination) (gateway_queue_depth{state="held"})',
            "> 0",
            "5m",
            WARNING,
            f"{{{{ $value }}}} deliveries to {_TO} are held",
            "They go nowhere until a person releases or cancels them. The console's page Attention and `gateway list "
            "--state held` say why.",
            "deliveries-are-held",
        ),
        Alert(
            "GatewayDead",
            'max by (job, destination) (gateway_queue_depth{state="dead"})',
            "> 0",
            "1m",
            CRITICAL,
            f"{{{{ $value }}}} deliveries to {_TO} are dead",
            "They were tried for longer than give_up_after, and are tried no more. Their files are kept.",
            "deliveries-are-dead",
        ),
    ],
)

INSTANCES = Group(
    "instances",
    "Instances, rules and sources: does everything that comes have a way?",
    [
        Alert(
            "GatewayRoutingOld",
            "max by (job) (gateway_routing_oldest_age_seconds)",
            f"> {ROUTING_OLD_S}",
            "5m",
            CRITICAL,
            f"Images have waited for {_AGE} to be routed",
            "Nothing routes them: no worker runs, all are drained, or they cannot load the rules. Nothing is lost, and "
            "nothing of it is sent.",
            "nothing-is-routed",
        ),
        Alert(
            "GatewayUnrouted",
            "max by (job) (gateway_unrouted_instances)",
            "> 0",
            "5m",
            WARNING,
            "{{ $value }} instances are held without a route",
            "No rule matches them, a rule or a person holds them, or they were recovered. They go nowhere until they "
            "are released.",
            "instances-are-held-without-a-route",
        ),
        Alert(
            "GatewayQuarantined",
            "max by (job) (gateway_quarantined_instances)",
            "> 0",
            "1m",
            WARNING,
            "{{ $value }} instances are quarantined",
            "They cannot be trusted and are sent nowhere: broken by their sender, or by a disk. The reason says which.",
            "instances-are-quarantined",
        ),
        Alert(
            "GatewayRulesRefused",
            "max by (job, instance) (gateway_rules_refused)",
            "== 1",
            "1m",
            WARNING,
            f"The rule files are refused {_WHERE}",
            "They were changed and have problems. The last good rules go on; the change that somebody wanted does not "
            "happen.",
            "the-configuration-or-the-rules-are-refused",
        ),
        Alert(
            "GatewayConfigurationRefused",
            "max by (job, instance) (gateway_configuration_refused)",
            "== 1",
            "1m",
            WARNING,
            f"The changed configuration is refused {_WHERE}",
            "It was read again and has problems. The one before it goes on; until it is mended, a gateway that ends "
            "does not start again.",
            "the-configuration-or-the-rules-are-refused",
        ),
        Alert(
            "GatewaySourceSilent",
            # What the ledger has nothing of counts from when the receivers began to listen.
            "time() - (max by (job, source) (gateway_source_last_arrival_timestamp_seconds) "
            "or max by (job, source) (gateway_source_last_received_timestamp_seconds))",
            "> on (job, source) max by (job, source) (gateway_source_silent_after_seconds)",
            "5m",
            WARNING,
            f"Nothing has come from {{{{ $labels.source }}}} for {_AGE}",
            "It sends always, by the configuration. It is off, its network or its settings are broken, or it is turned "
            "away here.",
            "a-source-is-silent",
        ),
    ],
)

STORES = Group(
    "stores",
    "Spool, ledger, certificates and audit trail: what the gateway stands on.",
    [
        Alert(
            "GatewaySpoolFilling",
            "min by (job, instance) (predict_linear(gateway_spool_free_bytes[1h], 4 * 3600))",
            "< on (job, instance) min by (job, instance) (gateway_spool_min_free_bytes)",
            "15m",
            WARNING,
            f"The spool is full in less than four hours {_WHERE}",
            "At the pace of the last hour. Then new images are refused, and senders keep them; what is in the spool is "
            "safe. Something is not delivered, or the disk fills from elsewhere.",
            "the-spool-is-low-or-full",
        ),
        Alert(
            "GatewaySpoolShort",
            "min by (job, instance) (gateway_spool_free_bytes / gateway_spool_min_free_bytes)",
            "< 2",
            "5m",
            WARNING,
            f"The spool has little room {_WHERE}",
            "Less than twice spool.min_free is left; below it new images are refused.",
            "the-spool-is-low-or-full",
        ),
        Alert(
            "GatewaySpoolInodes",
            "min by (job, instance) (gateway_spool_free_inodes / gateway_spool_total_inodes)",
            "< 0.05",
            "5m",
            WARNING,
            f"The spool's file system can hardly make files any more {_WHERE}",
            "Fewer than 5 % of its inodes are left. Without any new images are refused, whatever room there is.",
            "the-spool-is-low-or-full",
        ),
        Alert(
            "GatewayLedgerDown",
            "min by (job, instance) (gateway_ledger_up)",
            "== 0",
            "1m",
            CRITICAL,
            f"The ledger cannot be read {_WHERE}",
            "Nothing is routed or sent without it, and after a while nothing more is taken. What was acknowledged is "
            "in the spool.",
            "the-ledger-is-lost-or-damaged",
        ),
        Alert(
            "GatewayLedgerSlow",
            "histogram_quantile(0.99, sum by (job, instance, le) (rate(gateway_ledger_commit_seconds_bucket[10m])))",
            "> 1",
            "10m",
            WARNING,
            f"The ledger is slow {_WHERE}: 1 commit in 100 takes {_AGE}",
            "Its disk, its server or the network to it holds everybody up. Images are still taken and sent, later.",
            "the-ledger-is-slow",
        ),
        Alert(
            "GatewayCertificateExpiring",
            "min by (job, certificate) (gateway_certificate_expiry_timestamp_seconds) - time()",
            f"< {CERTIFICATE_LEFT_S}",
            "1h",
            WARNING,
            f"The certificate {{{{ $labels.certificate }}}} expires in {_AGE}",
            "From then on whoever checks it refuses the connection.",
            "a-certificate-expires",
        ),
        Alert(
            "GatewayCertificateExpires",
            "min by (job, certificate) (gateway_certificate_expiry_timestamp_seconds) - time()",
            f"< {CERTIFICATE_URGENT_S}",
            "1m",
            CRITICAL,
            f"The certificate {{{{ $labels.certificate }}}} expires in {_AGE}, or has",
            "From then on whoever checks it refuses the connection.",
            "a-certificate-expires",
        ),
        Alert(
            "GatewayAuditTrailStopped",
            "max by (job, instance) (gateway_audit_trail_up)",
            "== 0",
            "10m",
            WARNING,
            f"The audit trail is not written {_WHERE}",
            "The files of that host take no records, or the ledger gives it none. Nothing is lost: what is to be told "
            "waits in the ledger.",
            "the-audit-trail-is-not-written",
        ),
        Alert(
            "GatewayAuditBehind",
            "max by (job, instance) (gateway_audit_syslog_behind_seconds)",
            f"> {SYSLOG_BEHIND_S}",
            "5m",
            WARNING,
            f"The audit repository is {_AGE} behind {_WHERE}",
            "The syslog server does not take what the audit trail sends. Nothing is lost: all is in the file, and is "
            "sent when it is back.",
            "the-audit-repository-is-behind",
        ),
    ],
)

GROUPS = (HOSTS, DESTINATIONS, INSTANCES, STORES)
