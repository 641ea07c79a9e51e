"""What stands below `match` in a rule, to a compiled matcher, with every mistake found and placed.

`match` maps attributes and facts to conditions; all of them must hold, and so must `any:` (a list of such maps, one is
enough), `all:` (a list), `not:` (a map that must not hold), and `received:` (a window of time, or a list of which one
is enough: `weekdays`, `from`, `to`, `zone`; see `gateway.rules.windows`). What attributes and facts are called stands
in `gateway.rules.names`.

Conditions: a text is a glob, a list means any of, and a map is one of
  - `{equals: …}`, `{like: …}` (a glob), `{regex: …}`, with `fold: [case, accents]` beside it where that is alike;
  - `{gt: …}`, `{ge: …}`, `{lt: …}`, `{le: …}`, two of them where they are two ends, `{between: [least, most]}`;
  - `{all: CONDITION}`, `{any: CONDITION}`, `{count: N}`, `{count: {ge: N}}`, of the values;
  - `{list: NAME}`, a list of `lists:`, as if it stood there (`gateway.rules.lists`);
  - `{table: NAME}`, `{table: NAME, column: NAME}`, the keys or a column of a table, letter by letter
    (`gateway.rules.tables`), with `fold` beside it too;
  - `{present: true}`, `{absent: true}`; `{present: false}` is `{absent: true}`, and the other way round.
What they mean stands in `gateway.rules.match`, `gateway.rules.patterns` and `gateway.rules.compare`.

`gateway.rules.schema` calls; nothing raises here, problems are collected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_network
from zoneinfo import ZoneInfo

from gateway.document import Items, Node, Place, Scalar, Table
from gateway.errors import Problem
from gateway.rules import match
from gateway.rules.compare import (
    WHOLE_NUMBER,
    WORDS,
    Bound,
    Compared,
    Count,
    LiteralError,
    Read,
    Reader,
    are_apart,
    reader_of,
)
from gateway.rules.lists import KEY
from gateway.rules.names import RECEIVED, is_bulk, is_known_uid_text, resolve, vr_of
from gateway.rules.nodes import NodeReader, suggestion
from gateway.rules.patterns import CASELESS, EXACT, FOLDS, Equals, Glob, Literals, PatternError, Regex
from gateway.rules.shared import NOTHING, Shared
from gateway.rules.subject import WEEKDAYS, Clock, Key
from gateway.rules.tables import COLUMN, InTable, table_of
from gateway.rules.tables import KEY as TABLE
from gateway.rules.windows import END_OF_DAY, MIDNIGHT, Window, is_time_of_day, zone_of

TEXTS = ("equals", "like", "regex")
LOW, HIGH = ("gt", "ge"), ("lt", "le")
ENDS = (*LOW, *HIGH)
_OF_VALUES = ("all", "any", "count")
WINDOW_KEYS = ("weekdays", "from", "to", "zone")
CONDITIONS = (*TEXTS, KEY, TABLE, *ENDS, "between", *_OF_VALUES, "present", "absent")
BESIDE = {"fold": (*TEXTS, TABLE), COLUMN: (TABLE,)}  # keys that stand beside conditions, and beside which


@dataclass(frozen=True, slots=True)
class _About:
    """What a condition is about: a key, its name as written; `single` where one value of it is looked at alone."""

    name: str
    key: Key
    single: bool = False


class MatchReader(NodeReader):
    """Reads what a rule matches. `shared` is what conditions can name."""

    def __init__(self, problems: list[Problem], shared: Shared = NOTHING) -> None:
        super().__init__(problems)
        self._lists, self._tables = shared.lists, shared.tables
        self._in_tables: dict[tuple[str, str, frozenset[str]], InTable] = {}

    def read(self, node: Node) -> match.Matcher:
        """The matcher of a `match` map; what is wrong with it goes to `problems`."""
        parts: list[match.Matcher] = []
        if not isinstance(node, Table):
            self._problem(node.place, "match maps attributes to conditions")
            return match.All(parts)
        if not node.entries:
            self._problem(node.place, "an empty map matches everything: leave match out if that is meant")
        for key, value in node:
            if key in {"any", "all"}:
                inner = [self.read(each) for each in self._items(value, key, must_hold=True)]
                parts.append(match.Any(inner) if key == "any" else match.All(inner))
            elif key == "not":
                words = ", ".join(value.entries) if isinstance(value, Table) else ""
                parts.append(match.Not(self.read(value), words))
            elif key == RECEIVED:
                windows = [self._window(each) for each in (value if isinstance(value, Items) else (value,))]
                parts.append(windows[0] if len(windows) == 1 else match.Any(windows))
                if not windows:
                    self._problem(value.place, "received has an empty list")
            else:
                parts.append(self._attribute(key, node.keys[key], value))
        return parts[0] if len(parts) == 1 else match.All(parts)

    def _window(self, node: Node) -> match.Matcher:
        nothing = match.Attribute(RECEIVED, Clock(None), match.Present(True))
        table = self._table(node, WINDOW_KEYS, RECEIVED)
        if table is None:
            return nothing
        if not table.entries.keys() & {"weekdays", "from", "to"}:
            self._problem(table.place, "received says when: weekdays, from and to, or some of them")
        weekdays = self._texts(table.get("weekdays"), "weekdays")
        for day in weekdays:
            if day.text not in WEEKDAYS:
                hint = suggestion(day.text.casefold(), WEEKDAYS)
                self._problem(day.place, f"{day.shown} is no weekday: they are {', '.join(WEEKDAYS)}{hint}")
        start, end = self._time_of_day(table, "from", MIDNIGHT), self._time_of_day(table, "to", END_OF_DAY)
        if start == end:
            self._problem(table.place, f"from {start} to {end} is no time at all: leave both out if the day is meant")
        elif start == END_OF_DAY:
            self._problem(table.place, "a day begins at 00:00: write from 00:00")
        clock = Clock(self._zone(table.get("zone")))
        name = f"{RECEIVED} ({clock.zone.key})" if clock.zone else RECEIVED
        return match.Attribute(name, clock, Window([day.text for day in weekdays], start, end))

    def _time_of_day(self, table: Table, key: str, otherwise: str) -> str:
        node = table.get(key)
        if node is None:
            return otherwise
        if not isinstance(node, Scalar) or not is_time_of_day(node.text):
            self._problem(node.place, f"{key} is a time of day with two digits each, as in 06:30 or 18:00")
            return otherwise
        return node.text

    def _zone(self, node: Node | None) -> ZoneInfo | None:
        if node is None:
            return None
        zone = zone_of(node.text) if isinstance(node, Scalar) else ""
        if isinstance(zone, ZoneInfo):
            return zone
        hint = f"; is {zone!r} meant?" if zone else ""
        self._problem(node.place, f"zone is the name of a time zone, as in Europe/Berlin{hint}")
        return None

    def _attribute(self, name: str, place: Place, value: Node) -> match.Matcher:
        resolved = resolve(name)
        if isinstance(resolved, PatternError):
            self._problem(place, str(resolved))
            resolved = ()
        elif is_bulk(resolved) and not (isinstance(value, Table) and value.entries.keys() <= {"present", "absent"}):
            self._problem(
                value.place,
                f"{name} has no text: ask for {{present: true}} or {{absent: true}}, or for an attribute of its items",
            )
        return match.Attribute(name, resolved, self._condition(_About(name, resolved), value))

    def _condition(self, about: _About, node: Node) -> match.Condition:
        if isinstance(node, Scalar):
            return self._glob(about.key, node)
        if isinstance(node, Table):
            return self._special(about, node)
        if not node.nodes:
            self._problem(node.place, "an empty list matches nothing")
        literals = []
        others: list[match.Condition] = []
        for each in node:
            if isinstance(each, Items):
                self._problem(each.place, "a list of conditions holds no further lists")
            elif isinstance(each, Scalar) and not _has_wildcards(each.text) and "/" not in each.text:
                self._check_literal(about.key, each)
                literals.append(each.text)
            else:
                others.append(self._condition(about, each))
        if literals:
            others.insert(0, Literals(literals))
        return others[0] if len(others) == 1 else match.OneOf(others)

    def _listed(self, about: _About, node: Table) -> match.Condition:
        name = node.entries[KEY]
        if isinstance(name, Scalar) and name.text in self._lists:
            return self._condition(about, self._lists[name.text])
        shown = name.shown if isinstance(name, Scalar) else "of this"
        hint = suggestion(name.text, self._lists) if isinstance(name, Scalar) else ""
        self._problem(name.place, f"there is no list {shown}{hint}")
        return match.OneOf([])

    def _in_table(self, node: Table) -> match.Condition:
        alike = self._fold(node, EXACT)
        found = table_of(node.entries[TABLE], node.get(COLUMN), self._tables)
        if isinstance(found, Problem):
            self._problem(Place(found.file, found.line, found.column), found.message)
            return match.OneOf([])
        table, column = found
        key = (table.name, column, alike)
        if key not in self._in_tables:
            self._in_tables[key] = InTable(table, column, alike)
        return self._in_tables[key]

    def _glob(self, key: Key, node: Scalar) -> match.Condition:
        if key == "host" and "/" in node.text:
            try:
                return match.Networks([ip_network(node.text)])
            except ValueError as error:
                self._problem(node.place, f"not a network: {error}")
        self._check_literal(key, node)
        if _has_wildcards(node.text):
            return self._compiled(node, Glob)
        return Literals([node.text])

    def _check_literal(self, key: Key, node: Scalar) -> None:
        if node.is_null or not node.text:
            self._problem(node.place, "no text to compare with: write {absent: true} for an attribute without a value")
        elif key in {"sop_class", "transfer_syntax"} and not _has_wildcards(node.text):
            hint = is_known_uid_text(node.text)
            if hint is not None:
                self._problem(node.place, f"{node.text!r} is no UID, keyword or name that DICOM knows{hint}")

    def _special(self, about: _About, node: Table) -> match.Condition:
        known = (*CONDITIONS, *BESIDE)
        unknown = [key for key in node.entries if key not in known]
        for key in unknown:
            self._problem(node.keys[key], f"there is no condition {key!r}{suggestion(key, known)}")
        keys = [key for key in node.entries if key not in BESIDE]
        if keys and set(keys) <= {*ENDS, "between"}:
            return self._compared(about, node)
        if len(keys) != 1 and not unknown:
            self._problem(node.place, f"a condition has one key: {', '.join(CONDITIONS)}")
        key = "".join(keys[:1])
        for beside, others in BESIDE.items():
            if beside in node.entries and key not in others and not unknown:
                self._problem(node.keys[beside], f"{beside} goes with {', '.join(others)}")
        if key in {"present", "absent"}:
            return match.Present(self._flag(node, key) == (key == "present"))
        if key in TEXTS:
            return self._text(node, key)
        if key == KEY:
            return self._listed(about, node)
        if key == TABLE:
            return self._in_table(node)
        if key in _OF_VALUES:
            return self._of_values(about, node, key)
        return match.OneOf([])

    def _text(self, node: Table, key: str) -> match.Condition:
        """`equals`, `like` or `regex`, and what is alike: of a glob the case, unless `fold` says otherwise."""
        alike = self._fold(node, CASELESS if key == "like" else EXACT)
        texts = self._texts(node.get(key), key)
        whole = [text.text for text in texts if key == "equals" or (key == "like" and not _has_wildcards(text.text))]
        conditions: list[match.Condition] = [Equals(whole, alike)] if whole else []
        for text in texts:
            if key == "regex":
                conditions.append(self._compiled(text, lambda pattern: Regex(pattern, alike)))
            elif key == "like" and _has_wildcards(text.text):
                conditions.append(self._compiled(text, lambda pattern: Glob(pattern, alike)))
        return conditions[0] if len(conditions) == 1 else match.OneOf(conditions)

    def _fold(self, node: Table, otherwise: frozenset[str]) -> frozenset[str]:
        value = node.get("fold")
        if value is None:
            return otherwise
        if isinstance(value, Items) and not value.nodes:
            return EXACT
        names = self._texts(value, "fold")
        for name in names:
            if name.text not in FOLDS:
                hint = suggestion(name.text, FOLDS)
                self._problem(name.place, f"fold is {' or '.join(FOLDS)}, or a list of them{hint}")
        return frozenset(name.text for name in names)

    # ── comparing and counting ────────────────────────────────────────────────────────────────────────────────

    def _compared(self, about: _About, node: Table) -> match.Condition:
        for beside, others in BESIDE.items():
            if beside in node.entries:
                self._problem(node.keys[beside], f"{beside} goes with {', '.join(others)}")
        if about.key == ():
            return match.OneOf([])  # there is no such attribute, as was said
        vr = vr_of(about.key)
        reader = reader_of(vr) if isinstance(about.key, tuple) else None
        if reader is None:
            what = f"{about.name} ({vr})" if vr else about.name
            self._problem(node.place, f"{what} is text: numbers, dates, times and ages are more or less, text is not")
            return match.OneOf([])
        bounds, reads = self._bounds(node, reader, about.name, vr)
        if len(set(reads)) > 1:
            self._problem(node.place, "one end has an offset from UTC and the other has none: give both the same")
        return Compared(bounds, reads[0]) if reads else match.OneOf([])

    def _bounds(self, node: Table, reader: Reader, name: str, vr: str) -> tuple[list[Bound], list[Read]]:
        """The ends that a table gives. Checked: each has the form, none stands twice, and something lies between."""
        literals: list[tuple[str, Node]] = []
        for key, value in node:
            if key == "between":
                ends = value.nodes if isinstance(value, Items) else ()
                if len(ends) != 2 or len(node.entries) > 1:
                    self._problem(value.place, "between stands alone and has two ends: [least, most]")
                    continue
                literals += zip(("ge", "le"), ends, strict=True)
            elif key in ENDS:
                literals.append((key, value))
        for one, other in (LOW, HIGH):
            if {one, other} <= node.entries.keys():
                self._problem(node.keys[other], f"{one} and {other} are the same end: take one out")
        bounds, reads = [], []
        for key, value in literals:
            try:
                text = value.text if isinstance(value, Scalar) else ""
                span, read = reader.literal_of(text)
            except LiteralError as error:
                shown = value.shown if isinstance(value, Scalar) else "this"
                of = f", as {name} ({vr}) holds it" if vr else ""
                self._problem(value.place, f"{shown} is not {error}{of}")
                continue
            bounds.append(Bound(key, span, text))
            reads.append(read)
        low, high = ([bound for bound in bounds if bound.operator in ends] for ends in (LOW, HIGH))
        if low and high and are_apart(low[0], high[0]):
            both = " and ".join(f"{WORDS[bound.operator]} {bound.text}" for bound in (low[0], high[0]))
            self._problem(node.place, f"nothing {both}")
        return bounds, reads

    def _of_values(self, about: _About, node: Table, key: str) -> match.Condition:
        value = node.entries[key]
        if about.single:
            self._problem(node.keys[key], f"{key} asks about all values: it cannot stand where one value is looked at")
        if key != "count":
            inner = self._condition(replace(about, single=True), value)
            return match.Every(inner) if key == "all" else inner
        if isinstance(value, Scalar):
            value = Table({"ge": value, "le": value}, {"ge": value.place, "le": value.place}, value.place)
        table = self._table(value, (*ENDS, "between"), "count")
        bounds = self._bounds(table, WHOLE_NUMBER, "count", "")[0] if table else []
        if not bounds:
            self._problem(value.place, "count is a whole number, or a map such as {ge: 2}")
        return Count(bounds)

    def _compiled(self, node: Scalar, make: Callable[[str], match.Condition]) -> match.Condition:
        try:
            return make(node.text)
        except PatternError as error:
            self._problem(node.place, f"not a usable pattern: {error}")
            return match.Present(True)


def _has_wildcards(text: str) -> bool:
    return "*" in text or "?" in text
