"""DIMSE command sets as values and as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.dimse import (
    Command,
    CommandField,
    c_echo_rq,
    c_store_rq,
    decode_command,
    encode_command,
    response_to,
)
from gateway.errors import ProtocolError
from tests.unit import dicom_strategies as dicom

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(number: int, value: bytes, group: int = 0) -> bytes:
    """One implicit VR little endian element."""
    return struct.pack("<HHI", group, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    """One US element."""
    return element(number, struct.pack("<H", value))


ECHO = us(0x0100, 0x0030) + us(0x0110, 7) + us(0x0800, 0x0101)


@given(dicom.commands())
def test_every_command_comes_back_from_its_bytes(command: Command) -> None:
    raw = encode_command(command)
    assert decode_command(raw) == command
    assert raw[:8] == bytes.fromhex("0000000004000000")
    assert struct.unpack_from("<I", raw, 8)[0] == len(raw) - 12
    assert len(raw) % 2 == 0


@given(dicom.commands())
def test_elements_are_in_ascending_order(command: Command) -> None:
    raw, position, numbers = encode_command(command), 0, []
    while position < len(raw):
        group, number, length = struct.unpack_from("<HHI", raw, position)
        assert group == 0
        numbers.append(number)
        position += 8 + length
    assert numbers == sorted(set(numbers))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_a_protocol_error(data: bytes) -> None:
    try:
        decode_command(data)
    except ProtocolError as error:
        assert error.abort_reason == 6


def test_a_c_store_request_has_the_bytes_of_the_standard() -> None:
    assert encode_command(c_store_rq(5, "1.2", "1.2.3.4", 1)) == (
        element(0x0000, struct.pack("<I", 68))
        + element(0x0002, b"1.2\0")
        + us(0x0100, 1)
        + us(0x0110, 5)
        + us(0x0700, 1)
        + us(0x0800, 1)
        + element(0x1000, b"1.2.3.4\0")
    )


def test_a_c_echo_request_names_verification_and_has_no_data_set() -> None:
    command = c_echo_rq(9)
    assert command.affected_sop_class_uid == "1.2.840.10008.1.1"
    assert not decode_command(encode_command(command)).has_data_set


def test_a_c_store_response_carries_class_instance_and_message_id() -> None:
    response = response_to(c_store_rq(5, CT, "1.2.3"), 0xA700, "out of space" + "!" * 99)
    assert response.command_field == CommandField.C_STORE_RSP
    assert response.message_id_being_responded_to == 5
    assert (response.affected_sop_class_uid, response.affected_sop_instance_uid) == (CT, "1.2.3")
    assert response.status == 0xA700
    assert len(response.error_comment) == 64
    assert not response.has_data_set
    assert decode_command(encode_command(response)) == response


def test_a_request_of_an_unknown_kind_can_be_answered() -> None:
    response = response_to(Command(0x0666, message_id=3), 0x0211)
    assert (response.command_field, response.status, response.message_id_being_responded_to) == (0x8666, 0x0211, 3)


def test_the_response_to_an_n_get_names_what_was_requested() -> None:
    request = decode_command(
        us(0x0100, 0x0110) + us(0x0110, 1) + us(0x0800, 0x0101) + element(3, b"1.2\0") + element(0x1001, b"1.2.3\0")
    )
    response = response_to(request, 0x0211)
    assert (response.affected_sop_class_uid, response.affected_sop_instance_uid) == ("1.2", "1.2.3")


@pytest.mark.parametrize("field", [CommandField.C_STORE_RSP, CommandField.C_CANCEL_RQ])
def test_what_has_no_response_gets_none(field: CommandField) -> None:
    with pytest.raises(ValueError):
        response_to(Command(field, message_id_being_responded_to=1), 0)


def test_a_cancel_names_the_message_it_cancels() -> None:
    command = decode_command(us(0x0100, 0x0FFF) + us(0x0120, 4) + us(0x0800, 0x0101))
    assert command == Command(CommandField.C_CANCEL_RQ, message_id_being_responded_to=4)


@pytest.mark.parametrize(
    ("what", "data", "expected"),
    [
        ("no group length", ECHO, Command(0x30, 7)),
        ("a wrong group length", element(0, b"\xff\xff\xff\xff") + ECHO, Command(0x30, 7)),
        ("a group length of two bytes", element(0, b"\x10\x00") + ECHO, Command(0x30, 7)),
        ("elements out of order", ECHO[20:] + ECHO[:20], Command(0x30, 7)),
        ("a UID padded with a space", ECHO + element(2, b"1.2.3 "), Command(0x30, 7, affected_sop_class_uid="1.2.3")),
        ("a UID of odd length", ECHO + element(2, b"1.2.3"), Command(0x30, 7, affected_sop_class_uid="1.2.3")),
        (
            "a UID with too much padding",
            ECHO + element(2, b"1.2\0\0\0"),
            Command(0x30, 7, affected_sop_class_uid="1.2"),
        ),
        ("an empty UID", ECHO + element(2, b""), Command(0x30, 7)),
        ("any data set type", ECHO[:20] + us(0x0800, 0x0102), Command(0x30, 7, has_data_set=True)),
        ("a data set type of zero", ECHO[:20] + us(0x0800, 0), Command(0x30, 7, has_data_set=True)),
        ("a long comment", ECHO + element(0x0902, b"c" * 100), Command(0x30, 7, error_comment="c" * 64)),
    ],
)
def test_leniencies(what: str, data: bytes, expected: Command) -> None:
    assert decode_command(data) == expected, what


def test_a_response_with_a_message_id_is_read_without_it() -> None:
    raw = us(0x0100, 0x8030) + us(0x0110, 7) + us(0x0120, 7) + us(0x0800, 0x0101) + us(0x0900, 0)
    assert decode_command(raw) == Command(0x8030, message_id_being_responded_to=7, status=0)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("nothing", b""),
        ("no command field", us(0x0110, 7) + us(0x0800, 0x0101)),
        ("no data set type", us(0x0100, 0x30) + us(0x0110, 7)),
        ("no message ID", us(0x0100, 0x30) + us(0x0800, 0x0101)),
        ("a response without status", us(0x0100, 0x8030) + us(0x0120, 7) + us(0x0800, 0x0101)),
        ("a response to nothing", us(0x0100, 0x8030) + us(0x0900, 0) + us(0x0800, 0x0101)),
        ("a cancel of nothing", us(0x0100, 0x0FFF) + us(0x0800, 0x0101)),
        ("a number of four bytes", element(0x0100, b"\x30\0\0\0") + us(0x0110, 7) + us(0x0800, 0x0101)),
        ("an element twice", ECHO + us(0x0110, 8)),
        ("another group", ECHO + element(0x0010, b"DOE^JANE", group=0x0010)),
        ("an element longer than the command", ECHO + struct.pack("<HHI", 0, 2, 100) + b"1.2"),
        ("an element header cut short", ECHO + b"\0\0\2"),
    ],
)
def test_nonsense_is_refused_without_its_values(what: str, data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_command(data)
    assert caught.value.abort_reason == 6, what
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        Command(0x10000, 1),
        c_echo_rq(70000),
        Command(CommandField.C_ECHO_RSP, message_id=1, message_id_being_responded_to=1, status=0),
        Command(CommandField.C_ECHO_RQ, 1, other={0x0100: b"\0\0"}),
        Command(CommandField.C_ECHO_RQ, 1, other={0x0300: b"\0"}),
        Command(CommandField.C_ECHO_RQ, 1, other={0x10000: b""}),
        Command(CommandField.C_ECHO_RQ, 1, affected_sop_class_uid="\u0416"),
    ],
)
def test_what_does_not_fit_is_a_value_error(command: Command) -> None:
    with pytest.raises(ValueError):
        encode_command(command)
