"""One destination: does it answer, how fast, with what, and when will it have what waits."""

from __future__ import annotations

from gateway.dicom.status import describe
from gateway.telemetry.registry import ANSWER_STATUSES
from tools.dashboards.board import Board, Section, choice
from tools.dashboards.overview import UP
from tools.dashboards.panels import (
    ANY_IS_BAD,
    ANY_IS_FAIR,
    BAD,
    FAIR,
    GOOD,
    Column,
    Json,
    colored,
    from_on,
    heat,
    lines,
    on_the_right,
    stat,
    steps,
    table,
    to_console,
    words,
)

_IT = 'destination="$destination"'
_WAITING = f'{_IT}, state=~"ready|leased|deferred"'
_DEPTH = f"sum(max by (state) (gateway_queue_depth{{{_WAITING}}}))"
NEVER_S = 7 * 86400
# At the pace of the last quarter of an hour; what does not shrink counts as a week.
DRAINED_IN_S = (
    f"clamp_max({_DEPTH} / clamp_min(-sum(max by (state) (deriv(gateway_queue_depth{{{_WAITING}}}[15m]))), 0.000001), "
    f"{NEVER_S})"
)
_NO_ANSWER = "connection|timeout|aborted|rejected"


_RANGES = {"0xA7xx": 0xA700, "0xA9xx": 0xA900, "0xB0xx": 0xB000, "0xCxxx": 0xC000}


def _statuses() -> list[Json]:
    """Words for each status that is known, and for the ranges."""
    named = {f"0x{status:04X}": describe(status) for status in sorted(ANSWER_STATUSES)}
    named |= {label: f"{label} {describe(first).partition(' ')[2]}" for label, first in _RANGES.items()}
    options = {label: {"index": index, "text": text} for index, (label, text) in enumerate(named.items())}
    return [{"options": options, "type": "value"}]


_NOW = Section(
    "Now",
    [
        stat(
            "Answers",
            "Whether it is thought to be reachable. Down: nothing is sent but a C-ECHO now and then, and it is used "
            "again by itself once that is answered.",
            f"min(gateway_destination_up{{{_IT}}})",
            thresholds=steps((1, GOOD), base=BAD),
            mappings=UP,
            none="nobody serves it",
        ),
        stat(
            "Paused",
            "Whether a person has paused it: then nothing is sent, and it is not an error.",
            f"max(gateway_destination_paused{{{_IT}}})",
            thresholds=ANY_IS_FAIR,
            mappings=words((0, "no", GOOD), (1, "paused", FAIR)),
        ),
        stat(
            "Waiting",
            "Deliveries that are ready, under way or due again later.",
            _DEPTH,
            unit="short",
            links=[to_console("Queue", "/queue")],
        ),
        stat(
            "Drained in",
            "When what waits will be there, at the pace of the last quarter of an hour.",
            DRAINED_IN_S,
            unit="s",
            thresholds=steps((3600, FAIR), (NEVER_S, BAD)),
            mappings=from_on(NEVER_S, "not shrinking", BAD),
        ),
        stat(
            "Oldest that waits",
            "How long the oldest delivery has waited. More than an hour wants a person.",
            f"max(gateway_queue_oldest_age_seconds{{{_IT}}})",
            unit="s",
            thresholds=steps((900, FAIR), (3600, BAD)),
        ),
        stat(
            "Window",
            "Associations that may send at once, now: it grows with success up to max_associations, and shrinks with "
            "failures to 1.",
            f"max(gateway_destination_window{{{_IT}}})",
            decimals=1,
            none="nobody serves it",
        ),
        stat(
            "Held",
            "Deliveries that wait for a person: refused again and again, not accepted, or held by order.",
            f'max(gateway_queue_depth{{{_IT}, state="held"}})',
            thresholds=ANY_IS_FAIR,
            links=[to_console("Attention", "/attention")],
        ),
        stat(
            "Dead",
            "Deliveries that were tried for longer than give_up_after.",
            f'max(gateway_queue_depth{{{_IT}, state="dead"}})',
            thresholds=ANY_IS_BAD,
            links=[to_console("Attention", "/attention")],
        ),
    ],
)
_OUTCOMES = Section(
    "What comes of it",
    [
        lines(
            "Tries by disposition",
            "Tries to deliver, by where they left the delivery: delivered, due again later, held for a person, dead.",
            (f"sum by (state) (rate(gateway_deliveries_total{{{_IT}}}[$__rate_interval]))", "{{state}}"),
            unit="cps",
            stacked=True,
            overrides=colored({"delivered": GOOD, "deferred": FAIR, "held": BAD, "dead": "dark-red"}),
        ),
        lines(
            "Tries that failed, by outcome",
            "What went wrong: no answer (connection, timeout, aborted, rejected) is the destination's or the network's "
            "trouble; throttled is a destination that is full; refused and not_accepted are about the instance.",
            (
                f'sum by (outcome) (rate(gateway_deliveries_total{{{_IT}, state!="delivered"}}[$__rate_interval]))',
                "{{outcome}}",
            ),
            unit="cps",
            stacked=True,
        ),
        table(
            "Answers other than success, by status",
            "What the destination answered to C-STOREs since the forwarder was started, warnings included, and when it "
            "last did. The archive's log says why.",
            [
                Column("status", "Status", mappings=_statuses()),
                Column("Value #A", "Answers", "short"),
                Column("Value #B", "Last", "dateTimeFromNow"),
            ],
            f"sum by (status) (gateway_delivery_answers_total{{{_IT}}})",
            f"1000 * max by (status) (gateway_delivery_answer_timestamp_seconds{{{_IT}}})",
            sort_by="Last",
            none="none but success",
        ),
        table(
            "Tries without an answer",
            "Tries that no status came back to, since the forwarder was started.",
            [Column("outcome", "Outcome"), Column("state", "Left it"), Column("Value #A", "Tries", "short")],
            f'sum by (outcome, state) (gateway_deliveries_total{{{_IT}, outcome=~"{_NO_ANSWER}"}})',
            sort_by="Tries",
            none="each was answered",
        ),
    ],
)
_SPEED = Section(
    "How fast",
    [
        heat(
            "From received to delivered",
            "How long instances took from their arrival here to their delivery there. A dark band that climbs is a "
            "backlog that is worked off.",
            f"sum by (le) (increase(gateway_delivery_seconds_bucket{{{_IT}}}[$__rate_interval]))",
        ),
        lines(
            "From received to delivered",
            "The same as quantiles.",
            *(
                (
                    f"histogram_quantile({share}, sum by (le) "
                    f"(rate(gateway_delivery_seconds_bucket{{{_IT}}}[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "half within"), (0.95, "95 % within"), (0.99, "99 % within"))
            ),
            unit="s",
        ),
        lines(
            "Backlog and when it is drained",
            "What waits, by state, and on the right how long that will take at the pace of the last quarter of an "
            "hour; a week stands for: it does not shrink.",
            (f"max by (state) (gateway_queue_depth{{{_WAITING}}})", "{{state}}"),
            (DRAINED_IN_S, "drained in"),
            unit="short",
            overrides=[on_the_right("drained in", "s")],
        ),
        lines(
            "Window",
            "Associations that may send at once. It shrinks when tries fail: saw teeth are a destination at its limit.",
            (f"max(gateway_destination_window{{{_IT}}})", "window"),
            unit="short",
            steps_between=True,
        ),
        lines(
            "Bytes out",
            "Data set bytes delivered.",
            (f"sum(rate(gateway_delivered_bytes_total{{{_IT}}}[$__rate_interval]))", "out"),
            unit="Bps",
        ),
        lines(
            "Associations out",
            "Associations that the gateway has open, to all destinations together.",
            ('sum(gateway_associations_active{role="requestor"})', "open"),
            unit="short",
        ),
    ],
)

BOARD = Board(
    "destination",
    "DICOM gateway: destination",
    "One destination: does it answer, how fast, with what, and when will it have what waits.",
    [_NOW, _OUTCOMES, _SPEED],
    [choice("destination", "Destination", "gateway_queue_depth")],
)
