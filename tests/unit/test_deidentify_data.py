"""What is generated for de-identification is what is committed; the list of words is fit for its purpose."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from gateway.transform.deidentify.edition import method
from gateway.transform.deidentify.words import words
from tests.harness.tools import require
from tests.unit.transform_kit import transform
from tools.deidentification import DATA, DOCUMENT, document_text, main, old_lines, table_text, types_text

# Frequent names and eponyms that descriptions have too. None of them may be kept.
NAMES = set(
    """
    alexander an anca berg best bravo chambers chin colles colon corazon costa crane das dick dixon dolores du edge
    field frame frei frueh galle gross hart herr herz iris kern klein klaus ko kurz lang lao le leber li lo long low
    ma maria mark max may mia min mueller müller omar ou page palm pat rao ray rene rené rose schmidt schwarz sharp
    shin short small smart smith stein stern stone swan testa tia towne townes tse vera victoria wagner wang watson
    weber weiss white will wolf wright young zahn
    """.split()  # noqa: SIM905 (a list of them would be a page)
)


def test_the_table_is_what_the_generator_makes() -> None:
    require("dicomanonymizer")
    assert (DATA / "confidentiality.csv").read_text(encoding="utf-8") == table_text(old_lines())


def test_the_types_are_what_the_generator_makes() -> None:
    require("highdicom")
    assert (DATA / "types.csv").read_text(encoding="utf-8") == types_text()
    assert (DATA / "types.csv").stat().st_size < 150_000


def test_the_document_has_the_table_as_it_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document_text(text) == text
    with (DATA / "confidentiality.csv").open(encoding="utf-8", newline="") as file:
        assert [line["keyword"] for line in csv.DictReader(file) if f"| {line['keyword']} | (" not in text] == []


def test_the_generator_finds_nothing_to_change(capsys) -> None:  # type: ignore[no-untyped-def]
    require("dicomanonymizer", "highdicom")
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_words_are_lower_case_sorted_and_unique() -> None:
    lines = (Path(DATA) / "words.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
    assert [word for word in lines if word != word.lower() or not word.isalnum()] == []
    assert words() == frozenset(lines)
    assert not any(word.isdigit() for word in lines)


def test_words_are_of_radiology_in_five_languages() -> None:
    assert {"head", "flair", "mprage", "axial", "schädel", "wirbelsäule", "genou", "rodilla", "ginocchio"} <= words()
    assert {"left", "links", "gauche", "izquierda", "sinistra", "with", "ohne", "sans", "sin", "senza"} <= words()


def test_no_word_is_a_usual_name() -> None:
    assert words() & NAMES == set()


def test_what_the_gateway_does_is_part_of_every_transform_that_de_identifies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of it makes what waits anew: nothing that an older one let through goes out."""
    steps = "- deidentify: {key: site}"
    before, plain = transform(steps).digest, transform("- strip: [PatientID]").digest
    monkeypatch.setattr("gateway.transform.deidentify.step.method", lambda: "of another version")
    assert transform(steps).digest != before
    assert transform("- strip: [PatientID]").digest == plain
    monkeypatch.undo()
    assert re.search("[0-9a-f]{16}$", method())
