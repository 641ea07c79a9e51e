"""What the rules in force do with a file that somebody uploads: decided by a child process, which a hostile file can
end, and nothing else with it.

The child (`gateway _explain`) gets the rules on its standard input and the file as a descriptor; it has the memory and
the time of a worker, and writes what it found as JSON. What it writes is read to ANSWER_MAX_BYTES. At most
TRIALS_AT_ONCE children run; who comes then waits. The file never has a name: it goes with the last descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

from gateway.config import Config
from gateway.console.services.explained import Explained, from_document
from gateway.errors import UsageError
from gateway.model import AssociationFacts
from gateway.rules.windows import read_received

if TYPE_CHECKING:
    from gateway.console.context import Context

UPLOAD_MAX_BYTES = 256 << 20
ANSWER_MAX_BYTES = 16 << 20
TRIALS_AT_ONCE = 2
GRACE_S = 10.0  # for the child to start and to load the rules
NAME = "the file"
FACT_MAX = 64  # characters

_turns = asyncio.Semaphore(TRIALS_AT_ONCE)


class UploadTooLarge(UsageError):
    """More than UPLOAD_MAX_BYTES were uploaded."""


@dataclass(frozen=True, slots=True)
class Supposed:
    """How the file is to have come. `received`: as in `2026-01-31 19:30`; "" is now."""

    calling: str = ""
    called: str = ""
    source: str = ""
    host: str = ""
    listener: str = ""
    received: str = ""

    def check(self) -> None:
        """:raises UsageError: it cannot be so."""
        if any(len(value) > FACT_MAX for value in asdict(self).values()):
            raise UsageError(f"what is supposed of the file has at most {FACT_MAX} characters each")
        if self.received and read_received(self.received) is None:
            raise UsageError("received: not a date and time, as in '2026-01-31 19:30' or '2026-01-31 19:30+01:00'")

    def facts(self, config: Config) -> AssociationFacts:
        """The association that is supposed."""
        return AssociationFacts("", self.listener, self.source, self.calling, self.called or config.ae_title, self.host)


class Upload:
    """A file on its way in: without a name, on the disk of the state folder. Close it.

    :raises UsageError: the disk has no room for it, and for two copies, beside what the spool is to have.
    """

    def __init__(self, context: Context) -> None:
        config = context.config()
        if shutil.disk_usage(config.state_dir).free < config.spool.min_free_bytes + 3 * UPLOAD_MAX_BYTES:
            raise UsageError(
                "the disk of state_dir has no room to try a file: make some, or use `gateway rules explain`"
            )
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=config.state_dir)  # noqa: SIM115 - closed by close
        self._size = 0

    async def write(self, piece: bytes) -> None:
        """Add a piece. :raises UploadTooLarge."""
        self._size += len(piece)
        if self._size > UPLOAD_MAX_BYTES:
            raise UploadTooLarge(f"the file has more than {UPLOAD_MAX_BYTES >> 20} MiB")
        await asyncio.to_thread(self._file.write, piece)

    def fileno(self) -> int:
        """The descriptor, with everything written."""
        self._file.flush()
        return self._file.fileno()

    def close(self) -> None:
        """The file is gone."""
        self._file.close()


async def explain(context: Context, upload: Upload, supposed: Supposed) -> Explained:
    """What the rules in force do with it. Patient data.

    :raises UsageError: it is no DICOM file, it cannot be read, no rules are in force; or reading it took more time or
        memory than a worker has. LedgerError.
    """
    supposed.check()
    rules = await context.look.rule_files()
    if rules is None:
        raise UsageError("no rules are in force yet")
    request = {"files": dict(rules.files), "supposed": asdict(supposed)}
    async with _turns:
        answer = await _ask(context, request, upload.fileno())
    if "refused" in answer:
        raise UsageError(str(answer["refused"]))
    try:
        return from_document(answer, NAME)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{NAME}: what reads it answered nothing that can be understood") from None


async def _ask(context: Context, request: Mapping[str, object], file: int) -> Mapping[str, object]:
    """Have a child do it, and end it whatever happens."""
    argv = (
        sys.executable,
        "-P",
        "-m",
        "gateway",
        "_explain",
        "--config",
        str(context.config_path),
        "--file",
        str(file),
    )
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(file,),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(context.config().worker.time_s + GRACE_S):
            written = await _exchange(child, json.dumps(request).encode())
    except TimeoutError:
        raise UsageError(f"{NAME}: reading it takes too long; the gateway would quarantine it") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    try:
        answer = json.loads(written)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise UsageError(
            f"{NAME}: reading it ended the process that did: it takes too much time or memory; the gateway would "
            "quarantine it"
        )
    return answer


async def _exchange(child: asyncio.subprocess.Process, request: bytes) -> bytes:
    """Write the request, and read what is answered to its end, or to ANSWER_MAX_BYTES."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - both are pipes
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(request)
        await child.stdin.drain()
        child.stdin.close()
    parts: list[bytes] = []
    size = 0
    while part := await child.stdout.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > ANSWER_MAX_BYTES:
            return b""
    return b"".join(parts)
