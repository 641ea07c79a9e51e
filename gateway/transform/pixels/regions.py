"""Rectangles of an image, and the runs of pixels that they cover: what a mask blanks, row by row.

A `Rectangle` is in pixels, from the upper left corner, and ends before `right` and `bottom`. A `Band` says which
columns are covered in each of some rows that are alike: however large an image is, it has as few as there are edges.

Rectangles that a person wrote (`Region`) may be in per cent of the image: those cover every pixel that they touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from gateway.transform.values import ValueRefused

Runs = tuple[tuple[int, int], ...]  # of columns: from the first, to before the second; in order, apart


class Rectangle(NamedTuple):
    """Pixels from `left` to before `right`, in the rows from `top` to before `bottom`."""

    left: int
    top: int
    right: int
    bottom: int


class Band(NamedTuple):
    """Rows from `top` to before `bottom`, and what is covered in each of them."""

    top: int
    bottom: int
    runs: Runs


class Length(NamedTuple):
    """A number of pixels, or of per cent of the image."""

    number: int
    is_percent: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle as it is written in a rule file."""

    left: Length
    top: Length
    width: Length
    height: Length

    def of(self, columns: int, rows: int) -> Rectangle:
        """The part of it that lies in an image of this size.

        :raises ValueRefused: none does: it was meant for other images.
        """
        left, right = _ends(self.left, self.width, columns)
        top, bottom = _ends(self.top, self.height, rows)
        if left >= right or top >= bottom:
            raise ValueRefused(f"a region lies outside of the image, which has {columns} columns and {rows} rows")
        return Rectangle(left, top, right, bottom)


def _ends(begin: Length, length: Length, size: int) -> tuple[int, int]:
    """In hundredths of a pixel first: what begins or ends within a pixel covers it."""
    first = begin.number * (size if begin.is_percent else 100)
    last = first + length.number * (size if length.is_percent else 100)
    return first // 100, min(size, -(-last // 100))


def cover(rectangles: Sequence[Rectangle], columns: int, rows: int, *, outside: bool = False) -> tuple[Band, ...]:
    """What rectangles cover of an image, or (`outside`) what none of them does; bands in order, empty ones left out."""
    edges = sorted({0, rows, *(min(rows, edge) for each in rectangles for edge in (each.top, each.bottom))})
    bands = []
    for top, bottom in pairwise(edges):
        here = [(each.left, min(columns, each.right)) for each in rectangles if each.top <= top < each.bottom]
        runs = _joined(here)
        if outside:
            runs = _between(runs, columns)
        if runs:
            bands.append(Band(top, bottom, runs))
    return tuple(bands)


def both(one: Sequence[Band], other: Sequence[Band], rows: int) -> tuple[Band, ...]:
    """What either covers."""
    edges = sorted({0, rows, *(edge for band in (*one, *other) for edge in (band.top, band.bottom))})
    bands = []
    for top, bottom in pairwise(edges):
        here = [run for band in (*one, *other) if band.top <= top < band.bottom for run in band.runs]
        if runs := _joined(here):
            bands.append(Band(top, bottom, runs))
    return tuple(bands)


def even(bands: Iterable[Band]) -> tuple[Band, ...]:
    """The same in whole pairs of columns: those that share their colour (PS3.3 C.7.6.3.1.2, YBR_FULL_422)."""
    return tuple(
        Band(top, bottom, _joined([(left & ~1, (right + 1) & ~1) for left, right in runs]))
        for top, bottom, runs in bands
    )


def _joined(runs: Iterable[tuple[int, int]]) -> Runs:
    found: list[tuple[int, int]] = []
    for left, right in sorted(runs):
        if left >= right:
            continue
        if found and left <= found[-1][1]:
            found[-1] = found[-1][0], max(right, found[-1][1])
        else:
            found.append((left, right))
    return tuple(found)


def _between(runs: Runs, columns: int) -> Runs:
    edges = [0, *(edge for run in runs for edge in run), columns]
    return tuple((left, right) for left, right in zip(edges[::2], edges[1::2], strict=True) if left < right)
