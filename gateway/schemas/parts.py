"""What schemas are made of: texts, flags, maps and lists, each with the sentence that an editor shows beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gateway.config.kinds import MAX_NAME, TEXT_SCHEMA

Schema = Mapping[str, Any]

TEXT: Schema = TEXT_SCHEMA
TEXT_OR_NOTHING: Schema = {"type": ["string", "number", "boolean", "null"]}
TRUE: Schema = {"enum": [True, "true"]}
FLAG: Schema = {"enum": [True, False, "true", "false"]}
LIST_NAME = "^[a-z0-9][a-z0-9_-]{0,62}$"

# A keyword (all but `dBdt` begin with a capital), a number, a private attribute by its creator; behind it the way into
# the items of sequences.
_ATTRIBUTE = (
    r"^([a-z]?[A-Z][A-Za-z0-9]*|[0-9A-Fa-f]{8}|\([0-9A-Fa-f]{4}, ?[0-9A-Fa-fxX]{4}(,.+)?\))(\[[1-9][0-9]*\])?(\..+)?"
)
ATTRIBUTE = f"{_ATTRIBUTE}$"
ATTRIBUTE_OR_PART = f"{_ATTRIBUTE}(#.+)?$"


def described(words: str, schema: Schema = TEXT) -> Schema:
    """A schema with the sentence that explains it."""
    return {"description": words, **schema}


def words(known: Collection[Any]) -> Schema:
    """One of some words."""
    return {"enum": [str(word) for word in known]}


def some(item: Schema) -> Schema:
    """One, or a list of at least one."""
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def whole_number(least: int, most: int) -> Schema:
    """A whole number, which may be in quotes."""
    return {"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": "^[0-9]+$"}


def table(keys: Collection[str], schemas: Mapping[str, Schema], required: Collection[str] = (), **more: Any) -> Schema:
    """A map of these keys and no others.

    :param keys: those that the gateway reads.
    :raises LookupError: a key has no schema, or a schema no key: the two belong together.
    """
    if set(keys) != set(schemas):
        missing, surplus = sorted(set(keys) - set(schemas)), sorted(set(schemas) - set(keys))
        raise LookupError(f"keys without a schema: {missing}; schemas without a key: {surplus}")
    properties = {key: schemas[key] for key in keys}
    needs = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **needs, **more}


def by_name(pattern: str, value: Schema, **more: Any) -> Schema:
    """A map from names to values of one kind; at least one."""
    return {
        "type": "object",
        "patternProperties": {pattern: value},
        "additionalProperties": False,
        "minProperties": 1,
        **more,
    }


def section(pattern: str, value: Schema) -> Schema:
    """A map from names of the file to values of one kind, or nothing."""
    return {
        "type": ["object", "null"],
        "patternProperties": {pattern: value},
        "propertyNames": {"maxLength": MAX_NAME},
        "additionalProperties": False,
    }


def only_beside(key: str, others: Collection[str]) -> Schema:
    """Where this key stands, no keys but these stand beside it."""
    return {"if": {"required": [key]}, "then": {"propertyNames": {"enum": [key, *others]}}}


def needs_one_of(key: str, others: Collection[str]) -> Schema:
    """Where this key stands, one of these stands too."""
    return {"if": {"required": [key]}, "then": {"anyOf": [{"required": [other]} for other in others]}}


def exactly_one_of(keys: Collection[str]) -> Schema:
    """One of these keys stands there, and no other of them."""
    return {"oneOf": [{"required": [key]} for key in keys]}


def ref(name: str) -> Schema:
    """What stands under `$defs`."""
    return {"$ref": f"#/$defs/{name}"}
