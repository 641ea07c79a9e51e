"""Tables from CSV files: what conditions, `map` and templates find in them, what is wrong with them, and that no text
of theirs gets into a message."""

from __future__ import annotations

import csv
import os
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header
from gateway.errors import ConfigurationError, TransformError
from gateway.flow.reload import read_rules, signature, validate_rules
from gateway.model import AssociationFacts
from gateway.rules import csvtext
from gateway.rules.index import needs_of
from gateway.rules.plan import revision_of
from gateway.rules.tables import TableData
from gateway.transform import Rulebook, load
from gateway.transform.testing import run_tests
from tests.unit.samples import SOP, element
from tests.unit.transform_kit import reread, run_all

CSV = 'station,ward,room\nCTAW01,Emergency,CT-ROOM-1\nMR*,"Neuro, 2",MR-ROOM-1\nXÄ1,,X-ROOM\n'
TABLES = "tables:\n  stations: {file: stations.csv, key: station}\n"
PATIENT = "DOE^JANE"
STATION = (0x00081010,)


def book(text: str, table: str = CSV, **files: str) -> Rulebook:
    return load({"10.yaml": TABLES + text, "stations.csv": table, **files})


def passed(rules: str, table: str = CSV) -> list[tuple[str, str]]:
    """The tests that fail, and what they got."""
    return [(each.name, each.got) for each in run_tests(book(rules, table)) if not each.passed]


def problems(text: str, table: str = CSV) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load({"10.yaml": text, "stations.csv": table})
    return [str(each) for each in caught.value.problems]


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_conditions_find_keys_and_columns_letter_by_letter() -> None:
    assert (
        passed("""\
rules:
  - {name: key, match: {StationName: {table: stations}}, send_to: key}
  - {name: ward, match: {InstitutionalDepartmentName: {table: stations, column: ward}}, send_to: ward}
  - {name: beside, match: {PatientID: [P1, {table: stations}]}, send_to: beside}
  - {name: every, match: {ImageType: {all: {table: stations}}}, send_to: every}
  - {name: none, match: {Modality: CT, not: {StationName: {table: stations}}}, send_to: none}
  - {name: fold, match: {StudyID: {table: stations, fold: [case, accents]}}, send_to: fold}
  - {name: fact, match: {calling_ae_title: {table: stations, column: room}}, send_to: fact}
tests:
  - {name: a key, instance: {StationName: CTAW01}, expect: {destinations: key}}
  - {name: a key is no text in other letters, instance: {StationName: ctaw01}, expect: {held: true}}
  - {name: a star is a star, instance: {StationName: "MR*"}, expect: {destinations: key}}
  - {name: and no pattern, instance: {StationName: MR1}, expect: {held: true}}
  - {name: one of the values, instance: {StationName: [A, CTAW01]}, expect: {destinations: key}}
  - {name: a column, instance: {InstitutionalDepartmentName: "Neuro, 2"}, expect: {destinations: ward}}
  - {name: what is empty fits nothing, instance: {InstitutionalDepartmentName: [A, ""]}, expect: {held: true}}
  - {name: a text beside a table, instance: {PatientID: p1}, expect: {destinations: beside}}
  - {name: every value, instance: {ImageType: [CTAW01, "MR*"]}, expect: {destinations: every}}
  - {name: not every value, instance: {ImageType: [CTAW01, B]}, expect: {held: true}}
  - {name: not a key, instance: {StationName: B, Modality: CT}, expect: {destinations: none}}
  - {name: case and accents aside, instance: {StudyID: xa1}, expect: {destinations: fold}}
  - {name: a fact, instance: {calling_ae_title: X-ROOM}, expect: {destinations: fact}}
""")
        == []
    )


def test_an_explanation_tells_of_the_table_and_of_nothing_in_it() -> None:
    made = book(
        "rules:\n  - {name: a, match: {StationName: {table: stations, column: ward, fold: case}}, send_to: x}\n"
    )
    nobody = AssociationFacts("", "", "", "", "", "")
    (told,) = made.plan.explain(Header.of({STATION: ("B",)}), nobody, "", "")
    assert told.failing == "not: StationName is in the column 'ward' of the table 'stations', capitals aside"
    assert "Emergency" not in repr(made)


def test_the_index_files_a_small_table_and_leaves_a_large_one_to_its_set() -> None:
    rule = "rules: [{name: a, match: {StationName: {table: stations}}, send_to: x}]\n"
    small, large = (book(rule, "station\n" + "".join(f"S{n}\n" for n in range(count))) for count in (3, 100_000))
    (of_small,), (of_large,) = small.plan.rules, large.plan.rules
    assert of_small.match is not None
    assert of_large.match is not None
    (needs,) = needs_of(of_small.match)
    assert sorted(need.text for need in needs) == ["s0", "s1", "s2"]
    assert list(needs_of(of_large.match)) == []
    nobody = AssociationFacts("", "", "", "", "", "")
    assert large.plan.decide(Header.of({STATION: ("S99999",)}), nobody, "", "").destinations == ("x",)
    assert large.plan.decide(Header.of({STATION: ("S100000",)}), nobody, "", "").destinations == ()


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_of(steps: str, station: bytes, table: str = CSV) -> str:
    """Station Name and department after the steps."""
    made = book(f"transforms:\n  t:\n    - {steps}\n", table)
    found = reread(run_all(SOP + element(0x00081010, "SH", station), [made.transforms["t"]])[0])
    return f"{found.get('StationName', '-')} {found.get('InstitutionalDepartmentName', '-')}"


MAP = "map: {attribute: StationName, table: {table: stations, column: room}, default: %s}"
LOOK_UP = 'set: {InstitutionalDepartmentName: "in {stations[%s].ward}"}'


def test_map_takes_what_texts_become_from_a_table() -> None:
    assert copy_of(MAP % "hold", b"CTAW01") == "CT-ROOM-1 -"
    assert copy_of(MAP % "keep", b"MR1 ") == "MR1 -"
    assert copy_of(MAP % "NONE", b"MR1 ") == "NONE -"
    with pytest.raises(TransformError, match="is not in the table, and the default is to hold"):
        copy_of(MAP % "hold", b"MR1 ")


def test_a_map_with_other_words_than_a_tables_is_written_in_place() -> None:
    assert (
        copy_of("map: {attribute: StationName, table: {table: CHAIR, col: X}, default: hold}", b"table ") == "CHAIR -"
    )


def test_a_template_looks_a_row_up() -> None:
    assert copy_of(LOOK_UP % "StationName", b"CTAW01") == "CTAW01 in Emergency"
    table = "title,ward\nCT1,By Title\n"
    steps = "transforms:\n  t:\n    - " + LOOK_UP % "calling_ae_title"
    made = load({"a.yaml": "tables: {stations: {file: t.csv, key: title}}\n" + steps, "t.csv": table})
    assert reread(run_all(SOP, [made.transforms["t"]])[0]).InstitutionalDepartmentName == "in By Title"


@pytest.mark.parametrize("station", [b"DOE^JANE", b"", b"CTAW01\\CTAW01 "])
def test_what_a_template_does_not_find_fails_and_is_not_told(station: bytes) -> None:
    with pytest.raises(TransformError) as caught:
        copy_of(LOOK_UP % "StationName", station)
    assert "StationName (0008,1010): the table 'stations' has no such row" in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_an_item_by_its_number_is_no_lookup() -> None:
    steps = '    - set: {StudyID: "{00081140[1].00081155}"}\n'
    made = load({"a.yaml": f"transforms:\n  t:\n{steps}"})
    assert "StudyID" in reread(run_all(SOP, [made.transforms["t"]])[0])


def digest(table: str, steps: str = MAP % "hold", other: str = "a\n1\n") -> str:
    text = TABLES + f"  others: {{file: o.csv, key: a}}\ntransforms:\n  t:\n    - {steps}\n"
    return load({"10.yaml": text, "stations.csv": table, "o.csv": other}).transforms["t"].digest


@pytest.mark.parametrize(
    "steps",
    [
        MAP % "hold",
        LOOK_UP % "StationName",
        "{when: {StationName: {table: stations}}, set: {StudyID: A}}",
        "add_item: {to: OtherPatientIDsSequence, item: {PatientID: 'x{stations[StationName].room}'}}",
    ],
)
def test_a_step_that_names_a_table_is_another_when_the_table_is(steps: str) -> None:
    changed = CSV.replace("CT-ROOM-1", "CT-ROOM-9")
    assert digest(CSV, steps) == digest(CSV, steps, "a\n2\n") == digest("\ufeff" + CSV.replace("\n", "\r\n"), steps)
    assert digest(changed, steps) != digest(CSV, steps)


def test_a_transform_without_tables_is_what_it_was_before_there_were_tables() -> None:
    made = load({"a.yaml": "lists: {r: [CT1]}\ntransforms:\n  t: [{set: {StudyID: A}, when: {host: {list: r}}}]\n"})
    assert made.transforms["t"].digest == "1dc9ec26e7c41028"


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────

RULE = "rules: [{name: a, match: {StationName: %s}, send_to: x}]\n"
STEP = "transforms:\n  t:\n    - %s\n"

MISTAKES = [
    ("tables: [a]\n", "10.yaml:1:9: tables maps names to tables: {file: stations.csv, key: station}"),
    ("tables: {A: {}}\n", "10.yaml:1:10: a table is named by at most 63 small letters, digits, - and _"),
    ("tables: {a: stations.csv}\n", "10.yaml:1:13: a table is a map with file, key"),
    (
        "tables: {a: {file: stations.csv, keys: s, key: station}}\n",
        "10.yaml:1:34: a table has no key 'keys'; is 'key' meant?",
    ),
    ("tables: {a: {key: s}}\n", "10.yaml:1:13: file names a CSV file beside the rule files, as in stations.csv"),
    ("tables: {a: {file: ../s.csv, key: s}}\n", "10.yaml:1:20: file names a CSV file beside the rule files"),
    ("tables: {a: {file: s.txt, key: s}}\n", "10.yaml:1:20: file names a CSV file beside the rule files"),
    ("tables: {a: {file: .s.csv, key: s}}\n", "10.yaml:1:20: file names a CSV file beside the rule files"),
    ("tables: {a: {file: stations.csv}}\n", "10.yaml:1:13: key is the name of the column by which rows are found"),
    (
        "tables: {a: {file: station.csv, key: s}}\n",
        "10.yaml:1:20: there is no file 'station.csv' beside the rule files; is 'stations.csv' meant?",
    ),
    ("tables: {a: {file: stations.csv, key: s}}\n", "10.yaml:1:39: the first row of stations.csv names no column 's'"),
    (
        "tables: {a: {file: stations.csv, key: Station}}\n",
        "10.yaml:1:39: the first row of stations.csv names no column 'Station'; is 'station' meant?",
    ),
    (TABLES + RULE % "{table: station}", "10.yaml:3:48: there is no table 'station'; is 'stations' meant?"),
    (TABLES + RULE % "{table: [stations]}", "10.yaml:3:48: there is no table of this"),
    (TABLES + RULE % "{table: stations, column: x}", "10.yaml:3:66: the table 'stations' has no column 'x'"),
    (TABLES + RULE % "{equals: a, column: ward}", "10.yaml:3:52: column goes with table"),
    (TABLES + RULE % "{table: stations, fold: x}", "10.yaml:3:64: fold is case or accents, or a list of them"),
    (TABLES + STEP % (MAP % "hold").replace("stations", "station"), "10.yaml:5:52: there is no table 'station'"),
    (TABLES + STEP % (MAP % "hold").replace("room", "rum"), "10.yaml:5:70: the table 'stations' has no column 'rum'"),
    (TABLES + STEP % LOOK_UP.replace("ward", "x") % "Modality", "10.yaml:5:42: the table 'stations' has no column 'x'"),
    (TABLES + STEP % LOOK_UP.replace("stations", "s") % "Modality", "10.yaml:5:42: there is no table 's'"),
    (TABLES + STEP % LOOK_UP % "modality", "10.yaml:5:42: there is no attribute or fact 'modality'"),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_mistakes_in_rule_files_are_told_at_their_place_and_once(text: str, problem: str) -> None:
    (told,) = problems(text)
    assert told.startswith(problem)


def test_a_table_that_another_file_has_is_told_of() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"10.yaml": TABLES, "20.yaml": TABLES, "stations.csv": CSV})
    assert str(caught.value.problems[0]) == "20.yaml:2:3: the table 'stations' exists already, at 10.yaml:2"


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("", ["1:1: nothing in it: the first row names the columns"]),
        ("\n\n", ["1:1: nothing in it: the first row names the columns"]),
        ("station,,b\n", ["1:9: a column without a name: the first row names them all"]),
        ("station,b,b\n", ["1:11: a column has the name of another one before it"]),
        ("station,b\nA,1\nB\nC,1,2\n", ["3:1: this row has 1 field, the first one 2 fields"] * 1
         + ["4:1: this row has 3 fields, the first one 2 fields"]),
        ('b,station\n"x,\n""y",A\nz,A\n,\n', ["4:3: this key stands in line 2 already", "5:2: a row without a key"]),
        ('station\n"A\n', ["2:1: not CSV (RFC 4180): unexpected end of data"]),
        ('station\n"A"B\n', ["2:1: not CSV (RFC 4180): ',' expected after '\"'"]),
    ],
)  # fmt: skip
def test_mistakes_in_a_csv_file_are_told_at_their_place(table: str, told: list[str]) -> None:
    assert problems(TABLES, table) == [f"stations.csv:{each}" for each in told]


def test_a_file_divided_by_semicolons_is_seen_through() -> None:
    assert problems(TABLES, "station;ward\nA;B\n")[0].endswith("divided by semicolons? Commas are read")


def test_what_a_map_would_make_is_checked_where_it_stands() -> None:
    table = "station,ward,room\nA,,OK\nB,,A ROOM WITH A NAME THAT IS TOO LONG\n"
    assert problems(TABLES + STEP % (MAP % "keep"), table) == [
        "stations.csv:3:4: StationName (0008,1010): longer than VR SH allows"
    ]


def test_many_mistakes_are_told_in_part() -> None:
    assert len(problems(TABLES, "station\n" + "A\n" * 1000)) == csvtext.MAX_TOLD
    assert len(problems(TABLES, "station\n" + "A,B\n" * 1000)) == csvtext.MAX_TOLD


@pytest.mark.parametrize(
    "table",
    [
        f"{PATIENT},{PATIENT}\n",  # no header at all
        f"{PATIENT};station\n",
        f"station,a\n{PATIENT}\n",
        f"station\n{PATIENT}\n{PATIENT}\n",
        f'station\n"{PATIENT}"x\n',
        f'station\n"{PATIENT}\n',
        f"station,ward,room\nA,,{PATIENT * 9}\n",
    ],
)
def test_no_text_of_a_table_is_told(table: str) -> None:
    told = problems(TABLES + STEP % (MAP % "hold") + RULE % "{table: stations, column: ward}", table)
    assert told
    assert "DOE" not in "".join(told)


def test_bounds_are_kept() -> None:
    rows = "station\n" + "".join(f"{number}\n" for number in range(csvtext.MAX_ROWS))
    assert len(load({"10.yaml": TABLES, "stations.csv": rows}).tables["stations"].rows) == csvtext.MAX_ROWS
    assert problems(TABLES, rows + "x\n") == ["stations.csv:200002:1: more than 200,000 rows"]
    assert problems(TABLES, "station\n" + "é" * (csvtext.MAX_BYTES // 2)) == ["stations.csv:1:1: more than 8 MiB"]
    half = "station\n" + "".join(f"{number:05}{'x' * 10_000}\n" for number in range(csvtext.MAX_BYTES // 19_900))
    text = "tables: {a: {file: a.csv, key: station}, b: {file: b.csv, key: station}}\n"
    with pytest.raises(ConfigurationError) as caught:
        load({"a.yaml": text, "a.csv": half, "b.csv": half + "\n"})
    assert str(caught.value.problems[0]) == "a.yaml:1:52: all tables together have more than 8 MiB"
    one = "tables: {a: {file: a.csv, key: station}, b: {file: a.csv, key: station}}\n"
    assert load({"a.yaml": one, "a.csv": half}).table_bytes == 2 * len(half)


# ── CSV ───────────────────────────────────────────────────────────────────────────────────────────────────────

FIELDS = st.text(st.sampled_from('ab",\n é;'), max_size=6)
TABLE = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[FIELDS] * width), min_size=1, max_size=6))


@given(TABLE, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_as_csv_is_read_so_and_each_field_found(
    rows: list[tuple[str, ...]], end: str, has_mark: bool
) -> None:
    head = tuple(f"c{number}" for number in range(len(rows[0])))
    written = StringIO(newline="")
    csv.writer(written, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([head, *rows])
    text = written.getvalue()
    found = csvtext.read("\ufeff" * has_mark + text, "x.csv")
    assert found.problems == ()
    assert (found.columns, list(found.rows)) == (head, rows)
    lines = list(StringIO(text, newline=""))
    for row, fields in enumerate(rows):
        for column, field in enumerate(fields):
            place = found.place(row, column)
            rest = "".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
            quoted = '"' + field.replace('"', '""') + '"'
            assert rest.startswith(quoted)


def test_a_table_is_a_mapping_of_rows() -> None:
    table = book("").tables["stations"]
    assert isinstance(table, TableData)
    assert table.columns == ("station", "ward", "room")
    assert list(table.rows) == ["CTAW01", "MR*", "XÄ1"]
    assert table.rows["MR*"] == {"station": "MR*", "ward": "Neuro, 2", "room": "MR-ROOM-1"}
    assert table.rows.get("B") is None
    assert table.column("room") == {"CTAW01": "CT-ROOM-1", "MR*": "MR-ROOM-1", "XÄ1": "X-ROOM"}


# ── the folder ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "10.yaml").write_text(TABLES + RULE % "{table: stations}", encoding="utf-8")
    (tmp_path / "stations.csv").write_text("\ufeff" + CSV, encoding="utf-8")
    (tmp_path / "other.csv").write_text("not,named\n", encoding="utf-8")
    return tmp_path


def test_the_files_that_tables_name_belong_to_the_set_and_others_do_not(folder: Path) -> None:
    files = read_rules(folder)
    assert list(files) == ["10.yaml", "stations.csv"]
    revision = validate_rules(files, {"x"}).revision
    assert revision == revision_of(files)
    (folder / "other.csv").write_text("changed\n")
    assert validate_rules(read_rules(folder), {"x"}).revision == revision
    (folder / "stations.csv").write_text(CSV + "NEW,,\n", encoding="utf-8")
    assert validate_rules(read_rules(folder), {"x"}).revision != revision


def test_two_looks_differ_while_a_table_is_being_saved(folder: Path) -> None:
    before = signature(folder)
    os.utime(folder / "stations.csv", ns=(1, 1))
    assert signature(folder) != before


def test_a_link_to_nothing_keeps_nobody_from_seeing_that_the_others_change(folder: Path) -> None:
    (folder / "gone.csv").symlink_to(folder / "unmounted" / "gone.csv")
    before = signature(folder)
    assert before and before == signature(folder)
    (folder / "10.yaml").write_text(TABLES + RULE % "{table: stations, column: ward}", encoding="utf-8")
    assert signature(folder) != before
    assert list(read_rules(folder)) == ["10.yaml", "stations.csv"]
    assert signature(folder / "none") == ()


def test_a_table_that_cannot_be_read_refuses_the_set(folder: Path) -> None:
    (folder / "stations.csv").write_bytes(b"station\nM\xfcller\n")
    with pytest.raises(ConfigurationError) as caught:
        read_rules(folder)
    assert str(caught.value.problems[0]).endswith("cannot be read as UTF-8 text: invalid start byte at byte 9")
    (folder / "stations.csv").write_bytes(b"x" * (csvtext.MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="more than 8 MiB"):
        read_rules(folder)
    (folder / "stations.csv").unlink()
    with pytest.raises(ConfigurationError, match="there is no file 'stations"):
        validate_rules(read_rules(folder), {"x"})
