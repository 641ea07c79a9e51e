"""The steps of transforms, as a schema: what stands behind each verb. `gateway.transform.verbs` reads them.

A new verb gets its row in `VERB_SCHEMAS`; without it no schema can be made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.schemas.parts import (
    ATTRIBUTE,
    FLAG,
    TEXT,
    Schema,
    by_name,
    described,
    exactly_one_of,
    only_beside,
    ref,
    some,
    table,
    whole_number,
    words,
)
from gateway.transform.deidentify.read import KEYS as DEIDENTIFY_KEYS
from gateway.transform.deidentify.read import MAX_SHIFT_DAYS
from gateway.transform.deidentify.table import Option
from gateway.transform.pixels.mask_reader import KEYS as MASK_KEYS
from gateway.transform.pixels.mask_reader import MAX_REGIONS, SIDES
from gateway.transform.pixels.profiles import J2K, JPEG_LS_NEAR_LOSSLESS
from gateway.transform.transcode import SYNTAXES
from gateway.transform.verbs import MAX_LENGTH, VERBS

_NAMES: Schema = some(TEXT)
_TEMPLATES: Schema = by_name(ATTRIBUTE, described('Text with `{Attribute}` and `{fact}` filled in; "" for none.'))
ITEM: Schema = by_name(
    ATTRIBUTE,
    described(
        "Text with `{Attribute}` and `{fact}` filled in; of a sequence a list of items.",
        {"anyOf": [TEXT, {"type": "array", "items": ref("item")}]},
    ),
)
_TEXTS: Schema = by_name(ATTRIBUTE, TEXT)
_OF_TABLE: Schema = table(
    ("table", "column"),
    {
        "table": described("The name of one of `tables`."),
        "column": described("The column whose text a key becomes."),
    },
    ("table", "column"),
)
_DAYS: Schema = whole_number(1, MAX_SHIFT_DAYS)


def _edit(value: Schema) -> Schema:
    return by_name(ATTRIBUTE, value)


_REPLACE: Schema = table(
    ("regex", "with"),
    {
        "regex": described("A regular expression (RE2): every place that fits it is replaced."),
        "with": described("What stands there then; `\\1` is the first group."),
    },
    ("regex", "with"),
)
_MAP: Schema = table(
    ("attribute", "table", "default"),
    {
        "attribute": described("The attribute whose values are mapped."),
        "table": described(
            "What each value becomes: text by text, or a column of one of `tables`.",
            {"anyOf": [{"type": "object", "additionalProperties": TEXT, "minProperties": 1}, _OF_TABLE]},
        ),
        "default": described("What other values become: a text, or `keep` (leave them), or `hold` (fail)."),
    },
    ("attribute", "table", "default"),
)
_PAD: Schema = table(
    ("to", "with", "side"),
    {
        "to": described("The length that is reached.", whole_number(1, MAX_LENGTH)),
        "with": described("The one character that is put in."),
        "side": described("Where it is put in; `left` where not said.", words(("left", "right"))),
    },
    ("to", "with"),
)
_ADD_ITEM: Schema = table(
    ("to", "item"),
    {"to": described("The sequence."), "item": described("The attributes of the new item.", ref("item"))},
    ("to", "item"),
)
_REMOVE_ITEM: Schema = table(
    ("from", "item", "where"),
    {
        "from": described("The sequence."),
        "item": described(
            "`all`, or the number of an item, counted from 1.", {"anyOf": [words(("all",)), whole_number(1, 1_000_000)]}
        ),
        "where": described("The items in which all of these attributes have these values.", _TEXTS),
    },
    ("from",),
    **exactly_one_of(("item", "where")),
)
_DEIDENTIFY: Schema = table(
    DEIDENTIFY_KEYS,
    {
        "key": described("The name of one of `pseudonym_keys` in gateway.yaml, with which pseudonyms are made."),
        "options": described(
            "The options of PS3.15 E.3 that it follows beside the basic profile.",
            {"anyOf": [words(tuple(Option)), {"type": "array", "items": words(tuple(Option))}]},
        ),
        "patient_id": described("The new Patient ID, with `{pseudonym}` in it."),
        "patient_name": described("The new name, with `{pseudonym}` in it where it is wanted."),
        "subjects": described(
            "A table that has the new Patient ID of each, found by the old one.",
            table(
                ("table", "column", "otherwise"),
                {
                    "table": described("The name of one of `tables`, whose key is the Patient ID."),
                    "column": described("The column with the new Patient ID."),
                    "otherwise": described(
                        "What becomes of patients who are not in it: `hold` where not said.",
                        words(("hold", "pseudonym")),
                    ),
                },
                ("table", "column"),
            ),
        ),
        "shift_days": described(
            "By how many days dates are moved at most, or [least, most].",
            {"anyOf": [_DAYS, {"type": "array", "items": _DAYS, "minItems": 2, "maxItems": 2}]},
        ),
        "age_cap": described("Whether every age above 89 years becomes 090Y.", {"enum": ["none", 89, "89"]}),
        "issuer": described(
            "Whether one Patient ID of two issuers is of two patients; `ignore` where not said.",
            words(("ignore", "distinguish")),
        ),
        "birth_date": described("What becomes of the birth date: `remove` where not said.", words(("remove", "shift"))),
        "safe_private": described(
            "Private attributes that tell of nobody: by their creator, numbers such as `(0029,xx08)`.",
            {"type": "object", "additionalProperties": _NAMES, "minProperties": 1},
        ),
        "words": described(
            "Words of the site that may stay in descriptions, or a list of `lists` with them.",
            {"anyOf": [_NAMES, table(("list",), {"list": described("The name of one of `lists`.")}, ("list",))]},
        ),
        "remember": described("Whether what pseudonyms stand for is kept, sealed: `true` where not said.", FLAG),
    },
    ("key",),
)

_LOSSY = {J2K, JPEG_LS_NEAR_LOSSLESS}
_LOSSLESS = {name: uid for name, uid in SYNTAXES.items() if uid not in _LOSSY}
_TRANSCODE: Schema = {
    "anyOf": [
        words((*_LOSSLESS, *_LOSSLESS.values())),
        table(
            ("to", "ratio", "error"),
            {
                "to": described("The transfer syntax, by its name or UID.", words((*SYNTAXES, *SYNTAXES.values()))),
                "ratio": described("How many times smaller pixels become, by JPEG 2000.", whole_number(1, 1000)),
                "error": described("By how much a sample may differ, by JPEG-LS.", whole_number(1, 255)),
            },
            ("to",),
        ),
    ]
}
_SIDE: Schema = {
    "anyOf": [whole_number(0, 999_999), {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}],
}
_SIDES = {
    "left": "How far it is from the left edge.",
    "top": "How far it is from the upper edge.",
    "width": "How wide it is.",
    "height": "How high it is.",
}
_MASK: Schema = {
    "anyOf": [
        words(("nothing",)),
        table(
            MASK_KEYS,
            {
                "regions": described(
                    "Rectangles that are blanked, in pixels or per cent, from the upper left corner.",
                    {
                        "type": "array",
                        "items": table(SIDES, {side: described(_SIDES[side], _SIDE) for side in SIDES}, SIDES),
                        "minItems": 1,
                        "maxItems": MAX_REGIONS,
                    },
                ),
                "outside": described(
                    "Blank everything outside of Sequence of Ultrasound Regions.", words(("ultrasound-regions",))
                ),
                "fill": described("The stored value of blanked pixels, where black is not wanted."),
                "encapsulated": described(
                    "What becomes of compressed images: `same` where not said.", words(("same", "native"))
                ),
            },
        ),
    ]
}

VERB_SCHEMAS: Mapping[str, Schema] = {
    "set": described("Give attributes a value; those that are absent are made.", _TEMPLATES),
    "copy": described("Give attributes (left) the value of others (right).", _TEXTS),
    "remove": described(
        "Take attributes out: names, wild cards such as `(60xx,3000)` and `(0009,xxxx,CREATOR)`, or `private`.", _NAMES
    ),
    "empty": described("Leave attributes that are there without a value.", _NAMES),
    "prefix": described("Put a text in front of each value.", _edit(TEXT)),
    "suffix": described("Put a text behind each value.", _edit(TEXT)),
    "replace": described("Replace what a regular expression finds in each value.", _edit(_REPLACE)),
    "map": described("Put in place of each value what a table says.", _MAP),
    "case": described("Write each value in capitals or small letters.", _edit(words(("upper", "lower")))),
    "truncate": described("Cut each value after so many characters.", _edit(whole_number(1, MAX_LENGTH))),
    "pad": described("Fill each value up to a length.", _edit(_PAD)),
    "strip": described("Take spaces off both ends of each value.", _NAMES),
    "add_item": described("Add an item at the end of a sequence.", _ADD_ITEM),
    "remove_item": described("Take items out of a sequence.", _REMOVE_ITEM),
    "charset": described("Convert all text to this Specific Character Set.", words(("ISO_IR 192",))),
    "deidentify": described("Make of it an instance that tells of nobody, as PS3.15 Annex E has it.", _DEIDENTIFY),
    "transcode": described("Write it in another transfer syntax; how much may be lost has to be said.", _TRANSCODE),
    "mask": described("Blank parts of the image, or say that it shows nothing.", _MASK),
}


def step_schema(verbs: Collection[str] = tuple(VERBS)) -> Schema:
    """One step. :raises LookupError: a verb has no row in `VERB_SCHEMAS`."""
    missing = sorted(set(verbs) - set(VERB_SCHEMAS))
    if missing:
        raise LookupError(f"the verb {missing[0]!r} has no schema: give it a row in VERB_SCHEMAS of {__name__}")
    schemas = {verb: VERB_SCHEMAS[verb] for verb in verbs} | {
        "when": described(
            "The step is done only where these conditions hold, as `match` of a rule has them.", ref("match")
        ),
        "record": described("Whether changes are told in Original Attributes Sequence; a step of its own.", FLAG),
    }
    return table(tuple(schemas), schemas, allOf=[exactly_one_of((*verbs, "record")), only_beside("record", ())])
