"""What the verbs of steps have in common when they are read: nodes to paths, templates, texts and numbers.

Nothing raises here; what is wrong is collected with its place, and None (or a stand-in) takes its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from gateway.dicom.paths import SPECIFIC_CHARACTER_SET
from gateway.document import Items, Node, Place, Scalar, Table
from gateway.errors import Problem
from gateway.rules.patterns import PatternError
from gateway.rules.shared import NOTHING, Shared
from gateway.rules.subject import FACTS
from gateway.rules.tables import TableData, lookup_in, table_of
from gateway.transform.deidentify.pseudonyms import NO_KEYS, Keys
from gateway.transform.names import KEPT, Path, known_vr, label, label_of, multiplicity, parse_path
from gateway.transform.steps import Fact, Lookup, Part, Template
from gateway.transform.values import SETTABLE, ValueRefused, encode


class Reader:
    """Reads nodes; what is wrong is added to `problems`. `shared` and `keys` are what steps can name."""

    def __init__(self, problems: list[Problem], shared: Shared = NOTHING, keys: Keys = NO_KEYS) -> None:
        self.problems = problems
        self.shared = shared
        self.keys = keys

    def problem(self, place: Place, message: str) -> None:
        """Add a problem, once."""
        problem = place.problem(message)
        if problem not in self.problems:
            self.problems.append(problem)

    def table(self, node: Node, what: str, keys: Collection[str] = ()) -> Table:
        """A map that is not empty, of these keys only (if any are given)."""
        if not isinstance(node, Table) or not node.entries:
            self.problem(node.place, f"{what} is a map" + (f" with {', '.join(keys)}" if keys else ""))
            return Table({}, {}, node.place)
        for key in node.entries:
            if keys and key not in keys:
                close = get_close_matches(key, keys, n=1)
                hint = f"; is {close[0]!r} meant?" if close else ""
                self.problem(node.keys[key], f"{what} has no key {key!r}{hint}")
        return node

    def texts(self, node: Node, what: str) -> tuple[Scalar, ...]:
        """A text, or a list of at least one."""
        nodes = node.nodes if isinstance(node, Items) else (node,)
        found = tuple(each for each in nodes if isinstance(each, Scalar) and not each.is_null)
        if len(found) != len(nodes) or not nodes:
            bad = next((each for each in nodes if each not in found), node)
            self.problem(bad.place, f"{what} is a text or a list of texts")
        return found

    def name(self, node: Node | None, place: Place, what: str) -> str:
        """One text that says something."""
        if isinstance(node, Scalar) and not node.is_null and node.text:
            return node.text
        self.problem(node.place if node else place, f"{what} is the name of an attribute")
        return ""

    def text(self, node: Node | None, place: Place, what: str) -> str:
        """One text, which may be "" where that is written in quotes."""
        if isinstance(node, Scalar) and not node.is_null:
            return node.text
        self.problem(node.place if node else place, f'{what} is a text ("" for none)')
        return ""

    def number(self, node: Node | None, place: Place, what: str, most: int) -> int:
        """A whole number from 1."""
        digits = node.text if isinstance(node, Scalar) else ""
        if digits.isascii() and digits.isdecimal() and len(digits) < 10 and 1 <= int(digits) <= most:
            return int(digits)
        self.problem(node.place if node else place, f"{what} is a whole number from 1 to {most}")
        return 1

    # ── attributes ────────────────────────────────────────────────────────────────────────────────────────────

    def path(self, text: str, place: Place) -> Path | None:
        """An attribute that may be changed."""
        path = parse_path(text)
        if isinstance(path, PatternError):
            self.problem(place, str(path))
            return None
        if path.tag == SPECIFIC_CHARACTER_SET:
            self.problem(place, "Specific Character Set says how text is encoded: it changes with the charset step")
            return None
        return path

    def text_path(self, text: str, place: Place, of_sequences: str = "use add_item and remove_item") -> Path | None:
        """An attribute whose value may be changed as text; `of_sequences` is the advice for those."""
        path = self.path(text, place)
        if path is not None and not self._has_text(path):
            advice = of_sequences if known_vr(path) == "SQ" else "it can be removed only"
            self.problem(place, f"{text} has no text: {advice}")
            return None
        return path

    def sequence_path(self, node: Node | None, place: Place, what: str) -> Path | None:
        """A sequence."""
        text = self.name(node, place, what)
        path = self.path(text, node.place if node else place) if text else None
        if path is not None and known_vr(path) not in {"SQ", ""}:
            self.problem(node.place if node else place, f"{text} is no sequence")
            return None
        return path

    def removable_path(self, text: str, place: Place) -> Path | None:
        """An attribute that an instance can be without."""
        path = self.path(text, place)
        if path is not None and path.tag in KEPT and not path.within:
            self.problem(place, f"an instance cannot be without {label(path.tag)}")
            return None
        return path

    def source(self, text: str, place: Place) -> Path | None:
        """An attribute whose value is looked at."""
        path = parse_path(text)
        if isinstance(path, PatternError):
            self.problem(place, str(path))
            return None
        if not self._has_text(path):
            self.problem(place, f"{text} has no text")
            return None
        return path

    def _has_text(self, path: Path) -> bool:
        vr = known_vr(path)
        return not vr or vr == "US or SS" or vr in SETTABLE

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────

    def template(self, node: Node, path: Path | None, what: str) -> Template:
        """Text with `{Attribute}` and `{fact}` in it; checked for the attribute where there is nothing to fill in."""
        if not isinstance(node, Scalar) or node.is_null:
            self.problem(node.place, f'{what} is a text ("" for none)')
            return Template(())
        template = Template(tuple(self._parts(node)))
        literal = template.literal
        if literal is not None and path is not None:
            self.check(literal, path, node.place)
        return template

    def check(self, text: str, path: Path, place: Place) -> None:
        """Check a text against what PS3.6 says of an attribute."""
        complaint = _complaint(text, path)
        if complaint:
            self.problem(place, complaint)

    def column(self, table: TableData, column: str, path: Path | None) -> Mapping[str, str]:
        """key → text of a column, whose texts are checked for the attribute; the first that does not do is told of."""
        texts = table.column(column)
        checked: set[str] = set()
        for key, text in texts.items():
            if path is None or text in checked:
                continue
            checked.add(text)
            complaint = _complaint(text, path)
            if complaint:
                self.problem(table.place_of(key, column), complaint)
                break
        return texts

    def _parts(self, node: Scalar) -> list[Part]:
        parts: list[Part] = []
        text, literal = node.text, ""
        while text:
            head, brace, text = text[0], text[1:2], text[1:]
            if head in "{}" and brace == head:
                literal, text = literal + head, text[1:]
            elif head == "{":
                name, end, text = text.partition("}")
                if not end:
                    self.problem(node.place, "a { is not closed: write {{ for a brace")
                    break
                parts += [literal] if literal else []
                literal = ""
                part = self._reference(name, node.place)
                parts += [part] if part is not None else []
            elif head == "}":
                self.problem(node.place, "a } closes nothing: write }} for a brace")
            else:
                literal += head
        return [*parts, literal] if literal else parts

    def _reference(self, name: str, place: Place) -> Path | Fact | Lookup | None:
        looked_up = lookup_in(name)
        if looked_up is None:
            return Fact(name) if name in FACTS else self.source(name, place)
        table, of, column = looked_up
        found = self.table_of(Scalar(table, place), Scalar(column, place))
        key = Fact(of) if of in FACTS else self.source(of, place)
        return None if found is None or key is None else Lookup(found[0], key, column)

    def table_of(self, name: Node, column: Node | None) -> tuple[TableData, str] | None:
        """A table that all files share, and one of its columns."""
        found = table_of(name, column, self.shared.tables)
        if isinstance(found, Problem):
            self.problem(Place(found.file, found.line, found.column), found.message)
            return None
        return found


def _complaint(text: str, path: Path) -> str:
    """What PS3.6 has against a text as the value of an attribute; "" for nothing."""
    vr = known_vr(path)
    try:
        if vr in SETTABLE:
            encode(vr, text, False, b"ISO_IR 192", multiplicity(path.tag))
    except ValueRefused as refused:
        return f"{label_of(path)}: {refused}"
    if not text and path.tag in KEPT and not path.within:
        return f"an instance cannot be without {label(path.tag)}"
    return ""
