"""What stands below `match` and `when`, as a schema: see `gateway.rules.conditions`, which reads it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.rules.conditions import BESIDE, CONDITIONS, ENDS, HIGH, LOW, WINDOW_KEYS
from gateway.rules.names import RECEIVED
from gateway.rules.patterns import FOLDS
from gateway.rules.subject import FACTS, WEEKDAYS
from gateway.schemas.parts import (
    ATTRIBUTE_OR_PART,
    FLAG,
    TEXT,
    Schema,
    described,
    needs_one_of,
    only_beside,
    ref,
    some,
    table,
    whole_number,
    words,
)

_TIME_OF_DAY: Schema = {"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}

_FACTS: Mapping[str, str] = {
    "calling_ae_title": "The AE title by which the sender calls itself.",
    "called_ae_title": "The AE title that the sender calls.",
    "source": "The name of the entry of `sources` that the sender fits; `unknown` for one without an entry.",
    "host": "The address of the sender; also compared with networks, as in `10.20.0.0/16`.",
    "listener": "The name of the listener that took the association.",
    "transfer_syntax": "The transfer syntax it came in, as UID, keyword or name.",
    "sop_class": "Its SOP class, as UID, keyword or name.",
}

_END = "The value is {}, as a number, date, time or age: what the attribute is."

_CONDITIONS: Mapping[str, Schema] = {
    "equals": described("The value is exactly this, letter by letter, or one of these.", some(TEXT)),
    "like": described("The pattern fits the whole value: `*` is any text, `?` any one character.", some(TEXT)),
    "regex": described("The regular expression (RE2) is found in the value; capitals matter.", some(TEXT)),
    "list": described("As the list of that name under `lists`."),
    "table": described("The value is a key of the table of that name under `tables`, or stands in its `column`."),
    "gt": described(_END.format("more than this")),
    "ge": described(_END.format("at least this")),
    "lt": described(_END.format("less than this")),
    "le": described(_END.format("at most this")),
    "between": described(
        "The least and the most that the value may be; both belong to it.",
        {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
    ),
    "all": described("There are values, and the condition holds for each of them alone.", ref("condition")),
    "any": described("The condition holds for one of the values.", ref("condition")),
    "count": described(
        "How many values there are: a number, or ends such as `{ge: 2}`.",
        {"anyOf": [whole_number(0, 2**31), ref("count")]},
    ),
    "present": described("Whether the attribute is there and has a value.", FLAG),
    "absent": described("Whether the attribute is not there, or is there and empty.", FLAG),
    "fold": described(
        "What counts as alike: capitals, accents, both, or `[]` for neither.",
        {"anyOf": [words(FOLDS), {"type": "array", "items": words(FOLDS)}]},
    ),
    "column": described("The column of the table whose texts are meant; without it, the keys."),
}

_WINDOW: Mapping[str, Schema] = {
    "weekdays": described("The days on which it came; absent: every day.", some(words(WEEKDAYS))),
    "from": described('The time of day from which the window is open, as in "18:00"; absent: midnight.', _TIME_OF_DAY),
    "to": described("The time of day at which it closes; before `from`: on the next day.", _TIME_OF_DAY),
    "zone": described("The time zone whose clock counts, as in `Europe/Berlin`; absent: that of the gateway's host."),
}


def definitions() -> Mapping[str, Schema]:
    """`match`, `condition`, `count` and `window`."""
    ends = {key: _CONDITIONS[key] for key in (*ENDS, "between")}
    modifiers = {key: [beside for beside, others in BESIDE.items() if key in others] for key in CONDITIONS}
    alone = [key for key in CONDITIONS if key not in ENDS]
    special = table(
        (*CONDITIONS, *BESIDE),
        _CONDITIONS,
        minProperties=1,
        allOf=[
            *(only_beside(key, modifiers[key]) for key in alone),
            *_two_ends(),
            *(needs_one_of(key, others) for key, others in BESIDE.items()),
        ],
    )
    simple = {"anyOf": [TEXT, special]}
    return {
        "match": _match(),
        "condition": {"anyOf": [TEXT, {"type": "array", "items": simple, "minItems": 1}, special]},
        "count": table(ends, ends, minProperties=1, allOf=[only_beside("between", ()), *_two_ends()]),
        "window": table(WINDOW_KEYS, _WINDOW, anyOf=[{"required": [key]} for key in ("weekdays", "from", "to")]),
    }


def _two_ends() -> list[Schema]:
    return [only_beside(key, other) for ends, other in ((LOW, HIGH), (HIGH, LOW)) for key in ends]


def _match() -> Schema:
    some_matches: Schema = {"type": "array", "items": ref("match"), "minItems": 1}
    facts = table(FACTS, {name: described(words, ref("condition")) for name, words in _FACTS.items()})["properties"]
    return {
        "type": "object",
        "properties": {
            "any": described("Maps of conditions, of which one must hold.", some_matches),
            "all": described("Maps of conditions, of which each must hold.", some_matches),
            "not": described("Conditions that must not hold, all of them together.", ref("match")),
            RECEIVED: described("When it was received: a window of time, or some of which one.", some(ref("window"))),
            **{name: facts[name] for name in sorted(facts)},
        },
        "patternProperties": {
            ATTRIBUTE_OR_PART: described(
                "An attribute, or a part of a person's name, and what it is compared with.", ref("condition")
            )
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
