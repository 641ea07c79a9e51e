"""Rules are UTF-8; names in data sets are in whichever character set their writer liked (PS3.3 C.12.1.1.2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_charset_files

from gateway.dicom.header import Wanted, read_header
from gateway.model import AssociationFacts
from gateway.rules.plan import load
from tests.unit.samples import EXPLICIT, SOP, MemorySource, element, item, read_sample, sample

FACTS = AssociationFacts("", "", "", "", "", "")

# File, its character sets, and conditions on names that hold.
NAMES = [
    ("chrArab.dcm", "ISO_IR 127", ["PatientName: قباني^لنزار", "PatientName#given: لنزار"]),
    ("chrFren.dcm", "ISO_IR 100", ["PatientName: BUC^JÉRÔME", "PatientName: {like: '*jerome', fold: [case, accents]}"]),
    ("chrFrenMulti.dcm", "ISO_IR 100", ["PatientName#given: Jérôme"]),
    ("chrGerm.dcm", "ISO_IR 100", ["PatientName: 'äneas^R?diger'", "PatientName: {regex: '^Ä.*ü'}"]),
    ("chrGreek.dcm", "ISO_IR 126", ["PatientName: Διονυσιος", "PatientName: ΔΙΟΝΥΣΙΟΣ", "PatientName: 'διον*'"]),
    ("chrH31.dcm", r"\ISO 2022 IR 87", ["PatientName: '*山田^太郎*'", "PatientName#ideographic: 山田^太郎",
     "PatientName#phonetic.given: たろう", "PatientName#family: yamada", "PatientName: {regex: '山.\\^'}"]),
    ("chrH32.dcm", r"ISO 2022 IR 13\ISO 2022 IR 87", ["PatientName#alphabetic: ﾔﾏﾀﾞ^ﾀﾛｳ", "PatientName#family: 山田"]),
    ("chrHbrw.dcm", "ISO_IR 138", ["PatientName: שרון^דבורה", "PatientName#family: שרון"]),
    ("chrI2.dcm", r"\ISO 2022 IR 149", ["PatientName#phonetic.family: 홍", "PatientName#ideographic: 洪^吉洞"]),
    ("chrJapMulti.dcm", r"\ISO 2022 IR 87", ["PatientName: やまだ^たろう"]),
    ("chrJapMultiExplicitIR6.dcm", r"ISO 2022 IR 6\ISO 2022 IR 87", ["PatientName: 'やまだ^*'"]),
    ("chrKoreanMulti.dcm", r"\ISO 2022 IR 149", ["PatientName: 김희중", "PatientName: {equals: 김희중}"]),
    ("chrRuss.dcm", "ISO_IR 144", ["PatientName: Люкceмбypг", "PatientName: 'ЛЮК*'", "PatientName: {regex: '^Л.к'}"]),
    ("chrX1.dcm", "ISO_IR 192", ["PatientName#ideographic: 王^小東"]),
    ("chrX2.dcm", "GB18030", ["PatientName#ideographic.given: 小东", "PatientName: 'wang^xiaodong=王^小东'"]),
]  # fmt: skip

# What no sample is stored in: from PS3.5 Annexes J and K, or encoded by the standard's own tables as Python has them.
MADE = [
    ("ISO_IR 100", "Müller".encode("latin-1"), "müller"),
    ("ISO_IR 101", "Wałęsa".encode("iso8859_2"), "WAŁĘSA"),
    ("ISO_IR 148", "Çağrı".encode("iso8859_9"), "çağrı"),
    ("ISO_IR 166", "สมชาย".encode("tis_620"), "สมชาย"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ".encode("shift_jis"), "ﾔﾏﾀﾞ"),
    ("GBK", "王小东".encode("gbk"), "王小东"),
    (r"\ISO 2022 IR 58", b"\x1b$)A" + "王小东".encode("gb2312"), "王小东"),
    (
        r"\ISO 2022 IR 58",
        b"Wang=\x1b$)A" + "王".encode("gb2312") + b"^\x1b$)A" + "小东".encode("gb2312"),
        "wang=王^小东",
    ),
    (r"\ISO 2022 IR 159", b"\x1b$(D" + "丂".encode("iso2022_jp_2")[4:-3] + b"\x1b(B", "丂"),
    (r"\ISO 2022 IR 144", b"\x1b-L" + "Люкс".encode("iso8859_5"), "люкс"),
    (r"\ISO 2022 IR 100\ISO 2022 IR 126", b"\x1b-AM\xfcller \x1b-F" + "Διον".encode("iso8859_7"), "müller διον"),
    ("ISO_IR 192", "Ｙ山é".encode(), "ｙ山É"),
]


def matches(data: bytes, syntax: str, condition: str) -> bool:
    made = load({"r.yaml": f"rules:\n  - name: a\n    match:\n      {condition}\n    send_to: x\n"})
    header = read_header(MemorySource(data), syntax, made.wanted)
    return bool(made.decide(header, FACTS, syntax, "").matched)


@pytest.mark.parametrize(("name", "terms", "conditions"), NAMES, ids=[name for name, _, _ in NAMES])
def test_a_rule_in_utf8_matches_a_name_in_any_character_set(name: str, terms: str, conditions: list[str]) -> None:
    each = sample(name)
    header = read_header(MemorySource(each.data_set), each.transfer_syntax_uid, Wanted.of())
    assert header.text(0x00080005) == terms
    for condition in conditions:
        assert matches(each.data_set, each.transfer_syntax_uid, condition), condition
    for condition in ("PatientName: Yamada^Hanako", "PatientName: '*山本*'", "PatientName#family: Ж"):
        assert not matches(each.data_set, each.transfer_syntax_uid, condition), condition


def test_every_sample_of_a_character_set_is_tried() -> None:
    tried = {name for name, _, _ in NAMES} | {"chrSQEncoding.dcm", "chrSQEncoding1.dcm"}
    assert {Path(path).name for path in get_charset_files("*.dcm")} == tried


@pytest.mark.parametrize("path", get_charset_files("chrSQ*.dcm"), ids=lambda path: Path(path).name)
def test_a_name_in_an_item_with_another_character_set_matches(path: str) -> None:
    each = read_sample(Path(path))
    for condition in ("PatientName#ideographic: 山田^太郎", "PatientName: 'ﾔﾏﾀﾞ*'"):
        condition = f"RequestedProcedureCodeSequence.{condition}"
        assert matches(each.data_set, each.transfer_syntax_uid, condition), condition


@pytest.mark.parametrize(("terms", "stored", "written"), MADE, ids=[terms for terms, _, _ in MADE])
def test_a_text_in_any_character_set_matches_at_the_top_and_in_an_item(terms: str, stored: bytes, written: str) -> None:
    character_set = element(0x00080005, "CS", terms.encode())
    description = element(0x00081030, "LO", stored)
    condition = f"StudyDescription: '{written}'"
    assert matches(character_set + SOP + description, EXPLICIT, condition)
    assert not matches(character_set + SOP + description, EXPLICIT, "StudyDescription: 'other'")
    code = element(0x00080104, "LO", stored)
    inside = SOP + element(0x00321064, "SQ", item(character_set + code))
    assert matches(inside, EXPLICIT, f"RequestedProcedureCodeSequence.CodeMeaning: '{written}'")
    around = character_set + SOP + element(0x00321064, "SQ", item(code))
    assert matches(around, EXPLICIT, f"RequestedProcedureCodeSequence.CodeMeaning: '{written}'")
