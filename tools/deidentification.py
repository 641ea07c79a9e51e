"""Make the data files of `gateway.transform.deidentify`, and the table of docs/deidentification.md, again.

`python -m tools.deidentification` writes them; `--check` only says which differ. Facts come from packages of PyPI
(the `test` extra), which are read as files and not imported:

  - Table E.1-1: rows of 2024e are those of `confidentiality.csv` itself. Attributes of 2026c come from
    dicom-anonymizer, which has the Basic Profile's column alone; codes of options are derived (see `table`).
    `--table FILE` reads the rows of 2024e anew from a JSON of Table E.1-1 as innolitics/dicom-standard has it.
  - Types: modules of IODs and attributes of modules as highdicom has them.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from gateway.transform.deidentify.table import EDITION, Option, Row, rows

ROOT = Path(__file__).parents[1]
DATA = ROOT / "gateway" / "transform" / "deidentify" / "data"
DOCUMENT = ROOT / "docs" / "deidentification.md"
BEGIN, END = "<!-- table -->", "<!-- end -->"

OLD, NEW = "2024e", "2026c"
COLUMNS = ("tag", "keyword", "basic", *(str(option) for option in Option), "since", "derived")
# What innolitics/dicom-standard calls the columns of options.
JSON_OPTIONS = {
    "rtnSafePrivOpt": Option.RETAIN_SAFE_PRIVATE,
    "rtnUIDsOpt": Option.RETAIN_UIDS,
    "rtnDevIdOpt": Option.RETAIN_DEVICE_IDENTITY,
    "rtnInstIdOpt": Option.RETAIN_INSTITUTION_IDENTITY,
    "rtnPatCharsOpt": Option.RETAIN_PATIENT_CHARACTERISTICS,
    "rtnLongFullDatesOpt": Option.RETAIN_LONGITUDINAL_FULL_DATES,
    "rtnLongModifDatesOpt": Option.RETAIN_LONGITUDINAL_MODIFIED_DATES,
    "cleanDescOpt": Option.CLEAN_DESCRIPTORS,
    "cleanStructContOpt": Option.CLEAN_STRUCTURED_CONTENT,
    "cleanGraphOpt": Option.CLEAN_GRAPHICS,
}
# pydicom knows the repeating groups by other means than keywords of tags.
REPEATING = {"50xxxxxx": "CurveData", "60xx3000": "OverlayData", "60xx4000": "OverlayComments"}
# What dicom-anonymizer calls the codes.
LISTS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
# Families of attributes that 2026c added, by the end of the keyword, and what an option does with the family in 2024e.
DESCRIPTORS = ("Label", "Description", "DiagnosisCodeSequence", "DiagnosesCodeSequence", "MontageName")
FAMILIES: tuple[tuple[tuple[str, ...], Mapping[Option, str]], ...] = (
    (("DateTime",), {Option.RETAIN_LONGITUDINAL_FULL_DATES: "K", Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: "C"}),
    (("UID",), {Option.RETAIN_UIDS: "K"}),
    (("DeviceID",), {Option.RETAIN_DEVICE_IDENTITY: "K"}),
    (("EthnicGroups", "EthnicGroupCodeSequence"), {Option.RETAIN_PATIENT_CHARACTERISTICS: "K"}),
    (DESCRIPTORS, {Option.CLEAN_DESCRIPTORS: "C"}),
)


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is not installed: pip install --constraint constraints.txt --editable '.[test]'")
    return Path(spec.submodule_search_locations[0])


# Table E.1-1


def old_lines() -> Iterator[dict[str, str]]:
    """The rows of 2024e as the file has them."""
    with (DATA / "confidentiality.csv").open(encoding="utf-8", newline="") as file:
        yield from (line for line in csv.DictReader(file) if line["since"] == OLD)


def json_lines(file: Path) -> Iterator[dict[str, str]]:
    """The rows of 2024e from a JSON of Table E.1-1, without the one of private attributes."""
    for entry in json.loads(file.read_text(encoding="utf-8")):
        tag = re.sub(r"[(),]", "", entry["tag"].lower())
        if tag.startswith("gggg"):
            continue
        keyword = REPEATING.get(tag) or keyword_for_tag(int(tag, 16))
        codes = {str(option): entry.get(name, "") for name, option in JSON_OPTIONS.items()}
        yield _line(tag, keyword, entry["basicProfile"], codes, OLD)


def new_lines(known: set[str]) -> Iterator[dict[str, str]]:
    """The rows of attributes that 2026c has and 2024e has not."""
    source = package("dicomanonymizer") / "dicom_anonymization_databases" / f"dicomfields_{NEW}.py"
    basic = ""
    for text in source.read_text(encoding="utf-8").splitlines():
        if start := re.match(r"(\w+_TAGS) = \[", text):
            basic = LISTS.get(start[1], "")
        elif entry := re.match(r"\s+\(0x(\w{4}), 0x(\w{4})\),\s+# (.+)", text):
            tag = (entry[1] + entry[2]).lower()
            if tag not in known:
                keyword = keyword_for_tag(int(tag, 16)) or keyword_of(entry[3])
                codes = derived_codes(keyword)
                yield _line(tag, keyword, basic, {str(option): code for option, code in codes.items()}, NEW, codes)


def keyword_of(name: str) -> str:
    """The keyword of an attribute by its name (PS3.6 5): the words, without what stands between them."""
    return "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", name.replace("'s", "")))


def derived_codes(keyword: str) -> Mapping[Option, str]:
    """What the options do with an attribute of 2026c, by its family."""
    return next((codes for ends, codes in FAMILIES if keyword.endswith(ends)), {})


def _line(
    tag: str, keyword: str, basic: str, codes: Mapping[str, str], since: str, derived: Iterable[Option] = ()
) -> dict[str, str]:
    facts = {"tag": tag, "keyword": keyword, "basic": basic, "since": since, "derived": " ".join(sorted(derived))}
    return dict.fromkeys(COLUMNS, "") | dict(codes) | facts


def table_text(old: Iterable[Mapping[str, str]]) -> str:
    """The text of `confidentiality.csv`, from the rows of 2024e."""
    lines = [dict(line) for line in old]
    lines += new_lines({line["tag"] for line in lines})
    return _csv(COLUMNS, sorted(lines, key=lambda line: line["tag"]))


def _csv(columns: Iterable[str], lines: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


# Types


def wanted_tags() -> set[int]:
    """The attributes whose type decides what is done: a choice, an empty value or a dummy."""
    return {row.tag for row in rows() if "/" in row.basic or row.basic in ("Z", "D")}


def removed_tags() -> set[int]:
    """The attributes that go, but for the places where an IOD or a sequence asks for them without a condition."""
    return {row.tag for row in rows() if row.basic == "X"}


def types_text() -> str:
    """The text of `types.csv`."""
    folder = package("highdicom") / "_standard"
    iods, modules, classes = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("iod_module_map", "module_attribute_map", "sop_class_iod_map")
    )
    wanted, removed = wanted_tags(), removed_tags()
    lines = []
    items: dict[int, dict[int, str]] = defaultdict(dict)
    for iod in sorted(set(classes.values())):
        top: dict[int, str] = {}
        for attribute in _attributes(iods[iod], modules):
            tag = tag_for_keyword(attribute["keyword"])
            if tag in wanted or (tag in removed and attribute["type"] in ("1", "2")):
                path = attribute["path"]
                types = items[tag_for_keyword(path[-1]) or 0] if path else top
                types[tag] = min(types.get(tag, "3"), attribute["type"][0])
        uids = sorted(uid for uid, name in classes.items() if name == iod)
        lines.append({"iod": iod, "sop_classes": " ".join(uids), "within": "", **_by_type(top)})
    items.pop(0, None)  # a sequence that pydicom's dictionary does not know
    lines += [{"iod": "", "sop_classes": "", "within": f"{tag:08x}", **_by_type(items[tag])} for tag in sorted(items)]
    kept = [line for line in lines if line["iod"] or line["type_1"] or line["type_2"]]
    return _csv(("iod", "sop_classes", "within", "type_1", "type_2"), kept)


def _attributes(uses: list[Any], modules: Mapping[str, list[Any]]) -> Iterator[Mapping[str, Any]]:
    """The attributes of the modules that an IOD uses; some modules have none in highdicom's data."""
    for use in uses:
        yield from modules.get(use["key"], [])


def _by_type(types: Mapping[int, str]) -> dict[str, str]:
    return {
        f"type_{kind}": " ".join(f"{tag:08x}" for tag in sorted(types) if types[tag] == kind) for kind in ("1", "2")
    }


# The document


def document_text(text: str) -> str:
    """The document with its table between the two comments made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + "\n".join(document_lines()) + "\n" + END + rest.split(END)[1]


def document_lines() -> Iterator[str]:
    """The table: an attribute, what the Basic Profile does, what each option does instead."""
    yield f"{EDITION}: {len(rows())} attributes and repeating groups."
    yield ""
    yield "| attribute | tag | Basic Profile | options |"
    yield "|---|---|---|---|"
    for row in rows():
        yield f"| {row.name} | {row.number} | `{row.basic}` | {_changes(row)} |"


def _changes(row: Row) -> str:
    marked = ((option, code, " (derived)" if option in row.derived else "") for option, code in row.options.items())
    return ", ".join(f"{option} `{code}`{mark}" for option, code, mark in marked)


# The command


def outputs(old: Iterable[Mapping[str, str]]) -> Iterator[tuple[Path, str]]:
    """Each file that is made, with its text; a file may be written before the next is asked for."""
    yield DATA / "confidentiality.csv", table_text(old)
    rows.cache_clear()
    yield DATA / "types.csv", types_text()
    yield DOCUMENT, document_text(DOCUMENT.read_text(encoding="utf-8"))


def main(argv: list[str] | None = None) -> int:
    """Write the files, or with `--check` name those that differ. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.deidentification", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file would change")
    parser.add_argument("--table", type=Path, metavar="FILE", help="take the rows of 2024e from this JSON")
    options = parser.parse_args(argv)
    differing = 0
    for file, text in outputs(json_lines(options.table) if options.table else old_lines()):
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            differing += 1
            print(("differs: " if options.check else "wrote ") + str(file.relative_to(ROOT)))
            if not options.check:
                file.write_text(text, encoding="utf-8")
    return 1 if options.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
