"""Whatever options are chosen, of 1,536 ways to choose: what they keep is there, and no other canary is.

In a file of its own, so that it runs beside the others.
"""

from __future__ import annotations

import pytest

from tests.unit.deidentify_kit import FULL_DATES, MODIFIED_DATES, combinations_of_options
from tests.unit.test_deidentify_leaks import assert_right, planted


@pytest.mark.parametrize("dates", ["removed", "kept", "moved"])
def test_no_canary_is_found_whatever_is_chosen(dates: str) -> None:
    way = {"removed": set(), "kept": {FULL_DATES}, "moved": {MODIFIED_DATES}}[dates]
    chosen = [options for options in combinations_of_options() if options & {FULL_DATES, MODIFIED_DATES} == way]
    assert len(chosen) == 512
    everything = planted()
    for options in chosen:
        assert_right(everything, options)
