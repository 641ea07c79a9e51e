"""Benchmarks: `make bench` runs every workload, `make bench ONLY=ct` one.

Workloads (`bench.workloads`) compare the gateway with its peers and have goals: `python -m bench ct small` runs two,
`--smoke` all or some of them once and small, without a word on goals, `--rounds=3 --part=4` three rounds of a quarter
of each. Parts are measured for those who work on them, with options of their own: `python -m bench ledger --waiting
1000`.

==============  ========================================================================================
`spool`         what an acknowledgement costs the spool
`upper_layer`   codecs and hot paths beside pynetdicom
`ledger`        CPU and latency of the ledger beside a backlog
`rules`         what a decision costs with 10, 100 and 500 rules
`scrape`        /metrics with 10^6 deliveries waiting
`senders`       1, 4 and 20 senders: fairness, flushes and commits an instance
`transform`     a chain of transforms beside pydicom
`transcode`     a CT to other transfer syntaxes beside pydicom, DCMTK and GDCM
==============  ========================================================================================

Comparisons are made in one run, sides in turn after a warm-up; figures also go to bench/results/ as JSON.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from bench.measure import scale_of
from bench.report import heading
from bench.workloads import WORKLOADS, run

PARTS = ("spool", "upper_layer", "ledger", "rules", "scrape", "senders", "transform", "transcode")


def main(words: Sequence[str]) -> int:
    """Run what is named, or every workload."""
    os.environ["TCP_NODELAY"] = "1"  # for DCMTK's programs and Orthanc: without it they wait for delayed ACKs
    if words and words[0] in PARTS:
        heading(words[0])
        importlib.import_module(f"bench.{words[0]}").main(words[1:])
        return 0
    names = [word for word in words if not word.startswith("--")]
    try:
        size = scale_of([word for word in words if word.startswith("--")])
    except ValueError as error:
        print(f"{error}; there are: --smoke, --rounds=N, --part=N", file=sys.stderr)
        return 2
    if unknown := set(names) - set(WORKLOADS):
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join((*WORKLOADS, *PARTS))}", file=sys.stderr)
        return 2
    run(names or list(WORKLOADS), size)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
