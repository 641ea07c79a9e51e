"""The protocol's numbers in words."""

from __future__ import annotations

import pytest

from gateway.dicom.status import (
    Category,
    category,
    describe,
    describe_abort,
    describe_rejection,
    is_success,
    is_warning,
)

KINDS = {"Success": "success", "Warning": "warning", "Failure": "failure", "Cancel": "cancel", "Pending": "pending"}


def test_categories_agree_with_pynetdicom_for_storage_and_every_general_status() -> None:
    registry = pytest.importorskip("pynetdicom.status")
    known = registry.STORAGE_SERVICE_CLASS_STATUS | registry.QR_FIND_SERVICE_CLASS_STATUS
    assert {code: category(code).value for code in known} == {code: KINDS[kind] for code, (kind, _) in known.items()}


def test_success_is_zero_and_nothing_else() -> None:
    assert [status for status in range(0x10000) if is_success(status)] == [0]


@pytest.mark.parametrize("status", [0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xBFFF])
def test_warnings(status: int) -> None:
    assert is_warning(status)


@pytest.mark.parametrize("status", [0x0000, 0x0110, 0x0111, 0xA700, 0xA900, 0xC000, 0xFE00, 0xFF00, 0x1234])
def test_what_is_no_warning(status: int) -> None:
    assert not is_warning(status)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0000, "0x0000 success"),
        (0x0111, "0x0111 failure: duplicate SOP instance"),
        (0x0211, "0x0211 failure: unrecognized operation"),
        (0xA700, "0xA700 failure: refused, out of resources"),
        (0xA7FF, "0xA7FF failure: refused, out of resources"),
        (0xA901, "0xA901 failure: data set does not match SOP class"),
        (0xB006, "0xB006 warning: elements discarded"),
        (0xC123, "0xC123 failure: cannot understand"),
        (0xFF00, "0xFF00 pending"),
        (0xFE00, "0xFE00 cancelled"),
        (0x1234, "0x1234 failure: not defined by the standard"),
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe(status) == words


def test_unknown_statuses_are_failures() -> None:
    assert category(0x1234) is Category.FAILURE


def test_rejections_and_aborts_in_words() -> None:
    assert describe_rejection(1, 1, 7) == "rejected permanently: called AE title not recognized"
    assert describe_rejection(2, 3, 2) == "rejected for now: local limit exceeded"
    assert describe_rejection(9, 9, 9) == "rejected with result 9: source 9, reason 9"
    assert describe_abort(0, 6) == "aborted by the application"
    assert describe_abort(2, 2) == "aborted by the upper layer: unexpected PDU"
    assert describe_abort(2, 99) == "aborted by the upper layer: reason 99"
