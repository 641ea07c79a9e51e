"""Mistakes in rule files: each is found, at its place, with what to do."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigurationError
from gateway.rules.plan import load
from gateway.rules.schema import Target

DESTINATIONS = {"pacs", "research"}


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load({"10-a.yaml": text}, DESTINATIONS, {"anonymise": "0123abcd"})
    return [str(problem) for problem in caught.value.problems]


def rule(line: str) -> str:
    """A file with one rule, whose third line is the given one."""
    return f"rules:\n  - name: a\n    {line}\n    send_to: pacs\n"


MISTAKES = {
    "- a\n": "1:1: a rule file is a map with rules, lists, tables, groups, transforms, tests",
    "rule: []\n": "1:1: a rule file has no key 'rule'; is 'rules' meant?",
    "rules: {}\n": "1:8: rules is a list",
    "rules:\n  - text\n": "2:5: a rule is a map with name, match, ",
    "rules:\n  - send_to: pacs\n": "2:5: a rule needs a name",
    "rules:\n  - name: Big One\n    send_to: pacs\n": "2:11: a name begins with a small letter or digit",
    "rules:\n  - name: [a]\n    send_to: pacs\n": "2:11: a name begins",
    "rules:\n  - {name: a, send_to: pacs}\n  - {name: a, send_to: pacs}\n": "3:12: the rule 'a' exists already, at "
    "10-a.yaml:2",
    "rules:\n  - name: a\n    sendto: pacs\n    hold: x\n": "3:5: a rule has no key 'sendto'; is 'send_to' meant?",
    "rules:\n  - name: a\n": "2:5: the rule does nothing: it needs send_to, hold or discard",
    "rules:\n  - name: a\n    match: {Modality: CT}\n": "2:5: the rule does nothing",
    "rules:\n  - name: a\n    send_to: pacs\n    hold: wait\n": "4:5: hold cannot stand beside send_to",
    "rules:\n  - name: a\n    discard: gone\n    hold: wait\n": "3:5: discard cannot stand beside hold",
    "rules:\n  - name: a\n    hold: wait\n    stop: true\n": "4:5: hold ends the search anyway",
    "rules:\n  - name: a\n    hold:\n": "3:10: hold needs a reason, as text",
    "rules:\n  - name: a\n    discard: [x]\n": "3:14: discard needs a reason, as text",
    "rules:\n  - name: a\n    send_to: []\n": "3:14: send_to has an empty list",
    "rules:\n  - name: a\n    send_to: [pacs, {x: y}]\n": "3:22: a destination has no key 'x'",
    "rules:\n  - name: a\n    send_to: [pacs, pac]\n": "3:21: there is no destination 'pac' in the configuration; "
    "is 'pacs' meant?",
    "rules:\n  - name: a\n    send_to: [pacs, pacs]\n": "3:21: the destination 'pacs' stands here twice",
    rule("stop: yes"): "3:11: stop is true or false",
    rule("priority: urgent"): "3:15: priority is high, normal or low",
    rule("transform: [anonimise]"): "3:17: there is no transform 'anonimise'; is 'anonymise' meant?",
    rule("transform: [anonymise, anonymise]"): "3:28: the transform 'anonymise' stands here twice",
    "rules:\n  - name: a\n    transform: anonymise\n    hold: x\n": "3:5: hold sends nothing: take transform out",
    "rules:\n  - name: a\n    send_to: [{destination: pacs, transform: x}]\n": "3:46: there is no transform 'x'",
    "rules:\n  - name: a\n    send_to: [{transform: anonymise}]\n": "3:15: send_to names destinations",
    "rules:\n  - name: a\n    send_to: [pacs, {destination: pacs}]\n": "3:35: the destination 'pacs' stands here twice",
    rule("match: CT"): "3:12: match maps attributes to conditions",
    rule("match: {}"): "3:12: an empty map matches everything: leave match out",
    rule("match: {Modalty: CT}"): "3:13: there is no attribute or fact 'Modalty'; is 'Modality' meant?",
    rule("match: {calling_aet: CT}"): "3:13: there is no attribute or fact 'calling_aet'; is 'calling_ae_title' meant?",
    rule("match: {modality: CT}"): "3:13: there is no attribute or fact 'modality'; is 'Modality' meant?",
    rule("match: {TransferSyntaxUID: x}"): "3:13: 'TransferSyntaxUID' is no part of a data set",
    rule("match: {PatientID.CodeValue: x}"): "3:13: 'PatientID' is no sequence",
    rule("match: {" + "ContentSequence." * 8 + "TextValue: x}"): "3:13: 'ContentSequence.ContentSequence.",
    rule(
        "match: {ContentSequence.TextValu: x}"
    ): "3:13: there is no attribute or fact 'TextValu'; is 'TextValue' meant?",
    rule("match: {ContentSequence.ContentSequence: x}"): "3:46: ContentSequence.ContentSequence has no text",
    rule(
        "match: {'ContentSequence[0].TextValue': x}"
    ): "3:13: '[0].TextValue' numbers no item: write [1] for the first",
    rule("match: {'ContentSequence[1.TextValue': x}"): "3:13: '[1.TextValue' numbers no item",
    rule("match: {'ContentSequence[1]TextValue': x}"): "3:13: 'TextValue' follows 'ContentSequence[1]': a dot goes on",
    rule("match: {'ContentSequence[1]': {present: true}}"): "3:13: 'ContentSequence[1]' is an item: go on with a dot",
    rule("match: {'ImageType[1]': x}"): "3:13: 'ImageType' is no sequence",
    rule("match: {'(0009,1002,ACME)': x}"): "3:13: '(0009,1002,ACME)': the block of a private attribute is its "
    "sender's choice: write '(0009,xx02,ACME)'",
    rule("match: {'(0009,xx02)': x}"): "3:13: '(0009,xx02)': the block of a private attribute is its sender's choice: "
    "write '(0009,xx02,CREATOR)'",
    rule("match: {'(0008,xx02,ACME)': x}"): "3:13: '(0008,xx02,ACME)' is not private: private attributes have an odd",
    rule("match: {PatientID#family: x}"): "3:13: 'PatientID' is no person's name: it has no part 'family'",
    rule("match: {PatientName#famly: x}"): "3:13: a person's name has no part 'famly': after # stand family, given,",
    rule("match: {PatientName#ideografic.family: x}"): "3:13: a person's name has no part 'ideografic.family'",
    rule("match: {PatientName#family.ideographic: x}"): "3:13: a person's name has no part 'family.ideographic'",
    rule("match: {PatientName#: x}"): "3:13: a person's name has no part ''",
    rule("match: {Modality.PatientName#family: x}"): "3:13: 'Modality' is no sequence",
    "tests:\n  - {name: t, instance: {PatientName#given: y}, expect: {held: true}}\n": "2:26: an instance has whole "
    "names: write PatientName",
    rule("match: {'(0009,xx02,ACME': x}"): "3:13: there is no attribute or fact '(0009,xx02,ACME'",
    rule("match: {ContentSequence: x}"): "3:30: ContentSequence has no text",
    rule("match: {PixelData: x}"): "3:24: PixelData has no text",
    rule("match: {Modality: }"): "3:22: no text to compare with",
    rule("match: {Modality: ''}"): "3:23: no text to compare with",
    rule("match: {Modality: []}"): "3:23: an empty list matches nothing",
    rule("match: {Modality: [[CT]]}"): "3:24: a list of conditions holds no further lists",
    rule("match: {Modality: {}}"): "3:23: a condition has one key: equals, like, regex, ",
    rule("match: {Modality: {equals: x, regex: y}}"): "3:23: a condition has one key: equals, like, regex, ",
    rule("match: {Modality: {fold: case}}"): "3:23: a condition has one key: equals, like, regex, ",
    rule("match: {Modality: {present: true, fold: case}}"): "3:39: fold goes with equals, like, regex",
    rule(
        "match: {Modality: {like: x, fold: cases}}"
    ): "3:39: fold is case or accents, or a list of them; is 'case' mea",
    rule("match: {Modality: {like: x, fold: [case, [accents]]}}"): "3:46: fold is a text or a list of texts",
    rule("match: {Modality: {like: []}}"): "3:30: like is a text or a list of texts",
    rule("match: {Rows: {gt: many}}"): "3:24: 'many' is not a whole number, as in 512, as Rows (US) holds it",
    rule("match: {Rows: {gt: 1.5}}"): "3:24: '1.5' is not a whole number",
    rule("match: {Rows: {gt: [1]}}"): "3:24: this is not a whole number",
    rule("match: {SliceThickness: {le: 1,5}}"): "3:36: there is no condition '5'",
    rule("match: {SliceThickness: {le: '1,5'}}"): "3:34: '1,5' is not a number, as in 1.5 or 2e-3",
    rule("match: {SliceThickness: {le: nan}}"): "3:34: 'nan' is not a number",
    rule(
        "match: {StudyDate: {ge: 31.01.2024}}"
    ): "3:29: '31.01.2024' is not a date, as in 20240131, 2024-01-31 or 2024",
    rule("match: {StudyDate: {ge: 20240230}}"): "3:29: '20240230' is not a date",
    rule("match: {StudyTime: {ge: 25:00}}"): "3:29: '25:00' is not a time of day",
    rule("match: {AcquisitionDateTime: {ge: yesterday}}"): "3:39: 'yesterday' is not a date and time",
    rule("match: {AcquisitionDateTime: {ge: 20240131193000+1500}}"): "3:39: '20240131193000+1500' is not a date and",
    rule("match: {AcquisitionDateTime: {ge: 20240131+0100, lt: 20240201}}"): "3:34: one end has an offset from UTC",
    rule("match: {PatientAge: {ge: 18}}"): "3:30: '18' is not an age, as in 018M or 45Y",
    rule("match: {StudyDescription: {ge: 5}}"): "3:31: StudyDescription (LO) is text: numbers, dates, times and ages",
    rule("match: {calling_ae_title: {ge: 5}}"): "3:31: calling_ae_title is text",
    rule("match: {PatientName#family: {ge: 5}}"): "3:33: PatientName#family (PN) is text",
    rule("match: {'(0009,1002)': {ge: abc}}"): "3:33: 'abc' is not a number",
    rule("match: {Rows: {gt: 1, ge: 2}}"): "3:27: gt and ge are the same end: take one out",
    rule("match: {Rows: {gt: 5, lt: 3}}"): "3:19: nothing is more than 5 and is less than 3",
    rule("match: {Rows: {gt: 5, le: 5}}"): "3:19: nothing is more than 5 and is at most 5",
    rule("match: {Rows: {ge: 5, lt: 5}}"): "3:19: nothing is at least 5 and is less than 5",
    rule("match: {StudyDate: {gt: 2024, lt: 2024-06}}"): "3:24: nothing is more than 2024 and is less than 2024-06",
    rule("match: {Rows: {between: [5, 3]}}"): "3:19: nothing is at least 5 and is at most 3",
    rule("match: {Rows: {between: 5}}"): "3:29: between stands alone and has two ends: [least, most]",
    rule("match: {Rows: {between: [1, 2, 3]}}"): "3:29: between stands alone",
    rule("match: {Rows: {between: [1, 2], gt: 1}}"): "3:29: between stands alone",
    rule("match: {Rows: {gt: 1, fold: case}}"): "3:27: fold goes with equals, like, regex",
    rule("match: {ImageType: {count: many}}"): "3:32: 'many' is not a whole number",
    rule("match: {ImageType: {count: {}}}"): "3:32: count is a whole number, or a map such as {ge: 2}",
    rule("match: {ImageType: {count: {eq: 2}}}"): "3:33: count has no key 'eq'",
    rule("match: {ImageType: {all: {count: 2}}}"): "3:31: count asks about all values",
    rule("match: {ImageType: {any: {all: x}}}"): "3:31: all asks about all values",
    rule("match: {ContentSequence: {count: 2}}"): "3:30: ContentSequence has no text",
    rule("match: {received: at night}"): "3:23: received is a map with weekdays, from, to, zone",
    rule("match: {received: []}"): "3:23: received has an empty list",
    rule("match: {received: {}}"): "3:23: received says when: weekdays, from and to, or some of them",
    rule("match: {received: {zone: UTC}}"): "3:23: received says when",
    rule("match: {received: {form: 18:00}}"): "3:24: received has no key 'form'; is 'from' meant?",
    rule(
        "match: {received: {weekdays: [mon, Tue]}}"
    ): "3:40: 'Tue' is no weekday: they are mon, tue, wed, thu, fri, sat, sun; is 'tue' meant?",
    rule("match: {received: {from: 6:30}}"): "3:30: from is a time of day with two digits each, as in 06:30 or 18:00",
    rule("match: {received: {to: 24:01}}"): "3:28: to is a time of day",
    rule("match: {received: {from: 18:00, to: 18:00}}"): "3:23: from 18:00 to 18:00 is no time at all",
    rule("match: {received: {from: '24:00', to: '06:00'}}"): "3:23: a day begins at 00:00",
    rule("match: {received: {from: 18:00, zone: europe/berln}}"): "3:43: zone is the name of a time zone, as in "
    "Europe/Berlin; is 'Europe/Berlin' meant?",
    rule("match: {received: {from: 18:00, zone: Europe}}"): "3:43: zone is the name of a time zone",
    rule("match: {received: {from: 18:00, zone: ../../etc/passwd}}"): "3:43: zone is the name of a time zone",
    rule("match: {recieved: {from: 18:00}}"): "3:13: there is no attribute or fact 'recieved'; is 'received' meant?",
    "tests:\n  - {name: t, instance: {received: tomorrow}, expect: {held: true}}\n": "2:36: received is a date",
    "tests:\n  - {name: t, instance: {received: [1]}, expect: {held: true}}\n": "2:36: received is a date",
    "tests:\n  - {name: t, instance: {received: 2026-13-31 19:30}, expect: {held: true}}\n": "2:36: received is a date",
    rule("match: {Modality: {lik: x, fold: case}}"): "3:24: there is no condition 'lik'; is 'like' meant?",
    rule("match: {Modality: {regexp: x}}"): "3:24: there is no condition 'regexp'; is 'regex' meant?",
    rule("match: {Modality: {regex: '('}}"): "3:31: not a usable pattern: missing ): (",
    rule("match: {Modality: {regex: 'a{999}b{999}'}}"): "3:31: not a usable pattern: the pattern is too large",
    rule("match: {Modality: {present: maybe}}"): "3:33: present is true or false",
    rule("match: {any: {Modality: CT}}"): "3:18: any is a list",
    rule("match: {any: []}"): "3:18: any has an empty list",
    rule("match: {not: [{Modality: CT}]}"): "3:18: match maps attributes to conditions",
    rule("match: {host: 10.0.0.0/40}"): "3:19: not a network:",
    rule("match: {sop_class: CTImageStorag}"): "3:24: 'CTImageStorag' is no UID, keyword or name that DICOM knows; "
    "is 'CTImageStorage' meant?",
    rule("match: {Modality: CT, Modality: MR}"): "3:27: the key 'Modality' stands here twice",
    "tests:\n  - {}\n": "2:5: a test needs a name",
    "tests:\n  - {name: t, instance: x, expect: {held: true}}\n": "2:25: a test needs an instance",
    "tests:\n  - {name: t, instance: {X: y}, expect: {held: true}}\n": "2:26: there is no attribute or fact 'X'",
    "tests:\n  - {name: t, instance: {}, expect: {}}\n": "2:37: a test expects something: destinations, held",
    "tests:\n  - {name: t, instance: {}, expect: {sent: x}}\n": "2:38: there is no outcome 'sent'",
    "tests:\n  - {name: t, instance: {}, expect: {destinations: [pax]}}\n": "2:53: there is no destination 'pax'",
    "tests:\n  - {name: t, instance: {}, expect: {held: false}}\n": "2:44: held is true, or the reason",
    "rules:\n\t- x\n": "2:1: not valid YAML",
    "rules: !!python/object:os.system [x]\n": "1:8: the tag",
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_is_found_at_its_place(text: str, expected: str) -> None:
    found = problems(text)
    assert any(each.startswith(f"10-a.yaml:{expected}") for each in found), found


def test_everything_wrong_is_told_at_once() -> None:
    found = problems(
        """\
rules:
  - name: a
    match:
      Modalty: CT
      StudyDescription: {regex: "("}
    send_to: [pax]
  - name: a
    stop: perhaps
tests:
  - name: t
    instance: {PatientNam: x}
    expect: {destinations: pacs}
"""
    )
    assert [each.split(": ")[0] for each in found] == [
        "10-a.yaml:4:7",
        "10-a.yaml:5:33",
        "10-a.yaml:6:15",
        "10-a.yaml:7:5",
        "10-a.yaml:7:11",
        "10-a.yaml:8:11",
        "10-a.yaml:11:16",
    ]


def test_a_misspelt_attribute_is_complained_of_once() -> None:
    assert len(problems(rule("match: {PatientAg: {lt: 018M}}"))) == 1


def test_ends_that_meet_are_fine() -> None:
    for ends in ("{ge: 5, le: 5}", "{between: [5, 5]}", "{gt: 4, lt: 5}"):
        load({"a.yaml": rule(f"match: {{SliceThickness: {ends}}}")})
    load({"a.yaml": rule("match: {StudyDate: {ge: 2024, le: 2024}}")})


def test_names_are_unique_over_all_files() -> None:
    with pytest.raises(ConfigurationError, match=r"b.yaml:1:17: the rule 'x' exists already, at a.yaml:1"):
        load({"a.yaml": "rules: [{name: x, send_to: y}]", "b.yaml": "rules: [ {name: x, send_to: y}]"})


def test_a_complaint_about_a_pattern_is_not_logged_by_the_engine(capfd: pytest.CaptureFixture[str]) -> None:
    problems(rule("match: {Modality: {regex: '('}}"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["", "rules:\n", "rules: []\ntests: []\n", "# nothing\n", "tests:\n"])
def test_a_file_without_rules_is_fine(text: str) -> None:
    assert load({"a.yaml": text}).rules == ()


def test_scalars_stand_for_lists_of_one() -> None:
    (made,) = load(
        {"a.yaml": "rules: [{name: 0-a.b_c, send_to: pacs, stop: false, priority: high}]"}, DESTINATIONS
    ).rules
    assert made.send_to == (Target("pacs"),)
    assert (made.name, made.stop, made.priority, made.match) == ("0-a.b_c", False, 1, None)
