"""Workload `watched`: receiving while people look at the console, with 10^6 instances in 10^5 studies in the ledger.

Instances are received while WATCHERS people look, each with the live figures open and a page every two seconds; beside
it the same gateway, at which nobody looks. Received is discarded by a rule, so that receiving is what is measured, and
routing. What a page takes is told by `console`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.dcmsend import Files, make_files, send
from bench.goals import Figures, Goal, Verdict
from bench.measure import CT_BYTES, SMALL_BYTES, Meter, Scale, folder_of, tell
from bench.peers import GatewaySide
from bench.report import in_turn
from gateway.console.access.roles import Role
from gateway.console.access.userfile import Users
from gateway.console.access.users import UsersFile, with_token
from tests.harness.console import add_users
from tests.harness.ledgerrows import rows
from tests.harness.tools import free_port, wait_until
from tests.load.year import DESTINATIONS, Year, fill_year

WATCHERS = 3
MOST = 1.03
LOADS = {"small": (4000, SMALL_BYTES), "ct": (1000, CT_BYTES)}


class WatchedSide(GatewaySide):
    """A gateway with a year behind it, and a person who may see all of it."""

    def __init__(self, folder: Path, studies: int) -> None:
        super().__init__(folder, [])
        config = self.gateway.config
        config.document["destinations"] = {
            name: {"ae_title": name.upper(), "host": "127.0.0.1", "port": free_port()} for name in DESTINATIONS
        }
        config.state_dir.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        fill_year(config.ledger_path, Year(studies, studies * 10, waiting=studies, stopped=studies // 5))
        print(f"{studies * 10:,} instances in {studies:,} studies in {time.monotonic() - began_s:.0f} s", flush=True)
        users = UsersFile(config.state_dir / "users.yaml")
        add_users(users.path)
        found: list[str] = []

        def add(known: Users) -> Users:
            changed, text = with_token(known, "viewer", "bench", Role.VIEWER, time.time_ns() // 1_000_000, 1)
            found.append(text)
            return changed

        users.change(add)
        self._headers = {"authorization": f"Bearer {found[0]}"}

    def idle(self) -> None:
        """Wait until all is routed: deliveries of the year wait for ever."""
        query = "SELECT count(*) FROM instance WHERE state = 'received'"
        wait_until(lambda: rows(self.gateway.config.ledger_source, query) == [(0,)], 120, "all to be routed")

    def client(self) -> httpx.Client:
        """Somebody who looks."""
        url = f"http://127.0.0.1:{self.gateway.config.console_port}"
        return httpx.Client(base_url=url, headers=self._headers, timeout=30)


def watched(scale: Scale) -> list[Verdict]:
    """Receiving, with people who look and without."""
    with ExitStack() as stack:
        folder = folder_of(stack)
        side = stack.enter_context(WatchedSide(folder / "gateway", _studies(scale)))
        verdicts = []
        for load, (count, pixel_bytes) in LOADS.items():
            files = make_files(folder / load, scale(count), pixel_bytes, seed=9)
            measures = {
                "watched": partial(_received, side, files, WATCHERS),
                "not watched": partial(_received, side, files, 0),
            }
            goal = Goal("watched", "wall ms", MOST, "not watched")
            verdicts += tell(f"watched {load}", in_turn(measures, scale.rounds), [goal])
    return verdicts


def _studies(scale: Scale) -> int:
    return max(300, 100_000 // scale.divisor**2)


def _received(side: WatchedSide, files: Files, watchers: int) -> Figures:
    files.renew()
    with _watching(side, watchers) as pages_seen:
        meter = Meter(side)
        run = send(files.paths, side.port)
        looked_at = sum(pages_seen)
        found = meter.read(len(files.paths), run.ended_s - run.began_s)
    assert not watchers or looked_at >= watchers, "somebody looked"
    return {**found, "pages": float(looked_at)}


@contextmanager
def _watching(side: WatchedSide, watchers: int) -> Iterator[Sequence[int]]:
    """People who look for the length of a block; how many pages each has seen."""
    over = threading.Event()
    seen = [0] * watchers
    threads = [threading.Thread(target=_watch, args=(side, over, seen, number)) for number in range(watchers)]
    listening = [threading.Thread(target=_listen, args=(side, over)) for _ in range(watchers)]
    for thread in (*threads, *listening):
        thread.start()
    try:
        while watchers and not all(seen):
            over.wait(0.05)
        yield seen
    finally:
        over.set()
        for thread in (*threads, *listening):
            thread.join()


def _watch(side: WatchedSide, over: threading.Event, seen: list[int], number: int) -> None:
    with side.client() as client:
        pages = ("/", "/queue", "/studies", "/attention")
        while not over.is_set():
            client.get(pages[seen[number] % len(pages)]).raise_for_status()
            seen[number] += 1
            over.wait(2.0)


def _listen(side: WatchedSide, over: threading.Event) -> None:
    with side.client() as client, client.stream("GET", "/api/v1/events") as answer:
        for _ in answer.iter_lines():
            if over.is_set():
                return
