"""Live figures: totals that never fall, rates of late, an hour and no more, and one sample for all who watch."""

from __future__ import annotations

import asyncio
import contextlib
from types import MappingProxyType
from typing import Any, cast

from gateway.console.api.events import EACH_MAX, LISTENERS_MAX, Listeners
from gateway.console.live import KEPT_S, SAMPLE_S, Bytes, Live
from gateway.console.metrics import Gathered
from gateway.errors import LedgerAway
from gateway.ledger.look import Totals
from gateway.model import InstanceState


def said(process: str, received: float, delivered: float) -> bytes:
    """What a process says of its bytes, beside other things."""
    return (
        f'gateway_received_bytes_total{{process="{process}",source="ct1"}} {received}\n'
        f'gateway_delivered_bytes_total{{process="{process}",destination="pacs"}} {delivered}\n'
        f'gateway_deliveries_total{{process="{process}",destination="pacs",outcome="success"}} 77\n'
    ).encode()


def test_bytes_count_from_the_first_look_on_and_a_process_that_began_anew_takes_nothing_away() -> None:
    counted = Bytes()
    counted.add([said("receiver-0", 1000, 0), said("forwarder-0", 0, 5000)])
    assert (counted.received, counted.delivered) == (0.0, {"pacs": 0.0})
    counted.add([said("receiver-0", 1500, 0), said("forwarder-0", 0, 5100)])
    assert (counted.received, counted.delivered) == (500.0, {"pacs": 100.0})
    counted.add([said("receiver-0", 20, 0), said("forwarder-0", 0, 5100)])
    assert counted.received == 520.0
    counted.add([said("receiver-1", 5e12, 0)])
    assert counted.received == 520.0, "it was silent until now: what it has counted is not of this moment"
    counted.add([said("receiver-1", 5e12 + 30, 0)])
    assert (counted.received, counted.delivered) == (550.0, {"pacs": 100.0})


class Host:
    """A host whose processes have counted so far."""

    def __init__(self) -> None:
        self.texts: tuple[bytes, ...] = ()
        self.asked = 0

    async def gather(self) -> Gathered:
        self.asked += 1
        return Gathered(self.texts, 0)

    async def spool_figures(self) -> None:
        return None


class Ledger:
    """Counters in the test's hand."""

    def __init__(self) -> None:
        self.delivered = 0
        self.away = False

    async def totals(self) -> Totals:
        if self.away:
            raise LedgerAway("away")
        by_name: Any = MappingProxyType({"pacs": self.delivered})
        zero = MappingProxyType({"pacs": 0})
        return Totals(9, MappingProxyType({InstanceState.HELD: 2}), by_name, zero, zero, 4)


def test_a_sample_is_shared_by_all_who_watch_for_as_long_as_it_is_fresh() -> None:
    now, host = [0], Host()
    live = Live(Ledger().totals, cast(Any, host), lambda: now[0])

    async def scenario() -> None:
        first, second = await asyncio.gather(live.now(), live.now())
        assert first is second
        assert (first.received, first.held, first.spool_free_bytes) == (9, 2, None)
        now[0] += 2_000
        assert (await live.now()).at_ms == 2_000
        assert host.asked == 2

    asyncio.run(scenario())


def test_the_ring_keeps_an_hour_and_says_rates_of_late_and_a_ledger_that_is_away_leaves_a_gap() -> None:
    now, ledger = [0], Ledger()
    live = Live(ledger.totals, cast(Any, Host()), lambda: now[0])

    async def one_turn() -> None:
        """What `run` does in SAMPLE_S."""
        running = asyncio.create_task(live.run())
        before = len(live.samples)
        for _ in range(100):
            await asyncio.sleep(0)
            if ledger.away or len(live.samples) > before:
                break
        running.cancel()

    async def scenario() -> None:
        assert live.delivered_per_s("pacs", 300) is None
        for turn in range(int(KEPT_S / SAMPLE_S) + 20):
            ledger.away = turn == 5
            await one_turn()
            now[0] += int(SAMPLE_S * 1000)
            ledger.delivered += 20
        assert live.delivered_per_s("pacs", 300) == 2.0
        assert live.delivered_per_s("unheard of", 300) is None
        kept = live.samples
        assert now[0] - kept[0].at_ms <= KEPT_S * 1000
        assert len(kept) <= KEPT_S / SAMPLE_S + 1

    asyncio.run(scenario())


def test_only_so_many_listen_at_once_and_fewer_of_one_person() -> None:
    listeners = Listeners()
    with contextlib.ExitStack() as listening:
        for number in range(LISTENERS_MAX):
            assert listeners.refusal(f"console:p{number // EACH_MAX}") == ""
            listening.enter_context(listeners.place(f"console:p{number // EACH_MAX}"))
            if number == EACH_MAX - 1:
                assert "console:p0 listens 4 times already" in listeners.refusal("console:p0")
        assert listeners.refusal("console:another") == "32 listen already: later"
    assert listeners.refusal("console:p0") == ""


def test_a_clock_that_goes_back_freezes_nothing_and_divides_by_nothing() -> None:
    now, host, ledger = [3_600_000], Host(), Ledger()
    live = Live(ledger.totals, cast(Any, host), lambda: now[0])

    async def scenario() -> None:
        for step_ms in (10_000, -1_800_000, 10_000, 10_000):
            running = asyncio.create_task(live.run())
            before = host.asked
            for _ in range(100):
                await asyncio.sleep(0)
            running.cancel()
            assert host.asked == before + 1, "each turn looks anew"
            live.delivered_per_s("pacs", 300)
            now[0] += step_ms
            ledger.delivered += 20
        assert [sample.at_ms for sample in live.samples] == [1_810_000, 1_820_000], "what was before is no past"
        assert live.delivered_per_s("pacs", 300) == 2.0

    asyncio.run(scenario())


def test_a_console_without_descriptors_has_a_gap_and_goes_on() -> None:
    class Exhausted(Host):
        async def gather(self) -> Gathered:
            self.asked += 1
            raise OSError(24, "Too many open files")

    host = Exhausted()
    live = Live(Ledger().totals, cast(Any, host), lambda: 0)

    async def scenario() -> None:
        running = asyncio.create_task(live.run())
        for _ in range(100):
            await asyncio.sleep(0)
        assert host.asked == 1
        assert not running.done()
        running.cancel()

    asyncio.run(scenario())
    assert live.samples == ()
