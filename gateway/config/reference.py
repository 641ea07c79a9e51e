"""The reference tables of docs/configuration.md, written from `gateway.config.tables`.

A table stands between `<!-- keys: SECTION -->` and `<!-- end -->` (the top level's section is called `top level`).
`python -m gateway.config.reference docs/configuration.md` writes them anew; a test holds the document to them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gateway.config.sections import REQUIRED, Key, Nested, Section
from gateway.config.tables import ROOT, SECTIONS

_BLOCK = re.compile(r"(<!-- keys: ([a-z_. ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def sections() -> dict[str, Section]:
    """Every section by the name the document calls it."""
    found = {"top level": ROOT}
    for name, section in SECTIONS.items():
        found[name] = section
        nested = [key.kind.section for key in section.keys if isinstance(key.kind, Nested)]
        found |= {each.name: each for each in nested}
    return found


def table(section: Section) -> str:
    """The Markdown table of a section."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key.name}` | {key.kind.words} | {default(section, key)} | {key.words} |" for key in section.keys]
    return "\n".join(rows) + "\n"


def default(section: Section, key: Key) -> str:
    """A key's default as Markdown."""
    if key.computed is not None:
        return key.computed
    value = section.default(key)
    if value is REQUIRED:
        return "**required**"
    if isinstance(key.kind, Nested) or (value is None and not key.kind.structured) or value == "":
        return "none"
    return f"`{key.kind.show(value)}`"


def rewrite(document: str) -> str:
    """The document with its tables written anew. Raises KeyError for a section that there is not."""
    return _BLOCK.sub(lambda found: found[1] + table(sections()[found[2]]) + found[3], document)


def main(paths: list[str]) -> None:
    """Write the tables of each file anew."""
    for name in paths:
        path = Path(name)
        path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
