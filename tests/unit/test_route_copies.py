"""What has copies keeps nobody waiting: the order in which a worker records a batch, on a real ledger and spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import telemetry
from gateway.errors import SpoolError
from gateway.flow import decide as module
from gateway.flow import remake, route
from gateway.flow.decide import copied
from gateway.flow.derive import verify
from gateway.flow.dispatch import copy_lost
from gateway.flow.history import History
from gateway.flow.route import COPYING_MS, Router
from gateway.flow.watch import Watch
from gateway.ledger.base import RuleSet
from gateway.ledger.sqlite import SqliteLedger
from gateway.model import Quarantine, Role, Routing
from gateway.spool import ArrivalMeta, SpoolFile
from gateway.transform import load
from gateway.transform.pixels.codecs import encode
from gateway.work.base import Stage
from gateway.work.local import LocalQueue
from tests.harness.data import make_instance
from tests.unit.pixels_kit import GREY, RLE, encapsulated
from tests.unit.spool_kit import make_intake, make_meta, make_spool, store

RULES = """\
transforms:
  mark: [{set: {PatientComments: "seen"}}]
  small: [{transcode: explicit-vr-little-endian}]
rules:
  - {name: all, send_to: [pacs]}
  - {name: ct, match: {Modality: CT}, send_to: [{destination: research, transform: mark}]}
  - {name: grey, match: {PhotometricInterpretation: MONOCHROME2, Modality: {absent: true}},
     send_to: [{destination: research, transform: small}]}
"""


class World:
    """A worker on instances that wait to be routed; `told` has what it told the ledger, by the transaction."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = 1_700_000_000_000
        self.ledger = SqliteLedger.open(folder / "ledger.db")
        self.ledger.sync_destinations({"pacs": False, "research": False}, self.now_ms)
        files = {"10.yaml": RULES}
        self.ledger.store_rules(RuleSet(load(files).revision, files), self.now_ms)
        self.spool = make_spool(folder / "spool")
        self.intake = make_intake(self.spool, pool_size=16)
        (folder / "run").mkdir()
        self.queue = LocalQueue(folder / "run", Stage.ROUTE)
        self.history = History(self.ledger, lambda: self.now_ms)
        self.told: list[list[tuple[str, bool]]] = []
        record = self.ledger.record_routings

        def recorded(session: object, routings: list[Routing], now_ms: int) -> object:
            if routings:
                copies = [any(each.payload is not None for each in routing.derived) for routing in routings]
                self.told.append([(self.names[r.instance_id], c) for r, c in zip(routings, copies, strict=True)])
            return record(session, routings, now_ms)  # type: ignore[arg-type]

        self.ledger.record_routings = recorded  # type: ignore[assignment, method-assign]
        self.names: dict[str, str] = {}
        self._seed = 0

    def arrive(self, name: str, modality: str, uid: str = "") -> None:
        """One that is copied is a CT."""
        self._seed += 1
        one = make_instance(seed=self._seed, Modality=modality, SOPInstanceUID=uid or f"1.2.{self._seed}")
        meta = make_meta(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
        self.take(name, one.data, meta)

    def take(self, name: str, data: bytes, meta: ArrivalMeta) -> None:
        stored = store(self.intake, data, meta)
        self.names[stored.instance_id] = name
        self.ledger.record_arrivals([stored], self.now_ms)

    def route(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """A batch, by a new worker."""
        session = self.ledger.open_session(Role.WORKER, "host", 1, self.now_ms)
        router = Router(self.ledger, session, self.spool, self.queue, lambda: self.now_ms, 60.0, history=self.history)
        leases = router._claim()
        assert router._book is not None
        router._route(router._book, leases, Watch(lambda: None, 60.0), stopping)

    def run(self, *stopping: bool) -> None:
        """A worker, until it is told to stop; time goes on whenever it looks at the clock."""
        session = self.ledger.open_session(Role.WORKER, "host", 1, self.now_ms)

        def clock_ms() -> int:
            self.now_ms += 400
            return self.now_ms

        answers = iter(stopping)
        self.queue.notify(Stage.ROUTE)
        Router(self.ledger, session, self.spool, self.queue, clock_ms, 60.0).run(lambda: None, lambda: next(answers))

    def ask_for_copies(self) -> None:
        """A forwarder finds that there are none."""
        session = self.ledger.open_session(Role.FORWARDER, "host", 2, self.now_ms)
        for delivery in self.ledger.claim_deliveries(session, "research", 9, self.now_ms):
            assert self.ledger.record_outcomes(
                session, [copy_lost(delivery, "there is none", self.now_ms)], self.now_ms
            )

    def die(self) -> None:
        """A worker claims, and is gone."""
        session = self.ledger.open_session(Role.WORKER, "host", 1, self.now_ms)
        assert self.ledger.claim_instances(session, 64, self.now_ms)
        self.ledger.void_session(session.session_id, self.now_ms)

    def states(self, name: str) -> dict[str, str]:
        """Destination → state of the delivery of an instance."""
        (instance_id,) = (key for key, each in self.names.items() if each == name)
        return {row.destination: row.state.value for row in self.ledger.deliveries_of([instance_id])}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    assert made.ledger.check() == []
    made.queue.close()
    made.intake.close()
    made.ledger.close()


MADE, NOT_MADE = True, False


def test_what_has_no_copies_is_recorded_before_the_first_copy_is_made(world: World) -> None:
    world.arrive("one", "CT")
    world.arrive("two", "US")
    world.arrive("three", "CT")
    world.arrive("four", "US")
    world.route()
    assert world.told == [[("two", False), ("four", False)], [("one", MADE)], [("three", MADE)]]


def test_a_later_version_is_not_recorded_before_an_earlier_one_that_is_copied(world: World) -> None:
    world.arrive("first", "CT", "1.2.9")
    world.arrive("second", "US", "1.2.9")
    world.arrive("other", "US")
    world.route()
    assert world.told == [[("other", False)], [("first", MADE)], [("second", False)]]


def test_of_what_has_ended_a_worker_the_original_goes_and_the_copy_is_made_later(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure("test", format="json")
    world.arrive("one", "CT")
    world.die()
    world.route()
    assert world.told == [[("one", NOT_MADE)]]
    assert world.states("one") == {"pacs": "ready", "research": "ready"}
    assert "a worker ended over this instance: its copies are made after all others" in capfd.readouterr().err


def test_copies_for_which_there_is_no_time_are_made_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        world.arrive(name, "CT")

    def slowly(*words: Any) -> Routing | Quarantine:
        world.now_ms += COPYING_MS // 2
        return copied(*words)

    monkeypatch.setattr(route, "copied", slowly)
    world.route()
    assert world.told == [[("one", MADE)], [("two", MADE)], [("three", NOT_MADE)]]


def test_a_worker_that_is_told_to_stop_makes_no_further_copy_and_keeps_nothing(world: World) -> None:
    world.arrive("one", "CT")
    world.route(lambda: True)
    assert world.told == [[("one", NOT_MADE)]]


def test_large_pixels_and_large_instances_are_copied_later(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The size that counts is that of the pixels once they are decoded."""
    telemetry.configure("test", format="json")
    image = replace(GREY, transfer_syntax_uid=RLE, number_of_frames=4)
    frame = encode(GREY, bytes(GREY.frame_bytes), RLE)
    data = encapsulated(image, [frame] * 4)
    world.take("flat", data, make_meta(sop_instance_uid="1.2.3.4", transfer_syntax_uid=RLE))
    assert len(data) < image.pixel_bytes - 1
    monkeypatch.setattr(module, "AT_ONCE_BYTES", image.pixel_bytes - 1)
    world.route()
    world.arrive("large", "CT")
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 100)
    world.route()
    assert world.told == [[("flat", NOT_MADE)], [("large", NOT_MADE)]]
    assert world.states("flat") == world.states("large") == {"pacs": "ready", "research": "ready"}
    assert "copy_not_made" not in capfd.readouterr().err


def test_while_a_large_copy_is_made_what_comes_is_routed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    image = replace(GREY, transfer_syntax_uid=RLE, number_of_frames=4)
    data = encapsulated(image, [encode(GREY, bytes(GREY.frame_bytes), RLE)] * 4)
    world.take("large", data, make_meta(sop_instance_uid="1.2.3.4", transfer_syntax_uid=RLE))
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 100)
    world.route()
    world.ask_for_copies()

    def verified(*words: Any) -> None:
        world.arrive("meanwhile", "CT")
        monkeypatch.setattr(module, "AT_ONCE_BYTES", 1 << 20)
        verify(*words)

    monkeypatch.setattr(remake, "verify", verified)
    world.run(False, False, True, True, True)
    assert world.told == [[("large", NOT_MADE)], [("meanwhile", NOT_MADE)]]
    assert world.states("meanwhile") == {"pacs": "ready", "research": "ready"}
    session = world.ledger.open_session(Role.FORWARDER, "host", 3, world.now_ms)
    (copy,) = (
        each for each in world.ledger.claim_deliveries(session, "research", 9, world.now_ms) if each.payload.path
    )
    assert copy.payload.length > image.pixel_bytes


def test_an_error_while_a_worker_gives_way_ends_it_and_not_the_copy(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 100)
    world.arrive("large", "CT")
    world.route()
    world.ask_for_copies()

    def verified(*words: Any) -> None:
        world.arrive("meanwhile", "US")
        monkeypatch.setattr(route, "decide", broken)
        verify(*words)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(remake, "verify", verified)
    with pytest.raises(ZeroDivisionError):
        world.run(False, False, True, True, True)
    assert world.states("large") == {"pacs": "ready", "research": "deferred"}
    session = world.ledger.open_session(Role.FORWARDER, "host", 3, world.now_ms)
    (copy,) = world.ledger.claim_deliveries(session, "research", 9, world.now_ms)
    assert copy.payload.path.startswith("derived/")


def test_what_is_tried_again_for_the_hosts_trouble_is_remembered_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.arrive("one", "CT")
    monkeypatch.setattr(route, "IDLE_S", 0.01)
    verify, failures = SpoolFile.verify, [SpoolError("no descriptors")] * 3

    def sometimes(*words: Any) -> None:
        if failures:
            raise failures.pop()
        verify(*words)

    monkeypatch.setattr(SpoolFile, "verify", sometimes)
    world.route()
    world.history.flush()
    assert not failures
    assert [row.instances for row in world.ledger.history(0, 0, 10)] == [1]
