"""Persons' names by their parts (PS3.5 6.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.header import Header, Wanted
from gateway.dicom.paths import Step
from gateway.model import AssociationFacts
from gateway.rules.names import resolve
from gateway.rules.plan import load
from gateway.rules.subject import NAME_COMPONENTS, NAME_GROUPS, NamePart, Subject

NAME = (0x00100010,)
YAMADA = "Yamada^Tarou^^Dr^Jr=山田^太郎=やまだ^たろう"


def part(name: str, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    key = resolve(f"PatientName#{name}")
    assert isinstance(key, NamePart)
    header = Header.of({} if values is None else {NAME: values})
    return Subject(header, AssociationFacts("", "", "", "", "", ""), "", "")[key]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("family", ("Yamada", "山田", "やまだ")),
        ("given", ("Tarou", "太郎", "たろう")),
        ("middle", ()),
        ("prefix", ("Dr",)),
        ("suffix", ("Jr",)),
        ("alphabetic", ("Yamada^Tarou^^Dr^Jr",)),
        ("ideographic", ("山田^太郎",)),
        ("phonetic.given", ("たろう",)),
        ("ideographic.suffix", ()),
        ("alphabetic.prefix", ("Dr",)),
    ],
)
def test_a_part_of_a_name(name: str, values: tuple[str, ...]) -> None:
    assert part(name, (YAMADA,)) == values


def test_names_without_a_part_and_no_names_at_all() -> None:
    assert part("ideographic", ("A^B",)) == ()
    assert part("ideographic", ("A^B=",)) == ()
    assert part("alphabetic", ("=山田^太郎",)) == ()
    assert part("family", ("=山田^太郎",)) == ("山田",)
    assert part("given", ("Solo",)) == ()
    assert part("alphabetic", (" A ^ B ^^",)) == ("A ^ B",)
    assert part("given", (" A ^ B ^^",)) == ("B",)
    assert part("family", ("A^B", "C^D=E")) == ("A", "C", "E")
    assert part("family", ()) == ()
    assert part("family", None) is None


@given(st.lists(st.lists(st.text("abé山", max_size=3), max_size=5), max_size=3))
def test_what_a_name_is_made_of_is_found_in_it(groups: list[list[str]]) -> None:
    whole = "=".join("^".join(components) for components in groups)
    for number, components in enumerate(groups):
        for place, text in enumerate(components):
            found = part(f"{NAME_GROUPS[number]}.{NAME_COMPONENTS[place]}", (whole,))
            assert found == ((text,) if text else ())


def test_a_name_in_the_items_of_a_sequence_has_parts_too() -> None:
    rules = 'rules: [{name: a, match: {"ContentSequence[1].PersonName#family": smith}, hold: x}]'
    made = load({"r.yaml": rules})
    path = (Step(0x0040A730, item=1), 0x0040A123)
    assert made.wanted == Wanted.of([path])
    decision = made.decide(Header.of({path: ("Smith^J",)}), AssociationFacts("", "", "", "", "", ""), "", "")
    assert decision.matched == ("a",)


def test_a_hash_in_a_private_creator_is_no_part() -> None:
    assert resolve("(0009,xx02,ACME #1)") == (Step(0x00090002, "ACME #1"),)
    assert resolve("(0009,xx02,ACME #1)#family") == NamePart((Step(0x00090002, "ACME #1"),), None, 0)
