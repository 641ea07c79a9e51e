"""The keeper: what the ledger has to tell stands in the files, once, whoever dies when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gateway.audit.chain import Entry, Head
from gateway.audit.files import files_in
from gateway.audit.read import TrailFilter, page
from gateway.audit.trail import Trail
from gateway.audit.verify import verify
from gateway.errors import GatewayError, TrailError
from gateway.flow.keeper import Keeper, Patience
from gateway.flow.notes import Notes
from gateway.flow.told import Names, entries
from gateway.ledger.sqlite import SqliteLedger
from gateway.ledger.thread import LedgerThread
from gateway.ledger.trail import Note, NoteKind
from gateway.model import Role, Session, StudyFacts
from gateway.telemetry import registry
from tests.contract.ledger_scene import Scene
from tests.harness.machine import LoopExt4

ANNA = StudyFacts(patient_id="P1", patient_name="ANNA", study_instance_uid="1.2.3", series_instance_uid="1.2.3.1")
NAMES = Names("host1", "GATEWAY", "gateway-1")
AT_ONCE = Patience(0.0, 0.0)


class Place:
    """A ledger and a folder for the trail."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.folder = folder / "audit"
        self.scene = Scene(lambda: SqliteLedger.open(self.path))

    def route(self, *instance_ids: str) -> None:
        self.scene.arrive(*instance_ids)
        self.scene.route(study=ANNA)

    def session(self) -> Session:
        return self.scene.ledger.open_session(Role.CONSOLE, "host", 1, self.scene.now_ms, home="home")

    def trail(self, known: Head | None = None) -> Trail:
        return Trail(self.folder, lambda: self.scene.now_ms, known=known)

    @asynccontextmanager
    async def keeper(self, session: Session | None = None) -> AsyncIterator[Keeper]:
        ledger = LedgerThread(lambda: SqliteLedger.open(self.path))
        session = session or self.session()
        yield Keeper(ledger, session, self.trail, lambda: NAMES, lambda: self.scene.now_ms, AT_ONCE, home="home")
        await ledger.close()

    def kinds(self) -> list[str]:
        """What the files hold, the oldest first; found to be whole."""
        assert verify(files_in(self.folder)).fault is None
        return [row.kind for row in reversed(page(self.folder, TrailFilter(), 1000).rows)]


async def keep(place: Place, session: Session | None = None) -> None:
    async with place.keeper(session) as keeper:
        await keeper.finish(all_of_it=True)


def test_what_the_ledger_has_to_tell_is_written_and_forgotten(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.route("a", "b")
    place.scene.conclude(*place.scene.claim())
    place.scene.ledger.pause_destination("pacs", True, "cli:root", place.scene.now_ms)
    asyncio.run(keep(place))
    assert sorted(place.kinds()) == ["alert", "begin", "transferred", "transferred"]
    asyncio.run(keep(place))
    assert len(place.kinds()) == 4
    (head,) = place.scene.ledger.trail_heads().values()
    assert head.seq == 4
    place.scene.close()


def test_who_dies_after_writing_and_before_saying_so_writes_nothing_twice(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.route("a")
    dead = place.session()
    untold = place.scene.ledger.take_untold(dead, place.scene.now_ms, quiet_ms=0, late_ms=0, limit=100)
    assert untold is not None and len(untold.told) == 2
    trail = place.trail()
    trail.append(entries(untold, NAMES)[:1])  # and half of the batch only
    trail.close()
    place.scene.ledger.void_session(dead.session_id, place.scene.now_ms)
    place.route("b")
    asyncio.run(keep(place))
    rows = page(place.folder, TrailFilter(), 100).rows
    assert sorted((row.kind, row.instances) for row in rows) == [
        ("begin", 1), ("begin", 1), ("transferred", 1), ("transferred", 1),
    ]  # fmt: skip
    place.scene.close()


def test_a_power_cut_between_the_files_and_the_ledger_writes_nothing_twice(tmp_path: Path) -> None:
    with LoopExt4(tmp_path / "disk", 64 << 20) as disk:
        place = Place(disk.path)
        place.route("a", "b")
        place.scene.ledger.tell(
            [Note(NoteKind.LOGIN, place.scene.now_ms, "console:anna")]
        )  # on the disk, as all before
        dead = place.session()
        untold = place.scene.ledger.take_untold(dead, place.scene.now_ms, quiet_ms=0, late_ms=0, limit=100)
        assert untold is not None
        trail = place.trail()
        trail.append(entries(untold, NAMES))
        written = place.kinds()
        disk.power_cut()
        trail.close()
        with suppress(GatewayError):  # its disk is gone
            place.scene.ledger.close()
        disk.replug()
        again = Place(disk.path)
        again.scene.ledger.void_session(dead.session_id, again.scene.now_ms)
        asyncio.run(keep(again))
        assert again.kinds() == written
        again.scene.close()


def test_a_file_that_is_taken_away_raises_an_alarm_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for number in range(8):
        place.scene.ledger.pause_destination("pacs", number % 2 == 0, "cli:root", place.scene.now_ms)

    async def run() -> None:
        async with place.keeper() as keeper:
            await keeper._work(AT_ONCE)
            for path in files_in(place.folder):
                path.unlink()
            place.scene.ledger.pause_destination("dr", True, "cli:root", place.scene.now_ms)
            await keeper.finish(all_of_it=True)

    asyncio.run(run())
    rows = page(place.folder, TrailFilter(), 10).rows
    assert [row.what for row in reversed(rows) if row.kind == "alert"] == ["pause", "trail broken"]
    (head,) = place.scene.ledger.trail_heads().values()
    trail = place.trail(Head(head.seq, head.hash))
    assert (trail.fault, trail.head.seq) == ("", head.seq)  # the next start misses nothing more
    trail.close()
    place.scene.close()


def test_while_the_files_take_nothing_it_waits_in_the_ledger(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.route("a")
    other = place.trail()  # another process writes there

    async def run() -> None:
        async with place.keeper() as keeper:
            await keeper.finish(all_of_it=True)
            assert registry.audit_trail_up._value.get() == 0
            other.close()
            await keeper.finish(all_of_it=True)
            assert registry.audit_trail_up._value.get() == 1

    asyncio.run(run())
    assert len(place.kinds()) == 2
    place.scene.close()


def test_a_chain_that_was_broken_raises_an_alert(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.route("a")
    asyncio.run(keep(place))
    (path,) = files_in(place.folder)
    path.write_bytes(path.read_bytes().replace(b"P1", b"P2", 1))
    place.route("b")
    asyncio.run(keep(place))
    alerts = page(place.folder, TrailFilter(kinds=("alert",)), 10).rows
    assert [(row.what, row.outcome) for row in alerts] == [("trail broken", 8)]
    assert "was changed" in alerts[0].text
    place.scene.close()


def test_records_that_were_cut_off_at_the_end_raise_an_alert_at_the_next_start_and_are_missed_for_ever(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path)
    place.route("a", "b")
    asyncio.run(keep(place))
    (path,) = files_in(place.folder)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-1]))
    trail = place.trail()  # the supervisor says that it starts: just as many records as before
    trail.append([Entry(0, "started")])
    trail.close()
    place.route("c")
    asyncio.run(keep(place))
    (alert,) = page(place.folder, TrailFilter(kinds=("alert",)), 10).rows
    assert (alert.what, alert.outcome) == ("trail broken", 8)
    assert f"record {len(whole)} is another than was written" in alert.text
    asyncio.run(keep(place))
    assert len(page(place.folder, TrailFilter(kinds=("alert", "broken")), 10).rows) == 2  # told once
    (known,) = place.scene.ledger.trail_heads().values()
    fault = verify(files_in(place.folder), known=Head(known.seq, known.hash)).fault
    assert fault is not None and "says that the chain was found broken" in fault.text
    place.scene.close()


def test_a_cancelled_keeper_leaves_whole_files_and_loses_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)

    async def run() -> None:
        for number in range(20):
            place.route(f"i{number}")
            async with place.keeper() as keeper:
                task = asyncio.create_task(keeper.run())
                for _ in range(number):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await keeper.finish(all_of_it=False)

    asyncio.run(run())
    asyncio.run(keep(place))
    rows = page(place.folder, TrailFilter(kinds=("transferred",)), 100).rows
    assert sum(row.instances for row in rows) == 20
    place.scene.close()


def test_notes_are_kept_in_order_and_wait_while_the_ledger_is_busy(tmp_path: Path) -> None:
    place = Place(tmp_path)

    async def run() -> None:
        ledger = LedgerThread(lambda: SqliteLedger.open(place.path, busy_timeout_s=0.05))
        await ledger.start()
        notes = Notes(ledger)
        task = asyncio.create_task(notes.run())
        with place.scene.ledger._database._locked():  # type: ignore[attr-defined]
            for number in range(250):
                notes.put(Note(NoteKind.LOGIN, number, f"console:user{number}"))
            assert not await notes.flush()
        while not await notes.flush():
            pass
        await notes.keep(Note(NoteKind.EXPORTED, 999, "console:anna"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.close()

    asyncio.run(run())
    untold = place.scene.ledger.take_untold(place.session(), 10_000, quiet_ms=0, late_ms=0, limit=1000)
    assert untold is not None
    times = [told.note.at_ms for told in untold.told]  # type: ignore[union-attr]
    assert times == [*range(250), 999]
    place.scene.close()


def test_an_order_about_many_instances_makes_records_that_can_be_read(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ids = [f"{number:032x}" for number in range(40_000)]
    place.scene.ledger.tell(
        [
            Note(NoteKind.ORDER, 1, "cli:root", what="hold", which={"instance_ids": ids, "reason": "x" * 2_000_000}),
            Note(NoteKind.QUERY, 2, "console:anna", which={"uids": ids}),
        ]
    )
    asyncio.run(keep(place))
    assert sorted(place.kinds()) == ["alert", "query"]
    (path,) = files_in(place.folder)
    for line in path.read_bytes().splitlines():
        assert len(line) < 8_000
    which = json.loads(path.read_bytes().splitlines()[0])["which"]
    assert which["instance_ids"] == [*ids[:20], "… 40000 in all"]
    place.scene.close()


def test_what_only_a_newer_version_knows_of_is_written_all_the_same(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.scene.ledger.tell([Note(NoteKind.LOGIN, 1, "console:anna")])
    place.scene.ledger._database.write(  # type: ignore[attr-defined]
        lambda tx: tx.execute("UPDATE audit_note SET kind = 'dreamt'", ())
    )
    asyncio.run(keep(place))
    assert place.kinds() == ["alert"]
    (alert,) = page(place.folder, TrailFilter(), 10).rows
    assert (alert.what, alert.who, alert.about) == ("not known to this version", "console:anna", "note dreamt")
    place.scene.close()


def test_a_note_that_the_ledger_cannot_take_is_lost_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)

    async def run() -> None:
        ledger = LedgerThread(lambda: SqliteLedger.open(place.path))
        notes = Notes(ledger)
        for number in range(250):
            at_ms = None if number == 42 else number
            notes.put(Note(NoteKind.LOGIN, at_ms, "console:anna"))  # type: ignore[arg-type]
        assert await notes.flush()
        await ledger.close()

    asyncio.run(run())
    untold = place.scene.ledger.take_untold(place.session(), 10_000, quiet_ms=0, late_ms=0, limit=1000)
    assert untold is not None
    times = [told.note.at_ms for told in untold.told]  # type: ignore[union-attr]
    assert times == [number for number in range(250) if number != 42]
    place.scene.close()


def test_a_trail_that_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file")
    try:
        Trail(tmp_path / "audit", lambda: 0)
    except TrailError as error:
        assert "File exists" in str(error) and "must be a folder with room" in str(error)
    else:
        raise AssertionError("opened")
