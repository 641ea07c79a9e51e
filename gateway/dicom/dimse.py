"""DIMSE command sets (PS3.7 6.3, 9.3, 10.3 and Annex E), as values and as bytes.

A `Command` holds what the gateway acts on as typed fields, and everything else raw in `other`, so that any command of
PS3.7 passes through: `decode_command(encode_command(command)) == command`. The command set is always implicit VR
little endian, whatever the presentation context's transfer syntax is (PS3.7 6.3.1).

Refused, as `ProtocolError`: an element outside group 0000, an element cut short or given twice, a number of the wrong
length, no Command Field, no Command Data Set Type, a request without Message ID, a response without Status or without
Message ID Being Responded To.

Leniencies, each with its reason:
  - no Command Group Length, or a wrong one: the PDV framing already says where a command ends, and old devices
    count it wrongly;
  - elements out of order: nothing depends on the order;
  - UIDs, AE titles and comments padded with NUL or space, also to odd lengths: toolkits differ over which padding a
    command set wants;
  - a Message ID in a response or C-CANCEL, where PS3.7 has none: some devices send one; it is dropped;
  - Priority missing in a request: read as MEDIUM, since what a receiver does with it is its own affair;
  - any Command Data Set Type but 0101H means that a data set follows: PS3.7 Table E.1-1 reserves just the one value;
  - Affected SOP Class or Instance UID missing, empty or malformed: decoded as "" or as sent. Responses may leave them
    out (PS3.7 9.3.1.2), and a request without them can then be answered with a status instead of an abort;
  - Error Comment longer than 64 characters: it is only shown, and cut there.

Callers: `association` (both ways), the flows that make requests and responses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from gateway.dicom.sop_classes import VERIFICATION
from gateway.errors import ProtocolError

NO_DATA_SET = 0x0101  # PS3.7 Table E.1-1, (0000,0800)
DATA_SET_PRESENT = 0x0001
RESPONSE = 0x8000  # the bit that makes a request's Command Field a response's


class CommandField(IntEnum):
    """(0000,0100) of every DIMSE message (PS3.7 Table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF
    C_STORE_RSP = 0x8001
    C_GET_RSP = 0x8010
    C_FIND_RSP = 0x8020
    C_MOVE_RSP = 0x8021
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RSP = 0x8110
    N_SET_RSP = 0x8120
    N_ACTION_RSP = 0x8130
    N_CREATE_RSP = 0x8140
    N_DELETE_RSP = 0x8150


class Priority(IntEnum):
    """(0000,0700)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


_NOTHING: Mapping[int, bytes] = MappingProxyType({})


class Command(NamedTuple):
    """One command set.

    `command_field` is a `CommandField` value, or any other number a peer made up. `message_id` is of a request (0 in
    responses and C-CANCEL, which carry none), `message_id_being_responded_to` of a response or C-CANCEL. `status` is
    None in requests. `other` maps element numbers of group 0000 to raw values of even length.
    """

    command_field: int
    message_id: int = 0
    message_id_being_responded_to: int | None = None
    affected_sop_class_uid: str = ""
    affected_sop_instance_uid: str = ""
    priority: int = Priority.MEDIUM
    status: int | None = None
    has_data_set: bool = False
    move_originator_ae_title: str = ""
    move_originator_message_id: int | None = None
    error_comment: str = ""
    other: Mapping[int, bytes] = _NOTHING

    @property
    def is_response(self) -> bool:
        """Whether the response bit is set."""
        return bool(self.command_field & RESPONSE)


_ELEMENT = struct.Struct("<HHI")  # group, element, length
_US_ELEMENT = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")
_US = struct.Struct("<H")
_WITH_PRIORITY = frozenset(
    (CommandField.C_STORE_RQ, CommandField.C_GET_RQ, CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ)
)
_TYPED = frozenset((0x0000, 0x0002, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x0902, 0x1000, 0x1030, 0x1031))


def encode_command(command: Command) -> bytes:
    """The command set, Command Group Length first. Raises ValueError where a value does not fit its element."""
    if command.other:
        return _encode_with_others(command)
    try:
        return b"".join(_elements(command))
    except struct.error as error:
        raise ValueError("a number of the command does not fit its element") from error


def _elements(command: Command) -> list[bytes]:
    """The elements in ascending order, group length included; `other` left out."""
    number = command.command_field
    parts = [b""]  # the group length's place
    if command.affected_sop_class_uid:
        parts.append(_text(0x0002, command.affected_sop_class_uid, b"\0"))
    parts.append(_US_ELEMENT.pack(0, 0x0100, 2, number))
    if not number & RESPONSE and number != 0x0FFF:
        parts.append(_US_ELEMENT.pack(0, 0x0110, 2, command.message_id))
    elif command.message_id:
        raise ValueError("a response or C-CANCEL carries no Message ID")
    if command.message_id_being_responded_to is not None:
        parts.append(_US_ELEMENT.pack(0, 0x0120, 2, command.message_id_being_responded_to))
    if number in _WITH_PRIORITY or command.priority:
        parts.append(_US_ELEMENT.pack(0, 0x0700, 2, command.priority))
    parts.append(_US_ELEMENT.pack(0, 0x0800, 2, DATA_SET_PRESENT if command.has_data_set else NO_DATA_SET))
    if command.status is not None:
        parts.append(_US_ELEMENT.pack(0, 0x0900, 2, command.status))
    if command.error_comment:
        parts.append(_text(0x0902, command.error_comment, b" "))
    if command.affected_sop_instance_uid:
        parts.append(_text(0x1000, command.affected_sop_instance_uid, b"\0"))
    if command.move_originator_ae_title:
        parts.append(_text(0x1030, command.move_originator_ae_title, b" "))
    if command.move_originator_message_id is not None:
        parts.append(_US_ELEMENT.pack(0, 0x1031, 2, command.move_originator_message_id))
    parts[0] = _GROUP_LENGTH.pack(0, 0, 4, sum(map(len, parts)))
    return parts


def _text(element: int, text: str, padding: bytes) -> bytes:
    value = text.encode("latin-1")
    if len(value) & 1:
        value += padding
    return _ELEMENT.pack(0, element, len(value)) + value


def _encode_with_others(command: Command) -> bytes:
    elements: dict[int, bytes] = {}
    try:
        for part in _elements(command)[1:]:
            elements[_ELEMENT.unpack_from(part)[1]] = part
        for element, value in command.other.items():
            if element in _TYPED or len(value) & 1:
                raise ValueError(f"(0000,{element:04X}) cannot be given raw, or its length is odd")
            elements[element] = _ELEMENT.pack(0, element, len(value)) + value
    except struct.error as error:
        raise ValueError("a number of the command does not fit its element") from error
    body = b"".join(elements[element] for element in sorted(elements))
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode_command(data: bytes | bytearray | memoryview) -> Command:
    """The command that a complete command set holds. Raises ProtocolError (abort reason 6)."""
    values = _read_elements(bytes(data))
    pop = values.pop
    try:
        command_field = _number(pop(0x0100), 0x0100)
        has_data_set = _number(pop(0x0800), 0x0800) != NO_DATA_SET
        if command_field & RESPONSE:
            message_id, responded_to = 0, _optional_number(pop(0x0120), 0x0120)
            status = _optional_number(pop(0x0900), 0x0900)
            pop(0x0110, None)
        elif command_field == 0x0FFF:
            message_id, responded_to, status = 0, _optional_number(pop(0x0120), 0x0120), None
            pop(0x0110, None)
        else:
            message_id = _number(pop(0x0110), 0x0110)
            responded_to = _optional_number(pop(0x0120, None), 0x0120)
            status = _optional_number(pop(0x0900, None), 0x0900)
    except KeyError as missing:
        raise ProtocolError(f"a command without (0000,{missing.args[0]:04X})", 6) from None
    priority = pop(0x0700, None)
    pop(0x0000, None)
    return Command(
        command_field,
        message_id,
        responded_to,
        _text_of(pop(0x0002, b"")),
        _text_of(pop(0x1000, b"")),
        0 if priority is None else _number(priority, 0x0700),
        status,
        has_data_set,
        _text_of(pop(0x1030, b"")),
        _optional_number(pop(0x1031, None), 0x1031),
        _text_of(pop(0x0902, b""))[:64],
        values or _NOTHING,
    )


def _read_elements(data: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    position, end = 0, len(data)
    unpack = _ELEMENT.unpack_from
    while position < end:
        if end - position < 8:
            raise ProtocolError("a command element is cut short", 6)
        group, element, length = unpack(data, position)
        begin = position + 8
        position = begin + length
        if position > end:
            raise ProtocolError("a command element is longer than its command", 6)
        if group:
            raise ProtocolError(f"an element of group {group:04X} in a command", 6)
        if element in values:
            raise ProtocolError(f"(0000,{element:04X}) is given twice in a command", 6)
        values[element] = data[begin:position]
    return values


def _number(value: bytes, element: int) -> int:
    if len(value) != 2:
        raise ProtocolError(f"(0000,{element:04X}) has {len(value)} bytes, not 2", 6)
    return value[0] | value[1] << 8


def _optional_number(value: bytes | None, element: int) -> int | None:
    return None if value is None else _number(value, element)


def _text_of(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ").lstrip(" ")


def c_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str, priority: int = Priority.MEDIUM) -> Command:
    """A C-STORE request; its data set follows (PS3.7 9.3.1.1)."""
    return Command(
        CommandField.C_STORE_RQ,
        message_id,
        affected_sop_class_uid=sop_class_uid,
        affected_sop_instance_uid=sop_instance_uid,
        priority=priority,
        has_data_set=True,
    )


def c_echo_rq(message_id: int) -> Command:
    """A C-ECHO request (PS3.7 9.3.5.1)."""
    return Command(CommandField.C_ECHO_RQ, message_id, affected_sop_class_uid=VERIFICATION)


def response_to(command: Command, status: int, error_comment: str = "") -> Command:
    """The response without a data set to any request, with the SOP class and instance it was about.

    `error_comment` is cut to the 64 characters of its VR (PS3.7 Annex C, LO). Raises ValueError for a response or a
    C-CANCEL, which have no response of their own.
    """
    if command.is_response or command.command_field == CommandField.C_CANCEL_RQ:
        raise ValueError(f"command 0x{command.command_field:04X} has no response")
    # N-GET, N-SET, N-ACTION and N-DELETE name what they are about as Requested SOP Class and Instance UID; their
    # responses name it as Affected (PS3.7 10.3).
    return Command(
        command.command_field | RESPONSE,
        message_id_being_responded_to=command.message_id,
        affected_sop_class_uid=command.affected_sop_class_uid or _text_of(command.other.get(0x0003, b"")),
        affected_sop_instance_uid=command.affected_sop_instance_uid or _text_of(command.other.get(0x1001, b"")),
        status=status,
        error_comment=error_comment[:64],
    )
