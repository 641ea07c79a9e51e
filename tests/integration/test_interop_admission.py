"""Who is admitted: result, source and reason that a peer sees, the one line that is logged, the metric that counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import wire
from tests.harness.dcmtk import echoscu
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.rawpeer import RawScu, Rejected
from tests.harness.tools import free_port, require, wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION

CONTEXTS = [(VERIFICATION, IMPLICIT_LE), (CT_IMAGE_STORAGE, EXPLICIT_LE)]

# PS3.8 Table 9-21: result 1 permanent, 2 transient; source 1 service user, 2 provider (ACSE), 3 provider (presentation)
CALLED_NOT_RECOGNIZED = (1, 1, 7)
CALLING_NOT_RECOGNIZED = (1, 1, 3)
NO_REASON = (1, 1, 1)
CONTEXT_NAME_NOT_SUPPORTED = (1, 1, 2)
PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    def listener(**keys: object) -> dict[str, object]:
        return {"host": "127.0.0.1", "port": free_port(), **keys}

    config = GatewayConfig(
        tmp_path_factory.mktemp("admission"),
        {"archive": free_port()},
        sources={
            "loopback": {"ae_titles": ["CT1", "MR 1"], "hosts": ["127.0.0.0/8"]},
            "far": {"ae_titles": ["FAR"], "hosts": ["10.0.0.0/8", "2001:db8::/32"]},
        },
        listeners={
            "main": {"ae_titles": ["GATEWAY", "OTHER NAME"]},
            "any": listener(accept_unknown=True, ae_titles=[]),
            "full": listener(max_associations=2),
            "host": listener(max_associations_per_host=1),
        },
    )
    with GatewayProcess(config) as process:
        yield process


def _port(gateway: GatewayProcess, listener: str) -> int:
    return int(gateway.config.document["listeners"][listener]["port"])


def _ask(
    port: int, called: str | bytes, calling: str | bytes, contexts: Any = CONTEXTS, **options: Any
) -> tuple[int, int, int] | None:
    """Ask for an association: how it was rejected, None when it was accepted (and an echo on it answered)."""
    with RawScu(port) as scu:
        try:
            scu.associate(contexts, called=called, calling=calling, **options)
        except Rejected as error:
            return error.result, error.source, error.reason
        assert scu.echo(1) == 0x0000
        scu.release()
        return None


@pytest.mark.parametrize(
    ("listener", "called", "calling", "answer", "label"),
    [
        ("main", "GATEWAY", "CT1", None, ""),
        ("main", "OTHER NAME", "MR 1", None, ""),
        ("main", "GATEWAY", "  CT1", None, ""),  # PS3.8 Table 9-11: leading and trailing spaces are not significant
        ("main", "GATEWAY", b"CT1\0\0", None, ""),  # padded with NUL, as some senders do
        ("main", "NOBODY", "CT1", CALLED_NOT_RECOGNIZED, "rejected_called_ae_title"),
        ("main", "gateway", "CT1", CALLED_NOT_RECOGNIZED, "rejected_called_ae_title"),
        ("main", "GATEWAY", "STRANGER", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),
        ("main", "GATEWAY", "ct1", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),
        ("main", "GATEWAY", "FAR", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),  # known, from another host
        ("main", "NOBODY", "STRANGER", CALLED_NOT_RECOGNIZED, "rejected_called_ae_title"),
        ("any", "WHATEVER", "STRANGER", None, ""),
        ("any", "WHATEVER", b"STRANGE\r\nLINE", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),
        ("any", "WHATEVER", b"BACK\\SLASH", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),
        ("any", "WHATEVER", b"", CALLING_NOT_RECOGNIZED, "rejected_calling_ae_title"),
    ],
)
def test_the_matrix_of_ae_titles(
    gateway: GatewayProcess,
    listener: str,
    called: str | bytes,
    calling: str | bytes,
    answer: tuple[int, int, int] | None,
    label: str,
) -> None:
    lines = len(gateway.log_lines(event="association_rejected"))
    counted = gateway.metric("gateway_associations_total", role="acceptor", result=label or "released")
    assert _ask(_port(gateway, listener), called, calling) == answer
    wait_until(
        lambda: (
            gateway.metric("gateway_associations_total", role="acceptor", result=label or "released") == counted + 1
        ),
        30,
        "the metric to count it",
    )
    said = gateway.log_lines(event="association_rejected")[lines:]
    assert [(line["result"], line["source"], line["reason"]) for line in said] == ([answer] if answer else [])


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        (b"A\r\nfake: line", "A\\\\r\\\\nfake: line"),
        (b"\x1b[2J\x1b[31mRED", "\\\\x1b[2J\\\\x1b[31mRED"),
        (b"NUL\0INSIDE", "NUL\\\\x00INSIDE"),
        (b"\xff\xfe\x80", "\\\\xff\\\\xfe\\\\x80"),
        (b"SIXTEEN-BYTES-XX", "SIXTEEN-BYTES-XX"),
    ],
)
@pytest.mark.parametrize("where", ["calling", "called"])
def test_a_strange_title_is_rejected_and_is_one_escaped_line(
    gateway: GatewayProcess, where: str, raw: bytes, escaped: str
) -> None:
    before = len(gateway.log().splitlines())
    titles = {"called": b"GATEWAY", "calling": b"CT1"} | {where: raw}
    expected = CALLED_NOT_RECOGNIZED if where == "called" else CALLING_NOT_RECOGNIZED
    assert _ask(gateway.config.port, titles["called"], titles["calling"]) == expected

    def said() -> list[str]:
        return [line for line in gateway.log().splitlines()[before:] if '"association_rejected"' in line]

    wait_until(said, 30, "the line")
    (line,) = said()
    assert f'"{where}": "{escaped}"' in line
    assert line.isprintable()
    assert line.isascii()


@pytest.mark.parametrize(
    ("options", "answer", "why"),
    [
        ({"application_context": "1.2.3.4"}, CONTEXT_NAME_NOT_SUPPORTED, "application context"),
        ({"protocol_version": 2}, PROTOCOL_VERSION_NOT_SUPPORTED, "protocol version"),
        ({"contexts": ()}, NO_REASON, "presentation context"),
    ],
)
def test_what_ps3_8_rejects_is_told_and_counted_like_any_rejection(
    gateway: GatewayProcess, options: dict[str, Any], answer: tuple[int, int, int], why: str
) -> None:
    def counted(result: str) -> float:
        return gateway.metric("gateway_associations_total", role="acceptor", result=result)

    lines = len(gateway.log_lines(event="association_rejected"))
    before, failed = counted("rejected_unsupported"), counted("failed")
    assert _ask(gateway.config.port, b"A\r\nB", "CT1", **options) == answer
    wait_until(lambda: counted("rejected_unsupported") == before + 1, 30, "the metric to count it")
    (line,) = gateway.log_lines(event="association_rejected")[lines:]
    assert (line["result"], line["source"], line["reason"]) == answer
    assert why in line["text"]
    assert (line["calling"], line["called"]) == ("CT1", "A\\r\\nB")
    assert counted("failed") == failed, "it is counted once"


def test_a_protocol_version_beside_the_first_is_no_reason_to_reject(gateway: GatewayProcess) -> None:
    assert _ask(gateway.config.port, "GATEWAY", "CT1", protocol_version=3) is None  # PS3.8 9.3.2: only bit 0 is tested


@pytest.mark.parametrize(("listener", "most"), [("full", 2), ("host", 1)])
def test_the_association_above_the_limit_is_rejected_until_one_ends(
    gateway: GatewayProcess, listener: str, most: int
) -> None:
    port = _port(gateway, listener)
    counted = gateway.metric("gateway_associations_total", role="acceptor", result="rejected_limit")
    open_ = [RawScu(port) for _ in range(most)]
    for scu in open_:
        scu.associate(CONTEXTS, calling="CT1")
    assert gateway.metric("gateway_associations_active", role="acceptor") == most
    assert _ask(port, "GATEWAY", "CT1") == LOCAL_LIMIT_EXCEEDED
    open_.pop().release()
    wait_until(lambda: _ask(port, "GATEWAY", "CT1") is None, 30, "the slot to be free")
    for scu in open_:
        scu.release()
    wait_until(lambda: gateway.metric("gateway_associations_active", role="acceptor") == 0, 30, "all to have ended")
    assert gateway.metric("gateway_associations_total", role="acceptor", result="rejected_limit") > counted


def test_echoscu_says_in_words_why_it_was_rejected(gateway: GatewayProcess) -> None:
    require("echoscu")
    called = echoscu(gateway.config.port, calling="CT1", called="NOBODY")
    assert called.returncode != 0
    assert "Called AE Title Not Recognized" in called.output
    calling = echoscu(gateway.config.port, calling="STRANGER")
    assert calling.returncode != 0
    assert "Calling AE Title Not Recognized" in calling.output


def test_a_data_set_is_never_taken_from_who_was_rejected(gateway: GatewayProcess) -> None:
    """Who goes on talking after the rejection is not listened to."""
    with RawScu(gateway.config.port) as scu:
        request = wire.associate_rq([wire.Context(1, CT_IMAGE_STORAGE, (EXPLICIT_LE,))], "NOBODY", "CT1")
        command = wire.c_store_rq(1, CT_IMAGE_STORAGE, "1.2.3")
        scu.send(
            request,
            wire.p_data(1, command, command=True, last=True),
            wire.p_data(1, b"\x08\x00\x05\x00CS\x00\x00", command=False, last=True),
        )
        # Data before the answer is a protocol error (PS3.8 Table 9-10, Evt10 in Sta3): then it is an abort.
        assert scu.recv_pdu(30)[0] in (wire.A_ASSOCIATE_RJ, wire.A_ABORT)
    assert gateway.ledger().instances == {}
