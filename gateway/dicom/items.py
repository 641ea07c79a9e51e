"""Items and sub-items inside the association PDUs (PS3.8 9.3.2 and 9.3.3, Annex D; PS3.7 Annex D.3.3).

Values are frozen; the functions here turn them into bytes and back. `gateway.dicom.pdu` is the only caller and
re-exports every value; import from there.

Rules:
  - items of an unknown type are skipped, as PS3.8 9.3.1 asks for;
  - every length is checked against what surrounds it; a lie is a `ProtocolError` (reason 6, invalid parameter value);
  - text is decoded as ISO 8859-1, so that every byte a peer may send survives to a log line (escaped there) and back.

Leniencies, each met in the field:
  - UIDs and names padded with NUL or space at the end: older toolkits pad here to even length as in a data set,
    which PS3.8 Annex F forbids; the padding is dropped;
  - a transfer syntax left out of a refused presentation context: it is not significant there (PS3.8 9.3.3.2.1);
  - no Maximum Length sub-item: 16,384 is assumed, the figure that implementations without it were built for;
  - a sub-item that occurs twice although it may occur once: the last one counts.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.errors import ProtocolError

INVALID_PARAMETER_VALUE = 6  # PS3.8 Table 9-26
ASSUMED_MAX_PDU_LENGTH = 16_384

APPLICATION_CONTEXT = 0x10
PROPOSED_CONTEXT = 0x20
CONTEXT_RESULT = 0x21
ABSTRACT_SYNTAX = 0x30
TRANSFER_SYNTAX = 0x40
USER_INFORMATION = 0x50
MAXIMUM_LENGTH = 0x51
IMPLEMENTATION_CLASS_UID = 0x52
ASYNCHRONOUS_OPERATIONS = 0x53
ROLE_SELECTION = 0x54
IMPLEMENTATION_VERSION_NAME = 0x55
EXTENDED_NEGOTIATION = 0x56
COMMON_EXTENDED_NEGOTIATION = 0x57
USER_IDENTITY = 0x58
USER_IDENTITY_RESPONSE = 0x59

_ITEM = struct.Struct(">BBH")
_U16 = struct.Struct(">H")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it. `context_id` is odd, 1-255."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The acceptor's answer to one proposed context.

    `result` (PS3.8 Table 9-18): 0 acceptance, 1 user-rejection, 2 no-reason, 3 abstract-syntax-not-supported,
    4 transfer-syntaxes-not-supported. `transfer_syntax` means something for 0 only.
    """

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU Role Selection for one SOP class (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """SOP Class Extended Negotiation (PS3.7 D.3.3.5); the information is the service class's own."""

    sop_class_uid: str
    application_information: bytes


@dataclass(frozen=True, slots=True)
class CommonExtendedNegotiation:
    """SOP Class Common Extended Negotiation (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """User Identity Negotiation (PS3.7 D.3.3.7): 1 username, 2 with passcode, 3 Kerberos, 4 SAML, 5 JSON web token.

    The fields are credentials: they never show in a repr.
    """

    identity_type: int
    positive_response_requested: bool
    primary_field: bytes = field(repr=False)
    secondary_field: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class UserInformation:
    """The sub-items of a User Information item while it is read or written."""

    max_pdu_length: int = ASSUMED_MAX_PDU_LENGTH
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = None


def is_uid(text: str) -> bool:
    """Whether `text` is a usable UID: 1-64 characters, components of digits (PS3.5 9.1).

    Leading zeros in a component, which PS3.5 forbids and devices send, are let through.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_ae_title(text: str) -> bool:
    """Whether `text` is a valid AE title: 1-16 printable ASCII characters without backslash (PS3.5 6.2), not blank."""
    return 0 < len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text and text.strip() != ""


def invalid(message: str) -> ProtocolError:
    """A parameter value that cannot be."""
    return ProtocolError(message, INVALID_PARAMETER_VALUE)


def walk(body: bytes, position: int) -> Iterator[tuple[int, int, bytes]]:
    """The items of `body` from `position` to its end: (type, the byte after it, value)."""
    end = len(body)
    while position < end:
        if end - position < 4:
            raise invalid("an item header is cut short")
        item_type, second, length = _ITEM.unpack_from(body, position)
        position += 4
        if length > end - position:
            raise invalid(f"item 0x{item_type:02X} is longer than what surrounds it")
        yield item_type, second, body[position : position + length]
        position += length


def text_of(value: bytes) -> str:
    """A UID or name without the padding it should not have."""
    return value.decode("latin-1").rstrip("\0 ")


def item(item_type: int, value: bytes, second: int = 0) -> bytes:
    """One item. Raises ValueError where the value does not fit its 16-bit length."""
    if len(value) > 0xFFFF:
        raise ValueError(f"item 0x{item_type:02X} is {len(value)} bytes long; 65535 fit")
    return _ITEM.pack(item_type, second, len(value)) + value


def _counted(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError(f"a field of {len(value)} bytes does not fit its 16-bit length")
    return _U16.pack(len(value)) + value


def _take(value: bytes, position: int) -> tuple[bytes, int]:
    """A field that is preceded by its 16-bit length, and where the next one begins."""
    begin = position + 2
    if begin > len(value):
        raise invalid("a field's length is cut short")
    end = begin + int(_U16.unpack_from(value, position)[0])
    if end > len(value):
        raise invalid("a field is longer than its sub-item")
    return value[begin:end], end


def encode_proposed(context: ProposedContext) -> bytes:
    """Item 20H (PS3.8 Table 9-13)."""
    syntaxes = b"".join(item(TRANSFER_SYNTAX, uid.encode("latin-1")) for uid in context.transfer_syntaxes)
    abstract = item(ABSTRACT_SYNTAX, context.abstract_syntax.encode("latin-1"))
    return item(PROPOSED_CONTEXT, bytes((context.context_id, 0, 0, 0)) + abstract + syntaxes)


def decode_proposed(value: bytes) -> ProposedContext:
    """Item 20H. An even context ID or a second abstract syntax is refused: neither can be answered."""
    if len(value) < 4:
        raise invalid("a presentation context item is cut short")
    if not value[0] & 1:
        raise invalid(f"presentation context ID {value[0]} is not odd")
    abstract_syntax: str | None = None
    transfer_syntaxes: list[str] = []
    for item_type, _, content in walk(value, 4):
        if item_type == TRANSFER_SYNTAX:
            transfer_syntaxes.append(text_of(content))
        elif item_type == ABSTRACT_SYNTAX:
            if abstract_syntax is not None:
                raise invalid(f"presentation context {value[0]} has two abstract syntaxes")
            abstract_syntax = text_of(content)
    return ProposedContext(value[0], abstract_syntax or "", tuple(transfer_syntaxes))


def encode_result(result: ContextResult) -> bytes:
    """Item 21H (PS3.8 Table 9-18)."""
    syntax = item(TRANSFER_SYNTAX, result.transfer_syntax.encode("latin-1"))
    return item(CONTEXT_RESULT, bytes((result.context_id, 0, result.result, 0)) + syntax)


def decode_result(value: bytes) -> ContextResult:
    """Item 21H."""
    if len(value) < 4:
        raise invalid("a presentation context result is cut short")
    transfer_syntax = ""
    for item_type, _, content in walk(value, 4):
        if item_type == TRANSFER_SYNTAX:
            transfer_syntax = text_of(content)
    return ContextResult(value[0], value[2], transfer_syntax)


def encode_user_information(user: UserInformation) -> bytes:
    """Item 50H with the sub-items that have a value, in the order of their types."""
    parts = [item(MAXIMUM_LENGTH, user.max_pdu_length.to_bytes(4, "big"))]
    if user.implementation_class_uid:
        parts.append(item(IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode("latin-1")))
    if user.asynchronous_operations is not None:
        parts.append(item(ASYNCHRONOUS_OPERATIONS, struct.pack(">HH", *user.asynchronous_operations)))
    parts.extend(
        item(ROLE_SELECTION, _counted(role.sop_class_uid.encode("latin-1")) + bytes((role.scu_role, role.scp_role)))
        for role in user.roles
    )
    if user.implementation_version_name:
        parts.append(item(IMPLEMENTATION_VERSION_NAME, user.implementation_version_name.encode("latin-1")))
    parts.extend(
        item(EXTENDED_NEGOTIATION, _counted(entry.sop_class_uid.encode("latin-1")) + entry.application_information)
        for entry in user.extended
    )
    parts.extend(_encode_common(entry) for entry in user.common_extended)
    if user.user_identity is not None:
        who = user.user_identity
        flags = bytes((who.identity_type, who.positive_response_requested))
        parts.append(item(USER_IDENTITY, flags + _counted(who.primary_field) + _counted(who.secondary_field)))
    if user.user_identity_response is not None:
        parts.append(item(USER_IDENTITY_RESPONSE, _counted(user.user_identity_response)))
    return item(USER_INFORMATION, b"".join(parts))


def _encode_common(entry: CommonExtendedNegotiation) -> bytes:
    related = b"".join(_counted(uid.encode("latin-1")) for uid in entry.related_general_sop_class_uids)
    names = _counted(entry.sop_class_uid.encode("latin-1")) + _counted(entry.service_class_uid.encode("latin-1"))
    return item(COMMON_EXTENDED_NEGOTIATION, names + _counted(related))


def decode_user_information(value: bytes) -> UserInformation:
    """Item 50H."""
    user = UserInformation()
    roles: list[RoleSelection] = []
    extended: list[ExtendedNegotiation] = []
    common: list[CommonExtendedNegotiation] = []
    for item_type, _, content in walk(value, 0):
        match item_type:
            case 0x51:
                user.max_pdu_length = int.from_bytes(_exactly(content, 4, item_type), "big")
            case 0x52:
                user.implementation_class_uid = text_of(content)
            case 0x53:
                invoked, performed = struct.unpack(">HH", _exactly(content, 4, item_type))
                user.asynchronous_operations = (invoked, performed)
            case 0x54:
                uid, end = _take(content, 0)
                scu, scp = _exactly(content[end:], 2, item_type)
                roles.append(RoleSelection(text_of(uid), scu == 1, scp == 1))
            case 0x55:
                user.implementation_version_name = text_of(content)
            case 0x56:
                uid, end = _take(content, 0)
                extended.append(ExtendedNegotiation(text_of(uid), content[end:]))
            case 0x57:
                common.append(_decode_common(content))
            case 0x58:
                user.user_identity = _decode_identity(content)
            case 0x59:
                user.user_identity_response = _take(content, 0)[0]
    user.roles, user.extended, user.common_extended = tuple(roles), tuple(extended), tuple(common)
    return user


def _exactly(content: bytes, length: int, item_type: int) -> bytes:
    if len(content) != length:
        raise invalid(f"sub-item 0x{item_type:02X} does not have the length it must have")
    return content


def _decode_identity(content: bytes) -> UserIdentity:
    if len(content) < 2:
        raise invalid("a user identity sub-item is cut short")
    primary, end = _take(content, 2)
    secondary, _ = _take(content, end)
    return UserIdentity(content[0], content[1] == 1, primary, secondary)


def _decode_common(content: bytes) -> CommonExtendedNegotiation:
    sop_class, end = _take(content, 0)
    service_class, end = _take(content, end)
    related, _ = _take(content, end)
    return CommonExtendedNegotiation(text_of(sop_class), text_of(service_class), tuple(_uids(related)))


def _uids(related: bytes) -> Iterable[str]:
    position = 0
    while position < len(related):
        uid, position = _take(related, position)
        yield text_of(uid)
