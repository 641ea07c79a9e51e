"""Hosts in network namespaces, joined to services in ours by a cable for each host and service. Root only.

A service has an address of its own (`address(service)`), on which a server of ours listens. A host has one too
(`address_of(host)`), on which it serves us. Pulling one cable parts one host from one service, silently, both ways:
packets vanish and nobody is told, as between two switches. Two hosts do not reach each other.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.machine import fresh_number
from tests.harness.tools import Completed, program, require, run

WORLD = "world"  # everything that has no cable of its own: senders, archives, whoever looks at pages


class Lan:
    """See the module's docstring. `services` are names; `WORLD` is always among them."""

    def __init__(self, hosts: Sequence[str], services: Sequence[str]) -> None:
        require("netns")
        self.hosts, self.services = tuple(hosts), (WORLD, *services)
        self._number = fresh_number()
        self._cables = {
            cable: index for index, cable in enumerate(itertools.product(range(len(hosts)), range(len(self.services))))
        }
        assert len(self._cables) <= 64, "a network of 256 addresses has room for 64 cables"
        try:
            self._lay()
        except AssertionError:
            self.close()
            raise

    def address(self, service: str = WORLD) -> str:
        """A service's address, the same for all hosts."""
        return f"10.214.{self._number}.{self.services.index(service) + 1}"

    def address_of(self, host: str) -> str:
        """The address at which we reach a host."""
        return self._ends(host, WORLD)[1]

    def command(self, host: str) -> list[str]:
        """The words before a command that run it on a host."""
        return [program("ip"), "netns", "exec", self._namespace(host)]

    def cut(self, host: str, service: str) -> None:
        """Pull a cable."""
        self._ip("link", "set", self._near(host, service), "down")

    def mend(self, host: str, service: str) -> None:
        """Put it back."""
        self._ip("link", "set", self._near(host, service), "up")

    @contextmanager
    def parted(self, host: str, service: str) -> Iterator[None]:
        """A host without a service, for the length of a block."""
        self.cut(host, service)
        try:
            yield
        finally:
            self.mend(host, service)

    def close(self) -> None:
        """Take everything away."""
        for host, service in itertools.product(self.hosts, self.services):
            run([program("ip"), "link", "del", self._near(host, service)])
        for host in self.hosts:
            run([program("ip"), "netns", "del", self._namespace(host)])
        for service in self.services:
            run([program("ip"), "addr", "del", f"{self.address(service)}/32", "dev", "lo"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lay(self) -> None:
        for service in self.services:
            self._ip("addr", "add", f"{self.address(service)}/32", "dev", "lo")
        for host in self.hosts:
            space = self._namespace(host)
            self._ip("netns", "add", space)
            self._ip("-n", space, "link", "set", "lo", "up")
            for index, service in enumerate(self.services):
                ours, theirs = self._ends(host, service)
                near, far = self._near(host, service), f"cable{index}"
                self._ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
                self._ip("addr", "add", f"{ours}/30", "dev", near)
                self._ip("link", "set", near, "up")
                self._ip("-n", space, "addr", "add", f"{theirs}/30", "dev", far)
                self._ip("-n", space, "link", "set", far, "up")
                self._ip("-n", space, "route", "add", self.address(service), "dev", far, "src", theirs)

    def _ends(self, host: str, service: str) -> tuple[str, str]:
        """Our end's address and the host's."""
        cable = self._cables[self.hosts.index(host), self.services.index(service)]
        return f"10.215.{self._number}.{4 * cable + 1}", f"10.215.{self._number}.{4 * cable + 2}"

    def _near(self, host: str, service: str) -> str:
        cable = self._cables[self.hosts.index(host), self.services.index(service)]
        return f"gwl{self._number}c{cable}x{os.getpid() % 1000}"

    def _namespace(self, host: str) -> str:
        return f"gw{os.getpid()}-{self._number}-{self.hosts.index(host)}"

    @staticmethod
    def _ip(*words: str | Path) -> Completed:
        return run([program("ip"), *words]).check()
