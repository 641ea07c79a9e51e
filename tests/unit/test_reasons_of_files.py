"""The reasons that people are shown name no instance."""

from __future__ import annotations

import pytest

from gateway.reasons import of_file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "cannot read incoming/00000000-0000/000000/01a21a526c5b0000000000000004ddea.dcm: No such file or directory",
            "cannot read its file: No such file or directory",
        ),
        (
            "the checksum of the data set in derived/01a21a52/1f3a9c2e-01a21a526c5b.dcm does not hold",
            "the checksum of the data set in its file does not hold",
        ),
        ("the disk is gone", "the disk is gone"),
    ],
)
def test_a_reason_says_what_is_wrong_with_a_file_and_not_which_it_is(text: str, said: str) -> None:
    assert of_file(ValueError(text)) == said
