"""The gateway beside its peers, under the loads that hospitals have, and the goals of each.

============  ======================================================================  =================================
workload      what                                                                    beside
============  ======================================================================  =================================
`ct`          400 CTs of 512 KiB over one association, to one archive                 socat, Orthanc
`small`       1,000 instances of 9 KB over one association, to one archive            socat, Orthanc
`stock`       the same two, received only; DCMTK as Debian ships it, with Nagle's     storescp
              algorithm on
`receive`     the same two, received only                                             storescp, pynetdicom
`churn`       200 small instances, an association each that proposes every context,   storescp
              received only
`fanout`      the CTs to three archives                                               the gateway, to one
`parallel`    20 senders with 50 CTs each, at once                                    the gateway, one sender
`large`       one instance of 1 GiB, and small ones beside it                         socat
`latency`     single small instances at rest, to the archive's answer                 Orthanc
`backlog`     receiving and draining with 10^6 deliveries waiting                     the gateway, with none waiting
`cpu`         CPU of `ct` and `small`                                                 Orthanc
`idle`        CPU and memory when there is nothing to do
`queue`       CPU of `ct` and `small` with Redis and RQ as the work queue            the gateway, with the local one
`scale`       2,000 CTs that wait, de-identified by 1 to 4 workers, with the          the gateway, with one worker
              defaults, and with Redis and PostgreSQL
`database`    `ct` and `small` with a ledger in PostgreSQL                            the gateway, with SQLite
`console`     what the console reads of 10^6 instances in 10^5 studies               PostgreSQL beside SQLite
`watched`     receiving while three people look at the console                        the gateway, unwatched
`deidentify`  files de-identified, and the memory that 1 GiB takes                    dicom-anonymizer, dicognito
============  ======================================================================  =================================

Where nothing else is said it is dcmsend → side → storescp, the sides in turn. The gateway flushes what it acknowledges,
storescp and socat flush nothing. Orthanc gets an eighth of the instances, since it takes tens of milliseconds for each,
and so does storescp in `stock`. The first round is a warm-up and does not count: fresh page cache costs many times a
used one. What counts is the median of the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.backlog import backlog
from bench.console import console
from bench.deidentify import deidentify
from bench.forwarding import cpu, ct, fanout, parallel, small
from bench.goals import Verdict
from bench.idle import idle
from bench.large import large
from bench.latency import latency
from bench.measure import SMOKE, Scale
from bench.plot import picture
from bench.queues import queue
from bench.receiving import churn, receive, stock
from bench.report import heading, keep, rounded, save, show, spread
from bench.scaling import database, scale
from bench.watched import watched

Workload = Callable[[Scale], list[Verdict]]

_BESIDE_PEERS = (ct, small, stock, receive, churn, fanout, parallel, large, latency, backlog, cpu, idle, deidentify)
_ALL = (*_BESIDE_PEERS, queue, scale, database, console, watched)
WORKLOADS: Mapping[str, Workload] = {each.__name__: each for each in _ALL}


def run(names: Sequence[str], scale: Scale) -> None:
    """Run these workloads, one after the other. Where one fails, those before it are still judged."""
    verdicts: list[Verdict] = []
    try:
        for name in names:
            heading(name)
            verdicts += WORKLOADS[name](scale)
    finally:
        if scale != SMOKE:  # that is too little of everything to say anything of goals
            conclude(verdicts)


def conclude(verdicts: Sequence[Verdict]) -> None:
    """The closing table of every goal, the same as JSON, and the picture."""
    rows = [
        (
            one.label,
            f"{spread(one.values)} {one.unit}",
            f"{rounded(one.goal.most)} {one.unit}",
            "met" if one.met else "NOT MET",
        )
        for one in verdicts
    ]
    show("every goal", ("figure", "median (least - greatest)", "at most", ""), rows)
    save("goals", {"goals": [one.as_json() for one in verdicts]})
    keep("goals", "svg", picture(verdicts))
