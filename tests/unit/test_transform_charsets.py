"""Text is written in the data set's own character set, or not at all (PS3.3 C.12.1.1.2, PS3.5 6.1.2)."""

from __future__ import annotations

import pydicom
import pytest

from gateway.transform import TransformError
from gateway.transform.values import ValueRefused, decode_text, encode
from tests.unit.samples import EXPLICIT, SOP, Sample, all_samples, element, item, sample
from tests.unit.transform_kit import before, on, reread, run

CHARSETS = [each for each in all_samples() if each.path.parent.name == "charset_files"]
NAMES = {  # what each of the sets can write beside ASCII
    b"ISO_IR 100": "Äneas^Rüdiger",
    b"ISO_IR 101": "Wałęsa",
    b"ISO_IR 109": "Ĉapeĝo",
    b"ISO_IR 110": "Ķēniņš",
    b"ISO_IR 144": "Люкceмбypг",
    b"ISO_IR 127": "قباني^لنزار",
    b"ISO_IR 126": "Διονυσιος",
    b"ISO_IR 138": "שרון^דבורה",
    b"ISO_IR 148": "Çavuşoğlu",
    b"ISO_IR 166": "สมชาย",
    b"ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    b"ISO_IR 192": "王^小東 Buc^Jérôme Люк",
    b"GB18030": "王^小东",
    b"GBK": "王^小东",
    b"\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    b"ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    b"ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 159": "Yamada=山田鷗",
    b"\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    b"ISO 2022 IR 100\\ISO 2022 IR 144": "Jérôme=Люк",
    b"ISO 2022 IR 100\\ISO 2022 IR 126\\ISO 2022 IR 87": "Äö=Διον=山田",
}


@pytest.mark.parametrize("character_set", NAMES)
def test_a_name_is_written_in_the_set_and_pydicom_reads_it(character_set: bytes) -> None:
    padded = character_set + b" " * (len(character_set) % 2)
    data = element(0x00080005, "CS", padded) + SOP
    found = reread(
        run(data, f"- set: {{PatientName: '{NAMES[character_set]}', PatientComments: '{NAMES[character_set]}'}}")
    )
    assert str(found.PatientName) == NAMES[character_set]
    assert found.PatientComments == NAMES[character_set]


@pytest.mark.parametrize("character_set", NAMES)
def test_what_a_set_does_not_have_is_refused_with_the_remedy(character_set: bytes) -> None:
    for name in NAMES.values():
        try:
            data = encode("PN", name, False, character_set)
        except ValueRefused as refused:
            assert "`charset: ISO_IR 192`" in str(refused)
            assert name not in str(refused)
        else:
            assert decode_text(data, character_set, is_name=True).rstrip(" ") == name


def test_text_that_the_set_cannot_hold_is_no_question_mark() -> None:
    for character_set in (b"", b"ISO_IR 6 ", b"ISO_IR 100", b"ISO 2022 IR 6\\ISO 2022 IR 87"):
        head = element(0x00080005, "CS", character_set) if character_set else b""
        with pytest.raises(TransformError, match=r"InstitutionName \(0008,0080\): .*has not all of its characters"):
            run(head + SOP, "- set: {InstitutionName: 'Ł'}")
    assert reread(run(SOP, "- charset: ISO_IR 192\n- set: {InstitutionName: 'Ł'}")).InstitutionName == "Ł"


def test_the_default_repertoire_is_ascii() -> None:
    with pytest.raises(TransformError, match="has not all of its characters"):
        run(SOP, "- set: {InstitutionName: 'é'}")
    with pytest.raises(TransformError, match="does not say what it is"):
        run(SOP + element(0x00100010, "PN", b"Buc^J\xe9r"), "- prefix: {PatientName: A}")


def test_a_set_that_nobody_knows_is_told() -> None:
    data = element(0x00080005, "CS", b"ISO_IR 999") + SOP + element(0x00100010, "PN", b"Buc^J\xe9r")
    with pytest.raises(TransformError, match="is none that the gateway knows"):
        run(data, "- prefix: {PatientName: A}")


def test_a_name_in_gb_2312_is_written_as_the_standard_shows_it() -> None:
    # PS3.5 K.2; pydicom leaves the escape sequences in what it reads.
    data = element(0x00080005, "CS", b"\\ISO 2022 IR 58 ") + SOP + element(0x00100020, "LO", b"\x1b$)A\xd0\xa1")
    written = run(data, "- set: {PatientName: 'Zhang^XiaoDong=张^小东='}\n- suffix: {PatientID: 东}")
    assert b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=" in written
    assert b"\x1b$)A\xd0\xa1\xb6\xab" in written
    found = reread(run(data, "- set: {PatientName: 'Zhang^XiaoDong=张^小东='}\n- charset: ISO_IR 192"))
    assert str(found.PatientName) == "Zhang^XiaoDong=张^小东"


def test_an_item_has_a_set_of_its_own() -> None:
    inside = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00080104, "LO", "é√".encode() + b" ")
    data = element(0x00080005, "CS", b"ISO_IR 100") + SOP + element(0x00321064, "SQ", item(inside) + item(b""))
    text = "- set: {'RequestedProcedureCodeSequence[1].CodeMeaning': '√2'}"
    assert reread(run(data, text)).RequestedProcedureCodeSequence[0].CodeMeaning == "√2"
    with pytest.raises(TransformError, match="has not all"):
        run(data, text.replace("[1]", "[2]"))


# ── pydicom's files ───────────────────────────────────────────────────────────────────────────────────────────


def texts(data_set: pydicom.Dataset) -> list[str]:
    """All text of a data set, in order."""
    found = []
    for each in data_set.iterall():
        if each.VR in {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}:
            value = str(each.value)
            found.append(f"{each.tag} {value}")
    return found


def test_the_files_of_pydicom_are_there() -> None:
    assert len(CHARSETS) >= 15


@pytest.mark.parametrize("each", CHARSETS, ids=str)
def test_a_name_of_a_real_file_gets_a_prefix(each: Sample) -> None:
    within = "RequestedProcedureCodeSequence" if each.path.name.startswith("chrSQ") else ""
    path = f"{within}.PatientName" if within else "PatientName"
    expected, found = before(each), on(each.path.name, f"- prefix: {{{path}: 'A'}}\n- record: false")
    for data_set in expected[within].value if within else [expected]:
        data_set.PatientName = "A" + str(data_set.PatientName)
    assert texts(found) == texts(expected)


@pytest.mark.parametrize("each", [one for one in CHARSETS if not one.path.name.startswith("chrSQ")], ids=str)
def test_a_name_is_set_in_the_set_of_a_real_file(each: Sample) -> None:
    name = str(before(each).PatientName)
    assert name
    assert not name.isascii() or each.path.name == "chrJapMultiExplicitIR6.dcm"
    assert str(on(each.path.name, f"- set: {{PatientName: '{name}^Dr'}}").PatientName) == f"{name}^Dr"


@pytest.mark.parametrize("each", CHARSETS, ids=str)
def test_a_real_file_is_converted_to_utf_8(each: Sample) -> None:
    found = on(each.path.name, "- charset: ISO_IR 192\n- record: false")
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert texts(found) == texts(before(each))
    inner = [one for one in found.iterall() if one.keyword == "SpecificCharacterSet"]
    assert {one.value for one in inner} == {"ISO_IR 192"}
    again = run(sample(each.path.name).data_set, "- charset: ISO_IR 192\n- record: false", each.transfer_syntax_uid)
    assert run(again, "- charset: ISO_IR 192", each.transfer_syntax_uid) == again


def test_what_cannot_be_decoded_is_not_converted() -> None:
    for character_set, value in (
        (b"ISO_IR 192", b"J\xe9 "),
        (b"\\ISO 2022 IR 87 ", b"\x1b$B\xff\xff"),
        (b"", b"\xe9 "),
    ):
        head = element(0x00080005, "CS", character_set) if character_set else b""
        with pytest.raises(TransformError, match=r"step 1 \(charset\): PatientName \(0010,0010\)"):
            run(head + SOP + element(0x00100010, "PN", value), "- charset: ISO_IR 192")


def test_long_text_is_converted_too() -> None:
    text = "é" * 70_000
    data = element(0x00080005, "CS", b"ISO_IR 100") + SOP + element(0x0040A160, "UT", text.encode("latin-1"))
    found = reread(run(data, "- charset: ISO_IR 192\n- record: false", EXPLICIT))
    assert found.TextValue == text
