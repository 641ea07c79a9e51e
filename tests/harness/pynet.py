"""pynetdicom as an SCP and an SCU.

`PynetdicomScp` runs in threads of this process and keeps the data set bytes' SHA-256 as they came. `PynetdicomScu`
sends data set bytes as they are (through a C-STORE primitive, never through pydicom's writer). Both take a maximum
PDU length; 0 means no limit.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from io import BytesIO
from types import TracebackType
from typing import Any, Self

from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tests.harness.data import Instance
from tests.harness.tools import free_port

ALL_TRANSFER_SYNTAXES = [
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93)),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (100, 101, 102, 103, 104, 105, 106, 107, 108)),
    *(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112, 201, 202, 203)),
]


class PynetdicomScp:
    """A storage SCP. `status` decides by SOP Instance UID and try (from 1) what is answered."""

    def __init__(
        self,
        *,
        port: int | None = None,
        ae_title: str = "PYNETDICOM",
        max_pdu: int = 16382,
        status: Callable[[str, int], int] | None = None,
        transfer_syntaxes: Iterable[str] = ALL_TRANSFER_SYNTAXES,
        abstract_syntaxes: Iterable[str] | None = None,
    ) -> None:
        self.port = free_port() if port is None else port
        self.ae_title = ae_title
        self.status = status or (lambda uid, attempt: 0x0000)
        self._stored: dict[str, list[str]] = defaultdict(list)
        self._attempts: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._server: Any = None
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_pdu_size = max_pdu
        self._ae.maximum_associations = 100
        syntaxes = list(transfer_syntaxes)
        if abstract_syntaxes is None:
            classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        else:
            classes = list(abstract_syntaxes)
        for uid in classes:
            self._ae.add_supported_context(uid, syntaxes)
        self._ae.add_supported_context(Verification)

    def start(self) -> Self:
        """Listen. Data sets are taken as bytes, not decoded."""
        self._server = self._ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)]
        )
        return self

    def stop(self) -> None:
        """Stop listening and abort what is open."""
        if self._server is not None:
            self._server.shutdown()
            self._ae.shutdown()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _on_store(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        sha = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        with self._lock:
            self._attempts[uid] += 1
            status = self.status(uid, self._attempts[uid])
            if status == 0 or 0xB000 <= status <= 0xBFFF:
                self._stored[uid].append(sha)
        return status

    def contents(self) -> dict[str, list[str]]:
        """sop_instance_uid → SHA-256 of every copy it answered with Success or a warning."""
        with self._lock:
            return {uid: list(copies) for uid, copies in self._stored.items()}


class PynetdicomScu:
    """A storage SCU with one association, opened by `open` (or `with`)."""

    def __init__(
        self,
        port: int,
        contexts: Iterable[tuple[str, str]],
        *,
        calling: str = "PYNETSCU",
        called: str = "GATEWAY",
        max_pdu: int = 16382,
        timeout_s: float = 30.0,
    ) -> None:
        self._port, self._called, self._max_pdu = port, called, max_pdu
        self._ae = AE(ae_title=calling)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = timeout_s
        self._contexts = [build_context(abstract, [syntax]) for abstract, syntax in dict.fromkeys(contexts)]
        self._contexts.append(build_context(Verification))
        self.association: Any = None
        self._message_id = 0

    def open(self) -> Self:
        """Associate; AssertionError when that is rejected or fails."""
        self.association = self._ae.associate(
            "127.0.0.1", self._port, contexts=self._contexts, ae_title=self._called, max_pdu=self._max_pdu
        )
        assert self.association.is_established, "the association was not established"
        return self

    def store(self, instance: Instance) -> int | None:
        """C-STORE the bytes as they are. Returns the status, None when no answer came."""
        context = next(
            one
            for one in self.association.accepted_contexts
            if one.abstract_syntax == instance.sop_class_uid and one.transfer_syntax == [instance.transfer_syntax_uid]
        )
        self._message_id = self._message_id % 65535 + 1
        request = C_STORE()
        request.MessageID = self._message_id
        request.Priority = 2
        request.AffectedSOPClassUID = UID(instance.sop_class_uid)
        request.AffectedSOPInstanceUID = UID(instance.sop_instance_uid)
        request.DataSet = BytesIO(instance.data)
        # The reactor must not take the response from under us, as in pynetdicom's own send_c_store.
        self.association._reactor_checkpoint.clear()
        try:
            while not self.association._is_paused and self.association.is_established:
                self.association._reactor_checkpoint.wait(0.0001)
            self.association.dimse.send_msg(request, context.context_id)
            _, response = self.association.dimse.get_msg(block=True)
        finally:
            self.association._reactor_checkpoint.set()
            # Until it has left its pause it looks paused, and the next call would not make it wait again.
            while self.association._is_paused and self.association.is_established:
                time.sleep(0.0001)
        return None if response is None else int(response.Status)

    def echo(self) -> int | None:
        """C-ECHO; the status, None when no answer came."""
        answer = self.association.send_c_echo()
        return int(answer.Status) if "Status" in answer else None

    def close(self) -> None:
        """Release when established, else abort."""
        if self.association is not None and self.association.is_established:
            self.association.release()
        self._ae.shutdown()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Data sets of classes that pynetdicom does not know must be accepted too.
_config.UNRESTRICTED_STORAGE_SERVICE = True
