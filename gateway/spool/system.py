"""A system call that Python's `os` lacks, sync_file_range(2), and what the errors of such calls mean. Linux only.

Errors are OSErrors with the errno of the call; `spool_error` turns one into the tree of `gateway.errors`.
"""

from __future__ import annotations

import ctypes
import errno
import os

from gateway.errors import SpoolError, SpoolFull

_WRITE = 2  # linux/fs.h SYNC_FILE_RANGE_WRITE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Start to write a range back, sync_file_range(2); does not wait for it."""
    _check(_libc.sync_file_range(fd, offset, length, _WRITE))


def spool_error(error: OSError, doing: str) -> SpoolError:
    """SpoolFull for ENOSPC and EDQUOT, else SpoolError. `doing` says what and where; our own paths only."""
    text = f"{doing}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _NO_ROOM:
        return SpoolFull(f"{text}; make room on the spool's file system")
    return SpoolError(text)
