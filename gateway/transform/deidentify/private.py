"""Private attributes that are known to identify nobody: PS3.15 Table E.3.10-1 (2025b), and what a site adds.

By Private Creator and group, the last two digits of the element's number. What is written is compact: `01-0c` is a
range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Safe = frozenset[tuple[str, int]]  # Private Creator, and the tag with its block taken out

_TABLE = """
7053 Philips PET Private Group: 00 09
00e1 ELSCINT1: 21 50
01e1 ELSCINT1: 26
01f1 ELSCINT1: 01 07 26 27
0019 GEMS_ACQU_01: 23 24 27 9e
0025 GEMS_SERS_01: 07
0043 GEMS_PARM_01: 27 39 6f
0045 GEMS_HELIOS_01: 01 02
0903 GEIIS PACS: 10-12
2001 Philips Imaging DD 001: 01-0c 0e-1f 21-51 53-5a 5d-6b 6d-6f 71-77 79-8c 90-94 9a 9b 9d 9f a1-a5 c0-c3 c5-c7 ca cb
2001 Philips Imaging DD 001: d0-df e9 f1-f7 f9 fb-fd ff
2001 Philips Imaging DD 002: 01-40 50 52 53 57 58 5a 5c-5f 63-68 6b 71-75
2001 Philips Imaging DD 097: 01-08 0a 0b 0d-0f 12 17-1f 21-28 2a-32 36-3e 40-42 44-47 49-4c a1-a6 a8-ab
2001 Philips Imaging DD 129: 00-09
2005 Philips MR Imaging DD 001: 0d 0e
0025 Philips ST80i: 01
0019 SIEMENS MR HEADER: 0c-0e 27
7e01 HOLOGIC, Inc.: 01 02 10-12
0099 NQHeader: 01 02 04 05 10 20 21
0199 NQLeft: 01-16
0299 NQRight: 01-16
0119 SIEMENS Ultrasound SC2000: 00-09 10-13 21
0129 SIEMENS Ultrasound SC2000: 00 02-09 10-12 20-22 29 30
0139 SIEMENS Ultrasound SC2000: 01
0149 SIEMENS Ultrasound SC2000: 01-03
7fd1 SIEMENS Ultrasound SC2000: 01 09 10 11
7fd1 SIEMENS SYNGO ULTRA-SOUND TOYON DATA STREAMING: 01 09 10 11
"""


def _rows(table: str) -> Iterator[tuple[str, int]]:
    for line in table.strip().splitlines():
        head, _, numbers = line.rpartition(": ")
        group, _, creator = head.partition(" ")
        for part in numbers.split():
            first, _, last = part.partition("-")
            for number in range(int(first, 16), int(last or first, 16) + 1):
                yield creator, int(group, 16) << 16 | number


STANDARD: Safe = frozenset(_rows(_TABLE))


def safe_with(site: Iterable[tuple[str, int]]) -> Safe:
    """The standard's list and a site's; a tag there may have its block or not."""
    return STANDARD | {(creator, without_block(tag)) for creator, tag in site}


def without_block(tag: int) -> int:
    """A private tag without the digits that say which block it is in (PS3.5 7.8.1)."""
    return tag & 0xFFFF00FF
