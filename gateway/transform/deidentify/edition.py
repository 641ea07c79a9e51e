"""What tells one way to de-identify from a later one: the table's edition, and everything that this package does.

A copy that an earlier gateway made may hold what a later one takes out. So whatever changes in the package's sources or
data makes every transform that de-identifies another: what waits is made anew, and no old copy passes for a new one.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources

from gateway.transform.deidentify.table import EDITION


@cache
def method() -> str:
    """The edition of the table, and a digest over the files of the package."""
    folder = resources.files(__package__)
    files = [each for each in folder.iterdir() if each.name.endswith(".py")]
    files += [each for each in (folder / "data").iterdir() if each.is_file()]
    digest = sha256()
    for file in sorted(files, key=lambda each: each.name):
        digest.update(file.name.encode("utf-8") + b"\0" + file.read_bytes())
    return f"{EDITION} {digest.hexdigest()[:16]}"
