"""What comes in: from whom, how fast it is answered, and who is turned away."""

from __future__ import annotations

from tools.dashboards.board import Board, Section, choice
from tools.dashboards.panels import (
    ANY_IS_BAD,
    ANY_IS_FAIR,
    BAD,
    FAIR,
    GOOD,
    Column,
    heat,
    lines,
    stat,
    states,
    steps,
    table,
    to_console,
    words,
)

_THEM = 'source=~"$source"'
_REJECTED = 'role="acceptor", result=~"rejected.*"'


def _quantiles(histogram: str) -> list[tuple[str, str]]:
    return [
        (f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))", name)
        for share, name in ((0.5, "half within"), (0.95, "95 % within"), (0.99, "99 % within"))
    ]


_NOW = Section(
    "Now",
    [
        stat(
            "Associations",
            "Associations that senders have open.",
            'sum(gateway_associations_active{role="acceptor"})',
            curve=True,
        ),
        stat(
            "Images per second",
            "Instances answered with Success, of the chosen sources.",
            f"sum(rate(gateway_instances_received_total{{{_THEM}}}[$__rate_interval]))",
            unit="cps",
            curve=True,
            decimals=1,
        ),
        stat(
            "Bytes per second",
            "Their data set bytes.",
            f"sum(rate(gateway_received_bytes_total{{{_THEM}}}[$__rate_interval]))",
            unit="Bps",
            curve=True,
        ),
        stat(
            "Answered within",
            "99 of 100 instances: from the first byte of a C-STORE to its response.",
            "histogram_quantile(0.99, sum by (le) (rate(gateway_store_seconds_bucket[$__rate_interval])))",
            unit="s",
            thresholds=steps((1, FAIR), (5, BAD)),
            none="nothing comes",
        ),
        stat(
            "Rejected",
            "Associations rejected since the receivers were started. A sender that is new, or has changed its name or "
            "address, is turned away until it stands in the configuration.",
            f"sum(gateway_associations_total{{{_REJECTED}}}) or vector(0)",
            thresholds=ANY_IS_FAIR,
        ),
        stat(
            "Refused",
            "C-STOREs answered with a failure since the receivers were started. The sender keeps the image.",
            "sum(gateway_stores_refused_total) or vector(0)",
            thresholds=ANY_IS_BAD,
        ),
        stat(
            "Duplicates",
            "Arrivals of a SOP Instance UID that had arrived before, since the receivers were started.",
            "sum(gateway_duplicates_total) or vector(0)",
            thresholds=ANY_IS_FAIR,
        ),
        stat(
            "Hosts that take none",
            "Hosts whose intake is closed: the ledger lags, the spool is full, descriptors ran out, or it is drained.",
            "count(max by (instance) (gateway_not_ready) == 1) or vector(0)",
            thresholds=ANY_IS_BAD,
            links=[to_console("System", "/system")],
        ),
    ],
)
_FROM = Section(
    "From whom",
    [
        lines(
            "Instances by source",
            "Instances answered with Success, by the entry of `sources` that fits the sender.",
            (f"sum by (source) (rate(gateway_instances_received_total{{{_THEM}}}[$__rate_interval]))", "{{source}}"),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Bytes by source",
            "Their data set bytes.",
            (f"sum by (source) (rate(gateway_received_bytes_total{{{_THEM}}}[$__rate_interval]))", "{{source}}"),
            unit="Bps",
            stacked=True,
        ),
        table(
            "Silence of sources",
            "How long ago the last instance of each source came; of one that has sent nothing yet, how long the "
            "receiver has listened. Beside it its silent_after, where the configuration says that it sends always.",
            [
                Column("source", "Source"),
                Column("Value #A", "Silent for", "s"),
                Column("Value #B", "Silent after", "s"),
            ],
            f"time() - (max by (source) (gateway_source_last_arrival_timestamp_seconds{{{_THEM}}}) "
            f"or max by (source) (gateway_source_last_received_timestamp_seconds{{{_THEM}}}))",
            f"max by (source) (gateway_source_silent_after_seconds{{{_THEM}}})",
            sort_by="Silent for",
        ),
        lines(
            "Refused instances, by source and status",
            "C-STOREs answered with a failure. 0xA700 is ours: no room, or intake closed. Others are the sender's.",
            (
                f"sum by (source, status) (rate(gateway_stores_refused_total{{{_THEM}}}[$__rate_interval]))",
                "{{source}} {{status}}",
            ),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Associations rejected, by reason",
            "Who is turned away, and why: a calling AE title or address that no source has, a called AE title that the "
            "listener has not, too many at once, or a closed intake (congestion).",
            (f"sum by (result) (rate(gateway_associations_total{{{_REJECTED}}}[$__rate_interval]))", "{{result}}"),
            unit="cps",
            stacked=True,
        ),
        lines(
            "Associations that ended, by how",
            "Released is as it should be. Aborted, lost and timeout are senders or networks that break off; what was "
            "answered with Success before is safe.",
            (
                "sum by (result) (rate(gateway_associations_total"
                '{role="acceptor", result!~"rejected.*"}[$__rate_interval]))',
                "{{result}}",
            ),
            unit="cps",
            stacked=True,
        ),
    ],
)
_SPEED = Section(
    "How fast",
    [
        lines(
            "From first byte to response",
            "How long C-STOREs take, the sender's own pace included: a slow network shows here too.",
            *_quantiles("gateway_store_seconds"),
            unit="s",
            thresholds=steps((1, FAIR), (5, BAD)),
        ),
        heat(
            "From first byte to response",
            "The same, as counts. A band far above the others is one sender, or a disk that stalls now and then.",
            "sum by (le) (increase(gateway_store_seconds_bucket[$__rate_interval]))",
        ),
        lines(
            "Flush to the disk",
            "How long it takes to make an instance durable: the health of the spool's disk.",
            *_quantiles("gateway_spool_flush_seconds"),
            unit="s",
            thresholds=steps((0.25, FAIR), (1, BAD)),
        ),
        lines(
            "Duplicates",
            "exact: the same bytes again, a sender that repeats itself. changed: the same SOP Instance UID with other "
            "content, a corrected image or a modality that reuses UIDs.",
            ("sum by (kind) (rate(gateway_duplicates_total[$__rate_interval]))", "{{kind}}"),
            unit="cps",
            stacked=True,
        ),
        states(
            "What keeps hosts from taking work",
            "Reasons of /readyz, over time, by host.",
            "max by (instance, reason) (gateway_not_ready)",
            "{{instance}} {{reason}}",
            words((0, "no", GOOD), (1, "yes", BAD)),
            width=24,
            height=6,
        ),
    ],
)

BOARD = Board(
    "receiving",
    "DICOM gateway: receiving",
    "What comes in: from whom, how fast it is answered, and who is turned away.",
    [_NOW, _FROM, _SPEED],
    [choice("source", "Source", "gateway_source_last_received_timestamp_seconds", several=True)],
)
