"""What a person wrote behind `deidentify`, to the step. Nothing raises here; what is wrong is collected."""

from __future__ import annotations

import re
from difflib import get_close_matches

from gateway.document import Items, Node, Scalar, Table, quoted
from gateway.transform.deidentify.cleaning import Cleaner
from gateway.transform.deidentify.private import safe_with
from gateway.transform.deidentify.profile import PSEUDONYM, Profile, Subjects
from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.deidentify.step import Deidentify
from gateway.transform.deidentify.table import Actions, Option
from gateway.transform.names import Path
from gateway.transform.reader import Reader
from gateway.transform.steps import Action

KEYS = (
    "key",
    "options",
    "patient_id",
    "patient_name",
    "subjects",
    "shift_days",
    "age_cap",
    "birth_date",
    "safe_private",
    "words",
    "issuer",
    "remember",
)
MAX_SHIFT_DAYS = 36_525
_DEFAULT_SHIFT_DAYS = (1, 3650)
_BOTH_DATES = frozenset({Option.RETAIN_LONGITUDINAL_FULL_DATES, Option.RETAIN_LONGITUDINAL_MODIFIED_DATES})
_PATIENT_TAGS = {"patient_id": 0x00100020, "patient_name": 0x00100010}
_SUBJECT = Path("the subject", 0x00100020)
_BRACES = re.compile("[{}]")
_SAFE = re.compile(r"\(([0-9A-Fa-f]{3}[13579BDFbdf]),\s*xx([0-9A-Fa-f]{2})\)")


def read_deidentify(reader: Reader, node: Node) -> Action | None:
    """Read a `deidentify` step."""
    table = reader.table(node, "deidentify", KEYS)
    key = _key(reader, table)
    options = _options(reader, table)
    patient_id = _format(reader, table, "patient_id")
    if PSEUDONYM not in patient_id:
        reader.problem(table.entries["patient_id"].place, f"patient_id needs {PSEUDONYM}, or all patients become one")
    subjects = _subjects(reader, table)
    shift_days = _shift_days(reader, table, options)
    moves_birth_date = _choice(reader, table, "birth_date", ("remove", "shift")) == "shift"
    if moves_birth_date and Option.RETAIN_LONGITUDINAL_MODIFIED_DATES not in options:
        place = table.entries["birth_date"].place
        reader.problem(place, f"birth_date: shift needs the option {Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}")
    site = _safe_private(reader, table, options)
    profile = key and Profile(
        options,
        Actions(options),
        key,
        patient_id,
        _format(reader, table, "patient_name"),
        subjects,
        shift_days,
        _choice(reader, table, "age_cap", ("none", "89")) == "89",
        moves_birth_date,
        safe_with(site),
        Cleaner(_words(reader, table)),
        _choice(reader, table, "remember", ("true", "false")) == "true",
        _choice(reader, table, "issuer", ("ignore", "distinguish")) == "distinguish",
    )
    return Deidentify(profile) if profile else None


def _key(reader: Reader, table: Table) -> Key | None:
    node = table.get("key")
    if not isinstance(node, Scalar) or not node.text:
        reader.problem(
            node.place if node else table.place, "deidentify needs key: a name of pseudonym_keys (gateway.yaml)"
        )
        return None
    key = reader.keys.get(node.text)
    if key is None:
        known = ", ".join(sorted(reader.keys)) or "there is none"
        reader.problem(node.place, f"no key {quoted(node.text)} stands in pseudonym_keys of gateway.yaml ({known})")
    return key


def _options(reader: Reader, table: Table) -> frozenset[Option]:
    node = table.get("options")
    if node is None:
        return frozenset()
    found: set[Option] = set()
    for each in () if isinstance(node, Items) and not node.nodes else reader.texts(node, "options"):
        if each.text in set(Option):
            found.add(Option(each.text))
            continue
        close = get_close_matches(each.text, list(Option), n=1)
        reader.problem(
            each.place, f"there is no option {quoted(each.text)}" + (f"; is {close[0]} meant?" if close else "")
        )
    if found >= _BOTH_DATES:
        reader.problem(node.place, "dates are kept or moved: choose one of " + " and ".join(sorted(_BOTH_DATES)))
    return frozenset(found)


def _format(reader: Reader, table: Table, key: str) -> str:
    """A text with the pseudonym in it."""
    node = table.get(key)
    if node is None:
        return PSEUDONYM
    text = reader.text(node, table.place, key)
    path = Path(key, _PATIENT_TAGS[key])
    if _BRACES.search(text.replace(PSEUDONYM, "")):
        reader.problem(node.place, f"{key}: {PSEUDONYM} is the only thing that braces stand around here")
    reader.check(text.replace(PSEUDONYM, "X" * 16), path, node.place)
    return text


def _subjects(reader: Reader, table: Table) -> Subjects | None:
    node = table.get("subjects")
    if node is None:
        return None
    entries = reader.table(node, "subjects", ("table", "column", "otherwise"))
    otherwise = _choice(reader, entries, "otherwise", ("hold", "pseudonym"))
    name, column = entries.get("table"), entries.get("column")
    if name is None or column is None:
        reader.problem(node.place, "subjects needs table and column: the key of the table is the Patient ID")
        return None
    found = reader.table_of(name, column)
    return None if found is None else Subjects(reader.column(*found, _SUBJECT), otherwise == "hold")


def _shift_days(reader: Reader, table: Table, options: frozenset[Option]) -> tuple[int, int]:
    node = table.get("shift_days")
    if node is None:
        return _DEFAULT_SHIFT_DAYS
    if Option.RETAIN_LONGITUDINAL_MODIFIED_DATES not in options:
        reader.problem(node.place, f"shift_days needs the option {Option.RETAIN_LONGITUDINAL_MODIFIED_DATES}")
    if isinstance(node, Items) and len(node.nodes) == 2:
        least, most = (reader.number(each, node.place, "a number of days", MAX_SHIFT_DAYS) for each in node.nodes)
    else:
        least, most = 1, reader.number(node, node.place, "shift_days", MAX_SHIFT_DAYS)
    if least > most:
        reader.problem(node.place, "shift_days: the least number of days comes first")
        return most, least
    return least, most


def _choice(reader: Reader, table: Table, key: str, choices: tuple[str, ...]) -> str:
    """One of some words; the first where nothing is said."""
    node = table.get(key)
    if node is None or (isinstance(node, Scalar) and node.text in choices):
        return node.text if isinstance(node, Scalar) else choices[0]
    reader.problem(node.place, f"{key} is {' or '.join(choices)}")
    return choices[0]


def _safe_private(reader: Reader, table: Table, options: frozenset[Option]) -> list[tuple[str, int]]:
    """The site's safe private attributes: Private Creator → numbers such as (0029,xx08)."""
    node = table.get("safe_private")
    if node is None:
        return []
    if Option.RETAIN_SAFE_PRIVATE not in options:
        reader.problem(node.place, f"safe_private needs the option {Option.RETAIN_SAFE_PRIVATE}")
    found = []
    for creator, numbers in reader.table(node, "safe_private"):
        for each in reader.texts(numbers, "the private attributes of a creator"):
            number = _SAFE.fullmatch(each.text)
            if number:
                found.append((creator, int(number[1] + "00" + number[2], 16)))
            else:
                reader.problem(each.place, "a private attribute is written (0029,xx08): xx is its block")
    return found


def _words(reader: Reader, table: Table) -> list[str]:
    """The site's words, or a list that holds them."""
    node = table.get("words")
    if node is None:
        return []
    if isinstance(node, Table):
        name = reader.table(node, "words", ("list",)).get("list")
        known = reader.shared.lists.get(name.text) if isinstance(name, Scalar) else None
        if known is None:
            reader.problem(node.place, "words is a list of words, or {list: NAME} with the name of one")
            return []
        node = known
    return [each.text for each in reader.texts(node, "words")]
