"""CSV text (RFC 4180) that a person or a program wrote, as rows that remember their lines.

Rules:
  - fields are divided by commas, those in double quotes may hold commas, line breaks and doubled quotes;
  - the first row names the columns: none without a name, none twice; every row has as many fields as there are columns;
  - a mark of the byte order in front (U+FEFF) and blank lines are passed over;
  - a complaint names file, line and column, never what stands there: such files may be about patients.

Pure: text in, rows and problems out. `gateway.rules.tables` calls.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from gateway.document import Place
from gateway.errors import Problem

MAX_BYTES = 8 << 20
MAX_ROWS = 200_000
MAX_TOLD = 8


@dataclass(frozen=True, slots=True)
class CsvText:
    """What a file says. `lines` has the line on which each row begins; all is of use only without `problems`."""

    text: str
    file: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    lines: Sequence[int]
    problems: tuple[Problem, ...]
    size_bytes: int

    def place(self, row: int, column: int) -> Place:
        """Where a field of a row stands, both counted from 0."""
        return _place(self.text, self.file, self.lines[row], column)


def read(text: str, file: str) -> CsvText:
    """Read the text of a CSV file."""
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_BYTES:
        return _refused(text, file, f"more than {MAX_BYTES >> 20} MiB")
    text = text.removeprefix("\ufeff")
    problems: list[Problem] = []
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    lines = array("L")
    known: dict[str, str] = {}  # each text is held once: columns such as a ward's name have few
    reader, begin = csv.reader(StringIO(text, newline=""), strict=True), 1
    try:
        for fields in reader:
            at, begin = begin, reader.line_num + 1
            if not fields:
                continue
            if not columns:
                columns = tuple(fields)
                problems += _about_columns(text, file, at, columns)
            elif len(fields) != len(columns):
                told = f"this row has {_counted(len(fields))}, the first one {_counted(len(columns))}"
                problems.append(Problem(file, at, 1, told))
            elif len(rows) == MAX_ROWS:
                problems.append(Problem(file, at, 1, f"more than {MAX_ROWS:,} rows"))
                break
            else:
                rows.append(tuple([known.setdefault(field, field) for field in fields]))
                lines.append(at)
            if len(problems) >= MAX_TOLD:
                break
    except csv.Error as error:  # its text tells of the form only
        problems.append(Problem(file, begin, 1, f"not CSV (RFC 4180): {error}"))
    if not columns and not problems:
        return _refused(text, file, "nothing in it: the first row names the columns")
    return CsvText(text, file, columns, rows, lines, tuple(problems), size_bytes)


def _about_columns(text: str, file: str, line: int, columns: tuple[str, ...]) -> Iterator[Problem]:
    for number, name in enumerate(columns):
        if not name.strip():
            yield _place(text, file, line, number).problem("a column without a name: the first row names them all")
        elif name in columns[:number]:
            yield _place(text, file, line, number).problem("a column has the name of another one before it")


def _place(text: str, file: str, line: int, field: int) -> Place:
    """Where a field of the row that begins on a line stands."""
    at = 0
    for number, passed in enumerate(StringIO(text, newline=""), 1):
        if number == line:
            break
        at += len(passed)
    column, is_quoted = 1, False
    while field and at < len(text):
        character = text[at]
        is_quoted ^= character == '"'
        field -= character == "," and not is_quoted
        at, column = at + 1, column + 1
        if character == "\n":
            line, column = line + 1, 1
    return Place(file, line, column)


def _refused(text: str, file: str, message: str) -> CsvText:
    return CsvText(text, file, (), (), (), (Problem(file, 1, 1, message),), 0)


def _counted(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"
