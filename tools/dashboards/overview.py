"""The first look: what is wrong, whose it is, what is at risk, and how long there is time."""

from __future__ import annotations

from tools.dashboards.board import Board, Section
from tools.dashboards.panels import (
    ANY_IS_BAD,
    ANY_IS_FAIR,
    BAD,
    FAIR,
    GOOD,
    TO_DESTINATION,
    Column,
    from_on,
    lines,
    stat,
    states,
    steps,
    table,
    to_board,
    to_console,
    words,
)

WAITING = 'state=~"ready|leased|deferred"'
NOT_FILLING_S = 30 * 86400
# How long until `min_free` is reached at the pace of the last hour; what does not fill counts as 30 days.
SECONDS_UNTIL_FULL = (
    "min(clamp(clamp_min(gateway_spool_free_bytes - gateway_spool_min_free_bytes, 0) "
    f"/ clamp_min(-deriv(gateway_spool_free_bytes[1h]), 1), 0, {NOT_FILLING_S}))"
)
UP = words((0, "down", BAD), (1, "up", GOOD))

_NOW = Section(
    "Now",
    [
        stat(
            "Hosts not ready",
            "Hosts whose /readyz does not say 200, or that do not answer at all: they take no new work. Any is bad, "
            "but one that is drained. The dashboard Processes says what they lack.",
            "count((min by (instance) (gateway_ready) == 0) or (max by (instance) (up) == 0)) or 0 * count(up)",
            thresholds=ANY_IS_BAD,
            links=[to_board("Processes", "gateway-processes"), to_console("System", "/system")],
        ),
        stat(
            "Destinations down",
            "Destinations that do not answer. What goes there waits in the spool; others are not affected. "
            "It is their trouble or the network's, until one says otherwise.",
            "count(min by (destination) (gateway_destination_up) == 0) or 0 * count(gateway_destination_up)",
            thresholds=ANY_IS_BAD,
            links=[to_console("Queue", "/queue")],
        ),
        stat(
            "Oldest that waits",
            "How long the oldest delivery has waited. More than an hour wants a person.",
            "max(gateway_queue_oldest_age_seconds)",
            unit="s",
            thresholds=steps((900, FAIR), (3600, BAD)),
            links=[to_console("Queue", "/queue")],
        ),
        stat(
            "Held",
            "Deliveries and instances that wait for a person, and go nowhere until then. Nothing of them is lost.",
            'sum(max by (destination) (gateway_queue_depth{state="held"})) + max(gateway_unrouted_instances)',
            thresholds=ANY_IS_FAIR,
            links=[to_console("Attention", "/attention")],
        ),
        stat(
            "Dead",
            "Deliveries tried for longer than give_up_after. They are kept until a person releases or cancels them.",
            'sum(max by (destination) (gateway_queue_depth{state="dead"}))',
            thresholds=ANY_IS_BAD,
            links=[to_console("Attention", "/attention")],
        ),
        stat(
            "Quarantined",
            "Instances that cannot be trusted and are sent nowhere: damaged, or not what they say they are.",
            "max(gateway_quarantined_instances)",
            thresholds=ANY_IS_BAD,
            links=[to_console("Attention", "/attention")],
        ),
        stat(
            "Spool is full in",
            "How long until spool.min_free is reached, at the pace of the last hour; then new images are refused.",
            SECONDS_UNTIL_FULL,
            unit="s",
            thresholds=steps((4 * 3600, FAIR), (24 * 3600, GOOD), base=BAD),
            mappings=from_on(NOT_FILLING_S, "not filling", GOOD),
        ),
        stat(
            "Images per second",
            "Instances answered with Success, all sources together.",
            "sum(rate(gateway_instances_received_total[$__rate_interval]))",
            unit="cps",
            curve=True,
            decimals=1,
            links=[to_board("Receiving", "gateway-receiving")],
        ),
    ],
)
_FLOW = Section(
    "Flow",
    [
        lines(
            "Instances in and out",
            "Instances answered with Success, and deliveries made (one an instance and destination). "
            "Out stays below in while something waits.",
            ("sum(rate(gateway_instances_received_total[$__rate_interval]))", "in"),
            ('sum(rate(gateway_deliveries_total{state="delivered"}[$__rate_interval]))', "out"),
            unit="cps",
            links=[to_board("Receiving", "gateway-receiving")],
        ),
        lines(
            "Bytes in and out",
            "Data set bytes received, and delivered to all destinations together.",
            ("sum(rate(gateway_received_bytes_total[$__rate_interval]))", "in"),
            ("sum(rate(gateway_delivered_bytes_total[$__rate_interval]))", "out"),
            unit="Bps",
        ),
        lines(
            "What waits, by destination",
            "Deliveries that are ready, under way or due again later. A line that only grows is a destination that "
            "takes less than comes for it.",
            (
                f"sum by (destination) (max by (destination, state) (gateway_queue_depth{{{WAITING}}}))",
                "{{destination}}",
            ),
            unit="short",
            values=[TO_DESTINATION],
            links=[to_console("Queue", "/queue")],
        ),
        lines(
            "Age of the oldest, by destination",
            "How long the oldest delivery to each destination has waited. It falls when the destination drains.",
            ("max by (destination) (gateway_queue_oldest_age_seconds)", "{{destination}}"),
            unit="s",
            thresholds=steps((900, FAIR), (3600, BAD)),
            values=[TO_DESTINATION],
        ),
    ],
)
_TROUBLE = Section(
    "Trouble",
    [
        states(
            "Destinations",
            "Whether each destination answers.",
            "min by (destination) (gateway_destination_up)",
            "{{destination}}",
            UP,
            values=[TO_DESTINATION],
            links=[to_console("Queue", "/queue")],
        ),
        table(
            "Alerts",
            "Alerts of grafana/alerts that Prometheus has pending or firing now. Each has a section in "
            "docs/operations.md that says what to do.",
            [
                Column("alertname", "Alert"),
                Column("severity", "Severity"),
                Column("destination", "Destination"),
                Column("reason", "Reason"),
                Column("alertstate", "State"),
            ],
            'max by (alertname, severity, destination, reason, alertstate) (ALERTS{job="$job"})',
            none="no alerts",
        ),
        lines(
            "Held, dead, quarantined",
            "What waits for a person, over time. It falls only when somebody does something.",
            ('sum(max by (destination) (gateway_queue_depth{state="held"}))', "deliveries held"),
            ('sum(max by (destination) (gateway_queue_depth{state="dead"}))', "deliveries dead"),
            ("max(gateway_unrouted_instances)", "instances held without a route"),
            ("max(gateway_quarantined_instances)", "instances quarantined"),
            unit="short",
            thresholds=steps((1, FAIR)),
            links=[to_console("Attention", "/attention")],
        ),
        lines(
            "Room of the spool",
            "Free room on the spool's file system, and the room below which new images are refused. What the spool "
            "itself holds stands beside it: the rest of the disk is somebody else's.",
            ("min by (instance) (gateway_spool_free_bytes)", "free, {{instance}}"),
            ("max(gateway_spool_min_free_bytes)", "min_free"),
            ("max(gateway_spool_bytes)", "held by the spool"),
            unit="bytes",
        ),
    ],
)

BOARD = Board(
    "overview",
    "DICOM gateway: overview",
    "What is wrong, whose it is, what is at risk, and how long there is time.",
    [_NOW, _TROUBLE, _FLOW],
)
