"""Sampling of repeated log lines: a flood becomes a few lines that say how many it was, and nothing else is lost."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import telemetry
from gateway.app.beat import WorkerBeat
from gateway.app.host import HostHooks
from gateway.supervisor import Supervisor
from gateway.telemetry import log
from gateway.telemetry.sampling import BURST, HOUR_S, HOURLY, KINDS_OF_EVENT_MAX, MINUTE_S, Line, Sampler

if TYPE_CHECKING:
    from gateway.app.claim import HomeClaim
    from gateway.config import Config
    from gateway.ledger.base import Ledger
    from gateway.model import Session
    from gateway.spool import Spool

WEEKEND_S = 60 * HOUR_S


def trouble(destination: str = "pacs", reason: str = "refused", **more: object) -> Line:
    return Line("warning", "delivery_held", {"destination": destination, "reason": reason} | more)


def written(lines: list[tuple[float, Line]], until_s: float = 0.0) -> list[tuple[float, Line]]:
    """(time, line) of what is written of lines that come at these times, and what is told by the end."""
    sampler = Sampler()
    found = [(at_s, line) for at_s, one in lines for line in sampler.take(one, at_s)]
    end_s = max([until_s, *(at_s for at_s, _ in lines)])
    return [*found, *((end_s, line) for line in sampler.rest())]


def counted(found: list[tuple[float, Line]]) -> int:
    """How many lines are told of: each one that was written, and those that it says were not."""
    return sum(1 if "suppressed" not in line.fields else int(str(line.fields["suppressed"])) for _, line in found)


def test_the_first_of_a_minute_are_written_and_the_rest_is_told_of_at_growing_intervals() -> None:
    found = written([(at_s / 10, trouble(instance_id=at_s)) for at_s in range(10 * 3600)])
    assert [line.fields["instance_id"] for _, line in found[:BURST]] == list(range(BURST))
    minutes = [round((at_s - 1) / 60) for at_s, line in found[BURST:]]
    assert minutes == [1, 3, 7, 15, 31, 60]
    assert all("suppressed" in line.fields for _, line in found[BURST:])
    assert counted(found) == 36_000


@pytest.mark.parametrize("every_s", [0.05, 1.0, 6.0, 30.0, 59.0, 61.0, 300.0])
def test_a_destination_that_is_dead_for_a_weekend_makes_less_than_a_megabyte(every_s: float) -> None:
    times = [number * every_s for number in range(int(min(WEEKEND_S / every_s, 50_000)))]
    found = written([(at_s, trouble(instance_id="0" * 32, association_id="0" * 16)) for at_s in times])
    size = sum(len(json.dumps(dict(line.fields))) + 120 for _, line in found)
    assert size < 1_000_000
    assert counted(found) == len(times)


def test_a_line_now_and_then_is_always_written() -> None:
    flood = [(at_s / 10, trouble("pacs")) for at_s in range(36_000)]
    rare = [(at_s + 0.05, trouble("dr")) for at_s in range(0, 3600, 120)]
    found = written(sorted(flood + rare, key=lambda each: each[0]))
    mine = [line for _, line in found if line.fields["destination"] == "dr"]
    assert len(mine) == len(rare) and not any("suppressed" in line.fields for line in mine)


def test_kinds_of_trouble_are_not_mixed_up() -> None:
    kinds = [
        trouble(),
        trouble("dr"),
        trouble(reason="timeout"),
        trouble(code="0xA700"),
        Line("warning", "job_refused", {}),
    ]
    found = written([(0.001 * number, kinds[number % len(kinds)]) for number in range(1000)])
    summaries = [line for _, line in found if "suppressed" in line.fields]
    said = [(line.event, {**line.fields, "suppressed": 0}) for line in summaries]
    assert len(said) == len(kinds)
    assert all((one.event, {**one.fields, "suppressed": 0}) in said for one in kinds)


def test_after_quiet_it_begins_anew() -> None:
    flood = [(at_s / 10, trouble()) for at_s in range(700)]
    later = 70 + HOUR_S
    found = written([*flood, *((later + number, trouble()) for number in range(5))])
    assert len([at_s for at_s, line in found if at_s >= later and "suppressed" not in line.fields]) == 5


def test_an_instance_leaves_its_trace_and_audit_events_are_all_written() -> None:
    lines = [
        Line("info", "instance_received", {"source": "ct1"}),
        Line("info", "delivered", {"destination": "pacs"}),
        Line("warning", "audit_trail_broken", {"reason": "x"}),
        Line("warning", "console_log_in_failed", {"reason": "x"}),
    ]
    for line in lines:
        assert len(written([(0.0, line)] * 100)) == 100


def test_who_makes_new_kinds_without_end_makes_no_gigabytes() -> None:
    lines = [(number / 30, trouble(reason=f"reason {number}")) for number in range(20_000)]
    found = written(lines)
    assert counted(found) == len(lines)
    assert len(found) < KINDS_OF_EVENT_MAX * 2 + 50


@pytest.mark.parametrize("events", [1, 30])
def test_who_floods_an_event_under_ever_new_names_hides_none_of_its_other_reasons(events: int) -> None:
    flood = [
        (number / 30, Line("warning", f"rejected_{number % events}", {"calling": f"AE{number}", "reason": "unknown"}))
        for number in range(20_000)
    ]
    rare = [
        (at_s + 0.01, Line("warning", "rejected_0", {"calling": "CT1", "reason": reason}))
        for at_s in range(100, 600, 60)
        for reason in ("busy", "protocol")
    ]
    found = written(sorted([*flood, *rare], key=lambda each: each[0]))
    mine = [line for _, line in found if line.fields["calling"] == "CT1"]
    assert len(mine) == len(rare) and not any("suppressed" in line.fields for line in mine)
    assert counted(found) == len(flood) + len(rare)
    assert len(found) < 500 + 120 * events  # and it is no gigabytes


@given(
    st.lists(st.tuples(st.floats(0, 4000), st.sampled_from(["pacs", "dr"]), st.sampled_from(["a", "b"])), max_size=200)
)
@settings(max_examples=100, deadline=None)
def test_whatever_comes_when_every_line_is_told_of_once(given_: list[tuple[float, str, str]]) -> None:
    lines = [(at_s / (1 + number % 7), trouble(name, why)) for number, (at_s, name, why) in enumerate(sorted(given_))]
    lines.sort(key=lambda each: each[0])
    found = written(lines)
    told: Counter[tuple[str, str]] = Counter()
    for _, line in found:
        told[str(line.fields["destination"]), str(line.fields["reason"])] += int(str(line.fields.get("suppressed", 1)))
    assert told == Counter((name, why) for _, name, why in given_)
    minutes = Counter(
        (int(at_s // MINUTE_S), line.fields["destination"], line.fields["reason"]) for at_s, line in found
    )
    assert all(count <= 2 * BURST + 2 for count in minutes.values())
    assert all(count <= 2 * HOURLY for count in Counter((k[1], k[2]) for k in minutes).values())


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    telemetry.configure("test-0", format="json", stream=stream)
    yield stream
    telemetry.configure("test-0", format="json", stream=io.BytesIO())


def test_the_log_samples_and_tells_the_rest_at_the_end(stream: io.BytesIO) -> None:
    for number in range(100):
        telemetry.problem("destination_down", destination="pacs", reason="refused", number=number)
    telemetry.event("delivered", destination="pacs")
    assert len(stream.getvalue().splitlines()) == BURST + 1
    log._tell_rest()
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert (last["event"], last["suppressed"], last["number"]) == ("destination_down", 90, 99)


def test_at_level_debug_nothing_is_left_out() -> None:
    stream = io.BytesIO()
    telemetry.configure("test-0", format="json", level="debug", stream=stream)
    for _ in range(100):
        telemetry.problem("destination_down", destination="pacs")
    assert len(stream.getvalue().splitlines()) == 100
    telemetry.configure("test-0", format="json", stream=io.BytesIO())


@pytest.mark.parametrize("event", ["damaged_file_left", "spool_file_not_removed"])
def test_a_file_that_is_told_of_once_is_told_of(stream: io.BytesIO, event: str) -> None:
    for number in range(500):
        telemetry.problem(event, file=f"incoming/g/{number}.dcm", reason="read-only")
    assert len(stream.getvalue().splitlines()) == 500


def an_event_loop_beats() -> None:
    telemetry.loop_late(0.0)


def a_worker_beats() -> None:
    beat = WorkerBeat(cast("Ledger", None), cast("Session", None), lambda _: None)
    beat.voided = True
    beat.turn()


def the_supervisor_checks_its_children() -> None:
    hooks = HostHooks(cast("Config", None), Path(), cast("Spool", None), cast("HomeClaim", None))
    Supervisor([], hooks)._check(0.0)


@pytest.mark.parametrize("beat", [an_event_loop_beats, a_worker_beats, the_supervisor_checks_its_children])
def test_what_was_left_out_is_told_in_time_by_a_process_that_says_nothing_else(
    stream: io.BytesIO, monkeypatch: pytest.MonkeyPatch, beat: Callable[[], None]
) -> None:
    began_s = time.monotonic()
    for _ in range(100):
        telemetry.problem("destination_down", destination="pacs", reason="refused")
    beat()
    assert len(stream.getvalue().splitlines()) == BURST, "it is not time yet"
    monkeypatch.setattr(log.time, "monotonic", lambda: began_s + MINUTE_S + 10)
    beat()
    beat()
    (told,) = stream.getvalue().splitlines()[BURST:]
    assert json.loads(told)["suppressed"] == 90
