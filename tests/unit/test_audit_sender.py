"""Sending the trail by syslog: by the RFCs, in order, and all of it, whatever becomes of the server."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.app.audit_trail import require_trail
from gateway.app.repository import look_at_repository
from gateway.audit.chain import Entry
from gateway.audit.files import files_in, lines_of
from gateway.audit.sender import POSITION, STRIKES, Pace, Position, Sender, Tell, after, read_position
from gateway.audit.server import AuditRepository, Transport
from gateway.audit.syslog import End, connect, framed, message_of, tls_context
from gateway.audit.trail import Trail
from gateway.config import load
from gateway.errors import ConfigurationError
from tests.harness.certificates import CertificateAuthority
from tests.harness.gatewayconfig import GatewayConfig
from tests.harness.syslogserver import MESSAGE, Rsyslog, SyslogServer
from tests.harness.tools import free_port, wait_until

QUICK = Pace(idle_s=0.1, age_s=1.0, window=20, end_s=1.0, again_min_s=0.02, again_max_s=0.1)
HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("ca"))


class Site:
    """A trail, and what its sender tells."""

    def __init__(self, folder: Path, server: AuditRepository, pace: Pace = QUICK) -> None:
        self.folder, self.server, self.pace = folder, server, pace
        self.unsaid = self.again = 0
        self.trail = Trail(folder, lambda: 0, segment_bytes=3_000)
        self.up: list[tuple[bool, str]] = []
        self.behind: list[float] = []
        self.written = 0
        self.sender = self.another()

    def another(self) -> Sender:
        tell = Tell(
            lambda up, reason: self.up.append((up, reason)), self.behind.append, self._count_unsaid, self._count_again
        )
        return Sender(self.folder, self.server, "rad one", "4711", tell, lambda: 60_000, self.pace)

    def _count_unsaid(self) -> None:
        self.unsaid += 1

    def _count_again(self) -> None:
        self.again += 1

    def write(self, count: int) -> None:
        numbers = range(self.written, self.written + count)
        entries = [
            Entry(1_000, "alert", xml=f'<?xml version="1.0"?><n>{number}</n>', ref=str(number)) for number in numbers
        ]
        for at in range(0, count, 7):
            self.trail.append(entries[at : at + 7])
        self.written += count
        self.sender.wake()

    def numbers(self, messages: list[str]) -> list[int]:
        return [int(message.partition("<n>")[2].partition("<")[0]) for message in messages]

    def close(self) -> None:
        self.sender.stop(10)
        self.trail.close()


@contextmanager
def site(folder: Path, server: AuditRepository, pace: Pace = QUICK) -> Iterator[Site]:
    made = Site(folder, server, pace)
    made.sender.start()
    try:
        yield made
    finally:
        made.close()


def tls(authority: CertificateAuthority, port: int, **other: object) -> AuditRepository:
    return AuditRepository(HOST, port, Transport.TLS, authority.path, **other)  # type: ignore[arg-type]


def acknowledged(site: Site) -> None:
    """Wait until the server is known to have read everything."""
    wait_until(lambda: read_position(site.folder).seq == site.written, 20, lambda: f"{read_position(site.folder)}")


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_is_one_of_rfc_5424_and_counted_as_rfc_5425_has_it() -> None:
    message = message_of(1_767_225_600_123, "rad one\u00e9", "4711", '<?xml version="1.0"?><a/>')
    assert message == b'<85>1 2026-01-01T00:00:00.123Z rad_one_ gateway 4711 DICOM+RFC3881 - <?xml version="1.0"?><a/>'
    assert MESSAGE.fullmatch(message)
    assert framed(b"abc") == b"3 abc"


def test_every_record_arrives_in_order_over_tls(tmp_path: Path, authority: CertificateAuthority) -> None:
    with SyslogServer(authority.issue("server"), authority) as server:
        client = authority.issue("gateway")
        target = tls(authority, server.port, certificate=client.certificate, key=client.key)
        with site(tmp_path, target) as made:
            made.write(50)
            acknowledged(made)
            made.write(3)
            acknowledged(made)
            assert made.numbers(server.messages) == list(range(53))
            assert server.problems == []
            wait_until(lambda: made.up == [(True, "")], 5, lambda: f"{made.up}")
            wait_until(lambda: made.behind[-1] == 0.0, 5, lambda: f"{made.behind}")
        assert all(heard.ended_in_order for heard in server.heard)


def test_over_tcp_and_udp_too(tmp_path: Path) -> None:
    with SyslogServer() as server, site(tmp_path / "tcp", AuditRepository(HOST, server.port, Transport.TCP)) as made:
        made.write(30)
        acknowledged(made)
        assert made.numbers(server.messages) == list(range(30))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        receiver.settimeout(10)
        with site(tmp_path / "udp", AuditRepository(HOST, receiver.getsockname()[1], Transport.UDP)) as made:
            made.write(5)
            got = [MESSAGE.fullmatch(receiver.recv(1 << 16)) for _ in range(5)]
            assert made.numbers([match[5].decode() for match in got if match]) == list(range(5))


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_nothing_is_said_to_a_server_that_is_not_who_it_should_be(
    tmp_path: Path, authority: CertificateAuthority, wrong: str
) -> None:
    known = CertificateAuthority(tmp_path / "other") if wrong == "authority" else authority
    addresses = ("127.0.0.1",) if wrong == "authority" else ("arr.example",)
    with SyslogServer(authority.issue(wrong, addresses)) as server:
        with site(tmp_path / "trail", tls(known, server.port)) as made:
            made.write(3)
            wait_until(lambda: made.up, 10, lambda: "it is told")
            assert made.up[0][0] is False and "certificate" in made.up[0][1].lower()
        assert server.messages == []


def test_a_server_may_have_another_name_than_its_address(tmp_path: Path, authority: CertificateAuthority) -> None:
    with (
        SyslogServer(authority.issue("arr", ("arr.example",))) as server,
        site(tmp_path, tls(authority, server.port, server_name="arr.example")) as made,
    ):
        made.write(3)
        acknowledged(made)


# ── a server that goes and comes ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("transport", [Transport.TLS, Transport.TCP])
def test_a_server_that_dies_again_and_again_gets_everything_in_order(
    tmp_path: Path, authority: CertificateAuthority, transport: Transport
) -> None:
    """Whatever it had read and thrown away comes again; what came over a connection that ended in order does not."""
    deaths = iter([3, 9, 1, 0, 25, 14, 2])
    next_death = [next(deaths)]

    def dies(here: int, all_: int) -> bool:
        if here < next_death[0]:
            return False
        next_death[0] = next(deaths, 1 << 30)
        return True

    certificate = authority.issue("server") if transport is Transport.TLS else None
    with (
        SyslogServer(certificate, end_after=dies) as server,
        site(tmp_path, AuditRepository(HOST, server.port, transport, authority.path)) as made,
    ):
        for _ in range(6):
            made.write(15)
        acknowledged(made)
        expected = 0
        for heard in server.heard:
            numbers = made.numbers(heard.messages)
            assert numbers == list(range(expected, expected + len(numbers))), "where the last that held had ended"
            if heard.ended_in_order:
                expected += len(numbers)
        assert expected == 90
        assert server.problems == []
        wait_until(lambda: made.up[-1][0], 5, lambda: f"{made.up}")
        assert made.up[0][0] is False


def test_a_server_that_is_away_loses_nothing_and_its_absence_is_told_once(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    port = free_port()
    with site(tmp_path, tls(authority, port)) as made:
        for _ in range(10):
            made.write(20)
        wait_until(lambda: made.up and len(made.behind) > 5, 10, lambda: "several tries")
        assert [up for up, _ in made.up] == [False]
        assert made.behind[-1] == 59.0
        made.close()  # and the gateway is restarted meanwhile
        with (
            SyslogServer(authority.issue("server"), port=port) as server,
            site(tmp_path, tls(authority, port)) as again,
        ):
            again.written = 200
            acknowledged(again)
            assert again.numbers(server.messages) == list(range(200))
            wait_until(lambda: again.behind[-1] == 0.0, 5, lambda: f"{again.behind}")


def test_a_restart_goes_on_where_the_server_had_got_to(tmp_path: Path, authority: CertificateAuthority) -> None:
    with SyslogServer(authority.issue("server")) as server:
        with site(tmp_path, tls(authority, server.port)) as made:
            made.write(30)
            acknowledged(made)
        with site(tmp_path, tls(authority, server.port)) as made:
            made.written = 30
            made.write(5)
            acknowledged(made)
            assert made.numbers(server.messages) == list(range(35))


def test_old_files_may_be_moved_away(tmp_path: Path, authority: CertificateAuthority) -> None:
    with SyslogServer(authority.issue("server")) as server, site(tmp_path, tls(authority, server.port)) as made:
        made.write(50)
        acknowledged(made)
        for path in sorted(tmp_path.glob("trail-*"))[:-1]:
            path.unlink()
        made.write(50)
        acknowledged(made)
        assert made.numbers(server.messages) == list(range(100))


def test_a_record_that_is_being_written_is_sent_when_it_is_whole(tmp_path: Path) -> None:
    whole = Trail(tmp_path, lambda: 0)
    whole.append([Entry(0, "alert", xml=f"<?xml {number}") for number in range(4)])
    whole.close()
    (path,) = files_in(tmp_path)
    raw = path.read_bytes()
    first, second = raw.index(b"\n") + 1, raw.index(b"\n", raw.index(b"\n") + 1) + 1
    path.write_bytes(raw[: second - 100])
    reading = lines_of(path)
    assert [next(reading).raw, next(reading).raw] == [raw[:first], raw[first : second - 100]]
    with path.open("ab") as file:
        file.write(raw[second - 100 :])
    assert list(reading) == []
    path.write_bytes(raw[: second - 100])
    (sent,) = after(tmp_path, Position())
    path.write_bytes(raw)
    assert [each.xml for each in after(tmp_path, sent.behind)] == ["<?xml 1", "<?xml 2", "<?xml 3"]


def removed(folder: Path) -> list[bytes]:
    for path in files_in(folder):
        path.unlink()
    return []


def cut_off(folder: Path) -> list[bytes]:
    """All but the first file, and half of that."""
    first, *others = files_in(folder)
    for path in others:
        path.unlink()
    kept = first.read_bytes().splitlines(keepends=True)[:3]
    first.write_bytes(b"".join(kept))
    return kept


def made_anew(folder: Path) -> list[bytes]:
    """Another trail, longer than the one that was sent."""
    removed(folder)
    other = Trail(folder, lambda: 0)
    other.append([Entry(0, "alert", xml='<?xml version="1.0"?><n>1000</n>') for _ in range(60)])
    other.close()
    return [line for path in files_in(folder) for line in path.read_bytes().splitlines(keepends=True)]


@pytest.mark.parametrize("change", [removed, cut_off, made_anew])
def test_a_trail_that_is_another_than_was_sent_is_sent_from_its_beginning(
    tmp_path: Path, change: Callable[[Path], list[bytes]]
) -> None:
    with SyslogServer() as server:
        with site(tmp_path, AuditRepository(HOST, server.port, Transport.TCP)) as made:
            made.write(50)
            acknowledged(made)
        left = len(change(tmp_path))
        sent = len(server.messages)
        with site(tmp_path, AuditRepository(HOST, server.port, Transport.TCP)) as made:
            made.written = 50
            made.write(30)
            wait_until(lambda: read_position(tmp_path).hash == made.trail.head.hash, 20)
            assert made.numbers(server.messages[sent + left :]) == list(range(50, 80))
            assert made.again == 1


def test_a_place_that_an_older_version_wrote_is_believed_once(tmp_path: Path) -> None:
    with SyslogServer() as server:
        target = AuditRepository(HOST, server.port, Transport.TCP)
        with site(tmp_path, target) as made:
            made.write(20)
            acknowledged(made)
        place = json.loads((tmp_path / POSITION).read_text())
        assert place.pop("hash")
        (tmp_path / POSITION).write_text(json.dumps(place))
        with site(tmp_path, target) as made:
            wait_until(lambda: read_position(tmp_path).hash == made.trail.head.hash, 20)
        cut_off(tmp_path)
        with site(tmp_path, target) as made:
            wait_until(lambda: len(server.messages) == 23, 20)
            assert (made.numbers(server.messages), made.again) == ([*range(20), 0, 1, 2], 1)


def test_a_server_that_never_ends_as_it_should_is_believed_at_last(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    with (
        SyslogServer(authority.issue("server"), silent_end=True) as server,
        site(tmp_path, tls(authority, server.port)) as made,
    ):
        made.write(5)
        acknowledged(made)
        assert set(made.numbers(server.messages)) == set(range(5))
        assert len(server.heard) == 3
        made.write(5)
        acknowledged(made)
        assert made.unsaid == 1


def refuse_at_last(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Serve one connection of TLS 1.3, and look at the client's certificate only after all that it has to say."""
    connection, _ = listener.accept()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = context.wrap_bio(incoming, outgoing, server_side=True)
    with connection:
        incoming.write(connection.recv(1 << 16))
        with suppress(ssl.SSLWantReadError):
            served.do_handshake()
        connection.sendall(outgoing.read())
        said = b""
        while close_notify_ends_at(said) is None:
            said += connection.recv(1 << 16)
        incoming.write(said)
        with pytest.raises(ssl.SSLError):
            served.do_handshake()
        connection.sendall(outgoing.read())


def close_notify_ends_at(said: bytes) -> int | None:
    """The end of the first encrypted record that has the length of an alert (RFC 8446 5.2), if it is there."""
    at = 0
    while len(said) >= at + 5:
        length = int.from_bytes(said[at + 3 : at + 5])
        at += 5 + length
        if length == 2 + 1 + 16 and len(said) >= at:
            return at
    return None


@pytest.mark.parametrize("has_certificate", [False, True])
def test_a_server_that_refuses_our_certificate_has_read_nothing(
    tmp_path: Path, authority: CertificateAuthority, has_certificate: bool
) -> None:
    stranger = CertificateAuthority(tmp_path / "other").issue("stranger")
    server = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    files = {"certificate": stranger.certificate, "key": stranger.key} if has_certificate else {}
    with socket.create_server((HOST, 0)) as listener:
        serving = Thread(target=refuse_at_last, args=(listener, context), daemon=True)
        serving.start()
        link = connect(tls(authority, listener.getsockname()[1], **files))
        link.send([message_of(0, "h", "p", "<?xml")])
        assert link.end(10) is End.BROKEN
        serving.join(10)


def test_records_wait_until_the_server_takes_our_certificate(tmp_path: Path, authority: CertificateAuthority) -> None:
    stranger, known = CertificateAuthority(tmp_path / "other").issue("stranger"), authority.issue("known")
    with SyslogServer(authority.issue("server"), authority) as server:
        refused = tls(authority, server.port, certificate=stranger.certificate, key=stranger.key)
        with site(tmp_path / "audit", refused) as made:
            made.write(30)
            wait_until(lambda: made.up, 20)
            assert (made.up, read_position(made.folder).seq, server.messages) == ([(False, made.up[0][1])], 0, [])
        taken = tls(authority, server.port, certificate=known.certificate, key=known.key)
        with site(tmp_path / "audit", taken) as again:
            again.written = 30
            acknowledged(again)
            assert again.numbers(server.messages) == list(range(30))


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
def test_a_server_that_hangs_is_never_believed(
    tmp_path: Path, authority: CertificateAuthority, transport: Transport
) -> None:
    certificate = authority.issue("server") if transport is Transport.TLS else None
    with (
        SyslogServer(certificate, hangs=True) as server,
        site(
            tmp_path / "audit",
            AuditRepository(HOST, server.port, transport, authority.path),
            replace(QUICK, end_s=0.1, again_max_s=0.05),
        ) as made,
    ):
        made.write(5)
        wait_until(lambda: len(server.heard) > STRIKES + 2, 20)
        assert read_position(made.folder).seq == 0
        assert (made.up, made.unsaid) == (made.up[:1], 0) and not made.up[0][0]


def test_a_server_that_reads_nothing_holds_up_nobody(tmp_path: Path) -> None:
    with (
        socket.create_server((HOST, 0)) as deaf,
        site(tmp_path, AuditRepository(HOST, deaf.getsockname()[1], Transport.TCP)) as made,
    ):
        made.write(20)
        made.sender.stop(0.2)
    assert read_position(tmp_path).seq == 0


def test_records_that_were_tampered_with_stop_nothing(tmp_path: Path) -> None:
    with SyslogServer() as server, site(tmp_path, AuditRepository(HOST, server.port, Transport.TCP)) as made:
        made.write(1)
        acknowledged(made)
        (path,) = files_in(tmp_path)
        line = path.read_bytes()
        deep = line.replace(b'"kind": ', b'"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b', "kind": ')
        path.write_bytes(line + line.replace(b'"seq": 1', b'"seq": 2').replace(b"<n>", b"<n>\\ud800\\u00fc") + deep)
        made.written += 1
        made.sender.wake()
        acknowledged(made)
        assert server.messages[-1].endswith("<n>&#55296;&#252;0</n>") and server.problems == []


def test_a_server_whose_name_is_none_is_told_of_and_tried_again(tmp_path: Path) -> None:
    with site(tmp_path, AuditRepository("x" * 70 + ".example", 6514, Transport.TCP)) as made:
        made.write(1)
        wait_until(lambda: made.up, 20)
        wait_until(lambda: len(made.behind) > 6, 20)  # it goes on trying
        ((up, why),) = made.up
        assert not up and "its name cannot be one" in why and "label empty or too long" in why


@contextmanager
def served(
    transport: Transport, authority: CertificateAuthority, serve: Callable[[socket.socket], None]
) -> Iterator[AuditRepository]:
    """A server whose every connection is served so, and is open until the end."""
    context: ssl.SSLContext | None = None
    if transport is Transport.TLS:
        certificate = authority.issue("served")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
    open_ones: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it says is there at once
                open_ones.append(connection)
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                    open_ones[-1] = connection
                serve(connection)

    with socket.create_server((HOST, 0)) as listener:
        serving = Thread(target=accept, daemon=True)
        serving.start()
        yield AuditRepository(HOST, listener.getsockname()[1], transport, authority.path)
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(10)
    for each in open_ones:
        each.close()


def end_first(connection: socket.socket) -> None:
    """Say that this is the end, and read nothing."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0.01)
        with suppress(OSError):  # what we sent, or did not: the close_notify is out
            connection.unwrap()
    else:
        connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.TLS])
@pytest.mark.parametrize("when", ["before", "behind"])
def test_a_server_that_ends_before_us_has_read_nothing(
    authority: CertificateAuthority, transport: Transport, when: str
) -> None:
    may, done = Event(), Event()

    def serve(connection: socket.socket) -> None:
        may.wait(10)
        end_first(connection)
        done.set()

    with served(transport, authority, serve) as target:
        link = connect(target)
        if when == "behind":
            link.send([b"never read"])
        may.set()
        assert done.wait(10)
        if when == "before":
            with pytest.raises(ConnectionError, match="the server ended the connection by itself"):
                link.send([b"never read"])
        assert link.end(1.0) is End.BROKEN
        assert "the server ended the connection by itself" in link.why


def read_and_reset(connection: socket.socket) -> None:
    """End in order, and then throw away what may still come."""
    while connection.recv(4096):
        pass
    assert isinstance(connection, ssl.SSLSocket)
    connection.unwrap()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket(fileno=connection.detach()).close()


def test_a_reset_behind_the_end_is_none(authority: CertificateAuthority) -> None:
    with served(Transport.TLS, authority, read_and_reset) as target:
        link = connect(target)
        link.send([b"read?"])
        assert link.end(10) is End.BROKEN and link.why


def test_a_server_that_speaks_and_hangs_is_never_believed(tmp_path: Path, authority: CertificateAuthority) -> None:
    served_ones: list[socket.socket] = []

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        served_ones.append(connection)

    pace = replace(QUICK, end_s=0.1, again_max_s=0.05)
    with served(Transport.TLS, authority, greet) as target, site(tmp_path / "audit", target, pace) as made:
        made.write(5)
        wait_until(lambda: len(served_ones) > STRIKES + 2, 20)
        assert (read_position(made.folder).seq, made.unsaid) == (0, 0)


def test_what_a_server_says_that_ends_in_order_is_thrown_away(authority: CertificateAuthority) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 syslog.example\r\n")
        while connection.recv(4096):
            connection.sendall(b"250 thank you\r\n")
        assert isinstance(connection, ssl.SSLSocket)
        connection.unwrap()

    with served(Transport.TLS, authority, greet) as target:
        link = connect(target)
        link.send([b"read"])
        assert link.end(10) is End.READ


def test_why_a_repository_refuses_is_said(tmp_path: Path, authority: CertificateAuthority) -> None:
    stranger = CertificateAuthority(tmp_path / "other").issue("stranger")
    with SyslogServer(authority.issue("server"), authority) as server:
        target = tls(authority, server.port, certificate=stranger.certificate, key=stranger.key)
        assert look_at_repository(target) == (
            False, "takes the connection and does not end it in order: tlsv1 alert unknown ca",
        )  # fmt: skip
        with site(tmp_path / "audit", target) as made:
            made.write(1)
            wait_until(lambda: made.up, 20)
            assert made.up == [(False, f"{HOST}:{server.port}: tlsv1 alert unknown ca")]


@pytest.mark.parametrize("host", ["x" * 70 + ".example", ".example"])
def test_a_host_that_is_no_name_is_said_to_be_none(host: str) -> None:
    for transport in Transport:
        is_there, text = look_at_repository(AuditRepository(host, 6514, transport))
        assert not is_there and "cannot be reached: its name cannot be one" in text


def test_a_server_that_writes_without_an_end_is_given_up(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        link = connect(AuditRepository(HOST, listener.getsockname()[1], Transport.TCP))
        peer, _ = listener.accept()
        with peer:
            writer = Thread(target=write_for_ever, args=(peer,))
            writer.start()
            assert link.end(0.2) is End.BROKEN
            writer.join(20)
            assert not writer.is_alive()


def write_for_ever(peer: socket.socket) -> None:
    with suppress(OSError):
        while True:
            peer.sendall(b"x" * 4096)


def test_a_key_that_is_encrypted_is_refused_and_nobody_is_asked(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    certificate = authority.issue("encrypted")
    plain = serialization.load_pem_private_key(certificate.key.read_bytes(), None)
    secret = tmp_path / "secret.key"
    secret.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"a password"),
        )
    )
    with pytest.raises(ssl.SSLError):
        tls_context(None, certificate.certificate, secret)


def test_rsyslog_takes_it_over_a_restart(tmp_path: Path, authority: CertificateAuthority) -> None:
    server = Rsyslog(tmp_path / "rsyslog", authority, authority.issue("server")).start()
    client = authority.issue("gateway")
    target = tls(authority, server.port, certificate=client.certificate, key=client.key)
    with site(tmp_path / "trail", target) as made:
        made.write(60)
        wait_until(lambda: len(server.messages) > 20, 20, lambda: "the first")
        server.stop()
        made.write(60)
        server.start()
        acknowledged(made)
        wait_until(lambda: set(made.numbers(server.messages)) == set(range(120)), 20, lambda: f"{len(server.messages)}")
        seen = made.numbers(server.messages)
        assert list(dict.fromkeys(seen)) == list(range(120)), "in order, but for what came twice"
    server.stop()


def test_certificates_that_cannot_be_used_are_found_before_the_start(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    certificate = authority.issue("gateway")

    def problems(**syslog: object) -> str:
        written = GatewayConfig(tmp_path, {"pacs": 1}, audit={"syslog": {"host": "arr", **syslog}})
        written.write()
        try:
            require_trail(load(written.path, {}))
        except ConfigurationError as error:
            return "\n".join(str(problem) for problem in error.problems)
        return ""

    good = {"ca": str(authority.path), "certificate": str(certificate.certificate), "key": str(certificate.key)}
    assert problems(**good) == ""
    assert "No such file" in problems(**good | {"ca": str(tmp_path / "none")})
    assert "cannot be used" in problems(**good | {"key": str(authority.path)})
    assert problems(transport="udp") == ""
