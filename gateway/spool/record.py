"""The format of a spool file: DICOM Part 10 (PS3.10 7.1) whose last file meta element is a record of ours. Pure.

::

    128 bytes zero · "DICM" · (0002,0000) UL group length
    (0002,0001) 0002 0003 0010 0012 0013     as PS3.10 Table 7.1-1 says
    (0002,0016) 0017 0018                    source, sending (both the calling) and receiving (the called) AE title
    (0002,0100) PRIVATE_INFORMATION_CREATOR_UID
    (0002,0102) OB, RECORD_BYTES bytes       the record: fixed size, little endian
    data set bytes as they arrived

The record: magic and version, instance id, received time, length and xxh3-128 of the data set, generation, association
facts and the UIDs of the command; its last 16 bytes are the xxh3-128 of everything before them, from the first byte of
the file. So any changed byte of the header is found by the record, any changed byte of the data set by the checksum,
and any other length by the length. In every version the last 16 bytes of the file meta group are that checksum.

A header that does not hold was either never written to its end or damaged later, and what is left tells which: it is
written last, in one write, from its beginning, over bytes that were never written and so are zero. Cut short by a kill,
a full disk or a power cut it ends in zeros, its checksum at any rate; a sender was told Success only after all of it
was durable. So a header is *unfinished* when

  - nothing of it follows the group length: that is zero (a hole) or not there; or
  - its beginning is there, and the checksum, where the group length says it must be, is zero: with the record's element
    header in its place before it, or with nothing but zeros from there on.

Anything else that does not hold is *damaged*: a changed bit anywhere, a file that ends inside its header, a sector that
a power cut left out before one that it wrote. That may be an acknowledged instance, and its data set may be whole.

Texts of peers may be anything. In the record they are kept as they came, cut at a bound (`bounded`, applied before the
instance gets its name, so that an adopted instance equals the one that was written). In the file meta, which other
programs read, an AE title loses what PS3.5 6.2 forbids (each such character becomes `_`) and a UID that is none is
replaced by 2.25.<instance id as integer> (PS3.5 B.2), which names nothing else.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import NamedTuple

import xxhash

from gateway.dicom.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from gateway.errors import SpoolCorrupt
from gateway.model import Arrival, AssociationFacts

PREAMBLE_BYTES = 128
RECORD_BYTES = 1024
HEADER_MAX_BYTES = 2048  # what one read must fetch to hold any header
CHECKSUM_BYTES = 16
TEXT_MAX_BYTES = 64
CACHED = 256  # associations whose part of a header is kept at hand
UID_MAX_BYTES = 128  # PS3.5 9.1 allows 64; a peer's longer one is kept as evidence, and bounded

PRIVATE_INFORMATION_CREATOR_UID = "2.25.242416211811426514356608737329178855801"

MAGIC = b"GWSPOOL\0"
VERSION = 1

# magic, version, instance id, received ms, length, checksum, then texts as (length, bytes): 7 of 64 and 3 of 128 bytes
_RECORD = struct.Struct("<8sH16sQQ16s" + f"B{TEXT_MAX_BYTES}s" * 7 + f"B{UID_MAX_BYTES}s" * 3)
_PADDING = bytes(RECORD_BYTES - CHECKSUM_BYTES - _RECORD.size)
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHI")
_GROUP_LENGTH = struct.Struct("<HH2sHI")  # (0002,0000) UL, 4 bytes, value
_GROUP_START = PREAMBLE_BYTES + 4 + _GROUP_LENGTH.size

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)
_NOT_AE = re.compile(r"[^\x20-\x5b\x5d-\x7e]")  # PS3.5 6.2 AE: default repertoire without backslash and controls


class Record(NamedTuple):
    """What a file's record says; `offset` is where the data set begins."""

    instance_id: str
    generation: str
    offset: int
    length: int
    checksum: bytes
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    received_at_ms: int
    facts: AssociationFacts

    def arrival(self, path: str) -> Arrival:
        """The arrival that this record tells of, at `path` (relative to the spool)."""
        return Arrival(
            instance_id=self.instance_id,
            path=path,
            offset=self.offset,
            length=self.length,
            checksum=self.checksum,
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=self.sop_instance_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            received_at_ms=self.received_at_ms,
            facts=self.facts,
        )


def bounded(text: str, limit_bytes: int) -> str:
    """`text`, cut so that its UTF-8 has at most `limit_bytes` bytes."""
    if len(text) * 4 <= limit_bytes or (text.isascii() and len(text) <= limit_bytes):
        return text
    text = text[:limit_bytes]
    while len(_text(text)) > limit_bytes:
        text = text[:-1]
    return text


@lru_cache(maxsize=CACHED)
def bounded_facts(facts: AssociationFacts) -> AssociationFacts:
    """The facts as the record can hold them: each text cut at TEXT_MAX_BYTES. Names of ours always fit."""
    return AssociationFacts(
        association_id=bounded(facts.association_id, TEXT_MAX_BYTES),
        listener=bounded(facts.listener, TEXT_MAX_BYTES),
        source=bounded(facts.source, TEXT_MAX_BYTES),
        calling_ae_title=bounded(facts.calling_ae_title, TEXT_MAX_BYTES),
        called_ae_title=bounded(facts.called_ae_title, TEXT_MAX_BYTES),
        peer_host=bounded(facts.peer_host, TEXT_MAX_BYTES),
    )


def _text(text: str) -> bytes:
    # A title decoded from foreign bytes may hold lone surrogates: they must come back as they went in.
    return text.encode("utf-8", "surrogatepass")


def encode_meta(
    instance_id: str, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, facts: AssociationFacts
) -> bytes:
    """Everything before the record: preamble, prefix and file meta elements, to (0002,0102)'s element header.

    PS3.10 7.1: explicit VR little endian, group length in (0002,0000). The data set begins RECORD_BYTES further on.
    """
    group = b"".join(
        (
            _VERSION_ELEMENT,
            _uid_element(0x0002, sop_class_uid, instance_id),
            _uid_element(0x0003, sop_instance_uid, instance_id),
            _uid_element(0x0010, transfer_syntax_uid, instance_id),
            _elements_of(facts),
        )
    )
    group_length = _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(group) + RECORD_BYTES)
    return b"".join((bytes(PREAMBLE_BYTES), b"DICM", group_length, group))


def _uid_element(element: int, uid: str, instance_id: str) -> bytes:
    value = _uid(uid, instance_id).encode("ascii")
    if len(value) & 1:
        value += b"\0"
    return _SHORT.pack(2, element, b"UI", len(value)) + value


@lru_cache(maxsize=CACHED)
def _elements_of(facts: AssociationFacts) -> bytes:
    """The elements that are the same for all instances of an association: (0002,0012) to the record's header."""
    calling = _ae_title(facts.calling_ae_title)
    return b"".join(
        (
            _OURS,
            _element(0x0016, b"AE", calling, b" "),
            _element(0x0017, b"AE", calling, b" "),
            _element(0x0018, b"AE", _ae_title(facts.called_ae_title), b" "),
            _CREATOR,
            _RECORD_ELEMENT,
        )
    )


def _element(element: int, vr: bytes, value: str, padding: bytes) -> bytes:
    data = value.encode("ascii")
    if len(data) & 1:
        data += padding
    return _SHORT.pack(2, element, vr, len(data)) + data


def _uid(uid: str, instance_id: str) -> str:
    if len(uid) <= 64 and _UID.fullmatch(uid):
        return uid
    return f"2.25.{int(instance_id, 16)}"


def _ae_title(title: str) -> str:
    return _NOT_AE.sub("_", title[:16])


_OURS = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "
)
_VERSION_ELEMENT = _LONG.pack(2, 0x0001, b"OB", 0, 2) + b"\x00\x01"
_RECORD_ELEMENT = _LONG.pack(2, 0x0102, b"OB", 0, RECORD_BYTES)
_CREATOR = _element(0x0100, b"UI", PRIVATE_INFORMATION_CREATOR_UID, b"\0")


def encode_header(meta: bytes, record: Record) -> bytes:
    """The whole header of a complete file: `meta` of `encode_meta`, the record, its checksum. Texts must be bounded."""
    head = b"".join(
        (
            meta,
            _RECORD.pack(
                MAGIC,
                VERSION,
                bytes.fromhex(record.instance_id),
                record.received_at_ms,
                record.length,
                record.checksum,
                *_texts_of(record.generation, record.facts),
                *_counted(record.sop_class_uid),
                *_counted(record.sop_instance_uid),
                *_counted(record.transfer_syntax_uid),
            ),
            _PADDING,
        )
    )
    return head + xxhash.xxh3_128_digest(head)


@lru_cache(maxsize=CACHED)
def _texts_of(generation: str, facts: AssociationFacts) -> tuple[int | bytes, ...]:
    """The record's texts that are the same for all instances of an association: each a length, and the bytes."""
    return tuple(item for text in (generation, *facts) for item in _counted(text))


def _counted(text: str) -> tuple[int, bytes]:
    data = _text(text)
    return len(data), data


class DamagedHeader(SpoolCorrupt):
    """The header was written, and is not now what was written. The file may hold an acknowledged instance."""


class UnknownVersion(SpoolCorrupt):
    """The header is whole, and of a version that this program does not know. The file must be left alone."""


def decode_header(block: bytes) -> Record:
    """The record of a file that begins with `block` (its first HEADER_MAX_BYTES bytes, or all it has).

    Raises SpoolCorrupt when there is none, because the header is unfinished; DamagedHeader when it does not hold;
    UnknownVersion when it holds and is newer. See the module's docstring.
    """
    offset = _header_end(block)
    body = offset - CHECKSUM_BYTES
    if not 0 < offset <= len(block) or xxhash.xxh3_128_digest(block[:body]) != block[body:offset]:
        if _is_unfinished(block, offset):
            raise SpoolCorrupt("no record: the file was never completed")
        raise DamagedHeader("the header is damaged: its checksum does not hold")
    fields = _RECORD.unpack_from(block, offset - RECORD_BYTES)
    if fields[0] != MAGIC or fields[1] != VERSION:
        raise UnknownVersion(f"the record is not of version {VERSION}: another version of the gateway wrote it")
    texts = [fields[index + 1][: fields[index]].decode("utf-8", "surrogatepass") for index in range(6, 26, 2)]
    return Record(
        instance_id=fields[2].hex(),
        generation=texts[0],
        offset=offset,
        length=fields[4],
        checksum=fields[5],
        sop_class_uid=texts[7],
        sop_instance_uid=texts[8],
        transfer_syntax_uid=texts[9],
        received_at_ms=fields[3],
        facts=AssociationFacts(*texts[1:7]),
    )


def _header_end(block: bytes) -> int:
    """Where the group length says that the header ends; 0 when there is no sound group length."""
    if len(block) < _GROUP_START or block[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
        return 0
    group, element, vr, value_length, group_length = _GROUP_LENGTH.unpack_from(block, PREAMBLE_BYTES + 4)
    sound = (group, element, vr, value_length) == (2, 0, b"UL", 4) and group_length > RECORD_BYTES + _LONG.size
    return _GROUP_START + group_length if sound else 0


def _is_unfinished(block: bytes, offset: int) -> bool:
    """Whether a header that does not hold was never written to its end; `offset` is `_header_end`'s."""
    if not any(block[_GROUP_START : _GROUP_START + RECORD_BYTES]):  # the shortest header is longer
        return True
    if not _GROUP_START < offset <= len(block) or any(block[offset - CHECKSUM_BYTES : offset]):
        return False
    # A group length that is wrong itself points at some other zeros, such as those between the texts of the record.
    element = block[offset - RECORD_BYTES - _LONG.size : offset - RECORD_BYTES]
    if element == _RECORD_ELEMENT:
        return True
    return _RECORD_ELEMENT.startswith(element.rstrip(b"\0")) and not any(block[offset - RECORD_BYTES : offset])
