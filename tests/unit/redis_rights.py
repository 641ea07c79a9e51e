"""The rights that docs/scaling.md gives the gateway's user in Redis."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def acl_line() -> str:
    """What stands behind the user's password."""
    document = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    found = re.search(r"^user gateway on >\S+ (.*)$", document, re.MULTILINE)
    assert found
    return found[1]
