"""The schema of a rule file: see `gateway.rules.schema` and `gateway.rules.shared`, which read it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config.kinds import NAME_PATTERN
from gateway.rules.schema import FILE_KEYS, OF_COPIES, OUTCOMES, PRIORITIES, RULE_KEYS, TARGET_KEYS, TEST_KEYS
from gateway.rules.subject import FACTS
from gateway.schemas import conditions
from gateway.schemas.parts import (
    ATTRIBUTE,
    FLAG,
    LIST_NAME,
    TEXT,
    TEXT_OR_NOTHING,
    TRUE,
    Schema,
    by_name,
    described,
    exactly_one_of,
    needs_one_of,
    only_beside,
    ref,
    section,
    some,
    table,
    words,
)
from gateway.schemas.steps import ITEM, step_schema

_REASON: Schema = {**TEXT, "pattern": r"\S"}
_LIST_ITEM = described("A text, a pattern with `*` and `?`, or a network.")
_VALUES: Schema = {"anyOf": [TEXT_OR_NOTHING, {"type": "array", "items": TEXT_OR_NOTHING}]}


def rules_schema() -> Schema:
    """The schema of a rule file."""
    return {
        "title": "Rules of the DICOM gateway",
        "description": "Which instance goes where, and what is changed on the way (docs/rules.md, docs/transforms.md).",
        **table(FILE_KEYS, _file()),
        "$defs": {
            "rule": _rule(),
            "target": _target(),
            "test": _test(),
            "expect": _expect(),
            "step": step_schema(),
            "item": ITEM,
            **conditions.definitions(),
        },
    }


def _file() -> Mapping[str, Schema]:
    steps: Schema = {"type": "array", "items": ref("step"), "minItems": 1}
    texts: Schema = {"type": "array", "items": _LIST_ITEM, "minItems": 1}
    destinations: Schema = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
    of_csv = table(
        ("file", "key"),
        {
            "file": described(
                "A CSV file beside the rule files; its first row names the columns.",
                {"type": "string", "pattern": r"^[^./\\][^/\\]*\.csv$"},
            ),
            "key": described("The column by which rows are found."),
        },
        ("file", "key"),
    )
    return {
        "rules": described("Tried from the first to the last; each that matches adds its destinations.", _list("rule")),
        "lists": described("Lists of texts that conditions of all files name.", section(LIST_NAME, texts)),
        "tables": described("CSV files that conditions and steps of all files look things up in.",
                            section(LIST_NAME, of_csv)),
        "groups": described("Groups of destinations that rules of all files send to.",
                            section(NAME_PATTERN, destinations)),
        "transforms": described("Named lists of steps that change the copy which a destination gets.",
                                section(NAME_PATTERN, steps)),
        "tests": described("What the rules must do with which instance: else they are not taken.", _list("test")),
    }  # fmt: skip


def _list(name: str) -> Schema:
    return {"type": ["array", "null"], "items": ref(name)}


def _rule() -> Schema:
    chain = some(described("The name of one of `transforms`."))
    return table(
        RULE_KEYS,
        {
            "name": described(
                "Its name, once in all files: small letters, digits, `-`, `_` and `.`.",
                {**TEXT, "pattern": "^[a-z0-9][a-z0-9_.-]{0,127}$"},
            ),
            "match": described("The conditions that must hold, all of them; absent: every instance.", ref("match")),
            "send_to": described("Destinations and groups that get the instance.", some(ref("target"))),
            "stop": described("When this rule matches, no later one is tried.", FLAG),
            "discard": described("Send the instance nowhere, for this reason; its file is removed.", _REASON),
            "hold": described("Hold the instance for a person to look at, for this reason.", _REASON),
            "priority": described("Whether these instances go before others; of several rules the highest counts.",
                                  words(PRIORITIES)),
            "transform": described("The transforms that all destinations of the rule get it through.", chain),
        },
        ("name",),
        allOf=[exactly_one_of(("send_to", "hold", "discard")), needs_one_of("transform", ("send_to",))],
    )  # fmt: skip


def _target() -> Schema:
    chain = some(described("The name of one of `transforms`."))
    by_map = table(
        TARGET_KEYS,
        {
            "destination": described("A destination of the configuration, or one of `groups`.", TEXT),
            "transform": described("The transforms it gets the instance through, behind those of the rule.", chain),
        },
        ("destination",),
    )
    return {"anyOf": [described("A destination of the configuration, or one of `groups`.", TEXT), by_map]}


def _test() -> Schema:
    of_facts = {fact: described("A fact of the association.", _VALUES) for fact in sorted(FACTS)}
    instance: Schema = {
        "type": "object",
        "properties": {
            "received": described("When it came: a date and time, as in `2026-01-31 19:30`.", {"type": "string"}),
            **of_facts,
        },
        "patternProperties": {ATTRIBUTE: described('Its text, or a list of texts; "" is there and empty.', _VALUES)},
        "additionalProperties": False,
    }
    return table(
        TEST_KEYS,
        {
            "name": described("What the test says, in words.", _REASON),
            "instance": described("The attributes and facts that matter; all else is absent.", instance),
            "expect": described("What must become of it.", ref("expect")),
        },
        ("name", "instance", "expect"),
    )


def _expect() -> Schema:
    reason: Schema = {"anyOf": [TRUE, {"type": ["string", "number", "null"], "not": {"const": "false"}}]}
    absent = table(("absent",), {"absent": described("The attribute is not in the copy.", TRUE)}, ("absent",))
    in_copy: Schema = {"anyOf": [*_VALUES["anyOf"], absent]}
    known = (*OUTCOMES, *OF_COPIES)
    schemas = {
        "destinations": described("The destinations it is sent to, in any order.", some(TEXT)),
        "held": described("It is held: the reason, or `true` for any.", reason),
        "discarded": described("It is discarded: the reason, or `true` for any.", reason),
        "to": described("Whose copy is looked at, where more than one destination gets one.", TEXT),
        "after": described("What attributes are in the copy.", by_name(ATTRIBUTE, in_copy)),
        "unchanged": described("Attributes that are in the copy as they were.", some(TEXT)),
    }
    others = [only_beside(key, [other for other in known if other not in OUTCOMES]) for key in OUTCOMES]
    return table(known, schemas, minProperties=1, allOf=others)
