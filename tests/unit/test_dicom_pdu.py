"""PDUs as values and as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.pdu import (
    MAX_ASSOCIATION_PDU_LENGTH,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    ExtendedNegotiation,
    PDataTF,
    Pdu,
    PresentationDataValue,
    ProposedContext,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    UserIdentity,
    decode_pdu,
    encode,
    is_ae_title,
    is_uid,
)
from gateway.errors import ProtocolError
from tests.unit import dicom_strategies as dicom

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"

# An A-ASSOCIATE-RQ for Verification, written out by hand after PS3.8 Tables 9-11 to 9-15.
ECHO_REQUEST = bytes.fromhex(
    "01 00 000000a6"
    "0001 0000"
    "47415445574159202020202020202020"  # GATEWAY
    "4543484f534355202020202020202020" + "00" * 32 + "10 00 0015 312e322e3834302e31303030382e332e312e312e31"  # ECHOSCU
    "20 00 002e 01 00 00 00"
    "30 00 0011 312e322e3834302e31303030382e312e31"
    "40 00 0011 312e322e3834302e31303030382e312e32"
    "50 00 0013 51 00 0004 00004000 52 00 0007 312e322e332e34"
)


def body_of(pdu: Pdu) -> bytes:
    """What follows the six header bytes, whose length field must say so."""
    raw = encode(pdu)
    assert struct.unpack(">I", raw[2:6])[0] == len(raw) - 6
    return raw[6:]


@given(dicom.pdus)
def test_every_pdu_comes_back_from_its_bytes(pdu: Pdu) -> None:
    raw = encode(pdu)
    assert decode_pdu(raw[0], raw[6:]) == pdu


@given(st.integers(0, 255), st.binary(max_size=300))
def test_any_bytes_decode_or_are_a_protocol_error(pdu_type: int, body: bytes) -> None:
    try:
        decode_pdu(pdu_type, body)
    except ProtocolError as error:
        assert error.abort_reason in {1, 6}


@given(dicom.requests, st.data())
def test_a_request_cut_short_or_with_a_changed_byte_decodes_or_is_a_protocol_error(
    request: AssociateRQ, data: st.DataObject
) -> None:
    body = bytearray(body_of(request))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(dicom.bytes_8)
    for candidate in (bytes(body), bytes(body[: data.draw(st.integers(0, len(body)))])):
        try:
            decode_pdu(1, candidate)
        except ProtocolError as error:
            assert error.abort_reason == 6


def test_a_request_written_by_hand_is_read_and_written() -> None:
    request = AssociateRQ("GATEWAY", "ECHOSCU", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),), 16384, "1.2.3.4")
    assert decode_pdu(ECHO_REQUEST[0], ECHO_REQUEST[6:]) == request
    assert encode(request) == ECHO_REQUEST


def test_the_small_pdus_have_the_bytes_of_the_standard() -> None:
    assert encode(AssociateRJ(1, 1, 7)).hex() == "03000000000400010107"
    assert encode(ReleaseRQ()).hex() == "05000000000400000000"
    assert encode(ReleaseRP()).hex() == "06000000000400000000"
    assert encode(Abort(2, 6)).hex() == "07000000000400000206"
    assert (
        encode(PDataTF((PresentationDataValue(3, True, True, b"ab"),))).hex()
        == "04000000000800000004" + "0303" + "6162"
    )


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        (b"CT1             ", "CT1"),
        (b"  CT1           ", "CT1"),
        (b"CT1\0\0\0\0\0\0\0\0\0\0\0\0\0", "CT1"),
        (b"SEVENTEEN_CHARS_", "SEVENTEEN_CHARS_"),
        (b"EVIL\r\nlog: line\x1b", "EVIL\r\nlog: line\x1b"),
        (b"A\\B             ", "A\\B"),
        (b"                ", ""),
        (b"\0" * 16, ""),
        (b"\xe9\xff             \xa0", "\xe9\xff             \xa0"),
    ],
)
def test_ae_titles_decode_whatever_they_hold(raw: bytes, title: str) -> None:
    body = bytearray(body_of(AssociateRQ("X", "Y", ())))
    body[20:36] = raw
    request = decode_pdu(1, bytes(body))
    assert isinstance(request, AssociateRQ)
    assert request.calling_ae_title == title


@pytest.mark.parametrize("title", ["CT1", "A B", "x" * 16, "~!\"#$%&'()*+"])
def test_good_ae_titles(title: str) -> None:
    assert is_ae_title(title)


@pytest.mark.parametrize("title", ["", "   ", "x" * 17, "A\\B", "A\nB", "A\0B", "\x1b[2J", "\xe9"])
def test_bad_ae_titles(title: str) -> None:
    assert not is_ae_title(title)


@pytest.mark.parametrize("uid", ["1.2", "1.2.840.10008.1.1", "2.25." + "1" * 59, "1.02.3"])
def test_good_uids(uid: str) -> None:
    assert is_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", ".1", "1.", "1..2", "../../x", "/etc/passwd", "1.2\0", "1.2\n", "1." * 40, "١.٢"]
)
def test_bad_uids(uid: str) -> None:
    assert not is_uid(uid)


def test_padding_that_old_devices_add_is_dropped() -> None:
    plain = AssociateRQ("A", "B", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),), 16384, "1.2.3")
    padded = AssociateRQ("A", "B", (ProposedContext(1, VERIFICATION + "\0", (IMPLICIT + " ",)),), 16384, "1.2.3\0")
    assert decode_pdu(1, body_of(padded)) == plain


def test_unknown_items_are_skipped() -> None:
    pdu = AssociateAC("A", "B", (ContextResult(1, 0, IMPLICIT),), 16384)
    body = body_of(pdu)
    assert decode_pdu(2, body + bytes.fromhex("7f000003010203")) == pdu
    assert decode_pdu(2, body[:68] + bytes.fromhex("00000000") + body[68:]) == pdu


def test_a_request_without_user_information_is_read_with_the_assumed_maximum() -> None:
    body = body_of(AssociateRQ("A", "B", (ProposedContext(1, VERIFICATION, (IMPLICIT,)),)))
    without = decode_pdu(1, body[: body.index(b"\x50\x00\x00\x08")])
    assert isinstance(without, AssociateRQ)
    assert without.max_pdu_length == 16384


def test_a_refused_context_may_come_without_transfer_syntax() -> None:
    body = body_of(AssociateAC("A", "B", ()))
    answer = decode_pdu(2, body + bytes.fromhex("2100 0004 05000300".replace(" ", "")))
    assert isinstance(answer, AssociateAC)
    assert answer.results == (ContextResult(5, 3, ""),)


@pytest.mark.parametrize(
    ("what", "items"),
    [
        ("an even context ID", "2000 0004 02000000"),
        ("the same context ID twice", "2000 0004 01000000 2000 0004 01000000"),
        ("two abstract syntaxes", "2000 0010 01000000 3000 0002 3131 3000 0002 3131"),
        ("an item longer than the PDU", "2000 ffff 01000000"),
        ("an item header cut short", "2000 00"),
        ("an item too short for its fields", "2000 0002 0100"),
        ("a sub-item longer than its item", "5000 0006 5100 0040 0000"),
        ("a maximum length of three bytes", "5000 0007 5100 0003 000000"),
        ("an asynchronous window of two bytes", "5000 0006 5300 0002 0001"),
        ("a role selection whose UID is longer than it", "5000 0008 5400 0004 00ff 0101"),
        ("a user identity cut short", "5000 0006 5800 0002 0101"),
        ("a user identity of one byte", "5000 0005 5800 0001 01"),
    ],
)
def test_lies_are_refused(what: str, items: str) -> None:
    body = body_of(AssociateRQ("A", "B", ()))
    with pytest.raises(ProtocolError) as caught:
        decode_pdu(1, body + bytes.fromhex(items.replace(" ", "")))
    assert caught.value.abort_reason == 6, what


def test_credentials_never_show() -> None:
    identity = UserIdentity(2, True, b"alice", b"secret")
    request = AssociateRQ("A", "B", (), user_identity=identity)
    answer = AssociateAC("A", "B", (), user_identity_response=b"ticket")
    assert "alice" not in repr(request) and "secret" not in repr(request)
    assert "ticket" not in repr(answer)


@pytest.mark.parametrize(
    "pdu",
    [
        AssociateRQ("SEVENTEEN_CHARS__", "B", ()),
        AssociateRQ("A", "\u0416", ()),
        AssociateRQ("A", "B", (), max_pdu_length=1 << 32),
        AssociateRQ("A", "B", (), extended=(ExtendedNegotiation("1.2", b"x" * 65536),)),
        AssociateRQ("A", "B", (), roles=tuple(RoleSelection("1.2", True, False) for _ in range(9000))),
        AssociateRQ("A", "B", (ProposedContext(257, "1.2", ()),)),
        AssociateRQ("A", "B", tuple(ProposedContext(2 * n + 1, "1.2", ("1.2." + "3" * 60,) * 40) for n in range(128))),
        AssociateAC("A", "B", (), asynchronous_operations=(70000, 1)),
        AssociateRJ(256, 1, 1),
        Abort(0, 300),
    ],
)
def test_what_does_not_fit_is_a_value_error(pdu: Pdu) -> None:
    with pytest.raises(ValueError):
        encode(pdu)


def test_the_largest_proposal_fits() -> None:
    contexts = tuple(ProposedContext(2 * n + 1, "1." + "2" * 62, ("1." + "3" * 62,) * 25) for n in range(128))
    assert len(encode(AssociateRQ("A", "B", contexts))) <= MAX_ASSOCIATION_PDU_LENGTH + 6
