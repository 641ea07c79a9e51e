"""Named lists: each means what it would if it stood there, in any file of the set."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigurationError
from gateway.transform import Rulebook, load
from gateway.transform.testing import run_tests

LISTS = {"00-lists.yaml": "lists:\n  ct_rooms: [CT1, CT2, 'CTX*']\n  nets: [10.0.0.0/8, 192.0.2.7]\n"}


def passed(rules: str) -> list[bool]:
    return [result.passed for result in run_tests(load({**LISTS, "10.yaml": rules}))]


def test_a_list_of_another_file_means_what_it_holds() -> None:
    assert (
        passed("""\
rules:
  - {name: a, match: {calling_ae_title: {list: ct_rooms}}, send_to: ct}
  - {name: b, match: {host: {list: nets}}, send_to: net}
  - {name: c, match: {StationName: [MR1, {list: ct_rooms}]}, send_to: station}
  - {name: d, match: {ImageType: {all: {list: ct_rooms}}}, send_to: every}
tests:
  - {name: text, instance: {calling_ae_title: ct2}, expect: {destinations: ct}}
  - {name: glob, instance: {calling_ae_title: CTX7}, expect: {destinations: ct}}
  - {name: none, instance: {calling_ae_title: CT3}, expect: {held: true}}
  - {name: network, instance: {host: 10.1.2.3}, expect: {destinations: net}}
  - {name: address, instance: {host: 192.0.2.7}, expect: {destinations: net}}
  - {name: beside, instance: {StationName: MR1}, expect: {destinations: station}}
  - {name: beside the list, instance: {StationName: CT1}, expect: {destinations: station}}
  - {name: every, instance: {ImageType: [CT1, CT2]}, expect: {destinations: every}}
  - {name: not every, instance: {ImageType: [CT1, CT3]}, expect: {held: true}}
""")
        == [True] * 9
    )


def book(rooms: str) -> Rulebook:
    transform = "transforms:\n  mark: [{set: {StationName: ROOM}, when: {calling_ae_title: {list: rooms}}}]\n"
    return load({"a.yaml": f"{transform}lists: {{rooms: [{rooms}], others: [X]}}\nrules: [{{name: a, send_to: x}}]\n"})


def test_a_step_that_names_a_list_is_another_when_the_list_is() -> None:
    one, other = book("CT1"), book("CT1, CT2")
    assert one.transforms["mark"].digest != other.transforms["mark"].digest
    assert one.transforms["mark"].digest == book("CT1").transforms["mark"].digest


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lists: [CT1]\n", "a.yaml:1:8: lists maps names to lists of texts"),
        ("lists: {Rooms: [CT1]}\n", "a.yaml:1:9: a list is named by at most 63 small letters, digits, - and _"),
        ("lists: {rooms: CT1}\n", "a.yaml:1:16: a list holds texts: [CT1, CT2]"),
        ("lists: {rooms: []}\n", "a.yaml:1:16: a list holds texts: [CT1, CT2]"),
        ("lists: {rooms: [[CT1]]}\n", "a.yaml:1:17: a list holds texts only"),
        ("lists: {ct_rooms: [CT1]}\n", "a.yaml:1:9: the list 'ct_rooms' exists already, at 00-lists.yaml:2"),
        (
            "rules: [{name: a, match: {Modality: {list: ct_room}}, send_to: x}]\n",
            "a.yaml:1:44: there is no list 'ct_room'; is 'ct_rooms' meant?",
        ),
        ("rules: [{name: a, match: {Modality: {list: [x]}}, send_to: x}]\n", "a.yaml:1:44: there is no list of this"),
    ],
)
def test_mistakes_are_told_at_their_place_and_once(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({**LISTS, "a.yaml": text})
    assert [str(each) for each in caught.value.problems] == [problem]
