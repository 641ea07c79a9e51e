"""Bodies of requests: bounded in size and time, and forms kept in memory.

A file that somebody uploads is patient data: it is never written to a folder for temporary files, as form parsers do by
default. Who sends nothing for CHUNK_TIMEOUT_S, or is not done after BODY_TIMEOUT_S, is sent away; whom nobody knows has
UNKNOWN_TIMEOUT_S for all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

if TYPE_CHECKING:
    from starlette.types import Message, Receive

CHUNK_TIMEOUT_S = 20.0
BODY_TIMEOUT_S = 60.0
UNKNOWN_TIMEOUT_S = 10.0
FIELDS_MAX, FILES_MAX = 1000, 10
NO_FORM = FormData()


def bounded(receive: Receive, headers: Headers, limit_bytes: int, *, is_known: bool) -> Receive:
    """`receive`, but no more than `limit_bytes` of body come through it. `is_known`: it is somebody's who has a right.

    :raises HTTPException: from the call that gets too much (413), or gets nothing for too long (408).
    """
    said = headers.get("content-length", "")
    got = 0
    whole = False
    until_s = time.monotonic() + (BODY_TIMEOUT_S if is_known else UNKNOWN_TIMEOUT_S)

    async def receive_bounded() -> Message:
        nonlocal got, whole
        if whole:  # who waits now waits for the end of the connection
            return await receive()
        if said.isdecimal() and int(said) > limit_bytes:
            raise HTTPException(413, f"the body is larger than {limit_bytes} bytes")
        try:
            async with asyncio.timeout(min(CHUNK_TIMEOUT_S, until_s - time.monotonic())):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        got += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if got > limit_bytes:
            raise HTTPException(413, f"the body is larger than {limit_bytes} bytes")
        return message

    return receive_bounded


async def read_body(receive: Receive) -> bytes:
    """The whole body. :raises HTTPException: as `bounded`; 400 where the sender has gone."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "the body was cut short")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def read_form(headers: Headers, body: bytes) -> FormData:
    """The fields and files of a form; none where the body is something else. :raises HTTPException: it is broken."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return await FormParser(headers, _stream(body), max_fields=FIELDS_MAX).parse()
        if kind == "multipart/form-data":
            parser = MultiPartParser(headers, _stream(body), max_files=FILES_MAX, max_fields=FIELDS_MAX)
            parser.spool_max_size = len(body) + 1  # never to a file
            return await parser.parse()
    except (MultiPartException, UnicodeError, ValueError, KeyError):
        raise HTTPException(400, "the form cannot be read") from None
    return NO_FORM


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which was read already, and after it what comes."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _stream(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
