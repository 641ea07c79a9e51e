"""What tells one way to de-identify from a later one: the table's edition, and everything that this package does.

A copy that an earlier gateway made may hold what a later one takes out. So whatever changes in the sources or data of
this package or of `gateway.transform.pixels` makes every transform that de-identifies another: what waits is made anew,
and no old copy passes for a new one.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources

from gateway.transform.deidentify.table import EDITION

_SUFFIXES = (".py", ".csv", ".txt")


@cache
def method() -> str:
    """The edition of the table, and a digest over the files of both packages."""
    own = resources.files(__package__)
    folders = (own, own / "data", resources.files("gateway.transform.pixels"))
    files = [each for folder in folders for each in folder.iterdir() if each.name.endswith(_SUFFIXES)]
    digest = sha256()
    for file in sorted(files, key=lambda each: each.name):
        digest.update(file.name.encode("utf-8") + b"\0" + file.read_bytes())
    return f"{EDITION} {digest.hexdigest()[:16]}"
