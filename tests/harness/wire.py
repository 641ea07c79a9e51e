"""PDUs and command sets by hand (PS3.8 9.3, PS3.7 6.3), so that tests do not trust the code they test.

Every function makes exactly the bytes it is told to make; nothing is validated, because lying is half of the job.
`Reader` takes PDUs from a socket. `parse_*` read what well-behaved peers send.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

A_ASSOCIATE_RQ = 0x01
A_ASSOCIATE_AC = 0x02
A_ASSOCIATE_RJ = 0x03
P_DATA_TF = 0x04
A_RELEASE_RQ = 0x05
A_RELEASE_RP = 0x06
A_ABORT = 0x07

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"

IMPLEMENTATION_CLASS_UID = "2.25.268151294867443218120337153309815640347"
IMPLEMENTATION_VERSION = "RAWPEER"

# Command elements (0000,eeee)
AFFECTED_SOP_CLASS_UID = 0x0002
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_RESPONDED_TO = 0x0120
PRIORITY = 0x0700
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000

NO_DATA_SET = 0x0101


@dataclass(frozen=True, slots=True)
class Context:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Association:
    """What an A-ASSOCIATE-RQ or -AC said. In an AC, `contexts` is empty and `results` is filled."""

    called: str
    calling: str
    contexts: tuple[Context, ...] = ()
    results: Mapping[int, tuple[int, str]] = field(default_factory=dict)  # context id → (result, transfer syntax)
    max_pdu: int = 0
    user_items: tuple[tuple[int, bytes], ...] = ()

    def accepted(self) -> dict[int, str]:
        """Accepted context ids of an AC with their transfer syntax."""
        return {number: syntax for number, (result, syntax) in self.results.items() if result == 0}


# ── making ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    """One PDU; `length` lies about the body's length when given."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    """One item or sub-item."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def title(text: str | bytes) -> bytes:
    """An AE title field: 16 bytes, padded with spaces; longer ones are cut."""
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    return raw[:16].ljust(16)


def user_information(max_pdu: int, extra: bytes = b"") -> bytes:
    """The user information item: maximum length, implementation UID and version, then `extra` sub-items."""
    body = item(0x51, struct.pack(">I", max_pdu))
    body += item(0x52, IMPLEMENTATION_CLASS_UID.encode()) + item(0x55, IMPLEMENTATION_VERSION.encode())
    return item(0x50, body + extra)


def associate_rq(
    contexts: Sequence[Context],
    called: str | bytes = "GATEWAY",
    calling: str | bytes = "RAWSCU",
    *,
    max_pdu: int = 16384,
    extra: bytes = b"",
    application_context: str = APPLICATION_CONTEXT,
    protocol_version: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    body = struct.pack(">Hxx", protocol_version) + title(called) + title(calling) + bytes(32)
    body += item(0x10, application_context.encode())
    for context in contexts:
        inner = struct.pack(">Bxxx", context.context_id) + item(0x30, context.abstract_syntax.encode())
        inner += b"".join(item(0x40, syntax.encode()) for syntax in context.transfer_syntaxes)
        body += item(0x20, inner)
    return pdu(A_ASSOCIATE_RQ, body + user_information(max_pdu, extra))


def associate_ac(
    request: Association, results: Mapping[int, tuple[int, str]], *, max_pdu: int = 16384, extra: bytes = b""
) -> bytes:
    """An A-ASSOCIATE-AC PDU for a request: context id → (result, transfer syntax)."""
    body = struct.pack(">Hxx", 1) + title(request.called) + title(request.calling) + bytes(32)
    body += item(0x10, APPLICATION_CONTEXT.encode())
    for number, (result, syntax) in results.items():
        body += item(0x21, struct.pack(">BxBx", number, result) + item(0x40, syntax.encode()))
    return pdu(A_ASSOCIATE_AC, body + user_information(max_pdu, extra))


def associate_rj(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ PDU (PS3.8 Table 9-21)."""
    return pdu(A_ASSOCIATE_RJ, struct.pack(">xBBB", result, source, reason))


def release_rq() -> bytes:
    return pdu(A_RELEASE_RQ, bytes(4))


def release_rp() -> bytes:
    return pdu(A_RELEASE_RP, bytes(4))


def abort(source: int = 0, reason: int = 0) -> bytes:
    """An A-ABORT PDU; source 2 makes it an A-P-ABORT (PS3.8 Table 9-26)."""
    return pdu(A_ABORT, struct.pack(">xxBB", source, reason))


def pdv(context_id: int, data: bytes | memoryview, *, command: bool, last: bool, length: int | None = None) -> bytes:
    """One presentation-data-value item (PS3.8 9.3.5.1)."""
    header = (1 if command else 0) | (2 if last else 0)
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context_id, header) + bytes(data)


def p_data(context_id: int, data: bytes | memoryview, *, command: bool, last: bool, max_pdu: int = 16384) -> bytes:
    """A message part as P-DATA-TF PDUs of at most `max_pdu` bytes each (one PDV a PDU); `last` ends the part."""
    room = max(1, max_pdu - 6)
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    for start in range(0, max(len(view), 1), room):
        piece = view[start : start + room]
        flags = (1 if command else 0) | (2 if last and start + room >= len(view) else 0)
        parts += [struct.pack(">BxIIBB", P_DATA_TF, len(piece) + 6, len(piece) + 2, context_id, flags), piece]
    return b"".join(parts)


def command_set(elements: Mapping[int, bytes | int | str], *, group_length: bool = True) -> bytes:
    """A command set in implicit VR little endian. Integers become US, text is padded with NUL (UI)."""
    body = b""
    for element, value in sorted(elements.items()):
        if isinstance(value, int):
            raw = struct.pack("<H", value)
        elif isinstance(value, str):
            raw = value.encode("latin-1")
            raw += b"\0" * (len(raw) % 2)
        else:
            raw = value
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    if group_length:
        body = struct.pack("<HHII", 0, 0, 4, len(body)) + body
    return body


def c_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str, **elements: bytes | int | str) -> bytes:
    """A C-STORE-RQ command set (PS3.7 9.3.1.1)."""
    return command_set(
        {
            AFFECTED_SOP_CLASS_UID: sop_class_uid,
            COMMAND_FIELD: C_STORE_RQ,
            MESSAGE_ID: message_id,
            PRIORITY: 0,
            COMMAND_DATA_SET_TYPE: 0x0001,
            AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
            **{int(name, 16): value for name, value in elements.items()},
        }
    )


def c_store_rsp(
    message_id: int, status: int, sop_class_uid: str | None, sop_instance_uid: str | None, command: int = C_STORE_RSP
) -> bytes:
    """A C-STORE-RSP command set (PS3.7 9.3.1.2); None leaves a UID out."""
    elements: dict[int, bytes | int | str] = {
        COMMAND_FIELD: command,
        MESSAGE_ID_RESPONDED_TO: message_id,
        COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        STATUS: status,
    }
    if sop_class_uid is not None:
        elements[AFFECTED_SOP_CLASS_UID] = sop_class_uid
    if sop_instance_uid is not None:
        elements[AFFECTED_SOP_INSTANCE_UID] = sop_instance_uid
    return command_set(elements)


def c_echo_rq(message_id: int) -> bytes:
    """A C-ECHO-RQ command set (PS3.7 9.3.5.1)."""
    return command_set(
        {
            AFFECTED_SOP_CLASS_UID: VERIFICATION,
            COMMAND_FIELD: C_ECHO_RQ,
            MESSAGE_ID: message_id,
            COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        }
    )


def c_echo_rsp(message_id: int, status: int = 0) -> bytes:
    """A C-ECHO-RSP command set (PS3.7 9.3.5.2)."""
    return command_set(
        {
            AFFECTED_SOP_CLASS_UID: VERIFICATION,
            COMMAND_FIELD: C_ECHO_RSP,
            MESSAGE_ID_RESPONDED_TO: message_id,
            COMMAND_DATA_SET_TYPE: NO_DATA_SET,
            STATUS: status,
        }
    )


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def items(body: bytes | memoryview) -> list[tuple[int, bytes]]:
    """The (kind, value) items of a variable field."""
    found = []
    view = memoryview(body)
    position = 0
    while position + 4 <= len(view):
        kind, length = struct.unpack_from(">BxH", view, position)
        found.append((kind, bytes(view[position + 4 : position + 4 + length])))
        position += 4 + length
    return found


def _uid(raw: bytes) -> str:
    return raw.rstrip(b"\0 ").decode("latin-1")


def parse_associate(body: bytes) -> Association:
    """Read the body of an A-ASSOCIATE-RQ or -AC."""
    contexts: list[Context] = []
    results: dict[int, tuple[int, str]] = {}
    max_pdu = 0
    user_items: list[tuple[int, bytes]] = []
    for kind, value in items(body[68:]):
        if kind == 0x20:
            inner = items(value[4:])
            abstract = next((_uid(raw) for sub, raw in inner if sub == 0x30), "")
            contexts.append(Context(value[0], abstract, tuple(_uid(raw) for sub, raw in inner if sub == 0x40)))
        elif kind == 0x21:
            syntax = next((_uid(raw) for sub, raw in items(value[4:]) if sub == 0x40), "")
            results[value[0]] = (value[2], syntax)
        elif kind == 0x50:
            user_items = items(value)
            max_pdu = next((struct.unpack(">I", raw)[0] for sub, raw in user_items if sub == 0x51), 0)
    called, calling = (body[at : at + 16].decode("latin-1").strip() for at in (4, 20))
    return Association(called, calling, tuple(contexts), results, max_pdu, tuple(user_items))


def parse_pdvs(body: bytes | memoryview) -> list[tuple[int, bool, bool, memoryview]]:
    """The (context id, is command, is last, data) items of a P-DATA-TF body; data are views of `body`."""
    found = []
    view = memoryview(body)
    position = 0
    while position + 6 <= len(view):
        length, number, header = struct.unpack_from(">IBB", view, position)
        found.append((number, bool(header & 1), bool(header & 2), view[position + 6 : position + 4 + length]))
        position += 4 + length
    return found


def parse_command(data: bytes) -> dict[int, bytes]:
    """A command set as element → raw value."""
    found = {}
    position = 0
    while position + 8 <= len(data):
        _, element, length = struct.unpack_from("<HHI", data, position)
        found[element] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def us(command: Mapping[int, bytes], element: int, default: int = 0) -> int:
    """A US value of a parsed command set."""
    raw = command.get(element, b"")
    return struct.unpack("<H", raw[:2])[0] if len(raw) >= 2 else default


def ui(command: Mapping[int, bytes], element: int) -> str:
    """A UI value of a parsed command set."""
    return _uid(command.get(element, b""))


class Reader:
    """Takes whole PDUs from a socket through one buffer."""

    def __init__(self, sock: socket.socket, max_body_bytes: int = 64 * 1024 * 1024) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._max_body_bytes = max_body_bytes

    def _fill(self, wanted: int) -> bool:
        while len(self._buffer) < wanted:
            piece = self._sock.recv(max(65536, wanted - len(self._buffer)))
            if not piece:
                return False
            self._buffer += piece
        return True

    def pdu(self) -> tuple[int, bytes] | None:
        """The next PDU as (type, body); None at the end of the stream. Raises TimeoutError and OSError."""
        if not self._fill(6):
            return None
        kind, length = struct.unpack_from(">BxI", self._buffer)
        if length > self._max_body_bytes:
            raise ValueError(f"the peer announces a PDU of {length} bytes")
        if not self._fill(6 + length):
            return None
        with memoryview(self._buffer) as view:
            body = bytes(view[6 : 6 + length])
        del self._buffer[: 6 + length]
        return kind, body
