"""Tables that many rules and steps share: CSV files that lie beside the rule files, looked up by a column with keys.

`tables: {stations: {file: stations.csv, key: station}}` in a rule file names one for all files of the set. A condition
asks for its keys or for the texts of a column, `map` and templates of transforms look rows up. What stands in a table
is compared letter by letter and is never a pattern: it comes from other programs. It may be about patients, so that no
message tells any of it.

`gateway.rules.shared` reads the tables of a set; `Tables` is what whoever uses one is handed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.errors import Problem
from gateway.rules import csvtext
from gateway.rules.csvtext import CsvText
from gateway.rules.nodes import NodeReader, suggestion
from gateway.rules.patterns import EXACT, Equals, said

KEY = "table"
COLUMN = "column"
SUFFIX = ".csv"
MAX_TOTAL_BYTES = csvtext.MAX_BYTES  # a worker that holds several sets of rules has room for them

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_FILE = re.compile(r"[^./\\\0][^/\\\0]*\.csv")
_ITEM = re.compile(r"\d+\]")
_LOOKED_UP = re.compile(r"\{([a-z0-9][a-z0-9_-]{0,62})\[")


@dataclass(frozen=True, slots=True)
class TableData:
    """A table. `rows`: key → column → text; `digest` tells contents apart, whatever the table's name."""

    name: str
    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]] = field(repr=False)
    digest: str = ""
    size_bytes: int = 0
    source: CsvText | None = field(default=None, repr=False, compare=False)

    def column(self, name: str) -> dict[str, str]:
        """key → text of one column. :raises KeyError: there is no such column."""
        if isinstance(self.rows, _Rows):
            return self.rows.column(name)
        return {key: row[name] for key, row in self.rows.items()}

    def place_of(self, key: str, column: str) -> Place:
        """Where the text of a row and column stands in the file."""
        if self.source is None:
            return Place("", 0, 0)
        return self.source.place(list(self.rows).index(key), self.columns.index(column))


Tables = Mapping[str, TableData]


class _Rows(Mapping[str, Mapping[str, str]]):
    """Rows as a mapping of mappings, in a fifth of their memory: of a row only the texts are held."""

    def __init__(self, columns: tuple[str, ...], key: int, rows: Sequence[tuple[str, ...]]) -> None:
        self._columns = columns
        self._by_key = {row[key]: row for row in rows}

    def __getitem__(self, key: str) -> Mapping[str, str]:
        return dict(zip(self._columns, self._by_key[key], strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key)

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def column(self, name: str) -> dict[str, str]:
        if name not in self._columns:
            raise KeyError(name)
        number = self._columns.index(name)
        return {key: row[number] for key, row in self._by_key.items()}


class InTable(Equals):
    """Any value is exactly one of the texts of a table's column, but for what is `alike`; an empty one is none."""

    def __init__(self, table: TableData, column: str = "", alike: frozenset[str] = EXACT) -> None:
        texts = table.column(column).values() if column else table.rows
        super().__init__((), alike)
        self.texts = Equals(texts, alike).texts - {""}
        self._where = f"column {column!r} of the table {table.name!r}" if column else f"table {table.name!r}"

    def describe(self) -> str:
        return f"is in the {self._where}" + said(self.alike)


class TableReader(NodeReader):
    """Reads the tables of a set. `files` has the texts of the CSV files by their names."""

    def __init__(self, problems: list[Problem], files: Mapping[str, str]) -> None:
        super().__init__(problems)
        self._files = files
        self._texts_read: dict[str, CsvText] = {}
        self._places: dict[str, Place] = {}

    def read(self, root: Node, tables: dict[str, TableData]) -> None:
        """Add the tables of one file."""
        node = root.get("tables") if isinstance(root, Table) else None
        if node is None or (isinstance(node, Scalar) and node.is_null):
            return
        if not isinstance(node, Table):
            self._problem(node.place, "tables maps names to tables: {file: stations.csv, key: station}")
            return
        for name, value in node:
            first = self._places.setdefault(name, node.keys[name])
            if not _NAME.fullmatch(name):
                self._problem(node.keys[name], "a table is named by at most 63 small letters, digits, - and _")
            elif first is not node.keys[name]:
                self._problem(node.keys[name], f"the table {name!r} exists already, at {first.file}:{first.line}")
            elif (table := self._read_table(name, value)) is not None:
                tables[name] = table

    def _read_table(self, name: str, node: Node) -> TableData | None:
        table = self._table(node, ("file", "key"), "a table")
        if table is None:
            return None
        file, key = table.get("file"), table.get("key")
        if not isinstance(file, Scalar) or not _FILE.fullmatch(file.text):
            place = file.place if file else table.place
            self._problem(place, "file names a CSV file beside the rule files, as in stations.csv")
            return None
        if not isinstance(key, Scalar) or key.is_null or not key.text:
            self._problem(key.place if key else table.place, "key is the name of the column by which rows are found")
            return None
        if file.text not in self._files:
            hint = suggestion(file.text, [each for each in self._files if each.endswith(SUFFIX)])
            self._problem(file.place, f"there is no file {file.shown} beside the rule files{hint}")
            return None
        content = self._content(file)
        return self._by_key(name, key, content) if not content.problems else None

    def _content(self, file: Scalar) -> CsvText:
        """What a file says, read once."""
        content = self._texts_read.get(file.text)
        if content is None:
            content = self._texts_read[file.text] = csvtext.read(self._files[file.text], file.text)
            self.problems += content.problems
            if sum(each.size_bytes for each in self._texts_read.values()) > MAX_TOTAL_BYTES:
                self._problem(file.place, f"all tables together have more than {MAX_TOTAL_BYTES >> 20} MiB")
        return content

    def _by_key(self, name: str, key: Scalar, content: CsvText) -> TableData | None:
        if key.text not in content.columns:
            self._problem(key.place, f"the first row of {content.file} names no column {key.shown}{_why(key, content)}")
            return None
        number = content.columns.index(key.text)
        keys = {row[number] for row in content.rows}
        if len(keys) < len(content.rows) or "" in keys:
            self._about_keys(content, number)
            return None
        rows = _Rows(content.columns, number, content.rows)
        return TableData(name, key.text, content.columns, rows, _digest(number, content), content.size_bytes, content)

    def _about_keys(self, content: CsvText, column: int) -> None:
        """Tell of keys that are empty, and of those that stand there twice: the first few."""
        lines: dict[str, int] = {}
        told = 0
        for number, row in enumerate(content.rows):
            line = content.lines[number]
            first = lines.setdefault(row[column], line)
            if row[column] and first == line:
                continue
            message = f"this key stands in line {first} already" if row[column] else "a row without a key"
            self._problem(content.place(number, column), message)
            told += 1
            if told == csvtext.MAX_TOLD:
                return


def files_named(root: Node) -> Iterator[str]:
    """The CSV files that the tables of a rule file name, good or bad."""
    node = root.get("tables") if isinstance(root, Table) else None
    for _, each in node if isinstance(node, Table) else ():
        file = each.get("file") if isinstance(each, Table) else None
        if isinstance(file, Scalar) and _FILE.fullmatch(file.text):
            yield file.text


def names_in(node: Node) -> Iterator[str]:
    """The names of the tables that a node may use: below `table`, and in templates."""
    if isinstance(node, Table):
        for key, value in node:
            if key == KEY and isinstance(value, Scalar):
                yield value.text
            yield from names_in(value)
    elif isinstance(node, Items):
        for each in node:
            yield from names_in(each)
    else:
        yield from (found[1] for found in _LOOKED_UP.finditer(node.text))


def lookup_in(text: str) -> tuple[str, str, str] | None:
    """Table, attribute or fact, and column of `stations[StationName].ward`; None where the text is something else.

    A number in the brackets is that of an item, as in `00081140[1].00081155`.
    """
    name, _, rest = text.partition("[")
    of, dot, column = rest.rpartition("].")
    if not (_NAME.fullmatch(name) and dot and column) or _ITEM.match(rest):
        return None
    return name, of, column


def table_of(name: Node, column: Node | None, tables: Tables) -> tuple[TableData, str] | Problem:
    """The table that two nodes name and its column ("" where none is named), or what is wrong with them."""
    if not isinstance(name, Scalar) or name.text not in tables:
        shown = name.shown if isinstance(name, Scalar) else "of this"
        hint = suggestion(name.text, tables) if isinstance(name, Scalar) else ""
        return name.place.problem(f"there is no table {shown}{hint}")
    table = tables[name.text]
    if column is None:
        return table, ""
    if not isinstance(column, Scalar) or column.text not in table.columns:
        shown = column.shown if isinstance(column, Scalar) else "of this"
        return column.place.problem(f"the table {table.name!r} has no column {shown}")
    return table, column.text


def _why(key: Scalar, content: CsvText) -> str:
    """What may be wrong with a first row that lacks the key. What stands there is not told: it may be no header."""
    alike = next((name for name in content.columns if name.strip().casefold() == key.text.casefold()), None)
    if alike is not None:
        return f"; is {alike!r} meant?"
    return "; is it divided by semicolons? Commas are read" if content.columns[0].count(";") else ""


def _digest(key: int, content: CsvText) -> str:
    digest = sha256(f"{key} {len(content.columns)}".encode())
    for row in (content.columns, *content.rows):
        for text in row:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data) + data)
    return digest.hexdigest()[:16]
