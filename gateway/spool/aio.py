"""fdatasync without a thread: the kernel's own asynchronous I/O (io_submit(2), IOCB_CMD_FDSYNC; Linux 4.18).

A thread that waits in fdatasync has to be woken, to wait, and to win the interpreter's lock before it can say that it
is done: 0.15 ms of CPU an instance, in a process that needs 0.3 for all the rest. The kernel flushes in a worker of its
own, and an eventfd(2) tells the event loop directly.

Nothing here waits. Errors are OSErrors with the errno of the call; what became of a flush is its own errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_SETUP, _DESTROY, _SUBMIT, _GETEVENTS = range(4)
# include/uapi/asm-generic/unistd.h, and arch/x86/entry/syscalls/syscall_64.tbl
_GENERIC = (0, 1, 2, 4)
_NUMBERS = {"x86_64": (206, 207, 209, 208), "aarch64": _GENERIC, "riscv64": _GENERIC, "loongarch64": _GENERIC}

# linux/aio_abi.h, little endian as all of the above: data, key, rw_flags, opcode, reqprio, fildes, buf, nbytes, offset,
# reserved, flags, resfd
_IOCB = struct.Struct("<QIIHhIQQqQII")
_EVENT = struct.Struct("<QQqq")  # data, obj, res, res2
_FDSYNC = 3
_RESFD = 1

# PyDLL: these calls do not wait, and giving the interpreter's lock up for one costs more than it takes.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall


class KernelFlushes:
    """Up to `slots` flushes at once. `OSError` where the kernel, or who confines us, does not allow them."""

    def __init__(self, slots: int, eventfd: int) -> None:
        numbers = _NUMBERS.get(os.uname().machine)
        if numbers is None or struct.calcsize("P") != 8:
            raise OSError(errno.ENOSYS, "the numbers of these system calls are not known for this processor")
        self._numbers = [ctypes.c_long(number) for number in numbers]
        self._eventfd = eventfd
        self._slots = slots
        self._context = ctypes.c_ulong(0)
        self._iocb = ctypes.create_string_buffer(_IOCB.size)
        self._iocbs = (ctypes.c_void_p * 1)(ctypes.addressof(self._iocb))
        self._events = ctypes.create_string_buffer(_EVENT.size * slots)
        self._call(_SETUP, ctypes.c_uint(slots), ctypes.byref(self._context))
        self._one, self._none, self._all = ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(slots)

    def submit(self, fd: int, number: int) -> None:
        """Begin fdatasync(fd). `number` comes back with its result; then the eventfd is readable. Raises OSError."""
        _IOCB.pack_into(self._iocb, 0, number, 0, 0, _FDSYNC, 0, fd, 0, 0, 0, 0, _RESFD, self._eventfd)
        self._call(_SUBMIT, self._context, self._one, self._iocbs)

    def ended(self) -> list[tuple[int, int]]:
        """Number and errno (0: durable) of those that have ended since. Does not wait."""
        found: list[tuple[int, int]] = []
        while True:
            try:
                count = self._call(_GETEVENTS, self._context, self._none, self._all, self._events, None)
            except InterruptedError:  # there was none, and a signal came
                return found
            for index in range(count):
                number, _, result, _ = _EVENT.unpack_from(self._events, _EVENT.size * index)
                found.append((number, -result))
            if count < self._slots:  # the kernel may have taken a few more than it was asked to
                return found

    def close(self) -> None:
        """Give the context back. Waits for what is under way."""
        self._call(_DESTROY, self._context)

    def _call(self, which: int, *words: object) -> int:
        result = int(_syscall(self._numbers[which], *words))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
