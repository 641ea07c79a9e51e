"""The trail's files: chained over their boundaries, whole after any crash, and what was changed in them is found."""

from __future__ import annotations

import json
import os
import re
import stat
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.chain import LINE_MAX, Entry, Head, line_of, read_line
from gateway.audit.files import files_in, name_of
from gateway.audit.read import TrailFilter, page
from gateway.audit.sender import Position
from gateway.audit.sender import after as records_after
from gateway.audit.syslog import message_of
from gateway.audit.trail import BROKEN, Trail
from gateway.audit.verify import verify
from gateway.errors import TrailError
from tests.harness.machine import LoopExt4, Tmpfs

KEY = b"a secret of more than sixteen bytes"


def entry(number: int, **fields: object) -> Entry:
    return Entry(
        1_000 * number,
        "transferred",
        {"who": "ct1", "patient": f"P{number}"} | fields,
        f"<m>{number}</m>",
        f"b/{number}",
    )


def trail(folder: Path, key: bytes = b"", segment_bytes: int = 1 << 20) -> Trail:
    return Trail(folder, lambda: 9_000_000, key, segment_bytes)


def written(folder: Path, count: int, key: bytes = b"", segment_bytes: int = 1 << 20, from_: int = 1) -> Head:
    """So many records, one batch after the other."""
    made = trail(folder, key, segment_bytes)
    for number in range(from_, from_ + count):
        made.append([entry(number)])
    made.close()
    return made.head


def whole(path: Path) -> list[bytes]:
    """The lines that are records."""
    return [line for line in lines(path) if read_line(line) is not None]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_records_are_lines_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    written(folder, 3)
    (path,) = files_in(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    records = [json.loads(line) for line in lines(path)]
    assert [record["seq"] for record in records] == [1, 2, 3]
    assert [record["prev"] for record in records] == ["0" * 64, records[0]["hash"], records[1]["hash"]]
    assert records[1]["time"] == "1970-01-01T00:00:02.000Z" and records[1]["xml"] == "<m>2</m>"


def test_the_chain_goes_on_from_file_to_file_and_from_start_to_start(tmp_path: Path) -> None:
    for start in range(3):
        written(tmp_path, 7, segment_bytes=1_000, from_=start * 7 + 1)
    paths = files_in(tmp_path)
    assert len(paths) > 4
    verdict = verify(paths)
    assert (verdict.fault, verdict.records, verdict.last.seq, verdict.notes) == (None, 21, 21, [])


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    first = trail(tmp_path)
    with pytest.raises(TrailError, match="another process writes there"):
        trail(tmp_path)
    first.close()
    trail(tmp_path).close()


def test_what_was_written_is_known_by_its_batch_after_a_restart(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes=1_000)
    again = trail(tmp_path)
    assert {"b/20", "b/19"} <= again.written("b/")
    assert again.written("c/") == set()
    again.close()


def test_records_are_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    with LoopExt4(tmp_path / "disk", 32 << 20) as disk:
        made = trail(disk.path / "audit")
        head = made.append([entry(1), entry(2)])
        disk.power_cut()
        made.close()
        disk.replug()
        verdict = verify(files_in(disk.path / "audit"), known=head)
    assert (verdict.fault, verdict.last) == (None, head)


@pytest.mark.parametrize(
    "long",
    [{"text": "\u00e9" * 400_000}, {"which": {"a": ["x" * LINE_MAX]}}, {str(n): "x" * 9_000 for n in range(200)}],
)
def test_no_line_is_longer_than_readers_take(tmp_path: Path, long: dict[str, object]) -> None:
    made = trail(tmp_path)
    made.append([entry(1), entry(2, **long), Entry(0, "alert", {"who": "x"}, "<m/>" * LINE_MAX, "b/3"), entry(4)])
    made.close()
    (path,) = files_in(tmp_path)
    assert max(map(len, lines(path))) < LINE_MAX
    verdict = verify([path])
    assert (verdict.fault, verdict.records, verdict.notes) == (None, 4, [])
    assert [json.loads(line).get("shortened", False) for line in lines(path)] == [False, True, True, False]
    assert [row.who for row in page(tmp_path, TrailFilter(), 9).rows] == ["ct1", "x", "ct1", "ct1"]


def test_a_full_disk_is_an_error_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "disk", 1 << 20) as disk:
        made = trail(disk.path / "audit")
        made.append([entry(1)])
        filler = disk.fill()
        with pytest.raises(TrailError, match="No space left on device"):
            made.append([entry(number, text="x" * 4000) for number in range(2, 20)])
        filler.unlink()
        there = made.written("b/")  # those that were whole before the disk was full
        made.append([entry(number) for number in range(2, 20) if f"b/{number}" not in there])
        made.close()
        verdict = verify(files_in(disk.path / "audit"))
        refs = [json.loads(line)["ref"] for path in files_in(disk.path / "audit") for line in whole(path)]
    assert verdict.fault is None
    assert verdict.last.seq == 19 + len(verdict.notes)  # with one of what was left half-written
    assert sorted(filter(None, refs)) == sorted(f"b/{number}" for number in range(1, 20))


# ── power cuts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_after_a_power_cut_at_any_byte_the_chain_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    written(folder, 4)
    (path,) = files_in(folder)
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw) - 1))
    path.write_bytes(raw[:cut])
    lacks_end = raw[cut:].startswith(b"\n")
    whole = raw[:cut].count(b"\n") + lacks_end
    head = written(folder, 1, from_=10)
    verdict = verify(files_in(folder))
    assert verdict.fault is None
    torn = cut > 0 and not raw[:cut].endswith(b"\n") and not lacks_end
    assert len(verdict.notes) == torn
    assert head.seq == verdict.last.seq == whole + torn + 1


def test_what_a_power_cut_left_is_told_before_and_after_the_next_start(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (path,) = files_in(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"seq": 3, "ti')
    before = verify([path])
    assert before.fault is None and "14 bytes that are no whole record" in before.notes[0]
    written(tmp_path, 1, from_=3)
    after = verify([path])
    assert after.fault is None and "15 bytes that were cut off, as record 3 says" in after.notes[0]
    assert after.last.seq == 4


def test_what_is_no_record_may_be_longer_than_memory(tmp_path: Path) -> None:
    """As a file system leaves it that made a file longer, and never wrote into it."""
    written(tmp_path, 2)
    (path,) = files_in(tmp_path)
    whole, size = path.stat().st_size, 32 << 20
    os.truncate(path, size)
    tracemalloc.start()
    before = verify([path])
    head = written(tmp_path, 1, from_=3)
    verdict = verify(files_in(tmp_path), known=head)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert before.notes == [
        f"{path.name}, line 3: {size - whole} bytes that are no whole record; the next start says so"
    ]
    assert (verdict.fault, len(verdict.notes), verdict.last.seq) == (None, 1, 4)
    assert peak < 12 << 20


def test_what_a_power_cut_left_at_the_end_of_a_full_file_is_told_in_that_file(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (path,) = files_in(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"seq": 3, "ti')
    written(tmp_path, 1, segment_bytes=10, from_=3)
    verdict = verify(files_in(tmp_path))
    assert (verdict.fault, verdict.last.seq, len(files_in(tmp_path))) == (None, 4, 2)


def test_a_power_cut_between_a_new_file_and_its_first_record_loses_nothing(tmp_path: Path) -> None:
    head = written(tmp_path, 2)
    (tmp_path / "trail-000000000003.jsonl").touch(0o600)
    assert written(tmp_path, 1, from_=3).seq == head.seq + 1
    assert verify(files_in(tmp_path)).fault is None


# ── tampering ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    (path,) = files_in(folder)
    path.write_bytes(b"".join(change(lines(path))))


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (lambda all_: [*all_[:2], all_[2].replace(b"P3", b"P9"), *all_[3:]], 3, "was changed"),
        (lambda all_: [*all_[:2], *all_[3:]], 3, "1 records between them are missing"),
        (lambda all_: [*all_[:2], all_[3], all_[2], *all_[4:]], 3, "1 records between them are missing"),
        (lambda all_: [*all_[:3], all_[2], *all_[3:]], 4, "was put in, or moved"),
        (lambda all_: [*all_[:2], b"not a record\n", *all_[2:]], 3, "is no record"),
        (lambda all_: [*all_[:2], all_[2][:-20] + b"\n", *all_[3:]], 3, "is no record"),
        (lambda all_: all_[1:], 0, ""),
    ],
)
def test_the_first_record_that_was_changed_is_found(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], line: int, words: str
) -> None:
    written(tmp_path, 6)
    changed(tmp_path, change)
    verdict = verify(files_in(tmp_path))
    if not words:  # the beginning may be elsewhere: it is told, and not wrong
        assert verdict.fault is None and verdict.notes == ["begins at record 2: what was before it is elsewhere"]
        return
    assert verdict.fault is not None
    assert (verdict.fault.line, words in verdict.fault.text) == (line, True), verdict.fault


@pytest.mark.parametrize(
    "digest", [b"\\u00e9" * 2 + b"0" * 52, b"\xc3\xa9" * 32, b"AB" * 32, b"\\u0030" * 10 + b"0000"]
)
@pytest.mark.parametrize("number", [1, 5])
def test_a_hash_that_is_none_is_found_and_stops_nobody(tmp_path: Path, digest: bytes, number: int) -> None:
    head = written(tmp_path, 6)
    changed(
        tmp_path,
        lambda all_: [*all_[:number], all_[number][:-67] + digest + b'"}\n', *all_[number + 1 :]],
    )
    fault = verify(files_in(tmp_path), known=head).fault
    assert fault is not None
    assert reopened(tmp_path, head) != ""
    assert verify(files_in(tmp_path), known=head).fault is not None


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_no_byte_can_be_changed_unnoticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("tamper")
    head = written(folder, 5)
    (path,) = files_in(folder)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[at]))
    path.write_bytes(raw)
    verdict = verify([path], known=head)
    assert verdict.fault is not None


def test_what_was_cut_off_at_the_end_is_missed(tmp_path: Path) -> None:
    head = written(tmp_path, 5)
    changed(tmp_path, lambda all_: all_[:-2])
    assert verify(files_in(tmp_path)).fault is None
    fault = verify(files_in(tmp_path), known=head).fault
    assert fault is not None and "2 more, up to 5, were written and are not there" in fault.text


def test_who_makes_the_whole_chain_anew_is_found_by_the_head_that_the_ledger_knows(tmp_path: Path) -> None:
    head = written(tmp_path / "true", 5)
    written(tmp_path / "false", 5, from_=101)
    fault = verify(files_in(tmp_path / "false"), known=head).fault
    assert fault is not None and "another than the ledger knows of" in fault.text


def numbered_from(folder: Path, head: Head) -> Head:
    """One record that says it follows another, in a file of the name that it has then; nothing else is there."""
    line, last = line_of(entry(1), head, b"")
    folder.mkdir()
    (folder / name_of(last.seq)).write_bytes(line)
    return last


def test_who_makes_a_chain_anew_behind_the_head_that_the_ledger_knows_is_found(tmp_path: Path) -> None:
    head = written(tmp_path / "true", 5)
    numbered_from(tmp_path / "far", Head(505, "ab" * 32))
    far = verify(files_in(tmp_path / "far"), known=head).fault
    assert far is not None and "behind number 5, which was written" in far.text
    numbered_from(tmp_path / "next", Head(5, "ab" * 32))
    following = verify(files_in(tmp_path / "next"), known=head).fault
    assert following is not None and "follows another number 5 than was written" in following.text
    last = numbered_from(tmp_path / "moved", head)  # all that was before it was moved away, and rightly
    verdict = verify(files_in(tmp_path / "moved"), known=head)
    assert (verdict.fault, verdict.last) == (None, last)


def reopened(folder: Path, known: Head) -> str:
    """What is found wrong at the next start, where this record was written."""
    made = Trail(folder, lambda: 0, known=known)
    made.close()
    return made.fault


def test_a_start_misses_the_records_that_are_known_to_have_been_written(tmp_path: Path) -> None:
    head = written(tmp_path, 9, segment_bytes=1_000)
    assert reopened(tmp_path, head) == reopened(tmp_path, Head()) == ""
    head = written(tmp_path, 9, segment_bytes=1_000, from_=10)
    middle = json.loads(lines(files_in(tmp_path)[1])[0])
    assert reopened(tmp_path, Head(middle["seq"], middle["hash"])) == ""
    assert "is another than was written" in reopened(tmp_path, Head(middle["seq"], "ab" * 32))
    files_in(tmp_path)[-1].unlink()
    assert "more, up to 18, were written" in reopened(tmp_path, head)
    assert reopened(tmp_path / "gone", head) == "the files end at record 0: 18 more, up to 18, were written"
    numbered_from(tmp_path / "anew", Head(505, "ab" * 32))
    assert "record 506 is the first, and behind number 18" in reopened(tmp_path / "anew", head)
    numbered_from(tmp_path / "moved", head)
    assert reopened(tmp_path / "moved", head) == ""


def test_a_trail_that_opens_its_files_again_misses_what_it_wrote_itself(tmp_path: Path) -> None:
    with Tmpfs(tmp_path / "disk", 1 << 20) as disk:
        made = trail(disk.path / "audit")
        made.append([entry(1), entry(2), entry(3)])
        filler = disk.fill()
        with pytest.raises(TrailError, match="No space left on device"):
            made.append([entry(number, text="x" * 4000) for number in range(4, 20)])
        changed(disk.path / "audit", lambda all_: all_[:2])
        filler.unlink()
        made.append([entry(4)])
        assert made.fault == "the files end at record 2: 1 more, up to 3, were written"
        made.close()


def elsewhere(path: Path) -> None:
    path.rename(path.with_suffix(".old"))


def replaced(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(b"".join(lines(path)[:-1]))
    copy.rename(path)


@pytest.mark.parametrize("take", [Path.unlink, elsewhere, replaced])
def test_a_file_that_is_taken_away_under_the_writer_is_missed_and_the_next_records_are_in_one_that_exists(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    made = trail(tmp_path)
    made.append([entry(1), entry(2)])
    take(files_in(tmp_path)[-1])
    made.append([entry(3)])
    assert "more, up to 2, were written" in made.fault
    kinds = [(row.kind, row.at_ms) for row in page(tmp_path, TrailFilter(), 10).rows]
    assert kinds[:2] == [("transferred", 3_000), (BROKEN, 9_000_000)]
    made.fault = ""
    made.append([entry(4)])
    assert made.fault == "" and page(tmp_path, TrailFilter(), 1).rows[0].at_ms == 4_000
    made.close()


def test_with_a_key_nobody_else_makes_a_chain(tmp_path: Path) -> None:
    written(tmp_path / "true", 5, KEY)
    assert verify(files_in(tmp_path / "true"), KEY).fault is None
    without = verify(files_in(tmp_path / "true"))
    assert without.fault is None and "5 records are keyed" in without.notes[0]
    for key in (b"", b"another secret of sixteen"):
        written(tmp_path / key.hex(), 5, key)
        assert verify(files_in(tmp_path / key.hex()), KEY).fault is not None
    other = verify(files_in(tmp_path / "true"), b"another secret of sixteen").fault
    assert other is not None and (other.seq, "does not fit its own hash" in other.text) == (1, True)


def test_a_key_may_come_later_but_not_go(tmp_path: Path) -> None:
    written(tmp_path, 3)
    written(tmp_path, 3, KEY, from_=4)
    verdict = verify(files_in(tmp_path), KEY)
    assert verdict.fault is None and verdict.notes == ["the first 3 records are not keyed"]
    written(tmp_path, 1, from_=7)
    fault = verify(files_in(tmp_path), KEY).fault
    assert fault is not None and fault.seq == 7 and "is not keyed" in fault.text


@pytest.mark.parametrize("segment_bytes", [1 << 20, 1_000])
def test_a_start_finds_records_without_the_key_behind_those_with_it(tmp_path: Path, segment_bytes: int) -> None:
    head = written(tmp_path, 9, KEY, segment_bytes)
    if segment_bytes == 1_000:  # in a file of their own
        (tmp_path / name_of(head.seq + 1)).touch(0o600)
    with files_in(tmp_path)[-1].open("ab") as file:
        for each in (entry(10), Entry(0, BROKEN)):  # and the forger says that it was told already
            line, head = line_of(each, head, b"")
            file.write(line)
    forged = trail(tmp_path, KEY, segment_bytes)
    forged.close()
    assert "(record 10) is not keyed, though those before it are" in forged.fault
    again = trail(tmp_path, KEY, segment_bytes)
    again.close()
    assert again.fault == ""


def test_a_chain_that_was_broken_is_gone_on_with_and_said_so_once(tmp_path: Path) -> None:
    written(tmp_path, 5)
    changed(tmp_path, lambda all_: [*all_[:2], all_[2].replace(b"P3", b"P9"), *all_[3:]])
    again = trail(tmp_path)
    assert "line 3" in again.fault and "record 3" in again.fault
    again.close()
    once_more = trail(tmp_path)
    assert once_more.fault == ""
    once_more.append([entry(9)])
    once_more.close()
    fault = verify(files_in(tmp_path)).fault
    assert fault is not None and fault.seq == 3
    (path,) = files_in(tmp_path)
    assert [json.loads(line)["kind"] for line in lines(path)[5:]] == ["broken", "transferred"]


def test_a_file_that_is_gone_from_the_middle_is_missed(tmp_path: Path) -> None:
    written(tmp_path, 12, segment_bytes=1_000)
    paths = files_in(tmp_path)
    paths[1].unlink()
    fault = verify(files_in(tmp_path)).fault
    assert fault is not None and "are missing" in fault.text and fault.file == paths[2].name


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_people_read_the_newest_first_a_page_at_a_time(tmp_path: Path) -> None:
    written(tmp_path, 25, segment_bytes=1_000)
    seen: list[int] = []
    after = ""
    while True:
        found = page(tmp_path, TrailFilter(), 7, after)
        seen += [row.seq for row in found.rows]
        after = found.next
        if not after:
            break
    assert seen == list(range(25, 0, -1))


def test_people_read_what_they_ask_for(tmp_path: Path) -> None:
    made = trail(tmp_path, segment_bytes=1_000)
    made.append(
        [entry(1), entry(2, who="console:anna", study="1.2.3", outcome=4), entry(3, about="PACS", accession="A1")]
    )
    made.append([Entry(4_000, "alert", {"who": "gateway", "text": "words"})])
    made.close()

    def asked(**which: object) -> list[int]:
        return [row.seq for row in page(tmp_path, TrailFilter(**which), 10).rows]  # type: ignore[arg-type]

    assert asked(kinds=("alert",)) == [4]
    assert asked(who="ANNA") == [2] and asked(who="pacs") == [3]
    assert asked(patient_id="P1") == [1] and asked(patient_id="P") == []
    assert asked(study_instance_uid="1.2.3") == asked(failed=True) == [2]
    assert asked(accession_number="A1") == [3]
    assert asked(from_ms=2_000, to_ms=4_000) == [3, 2]


@pytest.mark.parametrize(
    "odd", ["1970-01-01T00:00:00Z", "none", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]
)
def test_a_record_with_an_odd_time_hides_none(tmp_path: Path, odd: str) -> None:
    now_ms = 1_767_225_600_000
    made = trail(tmp_path)
    made.append([Entry(now_ms + number, "alert", xml="<m/>") for number in range(5)])
    made.close()
    changed(
        tmp_path,
        lambda all_: [all_[0], all_[1], re.sub(rb'"time": "[^"]*"', f'"time": "{odd}"'.encode(), all_[2]), *all_[3:]],
    )
    found = page(tmp_path, TrailFilter(from_ms=now_ms), 10)
    assert [row.seq for row in found.rows] == [5, 4, 2, 1]
    assert [row.at_ms for row in page(tmp_path, TrailFilter(), 10).rows if row.seq == 3] == [0]
    assert [message_of(each.at_ms, "h", "p", each.xml)[:4] for each in records_after(tmp_path, Position())] == [
        b"<85>"
    ] * 5


def test_a_page_ends_where_all_that_is_left_is_older(tmp_path: Path) -> None:
    made = trail(tmp_path)
    made.append([Entry(number, "alert") for number in range(3_000)])
    made.append([Entry(1_767_225_600_000, "alert")])
    made.close()
    found = page(tmp_path, TrailFilter(from_ms=1_767_225_600_000), 10, scan_bytes=400_000)  # not half of it
    assert ([row.seq for row in found.rows], found.next) == ([3_001], "")


def test_a_page_looks_at_no_more_than_it_may(tmp_path: Path) -> None:
    written(tmp_path, 50, segment_bytes=4_000)
    found = page(tmp_path, TrailFilter(patient_id="P1"), 10, scan_bytes=2_000)
    assert found.rows == () and found.next
    while found.next and not found.rows:
        found = page(tmp_path, TrailFilter(patient_id="P1"), 10, found.next, scan_bytes=2_000)
    assert [row.seq for row in found.rows] == [1]


def test_what_is_no_place_in_the_trail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match="is not where a page ends"):
        page(tmp_path, TrailFilter(), 10, "x")
    assert page(tmp_path / "nowhere", TrailFilter(), 10).rows == ()
