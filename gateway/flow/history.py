"""What a worker remembers of instances it has routed, so that rules of a later day can be tried on them.

One header is kept for all instances of a series that came the same way and were decided alike; of the others it is
known how many there were (`gateway.model.Remembered`). Rules:
  - It must cost little: an instance of a known series costs a look into a table, and the ledger is told of all in one
    transaction each FLUSH_MS. Headers are packed at HEADERS_A_SECOND, BURST_HEADERS of them at once: in a flood of
    single instances a series that comes too soon is counted all the same, and its header taken with a later instance;
    where none comes, it is forgotten.
  - It is of use and nothing rests on it: what a worker had not told the ledger when it died is lost, and whatever goes
    wrong over it holds up no instance.

The worker owns one. Patient data goes into the ledger and nowhere else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway import telemetry
from gateway.dicom.window import ByteSource
from gateway.ledger.base import Ledger
from gateway.model import Decision, InstanceLease, Remembered, StudyFacts
from gateway.transform.remember import pack

FLUSH_MS = 2000
MOST_SERIES = 4096
MOST_HEADERS = 1024  # that wait for the ledger
HEADERS_A_SECOND = 25  # half a percent of a processor
BURST_HEADERS = 128

_Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class _Series:
    """Instances that were routed alike. `key` is that of their row, once there is one; `count` what it lacks."""

    new: Remembered | None = None
    key: int = 0
    count: int = 0
    last_at_ms: int = 0
    is_unreadable: bool = False


class History:
    """See the module's docstring."""

    def __init__(self, ledger: Ledger, clock_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._changed: dict[_Series, _Key] = {}
        self._headers = 0  # that wait for the ledger
        self._left = float(BURST_HEADERS)
        self._counted_at_ms = self._flushed_at_ms = clock_ms()

    def see(self, lease: InstanceLease, decision: Decision, study: StudyFacts, source: ByteSource) -> None:
        """One of them was decided about.

        :param source: its data set, which `read_header` has read.
        """
        payload, facts = lease.payload, lease.facts
        syntax = payload.transfer_syntax_uid
        why = decision.revision, decision.matched, decision.hold, decision.discard
        key = (study.series_instance_uid, *why, facts[1:], payload.sop_class_uid, syntax)
        series = self._series.get(key)
        if series is None:
            series = self._add(key)
        else:
            self._series.move_to_end(key)
        series.count += 1
        series.last_at_ms = lease.received_at_ms
        if not series.key and series.new is None:
            if series.is_unreadable or self._headers >= MOST_HEADERS or not self._may_pack():
                return
            header = _packed(source, syntax, lease.instance_id)
            if header is None:
                series.is_unreadable = True
                return
            uids = payload.sop_class_uid, syntax
            modality, received_at_ms = study.modality, lease.received_at_ms
            series.new = Remembered(
                study.series_instance_uid, modality, decision, facts, *uids, lease.instance_id, received_at_ms, header
            )
            self._headers += 1
        self._changed[series] = key

    def _may_pack(self) -> bool:
        """Whether one more header may be packed now; it is counted then."""
        now_ms = self._clock_ms()
        passed_ms, self._counted_at_ms = max(0, now_ms - self._counted_at_ms), now_ms
        self._left = min(BURST_HEADERS, self._left + passed_ms * HEADERS_A_SECOND / 1000)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _add(self, key: _Key) -> _Series:
        if len(self._series) >= MOST_SERIES:
            self._series.popitem(last=False)
        series = self._series[key] = _Series()
        return series

    def turn(self) -> bool:
        """Tell the ledger what there is to tell, if it is time; whether it was told something.

        :raises LedgerError: it stays to be told.
        """
        return bool(self._changed) and abs(self._clock_ms() - self._flushed_at_ms) >= FLUSH_MS and self.flush()

    def flush(self) -> bool:
        """As `turn`, whatever the time."""
        self._flushed_at_ms = self._clock_ms()
        if not self._changed:
            return False
        new = [(series, series.new) for series in self._changed if series.new is not None]
        more: dict[int, tuple[int, int]] = {}
        for each in self._changed:
            if each.new is None:  # two may be of one row: the ledger tells apart less than `see` does
                count, last_at_ms = more.get(each.key, (0, 0))
                more[each.key] = count + each.count, max(last_at_ms, each.last_at_ms)
        rows = [row._replace(instances=series.count, last_at_ms=series.last_at_ms) for series, row in new]
        found = self._ledger.record_history(rows, more)
        for (series, _), row_key in zip(new, found.keys, strict=True):
            series.key, series.new = row_key, None
        for series, key in self._changed.items():
            series.count = 0
            if series.key in found.gone:  # aged out: its next instance makes another row
                self._series.pop(key, None)
        self._changed.clear()
        self._headers = 0
        return True


def _packed(source: ByteSource, transfer_syntax_uid: str, instance_id: str) -> bytes | None:
    try:
        return pack(source, transfer_syntax_uid)
    except Exception as error:  # noqa: BLE001 - a bug here, or a file that cannot be read on, stops no instance
        telemetry.problem("history_error", error, instance_id=instance_id)
        return None
