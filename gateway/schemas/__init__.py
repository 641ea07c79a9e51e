"""JSON Schemas (draft 2020-12) of the files that people write, so that editors complete, explain and check them.

`rules` is the schema of a rule file, `configuration` that of gateway.yaml. Each is made of the tables from which the
gateway itself reads the file: a key that a table has and a schema does not describe is an error where the schema is
made. What is shipped (`*.schema.json` beside this module) is what is made; a test holds it to that.

A schema takes every file that the gateway takes. It refuses what can be told by the form alone: keys, verbs and types.
Names that do not exist, and values that contradict each other, are found by `gateway check`.

Editors read YAML with its types, the gateway as text, so that a number or truth value is allowed where text is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.schemas.configuration import configuration_schema
from gateway.schemas.rules import rules_schema

SCHEMAS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "rules": rules_schema,
    "configuration": configuration_schema,
}


def text_of(name: str) -> str:
    """The schema of that name, as the text of a file."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dicom-gateway:schema:{name}",
        **SCHEMAS[name](),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False, default=dict) + "\n"


def shipped(name: str) -> Path:
    """Where the schema of that name lies in this package."""
    return Path(__file__).with_name(f"{name}.schema.json")
