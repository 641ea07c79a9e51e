"""Protocol data units of the upper layer (PS3.8 9.3), as values and as bytes.

`encode` turns a PDU into bytes, `decode_pdu` turns a PDU's body (what follows the six header bytes) into a value;
`decode_pdu(type, encode(pdu)[6:]) == pdu` for every PDU whose text carries no padding.

Rules:
  - decoding never raises anything but `ProtocolError`, whose `abort_reason` is what to answer with;
  - AE titles come out without padding. A title that breaks PS3.5 6.2 (control characters, backslash, blank) still
    decodes, byte for byte as ISO 8859-1, so that admission can refuse it by name: ask `is_ae_title`;
  - a UID comes out as sent, less trailing padding: ask `is_uid` before it is used for anything;
  - P-DATA-TF of a live association never passes through here: `gateway.dicom.association` reads it in place. The
    values are for tests, scripted peers and tools;
  - leniencies of the items are listed in `gateway.dicom.items`. Here: AE titles padded with NUL (old devices), and
    reserved fields, which PS3.8 says shall not be tested.

Callers: `association` (both ways), `negotiation` (values), the drivers in `gateway.net` (values).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from gateway.dicom.items import (
    APPLICATION_CONTEXT,
    CONTEXT_RESULT,
    PROPOSED_CONTEXT,
    USER_INFORMATION,
    CommonExtendedNegotiation,
    ContextResult,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    UserInformation,
    decode_proposed,
    decode_result,
    decode_user_information,
    encode_proposed,
    encode_result,
    encode_user_information,
    invalid,
    is_ae_title,
    is_uid,
    item,
    text_of,
    walk,
)
from gateway.errors import ProtocolError

__all__ = [
    "APPLICATION_CONTEXT_NAME",
    "MAX_ASSOCIATION_PDU_LENGTH",
    "P_DATA_HEADER",
    "Abort",
    "AssociateAC",
    "AssociateRJ",
    "AssociateRQ",
    "CommonExtendedNegotiation",
    "ContextResult",
    "ExtendedNegotiation",
    "PDataTF",
    "Pdu",
    "PduType",
    "PresentationDataValue",
    "ProposedContext",
    "ReleaseRP",
    "ReleaseRQ",
    "RoleSelection",
    "UserIdentity",
    "decode_pdu",
    "encode",
    "is_ae_title",
    "is_uid",
]

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
MAX_ASSOCIATION_PDU_LENGTH = 256 * 1024  # bytes of body: 128 contexts with dozens of transfer syntaxes each fit

HEADER = struct.Struct(">BxI")  # PDU type, length
PDV_HEADER = struct.Struct(">IBB")  # item length (context ID and control header included), context ID, control header
P_DATA_HEADER = struct.Struct(">BxIIBB")  # a P-DATA-TF header and its first PDV's header in one
_FIXED = struct.Struct(">H2x16s16s32x")  # what A-ASSOCIATE-RQ and -AC begin with
_FOUR = struct.Struct(">BxI4B")


class PduType(IntEnum):
    """PDU types (PS3.8 9.3.1)."""

    A_ASSOCIATE_RQ = 0x01
    A_ASSOCIATE_AC = 0x02
    A_ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    A_RELEASE_RQ = 0x05
    A_RELEASE_RP = 0x06
    A_ABORT = 0x07


@dataclass(frozen=True, slots=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). `max_pdu_length` in bytes, 0 = no limit; `asynchronous_operations` is
    (invoked, performed)."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAC:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The AE titles repeat the request's and are not tested by who receives them."""

    called_ae_title: str
    calling_ae_title: str
    results: tuple[ContextResult, ...]
    max_pdu_length: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    user_identity_response: bytes | None = field(default=None, repr=False)
    application_context_name: str = APPLICATION_CONTEXT_NAME
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ: result, source and reason of PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT: source 0 (service user) or 2 (service provider), reason of PS3.8 Table 9-26."""

    source: int = 0
    reason: int = 0


@dataclass(frozen=True, slots=True)
class PresentationDataValue:
    """One PDV item (PS3.8 9.3.5.1 and Annex E.2): a fragment of a command or of a data set."""

    context_id: int
    is_command: bool
    last: bool
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PDataTF:
    """P-DATA-TF with its PDV items."""

    values: tuple[PresentationDataValue, ...]


Pdu: TypeAlias = AssociateRQ | AssociateAC | AssociateRJ | PDataTF | ReleaseRQ | ReleaseRP | Abort


def encode(pdu: Pdu) -> bytes:
    """The PDU's bytes, header included.

    Raises ValueError (struct.error, UnicodeEncodeError and OverflowError are told as such) where a value does not fit
    its field.
    """
    try:
        match pdu:
            case AssociateRQ():
                return _encode_request(pdu)
            case AssociateAC():
                return _encode_answer(pdu)
            case AssociateRJ(result, source, reason):
                return _FOUR.pack(PduType.A_ASSOCIATE_RJ, 4, 0, result, source, reason)
            case PDataTF(values):
                return _encode_p_data(values)
            case ReleaseRQ():
                return _FOUR.pack(PduType.A_RELEASE_RQ, 4, 0, 0, 0, 0)
            case ReleaseRP():
                return _FOUR.pack(PduType.A_RELEASE_RP, 4, 0, 0, 0, 0)
            case Abort(source, reason):
                return _FOUR.pack(PduType.A_ABORT, 4, 0, 0, source, reason)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a value of {type(pdu).__name__} does not fit its field") from error


def decode_pdu(pdu_type: int, body: bytes) -> Pdu:
    """The PDU that `body` holds. Raises ProtocolError (reason 1 for an unknown type, 6 for what cannot be)."""
    match pdu_type:
        case 0x01:
            return _decode_request(body)
        case 0x02:
            return _decode_answer(body)
        case 0x04:
            return _decode_p_data(body)
        case 0x03:
            four = _four_bytes(body)
            return AssociateRJ(four[1], four[2], four[3])
        case 0x05:
            _four_bytes(body)
            return ReleaseRQ()
        case 0x06:
            _four_bytes(body)
            return ReleaseRP()
        case 0x07:
            four = _four_bytes(body)
            return Abort(four[2], four[3])
    raise ProtocolError(f"PDU type 0x{pdu_type:02X} is not known", 1)


def _four_bytes(body: bytes) -> bytes:
    if len(body) != 4:
        raise invalid(f"a PDU of {len(body)} bytes, where its type has 4")
    return body


def _title(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) > 16:
        raise ValueError(f"an AE title has at most 16 characters, not {len(raw)}")
    return raw.ljust(16)


def _title_of(raw: bytes) -> str:
    # Leading and trailing spaces are not significant (PS3.5 6.2); NUL is what old devices pad with.
    return raw.decode("latin-1").rstrip("\0 ").lstrip(" ")


def _associate(
    pdu_type: int, pdu: AssociateRQ | AssociateAC, contexts: Sequence[bytes], user: UserInformation
) -> bytes:
    body = b"".join(
        (
            _FIXED.pack(pdu.protocol_version, _title(pdu.called_ae_title), _title(pdu.calling_ae_title)),
            item(APPLICATION_CONTEXT, pdu.application_context_name.encode("latin-1")),
            *contexts,
            encode_user_information(user),
        )
    )
    if len(body) > MAX_ASSOCIATION_PDU_LENGTH:
        raise ValueError(f"{type(pdu).__name__} of {len(body)} bytes is longer than {MAX_ASSOCIATION_PDU_LENGTH}")
    return HEADER.pack(pdu_type, len(body)) + body


def _encode_request(pdu: AssociateRQ) -> bytes:
    user = UserInformation(
        pdu.max_pdu_length,
        pdu.implementation_class_uid,
        pdu.implementation_version_name,
        pdu.asynchronous_operations,
        pdu.roles,
        pdu.extended,
        pdu.common_extended,
        pdu.user_identity,
    )
    return _associate(PduType.A_ASSOCIATE_RQ, pdu, [encode_proposed(context) for context in pdu.contexts], user)


def _encode_answer(pdu: AssociateAC) -> bytes:
    user = UserInformation(
        pdu.max_pdu_length,
        pdu.implementation_class_uid,
        pdu.implementation_version_name,
        pdu.asynchronous_operations,
        pdu.roles,
        pdu.extended,
        user_identity_response=pdu.user_identity_response,
    )
    return _associate(PduType.A_ASSOCIATE_AC, pdu, [encode_result(result) for result in pdu.results], user)


def _fixed_fields(body: bytes) -> tuple[int, str, str]:
    if len(body) < _FIXED.size:
        raise invalid("an association PDU is cut short")
    version, called, calling = _FIXED.unpack_from(body)
    return version, _title_of(called), _title_of(calling)


def _decode_request(body: bytes) -> AssociateRQ:
    version, called, calling = _fixed_fields(body)
    name = ""
    contexts: dict[int, ProposedContext] = {}
    user = UserInformation()
    for item_type, _, value in walk(body, _FIXED.size):
        if item_type == PROPOSED_CONTEXT:
            context = decode_proposed(value)
            if context.context_id in contexts:
                raise invalid(f"presentation context ID {context.context_id} is proposed twice")
            contexts[context.context_id] = context
        elif item_type == APPLICATION_CONTEXT:
            name = text_of(value)
        elif item_type == USER_INFORMATION:
            user = decode_user_information(value)
    return AssociateRQ(
        called,
        calling,
        tuple(contexts.values()),
        user.max_pdu_length,
        user.implementation_class_uid,
        user.implementation_version_name,
        user.asynchronous_operations,
        user.roles,
        user.extended,
        user.common_extended,
        user.user_identity,
        name,
        version,
    )


def _decode_answer(body: bytes) -> AssociateAC:
    version, called, calling = _fixed_fields(body)
    name = ""
    results: dict[int, ContextResult] = {}
    user = UserInformation()
    for item_type, _, value in walk(body, _FIXED.size):
        if item_type == CONTEXT_RESULT:
            result = decode_result(value)
            if result.context_id in results:
                raise invalid(f"presentation context ID {result.context_id} is answered twice")
            results[result.context_id] = result
        elif item_type == APPLICATION_CONTEXT:
            name = text_of(value)
        elif item_type == USER_INFORMATION:
            user = decode_user_information(value)
    return AssociateAC(
        called,
        calling,
        tuple(results.values()),
        user.max_pdu_length,
        user.implementation_class_uid,
        user.implementation_version_name,
        user.asynchronous_operations,
        user.roles,
        user.extended,
        user.user_identity_response,
        name,
        version,
    )


def _encode_p_data(values: Sequence[PresentationDataValue]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        control = value.is_command | value.last << 1
        parts.append(PDV_HEADER.pack(len(value.data) + 2, value.context_id, control))
        parts.append(value.data)
    body = b"".join(parts)
    return HEADER.pack(PduType.P_DATA_TF, len(body)) + body


def _decode_p_data(body: bytes) -> PDataTF:
    values: list[PresentationDataValue] = []
    position = 0
    while position < len(body):
        if len(body) - position < PDV_HEADER.size:
            raise invalid("a PDV item is cut short")
        length, context_id, control = PDV_HEADER.unpack_from(body, position)
        begin, position = position + PDV_HEADER.size, position + 4 + length
        if length < 2 or position > len(body):
            raise invalid("a PDV item's length cannot be")
        values.append(PresentationDataValue(context_id, bool(control & 1), bool(control & 2), body[begin:position]))
    return PDataTF(tuple(values))
