"""The sending half of an association: PDUs and messages as a queue of buffers.

Rules:
  - The queue holds whole PDUs only, so that it may be dropped and an A-ABORT put in its place.
  - A data set is queued as headers of 12 bytes and slices of the caller's views, never copied.
  - A P-DATA-TF holds one PDV and is as large as the peer allows: its maximum, or 256 KiB where it sets none, and
    never more than 1 MiB. Fragments have even length (PS3.8 Annex E.1).
  - Messages follow one another: a command that has no data set waits while a data set is being sent.

Called by `gateway.dicom.association`, which knows whether anything may be sent at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dicom.dimse import Command, encode_command
from gateway.dicom.negotiation import AcceptedContext
from gateway.dicom.pdu import P_DATA_HEADER, Pdu, PduType, encode

MAX_SENT_PDU_LENGTH = 1 << 20
NO_LIMIT_PDU_LENGTH = 256 * 1024
MIN_PEER_PDU_LENGTH = 8  # a PDV header and the smallest fragment of even length
MAX_WAITING_COMMANDS = 64

_PDV_OVERHEAD_BYTES = 6  # PDV length, context ID and control header count as part of the PDU's length
_P_DATA_TF = int(PduType.P_DATA_TF)
_COMMAND = 1  # message control header, PS3.8 Annex E.2
_LAST = 2


class Writer:
    """See the module. `contexts` and the peer's limit are set when the association is established."""

    __slots__ = ("_queue", "_sending_context", "_waiting", "contexts", "usable_data_bytes")

    def __init__(self) -> None:
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.usable_data_bytes = 0
        self._queue: list[bytes | memoryview] = []
        self._sending_context = 0  # of the data set being sent; 0: none
        self._waiting: list[bytes] = []  # commands that wait for its end

    @property
    def mid_message(self) -> bool:
        """Whether a data set has begun and its last byte was not given yet."""
        return self._sending_context != 0

    def take(self) -> list[bytes | memoryview]:
        """What is queued, handed out once."""
        queue, self._queue = self._queue, []
        return queue

    def drop(self) -> None:
        """Forget what was not handed out, and the message under way."""
        self._queue = []
        self._waiting = []
        self._sending_context = 0

    def limit(self, peer_max_pdu_length: int) -> None:
        """Keep to the peer's maximum length (PS3.8 D.1; 0 = no limit)."""
        limit = min(peer_max_pdu_length or NO_LIMIT_PDU_LENGTH, MAX_SENT_PDU_LENGTH)
        self.usable_data_bytes = (limit - _PDV_OVERHEAD_BYTES) & ~1

    def pdu(self, pdu: Pdu) -> None:
        """Queue a control PDU. Raises ValueError where it cannot be encoded."""
        self._queue.append(encode(pdu))

    def command(self, context_id: int, command: Command) -> None:
        """Queue a command set; see `Association.send_command`."""
        if context_id not in self.contexts:
            raise ValueError(f"presentation context ID {context_id} was not accepted")
        if self._sending_context and command.has_data_set:
            raise RuntimeError("a message was begun in the middle of another's data set")
        encoded = b"".join(self._p_data(context_id, encode_command(command), _COMMAND, True))
        if not self._sending_context:
            self._queue.append(encoded)
        elif len(self._waiting) < MAX_WAITING_COMMANDS:
            # Past that number the peer asks without end while it is being sent to; it goes without the answers.
            self._waiting.append(encoded)
        if command.has_data_set:
            self._sending_context = context_id

    def data(self, context_id: int, view: bytes | memoryview, last: bool) -> None:
        """Queue the next bytes of the data set; see `Association.send_data`."""
        if not context_id or context_id != self._sending_context:
            raise RuntimeError(f"no data set is being sent on presentation context ID {context_id}")
        if len(view) or last:
            self._queue += self._p_data(context_id, view, 0, last)
        if last:
            self._sending_context = 0
            self._queue += self._waiting
            self._waiting = []

    def _p_data(self, context_id: int, view: bytes | memoryview, control: int, last: bool) -> list[bytes | memoryview]:
        size, step = len(view), self.usable_data_bytes
        final = control | _LAST if last else control
        if size <= step:
            header = P_DATA_HEADER.pack(_P_DATA_TF, size + 6, size + 2, context_id, final)
            return [header, view] if size else [header]
        whole = memoryview(view)
        full_header = P_DATA_HEADER.pack(_P_DATA_TF, step + 6, step + 2, context_id, control)
        parts: list[bytes | memoryview] = []
        position = 0
        while size - position > step:
            parts += (full_header, whole[position : position + step])
            position += step
        rest = size - position
        parts += (P_DATA_HEADER.pack(_P_DATA_TF, rest + 6, rest + 2, context_id, final), whole[position:])
        return parts
