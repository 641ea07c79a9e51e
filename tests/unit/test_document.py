"""The document reader: text stays text, every complaint names its place, and nothing but its own error gets out."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.document import MAX_DEPTH, Items, Node, Place, Scalar, Table, parse
from gateway.errors import ConfigurationError


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def table(text: str) -> Table:
    node = parse(text, "f.yaml")
    assert isinstance(node, Table)
    return node


def scalar(node: Node | None) -> Scalar:
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    "text", ["NO", "0123", "1.20", "1e3", "0x10", "true", "2026-01-02", "12:30:00", "~x", "5 GiB", "1.2.840.10008.1.1"]
)
def test_a_scalar_stays_the_text_that_was_written(text: str) -> None:
    assert scalar(table(f"key: {text}").get("key")).text == text


def test_nodes_know_where_they_stand() -> None:
    root = table("a: 1\nb:\n  - x\n  - {c: y}\n")
    assert scalar(root.get("a")).place == Place("f.yaml", 1, 4)
    assert root.keys["b"] == Place("f.yaml", 2, 1)
    items = root.get("b")
    assert isinstance(items, Items)
    first, second = items
    assert first.place == Place("f.yaml", 3, 5)
    assert isinstance(second, Table)
    assert second.keys["c"] == Place("f.yaml", 4, 6)
    assert scalar(second.get("c")).place == Place("f.yaml", 4, 9)


def test_a_table_keeps_the_order_of_the_file() -> None:
    assert [key for key, _ in table("z: 1\na: 2\nm: 3")] == ["z", "a", "m"]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n"])
def test_an_empty_document_is_an_empty_table_or_null(text: str) -> None:
    node = parse(text, "f.yaml")
    assert node == Table({}, {}, Place("f.yaml", 1, 1)) or scalar(node).is_null


@pytest.mark.parametrize(("text", "null"), [("", True), ("~", True), ("null", True), ('""', False), ("'~'", False)])
def test_a_quoted_null_is_text(text: str, null: bool) -> None:
    assert scalar(table(f"key: {text}").get("key")).is_null is null


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: the key 'a' stands here twice (first in line 1)"),
        ("a: &x 1\nb: *x", "f.yaml:1:4: used again by an alias (*name): write it out where it is needed"),
        ("&x a: *x", "f.yaml:1:1: used again by an alias (*name): write it out where it is needed"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: the tag 'tag:yaml.org,2002:python/object:os.system' is"),
        ("a: !secret x", "f.yaml:1:4: the tag '!secret' is not allowed"),
        ("!key a: x", "f.yaml:1:1: the tag '!key' is not allowed"),
        ("a: !!binary aGk=", "f.yaml:1:4: the tag 'tag:yaml.org,2002:binary' is not allowed"),
        ("[1]: a", "f.yaml:1:1: a key must be plain text"),
        ("a:\n\tb: c", "f.yaml:2:1: not valid YAML: while scanning for the next token found character '\\t'"),
        ("a: [b", "f.yaml:1:6: not valid YAML: while parsing a flow sequence expected ',' or ']'"),
        ("a: 1\nb: \x07", "f.yaml:2:4: not valid YAML: the character U+0007 is not allowed"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: not valid YAML: expected a single document"),
        ('a: "\\UFFFFFFFF"', "f.yaml:1:1: not valid YAML: an escape or a version number is out of range"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: b", "f.yaml:1:1: not valid YAML: an escape or a version number"),
        ('a: "\\uD800"', "f.yaml:1:4: half of a surrogate pair"),
        ("[" * 5000, "f.yaml:1:1: nested too deep to be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, complaint: str) -> None:
    (told,) = complaints(text)
    assert told.startswith(complaint)


def test_all_problems_are_told_at_once_in_file_order() -> None:
    assert [text.split(": ")[0] for text in complaints("a: !x 1\nb: 1\nb: 2\nc: !y 3")] == [
        "f.yaml:1:4",
        "f.yaml:3:1",
        "f.yaml:4:4",
    ]


def test_depth_is_bounded() -> None:
    def nested(depth: int) -> str:
        return "[" * depth + "x" + "]" * depth

    parse(nested(MAX_DEPTH), "f.yaml")
    assert "nested deeper than 64 levels" in complaints(nested(MAX_DEPTH + 1))[0]


def test_a_bomb_of_aliases_is_refused_and_not_unfolded() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert all("used again by an alias" in told for told in complaints("\n".join(lines)))


def test_a_secret_is_never_shown() -> None:
    node = Scalar("hunter2", Place("f.yaml", 1, 1), secret=True)
    assert "hunter2" not in repr(node) + node.shown


def test_shown_text_is_bounded_and_escaped() -> None:
    node = Scalar("a\r\n\x1b[31m" + "x" * 1000, Place("f.yaml", 1, 1))
    assert len(node.shown) < 100
    assert node.shown.isprintable()


YAML_LIKE = st.text(
    alphabet=st.sampled_from(list("ab:-,[]{}&*!%#'\"|>?\\\n\t 0.~<@`uUxD8F\u2028\ufeff\x85\0")), max_size=60
)


@given(st.one_of(YAML_LIKE, st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))))
@example("%YAML 1." + "9" * 5000)
@example('"\\U00110000"')
@example("\ud800")
@example("&a [*a]")
@example("? ? ? [")
def test_any_text_gives_a_node_or_a_configuration_error(text: str) -> None:
    try:
        node = parse(text, "f.yaml")
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)
        assert all(problem.message.isprintable() for problem in error.problems)
    else:
        assert isinstance(node, Scalar | Items | Table)


WORDS = st.text(alphabet="abc 0.:#-\"'é", max_size=12)


@given(
    st.recursive(
        WORDS,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
        max_leaves=20,
    )
)
def test_what_was_written_is_what_is_read(value: object) -> None:
    def write(value: object) -> str:
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, list):
            return "[" + ", ".join(map(write, value)) + "]"
        assert isinstance(value, dict)
        return "{" + ", ".join(f"? {write(key)} : {write(item)}" for key, item in value.items()) + "}"

    def read(node: Node) -> object:
        if isinstance(node, Scalar):
            return node.text
        if isinstance(node, Items):
            return [read(child) for child in node]
        return {key: read(child) for key, child in node}

    assert read(parse(write(value), "f.yaml")) == value
