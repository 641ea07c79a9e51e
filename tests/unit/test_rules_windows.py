"""Windows of time: past midnight, in time zones, and when the clocks change."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header
from gateway.model import AssociationFacts
from gateway.rules.plan import Plan, load
from gateway.rules.subject import WEEKDAYS, Received
from gateway.rules.windows import read_received

FACTS = AssociationFacts("", "", "", "", "", "")


def plan(window: str) -> Plan:
    return load({"r.yaml": f"rules: [{{name: a, match: {{received: {window}}}, send_to: x}}]"})


def holds(window: str, received: str | int | None) -> bool:
    when = read_received(received) if isinstance(received, str) else received
    assert when is not None or received is None
    return bool(plan(window).decide(Header.of({}), FACTS, "", "", when).matched)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("{from: 08:00, to: 18:00}",
         ["2026-01-31 08:00", "2026-01-31 17:59:59"], ["2026-01-31 07:59", "2026-01-31 18:00"]),
        ("{from: 18:00, to: 06:00}", ["2026-01-31 18:00", "2026-01-31 23:59", "2026-01-31 00:00", "2026-01-31 05:59"],
         ["2026-01-31 06:00", "2026-01-31 17:59"]),
        ("{from: 18:00}", ["2026-01-31 18:00", "2026-01-31 23:59"], ["2026-01-31 00:00"]),
        ("{from: 18:00, to: '24:00'}", ["2026-01-31 23:59"], ["2026-01-31 00:00"]),
        ("{from: 18:00, to: 00:00}", ["2026-01-31 23:59"], ["2026-01-31 00:00"]),
        ("{to: 06:00}", ["2026-01-31 00:00", "2026-01-31 05:59"], ["2026-01-31 06:00"]),
        ("{weekdays: sat}", ["2026-01-31 00:00", "2026-01-31 23:59"], ["2026-01-30 23:59", "2026-02-01 00:00"]),
        ("{weekdays: [fri, sun], from: 18:00, to: 06:00}",
         ["2026-01-30 18:00", "2026-01-31 05:59", "2026-02-01 18:00", "2026-02-02 05:59"],
         ["2026-01-30 05:59", "2026-01-31 18:00", "2026-02-01 05:59", "2026-02-02 18:00"]),
        ("[{weekdays: sat}, {from: 23:00}]", ["2026-01-31 12:00", "2026-01-30 23:30"], ["2026-01-30 12:00"]),
    ],
)  # fmt: skip
def test_a_window_holds_from_its_begin_up_to_its_end(window: str, inside: list[str], outside: list[str]) -> None:
    for text in inside:
        assert holds(window, text), text
    for text in outside:
        assert not holds(window, text), text


def test_a_time_that_is_not_known_is_in_no_window() -> None:
    assert not holds("{from: 00:00}", None)
    assert not holds("{weekdays: [mon, tue, wed, thu, fri, sat, sun]}", None)


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_a_zone_has_its_own_clock_in_winter_and_in_summer() -> None:
    window = "{weekdays: sat, from: 18:00, to: 19:00, zone: Europe/Berlin}"
    assert holds(window, moment("2026-01-31T17:00+00:00"))
    assert not holds(window, moment("2026-01-31T18:00+00:00"))
    assert holds(window, moment("2026-08-01T16:59:59.999+00:00"))
    assert not holds(window, moment("2026-08-01T17:00+00:00"))
    assert holds("{weekdays: sun, zone: Pacific/Auckland}", moment("2026-01-31T12:00+00:00"))


def test_the_hour_that_comes_twice_is_in_the_window_twice() -> None:
    window = "{from: 02:00, to: 03:00, zone: Europe/Berlin}"
    assert holds(window, moment("2026-10-25T00:30+00:00"))
    assert holds(window, moment("2026-10-25T01:30+00:00"))
    assert not holds(window, moment("2026-10-25T02:30+00:00"))


@pytest.fixture
def _host_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    if before is None:
        monkeypatch.delenv("TZ")
    else:
        monkeypatch.setenv("TZ", before)
    time.tzset()


@pytest.mark.usefixtures("_host_in_tokyo")
def test_without_a_zone_the_clock_is_the_hosts() -> None:
    assert holds("{from: 08:00, to: 09:00}", moment("2026-01-31T08:30+09:00"))
    assert not holds("{from: 08:00, to: 09:00}", moment("2026-01-31T08:30+00:00"))


def test_a_time_without_an_offset_is_what_every_clock_shows() -> None:
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        assert holds(f"{{from: 08:00, to: 09:00, zone: {zone}}}", "2026-01-31 08:30")
    assert holds("{from: 08:00, to: 09:00, zone: Asia/Tokyo}", "2026-01-31 08:30+09:00")
    assert holds("{from: 08:00, to: 09:00, zone: Asia/Tokyo}", "2026-01-30T23:30Z")


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
)
def test_a_window_is_some_minutes_behind_the_begin_of_some_days(
    received: datetime, days: set[str], start: int, minutes: int
) -> None:
    end = (start + minutes) % 1440
    window = (
        f"{{weekdays: [{', '.join(sorted(days))}], from: '{start // 60:02}:{start % 60:02}', "
        f"to: '{end // 60:02}:{end % 60:02}'}}"
    )
    midnight = received.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [midnight + timedelta(days=back, minutes=start) for back in (0, -1)]
    expected = any(
        begin <= received < begin + timedelta(minutes=minutes) and WEEKDAYS[begin.weekday()] in days for begin in begins
    )
    when: Received = received
    assert bool(plan(window).decide(Header.of({}), FACTS, "", "", when).matched) == expected


def test_an_explanation_tells_the_window_and_the_time() -> None:
    made = plan("{weekdays: [tue, mon], from: 18:00, to: 06:00, zone: Europe/Berlin}")
    when = read_received("2026-01-31 19:30")
    (told,) = made.explain(Header.of({}), FACTS, "", "", when)
    assert told.failing == "not: received (Europe/Berlin) is on mon, tue from 18:00 to 06:00"
    (shown,) = made.explain(Header.of({}), FACTS, "", "", when, show_values=True)
    assert shown.failing.endswith("(it is 'sat 2026-01-31 19:30')")


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-31", "19:30", "2026-02-30 10:00", "2026-01-31 19:30+99:00", "0001-01-01 00:00+14:00"]
)
def test_what_is_no_date_and_time_is_told(text: str) -> None:
    assert read_received(text) is None
