"""What rectangles cover of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transform.pixels.regions import Band, Length, Rectangle, Region, both, cover, even
from gateway.transform.values import ValueRefused
from tests.unit.array_kit import Pixels

COLUMNS, ROWS = 12, 9

rectangles = st.builds(
    lambda left, top, width, height: Rectangle(left, top, left + width, top + height),
    st.integers(0, COLUMNS - 1),
    st.integers(0, ROWS - 1),
    st.integers(1, 2 * COLUMNS),
    st.integers(1, 2 * ROWS),
)


def painted(bands: Sequence[Band]) -> Pixels:
    """An image of what bands cover; each pixel once."""
    found = numpy.zeros((ROWS, COLUMNS), int)
    for top, bottom, runs in bands:
        for left, right in runs:
            assert 0 <= left < right <= COLUMNS
            found[top:bottom, left:right] += 1
    assert found.max(initial=0) <= 1
    return found.astype(bool)


def wanted(some: Sequence[Rectangle]) -> Pixels:
    found = numpy.zeros((ROWS, COLUMNS), bool)
    for each in some:
        found[each.top : each.bottom, each.left : each.right] = True
    return found


@given(st.lists(rectangles, max_size=6))
def test_bands_cover_what_rectangles_do_and_what_they_do_not(some: list[Rectangle]) -> None:
    assert (painted(cover(some, COLUMNS, ROWS)) == wanted(some)).all()
    assert (painted(cover(some, COLUMNS, ROWS, outside=True)) == ~wanted(some)).all()


@given(st.lists(rectangles, max_size=4), st.lists(rectangles, max_size=4))
def test_both_is_what_either_covers(some: list[Rectangle], others: list[Rectangle]) -> None:
    together = both(cover(some, COLUMNS, ROWS), cover(others, COLUMNS, ROWS), ROWS)
    assert (painted(together) == wanted([*some, *others])).all()


@given(st.lists(rectangles, max_size=6))
def test_pairs_of_columns_are_covered_where_one_of_them_is(some: list[Rectangle]) -> None:
    pairs = wanted(some).reshape(ROWS, COLUMNS // 2, 2).any(axis=2).repeat(2, axis=1)
    assert (painted(even(cover(some, COLUMNS, ROWS))) == pairs).all()


PIXELS, PERCENT = Length, lambda number: Length(number, True)


@pytest.mark.parametrize(
    ("region", "rectangle"),
    [
        (Region(PIXELS(2), PIXELS(3), PIXELS(4), PIXELS(5)), (2, 3, 6, 8)),
        (Region(PIXELS(2), PIXELS(3), PIXELS(400), PIXELS(500)), (2, 3, COLUMNS, ROWS)),
        (Region(PIXELS(0), PIXELS(0), PERCENT(100), PERCENT(10)), (0, 0, COLUMNS, 1)),
        (Region(PERCENT(50), PERCENT(50), PERCENT(50), PERCENT(1)), (6, 4, COLUMNS, 5)),
        (Region(PERCENT(33), PIXELS(0), PERCENT(34), PIXELS(1)), (3, 0, 9, 1)),
    ],
)
def test_regions_end_with_the_image_and_per_cent_cover_what_they_touch(
    region: Region, rectangle: tuple[int, int, int, int]
) -> None:
    assert region.of(COLUMNS, ROWS) == rectangle


@pytest.mark.parametrize("at", [(COLUMNS, 0), (0, ROWS), (500, 500)])
def test_a_region_outside_of_the_image_was_meant_for_another(at: tuple[int, int]) -> None:
    with pytest.raises(ValueRefused, match="12 columns and 9 rows"):
        Region(PIXELS(at[0]), PIXELS(at[1]), PIXELS(10), PIXELS(10)).of(COLUMNS, ROWS)
