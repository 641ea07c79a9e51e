"""Pulling one cable parts one host from one service, and nobody else from anything."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.lan import WORLD, Lan
from tests.harness.tools import Process, run, wait_until

SERVICES = (WORLD, "redis", "postgres")
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5)"

ECHO = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
while word := sock.recv(10):
    sock.sendall(word)
"""
SERVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
listener.accept()[0].sendall(b"hello")
"""


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    with Lan(["a", "b"], SERVICES[1:]) as made:
        yield made


@pytest.fixture
def ports(lan: Lan) -> Iterator[dict[str, int]]:
    """Each service listens on its own address."""
    listeners = {service: socket.create_server((lan.address(service), 0)) for service in SERVICES}
    yield {service: listener.getsockname()[1] for service, listener in listeners.items()}
    for listener in listeners.values():
        listener.close()


def reaches(lan: Lan, host: str, service: str, ports: dict[str, int]) -> bool:
    argv = [*lan.command(host), sys.executable, "-c", CONNECT, lan.address(service), str(ports[service])]
    return run(argv).returncode == 0


def reached(lan: Lan, ports: dict[str, int]) -> set[tuple[str, str]]:
    return {(host, service) for host in lan.hosts for service in SERVICES if reaches(lan, host, service, ports)}


def test_a_pulled_cable_parts_one_host_from_one_service(lan: Lan, ports: dict[str, int]) -> None:
    everyone = {(host, service) for host in lan.hosts for service in SERVICES}
    assert reached(lan, ports) == everyone
    with lan.parted("a", "redis"):
        assert reached(lan, ports) == everyone - {("a", "redis")}
    wait_until(lambda: reached(lan, ports) == everyone, 10, "everyone to reach everything again")


def test_an_open_connection_is_silent_meanwhile_and_goes_on_after(lan: Lan, tmp_path: Path) -> None:
    with socket.create_server((lan.address("redis"), 0)) as listener:
        argv = [*lan.command("a"), sys.executable, "-c", ECHO, lan.address("redis"), str(listener.getsockname()[1])]
        heard: list[bytes] = []
        with Process(argv, tmp_path, "echo"), listener.accept()[0] as peer:
            peer.settimeout(30)
            peer.sendall(b"one")
            assert peer.recv(10) == b"one"
            hearing = threading.Thread(target=lambda: heard.append(peer.recv(10)))
            with lan.parted("a", "redis"):
                peer.sendall(b"two")
                hearing.start()
                hearing.join(0.5)
                assert not heard
            hearing.join(30)
            assert heard == [b"two"]


def test_we_reach_a_host_at_its_address(lan: Lan, tmp_path: Path) -> None:
    argv = [*lan.command("b"), sys.executable, "-c", SERVE, lan.address_of("b")]
    with Process(argv, tmp_path, "serve") as server:
        server.wait_for_output("\n")
        with socket.create_connection((lan.address_of("b"), int(server.output())), timeout=5) as sock:
            assert sock.recv(10) == b"hello"
