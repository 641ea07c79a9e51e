"""Benchmarks: `make bench` runs all, `make bench ONLY=ct` one, `python -m bench ledger --waiting 1000` with options.

==============  ========================================================================================
`spool`         what an acknowledgement costs the spool
`ledger`        CPU and latency of the ledger beside a backlog
`upper_layer`   codecs and hot paths beside pynetdicom
`workloads`     beside Orthanc, DCMTK and socat: `ct`, `small`, `stock`, `receive`, `churn`, `fanout`,
                `parallel` (each is a name of its own; see `bench.workloads`)
`large`         1 GiB through the gateway: memory, and small instances beside it
`senders`       1, 4 and 20 senders: fairness, flushes and commits an instance
`latency`       one instance at rest, from its last byte to the archive's answer, beside Orthanc
`scrape`        /metrics with 10^6 deliveries waiting
`idle`          memory of a gateway that does nothing
==============  ========================================================================================

Comparisons are made in one run, sides in turn after a warm-up; figures also go to bench/results/ as JSON.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

BENCHES = ("spool", "upper_layer", "ledger", "idle", "latency", "scrape", "senders", "large", "workloads")
WORKLOADS = ("ct", "small", "stock", "receive", "churn", "fanout", "parallel")


def main(words: Sequence[str]) -> int:
    """Run what is named, or everything."""
    os.environ["TCP_NODELAY"] = "1"  # for DCMTK's programs and Orthanc: without it they wait for delayed ACKs
    if not words:
        for name in BENCHES:
            run(name, ())
        return 0
    if words[0] in WORKLOADS:
        words = ("workloads", *words)
    if words[0] not in BENCHES:
        print(f"no benchmark {words[0]!r}; there are: {', '.join((*BENCHES, *WORKLOADS))}", file=sys.stderr)
        return 2
    run(words[0], words[1:])
    return 0


def run(name: str, options: Sequence[str]) -> None:
    """Run one."""
    print(f"── {name} " + "─" * (100 - len(name)), flush=True)
    importlib.import_module(f"bench.{name}").main(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
