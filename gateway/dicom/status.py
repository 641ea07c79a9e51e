"""The protocol's numbers in words: DIMSE statuses, rejections and aborts.

Sources: PS3.7 Annex C (general statuses and categories), PS3.4 Table B.2-1 (Storage), PS3.8 Table 9-21
(A-ASSOCIATE-RJ) and Table 9-26 (A-ABORT). What becomes of a delivery is not decided here: that table is the
administrator's (`gateway.flow`).

Whoever shows a number to a person calls `describe`, `describe_rejection` or `describe_abort`; the words are fixed,
so that they may be logged and counted.
"""

from __future__ import annotations

from enum import StrEnum


class Category(StrEnum):
    """What kind of status it is (PS3.7 Annex C)."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


# The statuses that this project sends or looks for by name.
SUCCESS = 0x0000
ATTRIBUTE_LIST_ERROR = 0x0107
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
INVALID_ARGUMENT_VALUE = 0x0115
ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
INVALID_SOP_INSTANCE = 0x0117
MISSING_ATTRIBUTE = 0x0120
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORIZED = 0x0124
UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
COERCION_OF_DATA_ELEMENTS = 0xB000
ELEMENTS_DISCARDED = 0xB006
DATA_SET_DIFFERS_FROM_SOP_CLASS = 0xB007
CANNOT_UNDERSTAND = 0xC000
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01

_WORDS = {
    0x0000: "success",
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "refused: SOP class not supported",
    0x0123: "no such action",
    0x0124: "refused: not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending, optional keys not supported",
}

_REJECTION_RESULTS = {1: "permanently", 2: "for now"}
_REJECTION_REASONS = {
    (1, 1): "no reason given by the application",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given by the upper layer",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


def category(status: int) -> Category:
    """The category of a status (PS3.7 Annex C). Codes that the standard does not know are failures."""
    if status == 0x0000:
        return Category.SUCCESS
    if status in {0x0001, 0x0107, 0x0116} or status >> 12 == 0xB:
        return Category.WARNING
    if status in {0xFF00, 0xFF01}:
        return Category.PENDING
    if status == 0xFE00:
        return Category.CANCEL
    return Category.FAILURE


def is_success(status: int) -> bool:
    """True for 0x0000."""
    return status == 0x0000


def is_warning(status: int) -> bool:
    """True where the operation was done, with a remark: 0x0001, 0x0107, 0x0116, 0xBxxx."""
    return category(status) is Category.WARNING


def describe(status: int) -> str:
    """A status as people read it, for example `0xA700 failure: refused, out of resources`."""
    kind = category(status)
    words = _WORDS.get(status) or _words_of_range(status)
    return f"0x{status:04X} {words}" if words.startswith(kind.value) else f"0x{status:04X} {kind}: {words}"


def _words_of_range(status: int) -> str:
    # PS3.4 Table B.2-1: whole ranges carry one meaning, the last digits are the implementation's own.
    if status >> 8 == 0xA7:
        return "refused, out of resources"
    if status >> 8 == 0xA9:
        return "data set does not match SOP class"
    if status >> 12 == 0xC:
        return "cannot understand"
    return "not defined by the standard"


def describe_rejection(result: int, source: int, reason: int) -> str:
    """An A-ASSOCIATE-RJ in words, for example `rejected permanently: called AE title not recognized`."""
    words = _REJECTION_REASONS.get((source, reason), f"source {source}, reason {reason}")
    return f"rejected {_REJECTION_RESULTS.get(result, f'with result {result}')}: {words}"


def describe_abort(source: int, reason: int) -> str:
    """An A-ABORT in words, for example `aborted by the upper layer: unexpected PDU`."""
    if source == 0:
        return "aborted by the application"  # PS3.8 9.3.8: the reason is not significant for source 0
    return f"aborted by the upper layer: {_ABORT_REASONS.get(reason, f'reason {reason}')}"
