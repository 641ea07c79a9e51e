"""The receiving half of an association: a byte stream cut into PDUs, PDVs and messages, in place.

Any cut of the stream into chunks gives the same events, data set fragments joined. Rules:
  - A PDU is judged when its header is complete, before any of its body arrived: what the state does not expect is
    never stored, only skipped. After a PDU type that does not exist the stream has lost its framing, and everything
    is skipped.
  - Bodies of association, release and abort PDUs are collected (bounded); P-DATA-TF never is: command fragments are
    collected per command set (bounded), data set fragments become views of the chunk at once.
  - Errors are reported to the `Receiver`, never raised.

Called by `gateway.dicom.association`, which says what is expected (`wanted`, `receiving`, `contexts`,
`max_pdu_length`) and gets the control PDUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

from gateway.dicom.dimse import decode_command
from gateway.dicom.events import CommandReceived, DataSetFragment, Event
from gateway.dicom.negotiation import AcceptedContext
from gateway.dicom.pdu import HEADER, MAX_ASSOCIATION_PDU_LENGTH, P_DATA_HEADER, PDV_HEADER, PduType
from gateway.errors import ProtocolError

MAX_COMMAND_BYTES = 64 * 1024
MAX_EMPTY_VALUES = 64  # a message; some senders end a data set with one
# A message; each PDV costs some microseconds whatever is in it, and all other associations wait meanwhile.
SMALL_VALUE_BYTES = 128
MAX_SMALL_VALUES = 8192

UNRECOGNIZED_PDU = 1  # PS3.8 Table 9-26
INVALID_PARAMETER_VALUE = 6

_HEADER_BYTES = HEADER.size
_PDV_HEADER_BYTES = PDV_HEADER.size
_BOTH_HEADERS_BYTES = P_DATA_HEADER.size
_P_DATA_TF = int(PduType.P_DATA_TF)
_ASSOCIATION_PDUS = frozenset((int(PduType.A_ASSOCIATE_RQ), int(PduType.A_ASSOCIATE_AC)))
_PDU_TYPES = frozenset(map(int, PduType))
_NO_BYTES = memoryview(b"")


class Receiver(Protocol):
    """Who hears of what is not a message's part."""

    def on_pdu(self, pdu_type: int, body: bytes) -> None:
        """A whole PDU of a wanted type."""

    def on_unexpected(self, pdu_type: int) -> None:
        """A PDU of a type that is not wanted now; its body will be skipped."""

    def on_invalid(self, error: ProtocolError) -> None:
        """Something that cannot be; the rest of the PDU will be skipped."""


class _Stage(IntEnum):
    """What the next bytes belong to."""

    HEADER = 0
    BODY = 1
    PDV_HEADER = 2
    VALUE = 3
    SKIP = 4
    LOST = 5  # no framing any more


_HEADER, _BODY, _PDV_HEADER, _VALUE, _SKIP, _LOST = map(int, _Stage)


class Reader:
    """See the module. `events` receives the messages' parts, in order."""

    __slots__ = (
        "_body",
        "_command",
        "_command_context",
        "_data_context",
        "_empty_values",
        "_is_command",
        "_last",
        "_partial",
        "_pdu_left",
        "_pdu_type",
        "_receiver",
        "_small_values",
        "_stage",
        "_value_context",
        "_value_left",
        "contexts",
        "events",
        "max_pdu_length",
        "receiving",
        "stopped",
        "wanted",
    )

    def __init__(self, receiver: Receiver) -> None:
        self.events: list[Event] = []
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.max_pdu_length = 0  # of a P-DATA-TF; 0 = no bound
        self.receiving = False  # P-DATA-TF is welcome
        self.wanted: frozenset[int] = frozenset()  # PDU types to collect
        self.stopped = False  # nothing more is read
        self._receiver = receiver
        self._stage = _HEADER
        self._partial = bytearray()  # of a header
        self._body = bytearray()
        self._pdu_type = 0
        self._pdu_left = 0  # bytes of the PDU that are not read yet
        self._value_left = 0
        self._value_context = 0
        self._is_command = False
        self._last = False
        self._command = bytearray()
        self._command_context = 0  # 0: no command set is under way
        self._data_context = 0  # 0: no data set is expected
        self._empty_values = 0
        self._small_values = 0

    @property
    def mid_message(self) -> bool:
        """Whether a PDU or a message has begun and not ended."""
        return self._stage != _HEADER or bool(self._partial or self._command_context or self._data_context)

    def forget(self) -> None:
        """Let go of everything collected, and skip the rest of the PDU: no message will be completed any more."""
        if self._stage in {_BODY, _PDV_HEADER, _VALUE}:
            if self._stage == _PDV_HEADER:
                self._pdu_left -= len(self._partial)
                self._partial.clear()
            self._stage = _SKIP if self._pdu_left else _HEADER
        self._body = bytearray()
        self._command = bytearray()
        self._command_context = self._data_context = 0

    def read(self, data: memoryview) -> None:
        """The next bytes of the stream, however many."""
        position, size = 0, len(data)
        while position < size and not self.stopped:
            stage = self._stage
            if stage == _VALUE:
                position = self._read_value(data, position, size)
            elif stage == _HEADER:
                # The common case first: a P-DATA-TF whose two headers are here in one piece.
                if size - position >= _BOTH_HEADERS_BYTES and self.receiving and not self._partial:
                    pdu_type, length, pdv_length, context_id, control = P_DATA_HEADER.unpack_from(data, position)
                    if pdu_type == _P_DATA_TF and self._p_data_fits(length):
                        position += _BOTH_HEADERS_BYTES
                        self._pdu_left = length - _PDV_HEADER_BYTES
                        self._begin_value(pdv_length, context_id, control)
                        continue
                position = self._read_header(data, position, size)
            elif stage == _PDV_HEADER:
                position = self._read_pdv_header(data, position, size)
            elif stage == _BODY:
                position = self._read_body(data, position, size)
            else:
                position = self._skip(position, size)

    # ── headers ───────────────────────────────────────────────────────────────────────────────────────────────

    def _collect(self, data: memoryview, position: int, size: int, wanted: int) -> int:
        """Add to the partial header until it has `wanted` bytes."""
        end = min(position + wanted - len(self._partial), size)
        self._partial += data[position:end]
        return end

    def _read_header(self, data: memoryview, position: int, size: int) -> int:
        position = self._collect(data, position, size, _HEADER_BYTES)
        if len(self._partial) == _HEADER_BYTES:
            pdu_type, length = HEADER.unpack(self._partial)
            self._partial.clear()
            self._begin_pdu(pdu_type, length)
        return position

    def _begin_pdu(self, pdu_type: int, length: int) -> None:
        self._pdu_type = pdu_type
        self._pdu_left = length
        self._stage = _SKIP if length else _HEADER  # unless found good
        if pdu_type == _P_DATA_TF and self.receiving:
            if self._p_data_fits(length):
                self._stage = _PDV_HEADER
            else:
                self._invalid(f"a P-DATA-TF of {length} bytes; {self.max_pdu_length} were announced")
        elif pdu_type in self.wanted:
            bound = MAX_ASSOCIATION_PDU_LENGTH if pdu_type in _ASSOCIATION_PDUS else 4
            if 4 <= length <= bound:
                self._stage = _BODY
            else:
                self._invalid(f"a PDU of type 0x{pdu_type:02X} cannot have {length} bytes")
        elif pdu_type in _PDU_TYPES:
            self._receiver.on_unexpected(pdu_type)
        else:
            self._stage = _LOST
            self._receiver.on_invalid(ProtocolError(f"PDU type 0x{pdu_type:02X} is not known", UNRECOGNIZED_PDU))

    def _p_data_fits(self, length: int) -> bool:
        # PS3.8 D.1: the maximum is of the PDU's variable field, which is what the length field counts.
        return length >= _PDV_HEADER_BYTES and (length <= self.max_pdu_length or not self.max_pdu_length)

    def _read_pdv_header(self, data: memoryview, position: int, size: int) -> int:
        position = self._collect(data, position, size, _PDV_HEADER_BYTES)
        if len(self._partial) == _PDV_HEADER_BYTES:
            pdv_length, context_id, control = PDV_HEADER.unpack(self._partial)
            self._partial.clear()
            self._pdu_left -= _PDV_HEADER_BYTES
            self._begin_value(pdv_length, context_id, control)
        return position

    def _begin_value(self, pdv_length: int, context_id: int, control: int) -> None:
        """Judge a PDV by its header (PS3.8 9.3.5.1, Annex E.2)."""
        length = pdv_length - 2
        after = self._pdu_left - length
        is_command = bool(control & 1)
        last = bool(control & 2)
        if length < 0 or after < 0 or 0 < after < _PDV_HEADER_BYTES:
            self._invalid("a PDV's length does not fit its P-DATA-TF")
        elif context_id not in self.contexts:
            self._invalid(f"presentation context ID {context_id} was not accepted")
        elif is_command and self._data_context:
            self._invalid("a command fragment where the data set is not at its end")
        elif not is_command and context_id != self._data_context:
            self._invalid("a data set fragment without a command that announces it on its context")
        elif is_command and self._command_context not in {0, context_id}:
            self._invalid("a command set changes its presentation context")
        elif is_command and len(self._command) + length > MAX_COMMAND_BYTES:
            self._invalid(f"a command set of more than {MAX_COMMAND_BYTES} bytes")
        elif not length and not last and self._empty_values >= MAX_EMPTY_VALUES:
            self._invalid(f"more than {MAX_EMPTY_VALUES} PDVs without a byte in one message")
        elif length < SMALL_VALUE_BYTES and self._small_values >= MAX_SMALL_VALUES:
            self._invalid(f"more than {MAX_SMALL_VALUES} PDVs of less than {SMALL_VALUE_BYTES} bytes in one message")
        else:
            self._value_left = length
            self._value_context = context_id
            self._is_command = is_command
            self._last = last
            self._stage = _VALUE
            if length < SMALL_VALUE_BYTES:
                self._small_values += 1
            if is_command:
                self._command_context = context_id
            if not length:
                self._empty_values += 1
                self._end_value()

    # ── contents ──────────────────────────────────────────────────────────────────────────────────────────────

    def _read_value(self, data: memoryview, position: int, size: int) -> int:
        left = self._value_left
        taken = size - position
        if taken >= left:
            taken = left
        end = position + taken
        self._pdu_left -= taken
        self._value_left = left - taken
        if self._is_command:
            self._command += data[position:end]
            if taken == left:
                self._end_value()
        elif taken == left:
            last = self._last
            self.events.append(DataSetFragment(self._value_context, data[position:end], last))
            if last:
                self._data_context = self._empty_values = self._small_values = 0
            self._stage = _PDV_HEADER if self._pdu_left else _HEADER
        else:
            self.events.append(DataSetFragment(self._value_context, data[position:end], False))
        return end

    def _end_value(self) -> None:
        """A command fragment, or a data set fragment without a byte, is complete."""
        self._stage = _PDV_HEADER if self._pdu_left else _HEADER
        if not self._last:
            return
        if self._is_command:
            self._end_command()
        else:
            self._data_context = self._empty_values = self._small_values = 0
            self.events.append(DataSetFragment(self._value_context, _NO_BYTES, True))

    def _end_command(self) -> None:
        context_id, content = self._command_context, bytes(self._command)
        self._command.clear()
        self._command_context = 0
        try:
            command = decode_command(content)
        except ProtocolError as error:
            self._fail(error)
            return
        if command.has_data_set:
            self._data_context = context_id
        else:
            self._empty_values = self._small_values = 0
        self.events.append(CommandReceived(self.contexts[context_id], command))

    def _read_body(self, data: memoryview, position: int, size: int) -> int:
        end = min(position + self._pdu_left, size)
        self._body += data[position:end]
        self._pdu_left -= end - position
        if not self._pdu_left:
            body, self._body = bytes(self._body), bytearray()
            self._stage = _HEADER
            self._receiver.on_pdu(self._pdu_type, body)
        return end

    def _skip(self, position: int, size: int) -> int:
        if self._stage == _LOST:
            return size
        end = min(position + self._pdu_left, size)
        self._pdu_left -= end - position
        if not self._pdu_left:
            self._stage = _HEADER
        return end

    def _invalid(self, message: str) -> None:
        self._fail(ProtocolError(message, INVALID_PARAMETER_VALUE))

    def _fail(self, error: ProtocolError) -> None:
        self._stage = _SKIP if self._pdu_left else _HEADER
        self._receiver.on_invalid(error)
