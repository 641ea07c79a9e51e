"""Small file systems, power cuts and networks of a test's own. Root only; each is undone by `close` or `with`.

`Tmpfs` runs full of bytes or inodes. `LoopExt4` is an ext4 on a file: `power_cut` stops it as a plug that is pulled
(FS_IOC_SHUTDOWN without flushing: what was not written back is gone, later system calls fail with EIO), `replug`
mounts what is left, the journal replayed; `force_read_only` is what a disk error does. `Network` is a namespace behind
a veth pair whose rate and state can be changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import resource
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.tools import Completed, program, require, run, wait_until

_FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_SHUTDOWN_WITHOUT_FLUSH = 2
_FIFREEZE = 0xC0045877  # _IOWR('X', 119, int)
_FITHAW = 0xC0045878
_numbers = itertools.count(os.getpid() % 200)


def fresh_number() -> int:
    """A number below 250 for a network's addresses, another each time."""
    return next(_numbers) % 250


class _Mounted:
    """A mount that ends with the test."""

    def __init__(self, directory: Path) -> None:
        self.path = directory
        self._mounted = False

    def _mount(self, *words: str) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        run([program("mount"), *words, self.path]).check()
        self._mounted = True

    def unmount(self) -> None:
        """Unmount. A process that is dead may hold its files for a moment more."""
        if self._mounted:
            command = [program("umount"), self.path]
            wait_until(lambda: run(command).returncode == 0, 30, lambda: f"umount: {run(command).output}", 0.1)
            self._mounted = False

    def close(self) -> None:
        """Unmount, also while files are open in it (they keep it alive until closed)."""
        if self._mounted and run([program("umount"), self.path]).returncode != 0:
            run([program("umount"), "-l", self.path]).check()
        self._mounted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def free_bytes(self) -> int:
        """What an unprivileged process can still write."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0, name: str = "filler") -> Path:
        """Write a file that leaves about this much room (0: until ENOSPC); unlink it to make room again."""
        path = self.path / name
        with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while (room := self.free_bytes() - leave_bytes) > 0:
                file.write(bytes(min(1 << 20, room)))
        return path

    def use_up_inodes(self, leave: int = 0) -> list[Path]:
        """Create empty files until this many inodes are left; unlink them to make room again."""
        made: list[Path] = []
        with contextlib.suppress(OSError):
            while os.statvfs(self.path).f_ffree > leave:
                path = self.path / f"inode-{len(made)}"
                path.touch()
                made.append(path)
        return made


class Tmpfs(_Mounted):
    """A memory file system of a given size and number of inodes (0: no limit of its own)."""

    def __init__(self, directory: Path, size_bytes: int, inodes: int = 0) -> None:
        require("tmpfs")
        super().__init__(directory)
        options = f"size={size_bytes}" + (f",nr_inodes={inodes}" if inodes else "")
        self._mount("-t", "tmpfs", "-o", options, "tmpfs")


class LoopExt4(_Mounted):
    """An ext4 in `<directory>.img`, mounted at `directory`."""

    def __init__(self, directory: Path, size_bytes: int = 256 << 20, inodes: int | None = None) -> None:
        require("loop")
        super().__init__(directory)
        self.image = directory.with_name(directory.name + ".img")
        with self.image.open("wb") as file:
            file.truncate(size_bytes)
        words = [program("mkfs.ext4"), "-q", "-F", "-m", "0"] + (["-N", str(inodes)] if inodes else [])
        run([*words, self.image]).check()
        self.mount()

    def mount(self) -> None:
        """Mount (again); ext4 replays its journal."""
        self._mount("-o", "loop,errors=remount-ro", str(self.image))

    def power_cut(self) -> None:
        """Stop the file system this instant, unwritten pages lost. Processes on it get EIO from now on."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _SHUTDOWN_WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def replug(self) -> None:
        """After `power_cut`, with every process on it ended: unmount and mount what is left."""
        self.unmount()
        self.mount()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing is written to it meanwhile: a file system whose image lies in it has a disk that stands still."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FIFREEZE, 0)
            try:
                yield
            finally:
                fcntl.ioctl(descriptor, _FITHAW, 0)
        finally:
            os.close(descriptor)

    def force_read_only(self) -> None:
        """Report an error to ext4, which then turns itself read-only (errors=remount-ro): writes fail with EROFS."""
        device = os.stat(self.path).st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        """After `force_read_only`, with every process on it ended: check the file system and mount it again."""
        self.unmount()
        done = run([program("e2fsck"), "-p", "-f", self.image])
        assert done.returncode in (0, 1), done.output  # e2fsck(8): 1 errors corrected
        self.mount()

    def close(self) -> None:
        super().close()
        self.image.unlink(missing_ok=True)


class Network:
    """A network namespace with a veth pair: `host_address` on our side, `address` in the namespace.

    A process started with `command(argv)` lives in it. `rate` shapes what we send to it (tc tbf) and what it sends
    to us; `cut` and `mend` take the link down and up, as a pulled cable does: nobody is told.
    """

    def __init__(self) -> None:
        require("netns", "tc")
        number = fresh_number()
        self.name = f"gw{os.getpid()}-{number}"
        self._near, self._far = f"gwn{number}x{os.getpid() % 10000}", f"gwf{number}x{os.getpid() % 10000}"
        self.host_address = f"10.213.{number}.1"
        self.address = f"10.213.{number}.2"
        self._ip("netns", "add", self.name)
        try:
            self._ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self.name)
            self._ip("addr", "add", f"{self.host_address}/24", "dev", self._near)
            self._ip("link", "set", self._near, "up")
            for words in (
                ("addr", "add", f"{self.address}/24", "dev", self._far),
                ("link", "set", self._far, "up"),
                ("link", "set", "lo", "up"),
            ):
                self._ip("-n", self.name, *words)
        except AssertionError:
            self.close()
            raise

    @staticmethod
    def _ip(*words: str) -> Completed:
        return run([program("ip"), *words]).check()

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """The words that run a command inside."""
        return [program("ip"), "netns", "exec", self.name, *map(str, argv)]

    def rate(self, kbit_per_s: int) -> None:
        """Limit both directions; 0 lifts the limit."""
        for prefix, device in (([], self._near), (self.command([]), self._far)):
            run([*prefix, program("tc"), "qdisc", "del", "dev", device, "root"])
            if kbit_per_s:
                words = ["root", "tbf", "rate", f"{kbit_per_s}kbit", "burst", "8kb", "latency", "1s"]
                run([*prefix, program("tc"), "qdisc", "add", "dev", device, *words]).check()

    def cut(self) -> None:
        """Packets vanish from now on. The address stays, so nobody gets an error for want of a route."""
        self._ip("-n", self.name, "link", "set", self._far, "down")

    def mend(self) -> None:
        self._ip("-n", self.name, "link", "set", self._far, "up")

    def close(self) -> None:
        run([program("ip"), "link", "del", self._near])
        run([program("ip"), "netns", "del", self.name])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread's new sockets belong to the namespace (setns) until the block ends."""
        with Path("/proc/thread-self/ns/net").open("rb") as ours, Path(f"/run/netns/{self.name}").open("rb") as theirs:
            _setns(theirs.fileno())
            try:
                yield
            finally:
                _setns(ours.fileno())


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def limit_descriptors(pid: int, count: int) -> tuple[int, int]:
    """Set RLIMIT_NOFILE of a running process; returns the limits it had (to be given back by `restore_descriptors`)."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, before[1]))
    return before


def restore_descriptors(pid: int, limits: tuple[int, int]) -> None:
    """Give a process its RLIMIT_NOFILE back."""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
