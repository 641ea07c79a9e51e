"""The schema of gateway.yaml, made of `gateway.config.tables`.

It asks for no key: what is required may come from `destination_defaults` or from the environment.
"""

from __future__ import annotations

from typing import Any

from gateway.config.kinds import NAME_PATTERN
from gateway.config.reference import default
from gateway.config.sections import Key, Nested, Section
from gateway.config.tables import DESTINATION_DEFAULTS, DESTINATIONS, ROOT, SECTIONS
from gateway.schemas.parts import Schema, described, section

_WORDS = {
    "spool": "Where instances are kept until they are delivered.",
    "rules": "Where the rule files are.",
    "listeners": "Ports that senders connect to, by names of your choice.",
    "sources": "Who may send, by names of your choice; the first entry that fits counts.",
    "destinations": "Where rules may send, by the names that rules use.",
    "ledger": "Where the state of everything is kept.",
    "queue": "How the stages wake each other up.",
    "metrics": "The address that serves metrics.",
    "console": "The address that serves pages, API and health, and who may see them.",
    "audit": "The audit trail: its files, and where messages are sent besides.",
    "processes": "How many processes of each role this host runs.",
    "worker": "What one worker process may use.",
    "log": "How much is logged, and how it looks.",
    "pseudonym_keys": "Secrets that `deidentify` makes pseudonyms with, by the names that rules use.",
    "reidentification": "Whom what stands behind pseudonyms is kept for.",
    DESTINATION_DEFAULTS: "What destinations have in common; what one says itself wins.",
}


def configuration_schema() -> Schema:
    """The schema of gateway.yaml. :raises LookupError: a section has no words."""
    properties: dict[str, Any] = {key.name: _key(ROOT, key) for key in ROOT.keys}
    for name, each in (*SECTIONS.items(), (DESTINATION_DEFAULTS, DESTINATIONS)):
        if name not in _WORDS:
            raise LookupError(f"the section {name!r} has no words: give it a row in _WORDS of {__name__}")
        is_named = each.named and name != DESTINATION_DEFAULTS
        properties[name] = described(_WORDS[name], section(NAME_PATTERN, _keys(each)) if is_named else _keys(each))
    return {
        "title": "Configuration of the DICOM gateway",
        "description": "gateway.yaml (docs/configuration.md).",
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }


def _keys(each: Section) -> Schema:
    return {
        "type": ["object", "null"],
        "properties": {key.name: _key(each, key) for key in each.keys},
        "additionalProperties": False,
    }


def _key(each: Section, key: Key) -> Schema:
    told = default(each, key)
    tail = "Required." if told == "**required**" else f"Default: {told}."
    schema = _keys(key.kind.section) if isinstance(key.kind, Nested) else key.kind.schema
    return described(f"{key.words} {tail}", schema)
