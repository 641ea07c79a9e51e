"""Whatever options are chosen, of 1,536 ways to choose: what they keep is there, and no other canary is.

In a file of its own, so that it runs beside the others.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from gateway.transform.deidentify.table import Option
from tests.unit.deidentify_kit import FULL_DATES, MODIFIED_DATES, combinations_of_options
from tests.unit.test_deidentify_leaks import assert_right, planted

WAYS = {"removed": frozenset(), "kept": frozenset({FULL_DATES}), "moved": frozenset({MODIFIED_DATES})}
SOME = list(Option)[:3]  # options by which the others are divided, so that no test takes long


@pytest.mark.parametrize("some", [frozenset(each) for count in range(4) for each in combinations(SOME, count)], ids=len)
@pytest.mark.parametrize("dates", WAYS)
def test_no_canary_is_found_whatever_is_chosen(dates: str, some: frozenset[Option]) -> None:
    chosen = [
        options
        for options in combinations_of_options()
        if options & {FULL_DATES, MODIFIED_DATES} == WAYS[dates] and options & set(SOME) == some
    ]
    assert len(chosen) == 1536 // len(WAYS) // 2 ** len(SOME)
    everything = planted()
    for options in chosen:
        assert_right(everything, options)
