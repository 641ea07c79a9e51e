"""What processes of the `gateway` command keep pydicom from loading is there when it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK_UP = """
import json, sys
{first}
from pydicom import datadict
before = len(datadict.private_dictionaries)
found = [
    datadict.private_dictionary_VR(0x00091001, "GEMS_IDEN_01"),
    datadict.private_dictionary_description(0x00291008, "SIEMENS CSA HEADER"),
]
try:
    datadict.private_dictionary_VR(0x00091001, "NOBODY")
except KeyError:
    found.append("KeyError")
datadict.add_private_dict_entry("GEMS_IDEN_01", 0x000910F0, "SH", "of our own")
datadict.add_private_dict_entry("OURS", 0x00091001, "SH", "of our own")
everything = {{creator: dict(entries) for creator, entries in datadict.private_dictionaries.items()}}
print(json.dumps([before, found, "numpy" in sys.modules, everything], sort_keys=True))
"""


def told(first: str) -> tuple[int, list[str], bool, dict[str, dict[str, list[str]]]]:
    """How many creators pydicom has at first, what it says of some attributes, whether numpy is loaded, and all it has
    at last; as a Python of its own sees it, which begins with `first`."""
    program = LOOK_UP.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, found, has_numpy, everything = json.loads(done.stdout)
    return before, found, has_numpy, everything


def test_the_private_dictionary_is_read_when_it_is_first_asked_and_is_pydicoms() -> None:
    before, found, has_numpy, everything = told("from gateway.cli.lean import hide_codecs; hide_codecs()")
    of_all, as_it_is, _, expected = told("")
    assert (before, has_numpy) == (0, False)
    assert of_all > 400 and found == as_it_is and found[-1] == "KeyError"
    assert everything == expected
