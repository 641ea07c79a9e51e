"""System calls and numbers that Python's `os` lacks: syncfs, sync_file_range, the type of a file system. Linux only.

Who calls: `flush`, `intake` and `directory`. Errors are OSErrors with the errno of the call; `spool_error` turns one
into the tree of `gateway.errors`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re

from gateway.errors import SpoolError, SpoolFull

# linux/magic.h
EXT4_SUPER_MAGIC = 0xEF53
XFS_SUPER_MAGIC = 0x58465342
BTRFS_SUPER_MAGIC = 0x9123683E
TMPFS_MAGIC = 0x01021994

_WAIT_BEFORE = 1  # linux/fs.h SYNC_FILE_RANGE_*
_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syncfs.argtypes = [ctypes.c_int]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.statfs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def syncfs(fd: int) -> None:
    """Write back the whole file system of `fd` and wait for it, syncfs(2). Blocking; the GIL is released."""
    _check(_libc.syncfs(fd))


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Start to write a range back, sync_file_range(2); does not wait for it."""
    _check(_libc.sync_file_range(fd, offset, length, _WRITE))


def check_writeback(fd: int) -> None:
    """Wait for a file's pages under writeback and raise the error that any of them met since `fd` was opened.

    Starts no write and no cache flush. This is the only way, but fsync, to learn of a file's own writeback error
    through its own descriptor.
    """
    _check(_libc.sync_file_range(fd, 0, 0, _WAIT_BEFORE))


def filesystem_type(path: str) -> int:
    """f_type of statfs(2); a number that matches no known type where the structure differs (s390x, MIPS)."""
    # `struct statfs` begins with f_type, a machine word; the whole is 120 bytes on 64-bit Linux.
    buffer = (ctypes.c_ulong * 64)()
    _check(_libc.statfs(os.fsencode(path), ctypes.byref(buffer)))
    return int(buffer[0])


def kernel_version() -> tuple[int, int]:
    """(major, minor) of the running kernel; (0, 0) when its release cannot be read."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def spool_error(error: OSError, doing: str) -> SpoolError:
    """SpoolFull for ENOSPC and EDQUOT, else SpoolError. `doing` says what and where; our own paths only."""
    text = f"{doing}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in _NO_ROOM:
        return SpoolFull(f"{text}; make room on the spool's file system")
    return SpoolError(text)
