"""The JSON Schemas that editors use: they are what is shipped, take every file that the gateway takes, and refuse what
has a wrong form, as the gateway does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from pydicom.datadict import DicomDictionary

from gateway.cli import main
from gateway.config import load as load_configuration
from gateway.config.tables import DESTINATION_DEFAULTS, ROOT, SECTIONS, TOP_KEYS
from gateway.config.units import SIZE_UNITS
from gateway.errors import ConfigurationError
from gateway.rules.conditions import BESIDE, CONDITIONS
from gateway.rules.schema import RULE_KEYS
from gateway.schemas import SCHEMAS, shipped, text_of
from gateway.schemas.parts import ATTRIBUTE, table
from gateway.schemas.steps import VERB_SCHEMAS, step_schema
from gateway.transform import load
from gateway.transform.deidentify.pseudonyms import Key
from gateway.transform.deidentify.read import KEYS as DEIDENTIFY_KEYS
from gateway.transform.verbs import VERBS
from tests.unit.native import native
from tests.unit.test_rules_index import RULES, plan_of

ROOT_FOLDER = Path(__file__).parents[2]


@cache
def whole(name: str) -> dict[str, Any]:
    """A schema, made when it is first asked for: a verb without a schema fails the test that says so."""
    made: dict[str, Any] = json.loads(text_of(name))
    return made


def told(name: str, instance: Any) -> list[str]:
    """What a schema has against a document."""
    return [
        f"{list(error.absolute_path)}: {error.message}"
        for error in Draft202012Validator(whole(name)).iter_errors(instance)
    ]


# ── as shipped ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_shipped_is_what_is_made(name: str) -> None:
    written = shipped(name).read_text(encoding="utf-8")
    remedy = f"run: gateway schema {name} --output {shipped(name).relative_to(ROOT_FOLDER)}"
    assert written == text_of(name), remedy
    Draft202012Validator.check_schema(whole(name))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_command_writes_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert capsys.readouterr().out == text_of(name)
    assert main(["schema", name, "--output", str(tmp_path / "x.json")]) == 0
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == text_of(name)
    assert main(["schema", name, "--output", str(tmp_path / "none" / "x.json")]) == 2
    assert "x.json: cannot be written: No such file" in capsys.readouterr().err


# ── nothing is forgotten ──────────────────────────────────────────────────────────────────────────────────────


def test_every_verb_has_a_schema_and_no_schema_is_of_none() -> None:
    missing, surplus = set(VERBS) - set(VERB_SCHEMAS), set(VERB_SCHEMAS) - set(VERBS)
    assert not missing, f"give {missing} a row in VERB_SCHEMAS of gateway/schemas/steps.py"
    assert not surplus, f"take {surplus} out of VERB_SCHEMAS of gateway/schemas/steps.py"


def test_a_verb_without_a_schema_is_told_by_its_name() -> None:
    with pytest.raises(LookupError, match="the verb 'dance' has no schema: give it a row in VERB_SCHEMAS"):
        step_schema([*VERBS, "dance"])
    with pytest.raises(LookupError, match=r"keys without a schema: \['b'\]; schemas without a key: \['c'\]"):
        table(("a", "b"), {"a": {}, "c": {}})


def test_every_key_is_in_its_schema() -> None:
    definitions = whole("rules")["$defs"]
    assert set(definitions["rule"]["properties"]) == set(RULE_KEYS)
    assert set(definitions["step"]["properties"]) == {*VERBS, "when", "record"}
    assert set(definitions["condition"]["anyOf"][-1]["properties"]) == {*CONDITIONS, *BESIDE}
    properties = whole("configuration")["properties"]
    assert set(properties) == set(TOP_KEYS)
    for name, section in SECTIONS.items():
        found = properties[name]
        (found,) = found["patternProperties"].values() if section.named else (found,)
        assert set(found["properties"]) == {key.name for key in section.keys}
    assert set(properties[DESTINATION_DEFAULTS]["properties"]) == {key.name for key in SECTIONS["destinations"].keys}
    assert {key.name for key in ROOT.keys} <= set(properties)


def keys_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key that a schema knows, with what stands behind it."""
    if isinstance(schema, dict):
        for where in ("properties", "patternProperties"):
            yield from schema.get(where, {}).items()
        for inner in schema.values():
            yield from keys_of(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from keys_of(inner)


def test_every_key_is_explained_in_a_sentence() -> None:
    for name in SCHEMAS:
        for key, schema in keys_of(whole(name)):
            if key.startswith("^"):
                continue  # a name of the file's
            assert re.fullmatch(r"[A-Z`].*\.", schema.get("description", "")), (name, key)


def test_every_keyword_is_the_name_of_an_attribute_and_no_fact_in_the_wrong_place_is() -> None:
    keywords = [str(entry[4]) for entry in DicomDictionary.values() if entry[4]]
    assert [word for word in keywords if not re.search(ATTRIBUTE, word)] == []
    assert not [word for word in ("modality", "calling_aet", "destination") if re.search(ATTRIBUTE, word)]


# ── what the gateway takes ────────────────────────────────────────────────────────────────────────────────────


def blocks(name: str) -> list[tuple[str, int, str]]:
    text = (ROOT_FOLDER / "docs" / name).read_text(encoding="utf-8")
    found = re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(name, text.count("\n", 0, each.start()) + 1, each[1]) for each in found]


@pytest.mark.parametrize(("name", "line", "text"), [*blocks("rules.md"), *blocks("transforms.md")])
def test_every_example_of_rules_and_transforms_is_taken(name: str, line: int, text: str) -> None:
    assert told("rules", native(text)) == []


@pytest.mark.parametrize("path", sorted((ROOT_FOLDER / "rules").glob("*.yaml")), ids=lambda path: path.name)
def test_the_example_rules_are_taken(path: Path) -> None:
    assert told("rules", native(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(("name", "line", "text"), blocks("configuration.md"))
def test_every_example_of_configurations_is_taken(name: str, line: int, text: str) -> None:
    assert told("configuration", native(text)) == []


def test_the_example_configuration_is_taken() -> None:
    text = (ROOT_FOLDER / "deploy" / "gateway.yaml").read_text(encoding="utf-8")
    assert told("configuration", native(text)) == []


@settings(max_examples=100, deadline=None)
@given(RULES)
def test_rules_that_the_gateway_takes_are_taken(drawn: list[tuple[Any, dict[str, Any]]]) -> None:
    plan_of(drawn)
    rules = [{"name": f"r{n}", **({"match": match} if match else {}), **do} for n, (match, do) in enumerate(drawn)]
    assert told("rules", {"rules": rules}) == []


TEXTS_THAT_LOOK_LIKE_SOMETHING_ELSE = """\
lists: {numbers: [1, 2.5, true]}
groups: {both: [2, pacs]}
transforms:
  "1": [{set: {PatientID: 17, StudyID: true}}, {truncate: {PatientID: "8"}}, {record: "false"}]
rules:
  - name: 7
    match: {PatientID: [17, true, 1e5], Rows: {ge: 512}, NumberOfFrames: {count: "1"}, StudyID: {absent: "true"}}
    send_to: [1, {destination: both, transform: 1}]
    stop: "true"
tests:
  - {name: 1, instance: {PatientID: 17, StudyID: , AccessionNumber: [1, 2]}, expect: {held: }}
"""


def test_numbers_and_truth_values_are_taken_where_text_is_meant() -> None:
    load({"a.yaml": TEXTS_THAT_LOOK_LIKE_SOMETHING_ELSE})
    assert told("rules", native(TEXTS_THAT_LOOK_LIKE_SOMETHING_ELSE)) == []
    assert told("rules", native("rules:\nlists: ~\ntables:\ngroups:\ntransforms:\ntests:\n")) == []


DEIDENTIFY = """\
tables: {trial-7: {file: t.csv, key: old}}
lists: {words: [HERZ, LUNGE]}
transforms:
  t:
    - deidentify:
        key: k
        options: [retain-longitudinal-modified-dates, retain-safe-private, clean-descriptors]
        patient_id: "T7-{pseudonym}"
        patient_name: "Subject^{pseudonym}"
        subjects: {table: trial-7, column: new, otherwise: pseudonym}
        shift_days: [30, 365]
        age_cap: 89
        birth_date: shift
        safe_private: {ACME 1.1: ["(0029,xx08)"]}
        words: {list: words}
        issuer: distinguish
        remember: false
"""


def test_every_key_of_a_de_identification_is_taken_and_no_other() -> None:
    load({"a.yaml": DEIDENTIFY, "t.csv": "old,new\n1,2\n"}, keys={"k": Key(b"0123456789abcdef")})
    assert told("rules", native(DEIDENTIFY)) == []
    assert set(whole("rules")["$defs"]["step"]["properties"]["deidentify"]["properties"]) == set(DEIDENTIFY_KEYS)
    assert all(f"{key}: " in DEIDENTIFY for key in DEIDENTIFY_KEYS)
    for right, wrong in (("key: k", "kei: k"), ("age_cap: 89", "age_cap: 88"), ("clean-desc", "clear-desc")):
        assert told("rules", native(DEIDENTIFY.replace(right, wrong))) != []


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────

RULE = "rules: [{name: a, %s}]\n"
STEP = "transforms: {t: [%s]}\n"
MATCH = RULE % "send_to: x, match: {%s}"
TEST = "tests: [{name: a, instance: {Modality: CT}, %s}]\n"

WRONG_RULES = [
    "rule: []\n",
    "rules: {}\n",
    "rules: [text]\n",
    RULE % "send_to: x, stopp: true",
    RULE % "match: {Modality: CT}",
    "rules: [{send_to: x}]\n",
    "rules: [{name: Big One, send_to: x}]\n",
    RULE % "send_to: x, hold: y",
    RULE % "send_to: []",
    RULE % "send_to: [{destination: x, to: y}]",
    RULE % "send_to: [{transform: y}]",
    RULE % "send_to: x, priority: urgent",
    RULE % "send_to: x, stop: yes",
    RULE % "hold: ''",
    RULE % "hold: x, transform: y",
    MATCH % "",
    MATCH % "modality: CT",
    MATCH % "Modality: []",
    MATCH % "Modality: [[CT]]",
    MATCH % "Modality: {is: CT}",
    MATCH % "Modality: {equals: CT, like: MR}",
    MATCH % "Modality: {present: true, fold: case}",
    MATCH % "Modality: {equals: CT, fold: letters}",
    MATCH % "Modality: {equals: CT, column: x}",
    MATCH % "Rows: {gt: 1, ge: 2}",
    MATCH % "Rows: {gt: 1, between: [1, 2]}",
    MATCH % "Rows: {between: [1]}",
    MATCH % "Rows: {count: many}",
    MATCH % "Rows: {count: {more: 1}}",
    MATCH % "Rows: {present: perhaps}",
    MATCH % "any: []",
    MATCH % "not: [Modality]",
    MATCH % "received: {weekdays: monday}",
    MATCH % "received: {from: '25:00'}",
    MATCH % "received: {zone: Europe/Berlin}",
    "lists: {Rooms: [CT1]}\n",
    "lists: {rooms: CT1}\n",
    "lists: {rooms: []}\n",
    "tables: {t: {file: t.txt, key: k}}\n",
    "tables: {t: {file: t.csv}}\n",
    "groups: {g: []}\n",
    "groups: {g: [x, x]}\n",
    "groups: {G: [x]}\n",
    "transforms: {t: {set: {StudyID: A}}}\n",
    "transforms: {t: []}\n",
    "transforms: {T: [{set: {StudyID: A}}]}\n",
    STEP % "{put: {StudyID: A}}",
    STEP % "{set: {StudyID: A}, empty: [PatientID]}",
    STEP % "{set: {StudyID: A}, record: false}",
    STEP % "{when: {Modality: CT}}",
    STEP % "{when: {modality: CT}, set: {StudyID: A}}",
    STEP % "{set: [StudyID]}",
    STEP % "{set: {StudyID: [A]}}",
    STEP % "{remove: {StudyID: A}}",
    STEP % "{remove: []}",
    STEP % "{replace: {StudyID: {regex: a}}}",
    STEP % "{map: {attribute: StudyID, table: {A: B}}}",
    STEP % "{map: {attribute: StudyID, table: A, default: keep}}",
    STEP % "{case: {StudyID: title}}",
    STEP % "{truncate: {StudyID: 0}}",
    STEP % "{pad: {StudyID: {to: 8, with: '0', side: middle}}}",
    STEP % "{add_item: {to: OtherPatientIDsSequence}}",
    STEP % "{add_item: {to: OtherPatientIDsSequence, item: {PatientID: {A: B}}}}",
    STEP % "{add_item: {to: ContentSequence, item: {ContentSequence: {TextValue: A}}}}",
    STEP % "{add_item: {to: ContentSequence, item: {ContentSequence: [A]}}}",
    STEP % "{add_item: {to: ContentSequence, item: {ContentSequence: [{}]}}}",
    STEP % "{remove_item: {from: OtherPatientIDsSequence}}",
    STEP % "{remove_item: {from: OtherPatientIDsSequence, item: 1, where: {PatientID: A}}}",
    STEP % "{charset: UTF-8}",
    STEP % "{transcode: JPEG}",
    STEP % "{transcode: jpeg-2000}",
    STEP % "{transcode: {ratio: 10}}",
    STEP % "{transcode: {to: jpeg-2000, ratio: ten}}",
    STEP % "{record: perhaps}",
    STEP % "{record: true, when: {Modality: CT}}",
    TEST % "expect: {}",
    TEST % "expect: {sent: x}",
    TEST % "expect: {held: true, discarded: true}",
    TEST % "expect: {held: false}",
    TEST % "expect: {after: {StudyID: {present: true}}}",
    "tests: [{name: a, expect: {held: true}}]\n",
]


@pytest.mark.parametrize(
    "to", ["jpeg-2000-lossless", "1.2.840.10008.1.2.1", "{to: jpeg-2000, ratio: 10}", "{to: rle-lossless}"]
)
def test_a_transfer_syntax_is_taken_by_its_name_or_uid(to: str) -> None:
    text = STEP % f"{{transcode: {to}}}"
    load({"a.yaml": text})
    assert told("rules", native(text)) == []


@pytest.mark.parametrize("text", WRONG_RULES)
def test_a_rule_file_of_wrong_form_is_refused_by_both(text: str) -> None:
    with pytest.raises(ConfigurationError):
        load({"a.yaml": text})
    assert told("rules", native(text)) != []


SMALLEST = {
    "listeners": "{main: {host: 127.0.0.1, port: 11112}}",
    "sources": "{ct1: {ae_titles: [CT1]}}",
    "destinations": "{pacs: {ae_title: PACS, host: pacs.example.org, port: 104}}",
}
WRONG_CONFIGURATIONS = {
    "spol": "{dir: x}",
    "spool": "{min_fre: 5 GiB}",
    "ae_title": "[A, B]",
    "rules": "x",
    "processes": "{worker: many}",
    "worker": "{memory: 1}",
    "log": "{format: pretty}",
    "metrics": "{port: 70000}",
    "listeners": "{Main: {host: 127.0.0.1, port: 11112}}",
    "sources": "{ct1: {ae_titles: [CT1], address: 10.0.0.1}}",
    "destinations": "{pacs: {aet: PACS, host: pacs.example.org, port: 104}}",
    "destination_defaults": "{response_timeout: 60}",
}
MORE_WRONG = [
    ("listeners", "{main: {host: 127.0.0.1, port: 11112, accept_unknown: maybe}}"),
    ("listeners", "{main: {host: 127.0.0.1, port: 11112, ae_titles: [CT*]}}"),
    ("destinations", "{pacs: {ae_title: PACS, host: pacs.example.org, port: high}}"),
    ("destinations", "{pacs: {ae_title: LONGER THAN SIXTEEN, host: pacs.example.org, port: 104}}"),
    ("destinations", "{pacs: {ae_title: PACS, host: p, port: 104, calling_ae_title: $sender}}"),
    ("destinations", "{pacs: {ae_title: PACS, host: p, port: 104, statuses: {A700: retry}}}"),
    ("destinations", "{pacs: {ae_title: PACS, host: p, port: 104, statuses: {0xA700: wait}}}"),
    ("destinations", "{pacs: {ae_title: PACS, host: p, port: 104, give_up_after: 7 days}}"),
]


@pytest.mark.parametrize(("key", "value"), [*WRONG_CONFIGURATIONS.items(), *MORE_WRONG])
def test_a_configuration_of_wrong_form_is_refused_by_both(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    path = tmp_path / "gateway.yaml"
    right = "".join(f"{name}: {each}\n" for name, each in SMALLEST.items())
    path.write_text(right)
    load_configuration(path, {})
    assert told("configuration", native(right)) == []
    wrong = "".join(f"{name}: {each}\n" for name, each in {**SMALLEST, key: value}.items())
    path.write_text(wrong)
    with pytest.raises(ConfigurationError):
        load_configuration(path, {})
    assert told("configuration", native(wrong)) != []


@pytest.mark.parametrize(
    "line",
    [
        "spool: {min_free: 0}",
        *(f"spool: {{min_free: 1.5 {unit}}}" for unit in SIZE_UNITS if unit != "B"),
        'metrics: {port: "9464", host: "::1"}',
        "ae_title: 12345",
        "ae_title: '  WITH SPACES  '",
        "ae_title: $source",
        "log:",
        "destination_defaults: {calling_ae_title: $source, statuses: {0xA7xx: retry}, duplicates: skip}",
    ],
)
def test_values_that_the_gateway_takes_are_taken(line: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    text = "".join(f"{name}: {each}\n" for name, each in SMALLEST.items()) + line + "\n"
    (tmp_path / "gateway.yaml").write_text(text)
    load_configuration(tmp_path / "gateway.yaml", {})
    assert told("configuration", native(text)) == []
