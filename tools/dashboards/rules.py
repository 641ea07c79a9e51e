"""What the rules do: which match, what they hold, and whether a change was taken."""

from __future__ import annotations

from tools.dashboards.board import Board, Section
from tools.dashboards.panels import (
    ANY_IS_BAD,
    ANY_IS_FAIR,
    BAD,
    FAIR,
    GOOD,
    Column,
    colored,
    lines,
    stat,
    steps,
    table,
    to_console,
    words,
)

_TO_RULES = to_console("Rules", "/rules")
_TO_ATTENTION = to_console("Attention", "/attention")

_NOW = Section(
    "Now",
    [
        stat(
            "Revision in force",
            "It stands in logs and in `gateway show`. Every host has the same: it is in the ledger.",
            "max by (revision) (gateway_rules_info)",
            legend="{{revision}}",
            names=True,
            width=6,
            none="no rules",
            links=[_TO_RULES],
        ),
        stat(
            "Rule files",
            "Whether the files of every host are what is in force. Refused: they have problems, and the last good set "
            "goes on; the log and `gateway check` name file, line and column.",
            "max(gateway_rules_refused)",
            thresholds=ANY_IS_BAD,
            mappings=words((0, "in force", GOOD), (1, "refused", BAD)),
            links=[_TO_RULES],
        ),
        stat(
            "Held without a route",
            "Instances that no rule matches, or that a rule, a person or a recovery holds.",
            "max(gateway_unrouted_instances)",
            unit="short",
            thresholds=ANY_IS_FAIR,
            links=[_TO_ATTENTION],
        ),
        stat(
            "Quarantined",
            "Instances that cannot be trusted.",
            "max(gateway_quarantined_instances)",
            unit="short",
            thresholds=ANY_IS_BAD,
            links=[_TO_ATTENTION],
        ),
        stat(
            "Wait for a worker",
            "Instances that are received and not routed yet. It is near 0 but in a rush.",
            'max(gateway_instances{state="received"})',
            unit="short",
            thresholds=steps((1000, FAIR), (10000, BAD)),
        ),
        stat(
            "Copies that failed",
            "Copies that transforms could not make since the workers were started: their deliveries are held.",
            'sum(gateway_copies_total{result="failed"}) or vector(0)',
            thresholds=ANY_IS_FAIR,
            links=[_TO_ATTENTION],
        ),
        stat(
            "Discarded",
            "Instances that a rule discarded since the workers were started.",
            "sum(gateway_instances_discarded_total)",
            unit="short",
        ),
    ],
)
_MATCHES = Section(
    "Matches",
    [
        lines(
            "Matches by rule",
            "Instances that each rule matched; one may match several. A rule that goes silent after a change is a rule "
            "to look at.",
            ("sum by (rule) (rate(gateway_instances_routed_total[$__rate_interval]))", "{{rule}}"),
            unit="cps",
            stacked=True,
            links=[_TO_RULES],
        ),
        lines(
            "Held at routing, by rule",
            "Instances held as they were routed, by the rule that holds them; (no rule): none matched, so that nobody "
            "said where they go.",
            ("sum by (rule) (rate(gateway_instances_held_total[$__rate_interval]))", "{{rule}}"),
            unit="cps",
            stacked=True,
            links=[_TO_ATTENTION],
        ),
        table(
            "Matches since the workers were started",
            "How many instances each rule matched.",
            [Column("rule", "Rule"), Column("Value #A", "Matches", "short")],
            "sum by (rule) (gateway_instances_routed_total)",
            sort_by="Matches",
        ),
        table(
            "Deliveries held, by reason",
            "Deliveries that ended held as they were tried, since the forwarders were started. docs/operations.md says "
            "what each reason means and what to do.",
            [
                Column("destination", "Destination"),
                Column("outcome", "Reason"),
                Column("Value #A", "Deliveries", "short"),
            ],
            'sum by (destination, outcome) (gateway_deliveries_total{state="held"})',
            sort_by="Deliveries",
            links=[_TO_ATTENTION],
        ),
    ],
)
_CHANGES = Section(
    "Changes and copies",
    [
        lines(
            "Looks at changed rule files",
            "loaded: a new set is in force. refused: it has problems, and the last good set goes on.",
            ("sum by (result) (increase(gateway_rules_reload_total[$__rate_interval]))", "{{result}}"),
            unit="short",
            steps_between=True,
            overrides=colored({"loaded": GOOD, "refused": BAD}),
            links=[_TO_RULES],
        ),
        lines(
            "Copies that transforms make",
            "made; failed: their deliveries are held with the reason; waits: no room on the disk, or a worker ended "
            "over it: tried again.",
            ("sum by (result) (rate(gateway_copies_total[$__rate_interval]))", "{{result}}"),
            unit="cps",
            overrides=colored({"made": GOOD, "failed": BAD, "waits": FAIR}),
        ),
        lines(
            "Instances in the ledger, by state",
            "Purged ones are rows alone: their files are gone, as all destinations have them.",
            ('max by (state) (gateway_instances{state!~"purged|purging"})', "{{state}}"),
            unit="short",
        ),
        lines(
            "Quarantined and discarded",
            "Instances that cannot be trusted, and those that a rule discards.",
            ("sum(rate(gateway_instances_quarantined_total[$__rate_interval]))", "quarantined"),
            ("sum(rate(gateway_instances_discarded_total[$__rate_interval]))", "discarded"),
            unit="cps",
        ),
    ],
)

BOARD = Board(
    "rules",
    "DICOM gateway: rules",
    "What the rules do: which match, what they hold, and whether a change was taken.",
    [_NOW, _MATCHES, _CHANGES],
)
