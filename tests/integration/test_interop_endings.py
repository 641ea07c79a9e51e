"""Associations that end badly, in each state and from either side: the slot is free, nothing partial stays, and the
next association works.

A listener that admits a single association makes the slot visible to a peer: as long as the old one is held, a new one
is rejected (local limit exceeded). What has begun to arrive and never became whole leaves no file in the spool.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.harness import wire
from tests.harness.archive import OurArchive
from tests.harness.data import Instance, make_instance
from tests.harness.gatewayprocess import GatewayConfig, GatewayProcess
from tests.harness.rawpeer import Closed, RawPeer, RawScp, RawScu, Rejected
from tests.harness.tools import wait_until
from tests.harness.wire import CT_IMAGE_STORAGE, EXPLICIT_LE, IMPLICIT_LE, VERIFICATION

FREED_S = 5.0  # until the slot is free and the partial gone, on a machine with nothing else to do
PATIENCE_S = 30.0  # until then at the latest, on a busy one
LARGE = make_instance(seed=1, pixel_bytes=2_000_000)
CONTEXTS = [(CT_IMAGE_STORAGE, EXPLICIT_LE), (VERIFICATION, IMPLICIT_LE)]


# ── a sender that ends it ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def archive() -> Iterator[OurArchive]:
    with OurArchive() as archive:
        yield archive


@pytest.fixture(scope="module")
def gateway(archive: OurArchive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    listener = {
        "max_associations": 1,
        "artim_timeout": "1 s",
        "idle_timeout": "2 s",
        "progress_timeout": "1 s",
    }
    config = GatewayConfig(tmp_path_factory.mktemp("endings"), {"archive": archive.port}, listeners={"main": listener})
    with GatewayProcess(config) as process:
        yield process


def _partials(gateway: GatewayProcess) -> list[int]:
    """Sizes of the files in the spool that have begun to be written; the pool's are empty."""
    sizes = []
    for path in (gateway.config.spool_dir / "incoming").rglob("*.dcm"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return [size for size in sizes if size]


def _good_association(gateway: GatewayProcess, archive: OurArchive, seed: int) -> float:
    """Store one instance on a new association, trying again while the slot is taken; how long that took, seconds."""
    instance = make_instance(seed=seed)
    began = time.monotonic()

    def stored() -> bool:
        try:
            with RawScu(gateway.config.port) as scu:
                scu.associate(CONTEXTS)
                assert scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0x0000
                scu.release()
        except Rejected as error:
            assert (error.result, error.source, error.reason) == (2, 3, 2)
            return False
        return True

    wait_until(stored, PATIENCE_S, "the slot to be free")
    took = time.monotonic() - began
    wait_until(lambda: instance.sop_instance_uid in archive.contents(), PATIENCE_S, "the instance at the archive")
    return took


def _after_connect(scu: RawScu, gateway: GatewayProcess) -> None:
    return


def _mid_request(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.send(wire.associate_rq([wire.Context(1, CT_IMAGE_STORAGE, (EXPLICIT_LE,))])[:80])


def _after_accept(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)


def _mid_command(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)
    scu.send(wire.p_data(1, wire.c_store_rq(1, CT_IMAGE_STORAGE, "1.2.3")[:40], command=True, last=False))


def _mid_pdu(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)
    scu.send(wire.p_data(1, wire.c_store_rq(1, CT_IMAGE_STORAGE, "1.2.3"), command=True, last=True)[:50])


def _mid_data_set(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)
    command = wire.c_store_rq(1, LARGE.sop_class_uid, LARGE.sop_instance_uid)
    scu.send(
        wire.p_data(1, command, command=True, last=True),
        wire.p_data(1, LARGE.data[:1_000_000], command=False, last=False, max_pdu=65536),
    )
    wait_until(lambda: _partials(gateway), PATIENCE_S, "the data set to reach the spool")


def _awaiting_response(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)
    scu.send_store(1, LARGE.sop_class_uid, LARGE.sop_instance_uid, LARGE.data)


def _after_release_request(scu: RawScu, gateway: GatewayProcess) -> None:
    scu.associate(CONTEXTS)
    scu.send(wire.release_rq())


STATES = [
    _after_connect,
    _mid_request,
    _after_accept,
    _mid_command,
    _mid_pdu,
    _mid_data_set,
    _awaiting_response,
    _after_release_request,
]


def _a_abort(peer: RawPeer) -> None:
    peer.abort()


def _a_p_abort(peer: RawPeer) -> None:
    peer.abort(2, 1)


def _fin(peer: RawPeer) -> None:
    peer.close()


def _rst(peer: RawPeer) -> None:
    peer.reset()


def _name(function: Callable[..., object]) -> str:
    return function.__name__.strip("_").replace("_", " ")


@pytest.mark.parametrize("end", [_a_abort, _a_p_abort, _fin, _rst], ids=_name)
@pytest.mark.parametrize("reach", STATES, ids=_name)
def test_a_sender_that_breaks_off_leaves_a_free_slot_and_no_partial(
    gateway: GatewayProcess,
    archive: OurArchive,
    reach: Callable[[RawScu, GatewayProcess], None],
    end: Callable[[RawPeer], None],
) -> None:
    scu = RawScu(gateway.config.port)
    reach(scu, gateway)
    with contextlib.suppress(Closed):
        end(scu)
    seed = 1000 + 10 * STATES.index(reach) + [_a_abort, _a_p_abort, _fin, _rst].index(end)
    assert _good_association(gateway, archive, seed) < PATIENCE_S
    wait_until(lambda: not _partials(gateway), PATIENCE_S, lambda: f"the partial to be removed: {_partials(gateway)}")
    assert not gateway.log_lines(event="quarantined")
    assert len(gateway.roles()["receiver"]) == 1


def test_the_slot_of_a_broken_association_is_free_within_five_seconds(
    gateway: GatewayProcess, archive: OurArchive
) -> None:
    """The bound itself, measured where nothing but the gateway can be slow: an abort in the middle of a data set."""
    scu = RawScu(gateway.config.port)
    _mid_data_set(scu, gateway)
    scu.reset()
    assert _good_association(gateway, archive, 2000) < FREED_S


# ── a gateway that ends it ────────────────────────────────────────────────────────────────────────────────────────────


def _silent(scu: RawScu) -> None:
    return


def _unexpected_pdu(scu: RawScu) -> None:
    with contextlib.suppress(Closed):
        scu.send(wire.associate_ac(wire.Association("A", "B"), {1: (0, EXPLICIT_LE)}))


def _unknown_pdu(scu: RawScu) -> None:
    with contextlib.suppress(Closed):
        scu.send(wire.pdu(0x2A, b"\0\0\0\0"))


@pytest.mark.parametrize("provoke", [_unexpected_pdu, _unknown_pdu], ids=_name)
@pytest.mark.parametrize("reach", [_after_connect, _after_accept, _mid_command, _mid_data_set], ids=_name)
def test_a_sender_that_breaks_the_protocol_is_aborted(
    gateway: GatewayProcess,
    archive: OurArchive,
    reach: Callable[[RawScu, GatewayProcess], None],
    provoke: Callable[[RawScu], None],
) -> None:
    with RawScu(gateway.config.port) as scu:
        reach(scu, gateway)
        provoke(scu)
        kind, body = scu.recv_pdu(PATIENCE_S)
        assert kind == wire.A_ABORT
        # PS3.8 Table 9-26: by the provider, 1 unrecognized and 2 unexpected PDU; AA-1 in Sta2: by the user, no reason.
        by_provider = (2, 1 if provoke is _unknown_pdu else 2)
        assert (body[2], body[3]) == ((0, 0) if reach is _after_connect else by_provider)
    _good_association(gateway, archive, 3000 + 10 * STATES.index(reach) + (provoke is _unknown_pdu))
    wait_until(lambda: not _partials(gateway), PATIENCE_S, "the partial to be removed")


@pytest.mark.parametrize(
    "reach", [_after_connect, _mid_request, _after_accept, _mid_command, _mid_pdu, _mid_data_set], ids=_name
)
def test_a_sender_that_falls_silent_is_ended_by_its_deadline(
    gateway: GatewayProcess, archive: OurArchive, reach: Callable[[RawScu, GatewayProcess], None]
) -> None:
    with RawScu(gateway.config.port) as scu:
        reach(scu, gateway)
        kinds = scu.wait_closed(PATIENCE_S)
        # PS3.8 9.2: no association yet, no abort (AA-2): ARTIM ends the connection without a word.
        assert kinds == ([] if reach in (_after_connect, _mid_request) else [wire.A_ABORT])
    _good_association(gateway, archive, 4000 + STATES.index(reach))
    wait_until(lambda: not _partials(gateway), PATIENCE_S, "the partial to be removed")


def test_a_sender_that_releases_inside_a_data_set_is_answered_and_nothing_is_kept(
    gateway: GatewayProcess, archive: OurArchive
) -> None:
    with RawScu(gateway.config.port) as scu:
        _mid_data_set(scu, gateway)
        scu.send(wire.release_rq())
        assert scu.recv_pdu(PATIENCE_S)[0] == wire.A_RELEASE_RP
    _good_association(gateway, archive, 5000)
    wait_until(lambda: not _partials(gateway), PATIENCE_S, "the partial to be removed")


# ── receivers that end it ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def scp() -> Iterator[RawScp]:
    with RawScp(timeout_s=PATIENCE_S) as scp:
        yield scp


@pytest.fixture(scope="module")
def sending(scp: RawScp, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose only destination is answered by hand."""
    destination = {"port": scp.port, "idle_timeout": "200 ms", "response_timeout": "2 s", "association_timeout": "2 s"}
    destination |= {"max_associations": 1, "priority": "high"}
    with GatewayProcess(GatewayConfig(tmp_path_factory.mktemp("sending"), {"raw": destination})) as process:
        yield process


def _submit(gateway: GatewayProcess, seed: int) -> Instance:
    """Hand an instance to the gateway."""
    instance = make_instance(seed=seed, pixel_bytes=1_500_000)
    with RawScu(gateway.config.port) as scu:
        scu.associate(CONTEXTS)
        assert scu.store(1, instance.sop_class_uid, instance.sop_instance_uid, instance.data) == 0x0000
        scu.release()
    return instance


def _serve(peer: RawPeer, stored: dict[str, bytes]) -> None:
    """A well-behaved SCP for one association, from the answer to its request to its end."""
    while True:
        try:
            number, command, data = peer.recv_message()
        except AssertionError:  # no P-DATA: the release that ends it
            peer.send(wire.release_rp())
            return
        except Closed:
            return
        message_id = wire.us(command, wire.MESSAGE_ID)
        if wire.us(command, wire.COMMAND_FIELD) == wire.C_ECHO_RQ:
            peer.send(wire.p_data(number, wire.c_echo_rsp(message_id), command=True, last=True))
            continue
        uid = wire.ui(command, wire.AFFECTED_SOP_INSTANCE_UID)
        stored[uid] = data
        response = wire.c_store_rsp(message_id, 0, wire.ui(command, wire.AFFECTED_SOP_CLASS_UID), uid)
        peer.send(wire.p_data(number, response, command=True, last=True))


def _until_stored(scp: RawScp, instance: Instance) -> None:
    """Serve associations, well-behaved, until the instance is there, unaltered."""
    stored: dict[str, bytes] = {}
    ends = time.monotonic() + 2 * PATIENCE_S
    while instance.sop_instance_uid not in stored:
        assert time.monotonic() < ends, "the instance never came"
        with scp.accept_association() as peer:
            _serve(peer, stored)
    assert stored[instance.sop_instance_uid] == instance.data


def _receive_some(peer: RawPeer, wanted: int) -> None:
    received = 0
    while received < wanted:
        received += len(peer.expect(wire.P_DATA_TF))


def _before_the_request(scp: RawScp) -> RawPeer:
    return scp.accept()


def _before_the_answer(scp: RawScp) -> RawPeer:
    peer = scp.accept()
    peer.request = wire.parse_associate(peer.expect(wire.A_ASSOCIATE_RQ))
    return peer


def _mid_answer(scp: RawScp) -> RawPeer:
    peer = _before_the_answer(scp)
    assert peer.request is not None
    peer.send(wire.associate_ac(peer.request, {1: (0, EXPLICIT_LE)})[:100])
    return peer


def _after_the_answer(scp: RawScp) -> RawPeer:
    return scp.accept_association()


def _in_the_command(scp: RawScp) -> RawPeer:
    peer = scp.accept_association(max_pdu=64)
    _receive_some(peer, 1)
    return peer


def _in_the_data_set(scp: RawScp) -> RawPeer:
    peer = scp.accept_association()
    _receive_some(peer, 200_000)
    return peer


def _before_the_response(scp: RawScp) -> RawPeer:
    peer = scp.accept_association()
    peer.recv_message()
    return peer


def _in_the_response(scp: RawScp) -> RawPeer:
    peer = scp.accept_association()
    number, command, _ = peer.recv_message()
    response = wire.c_store_rsp(wire.us(command, wire.MESSAGE_ID), 0, None, None)
    peer.send(wire.p_data(number, response, command=True, last=True)[:30])
    return peer


RECEIVER_STATES = [
    _before_the_request,
    _before_the_answer,
    _mid_answer,
    _after_the_answer,
    _in_the_command,
    _in_the_data_set,
    _before_the_response,
    _in_the_response,
]


@pytest.mark.parametrize("end", [_a_abort, _fin, _rst], ids=_name)
@pytest.mark.parametrize("reach", RECEIVER_STATES, ids=_name)
def test_a_receiver_that_breaks_off_gets_the_instance_on_the_next_association(
    sending: GatewayProcess, scp: RawScp, reach: Callable[[RawScp], RawPeer], end: Callable[[RawPeer], None]
) -> None:
    instance = _submit(sending, 6000 + 10 * RECEIVER_STATES.index(reach) + [_a_abort, _fin, _rst].index(end))
    with contextlib.suppress(Closed):
        end(reach(scp))
    _until_stored(scp, instance)
    sending.wait_idle()
    assert {state for _, state in sending.deliveries()} == {"delivered"}


@pytest.mark.parametrize("reach", [_before_the_answer, _mid_answer, _before_the_response, _in_the_response], ids=_name)
def test_a_receiver_that_falls_silent_is_aborted_and_tried_again(
    sending: GatewayProcess, scp: RawScp, reach: Callable[[RawScp], RawPeer]
) -> None:
    instance = _submit(sending, 7000 + RECEIVER_STATES.index(reach))
    with reach(scp) as peer:
        assert wire.A_ABORT in peer.wait_closed(PATIENCE_S)
    _until_stored(scp, instance)


# ── release ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_collision_is_resolved_as_the_standard_says(sending: GatewayProcess, scp: RawScp) -> None:
    """PS3.8 9.2.3: both sides ask for the release; the requestor (the gateway) answers first, then gets its answer."""
    instance = _submit(sending, 8000)
    with scp.accept_association() as peer:
        number, command, data = peer.recv_message()
        assert data == instance.data
        assert wire.us(command, wire.PRIORITY) == 1  # `priority: high` (PS3.7 9.1.1.1.5)
        response = wire.c_store_rsp(wire.us(command, wire.MESSAGE_ID), 0, None, None)
        peer.send(wire.p_data(number, response, command=True, last=True))
        peer.expect(wire.A_RELEASE_RQ)
        peer.send(wire.release_rq())
        peer.expect(wire.A_RELEASE_RP)
        peer.send(wire.release_rp())
        assert peer.wait_closed(PATIENCE_S) == []  # no abort: both sides agree that it is over
    _until_stored(scp, _submit(sending, 8001))


def test_a_receiver_that_releases_an_idle_association_is_answered(sending: GatewayProcess, scp: RawScp) -> None:
    _submit(sending, 8100)
    with scp.accept_association() as peer:
        number, command, _ = peer.recv_message()
        response = wire.c_store_rsp(wire.us(command, wire.MESSAGE_ID), 0, None, None)
        peer.send(wire.p_data(number, response, command=True, last=True) + wire.release_rq())
        kinds = peer.wait_closed(PATIENCE_S)
        # Its own request may be on the way already; then this is a collision, and the answer still comes.
        assert wire.A_RELEASE_RP in kinds
        assert wire.A_ABORT not in kinds
    _until_stored(scp, _submit(sending, 8101))


@pytest.mark.parametrize("end", [_a_abort, _fin, _rst], ids=_name)
def test_a_receiver_that_breaks_off_after_our_release_request_has_what_it_answered(
    sending: GatewayProcess, scp: RawScp, end: Callable[[RawPeer], None]
) -> None:
    """What was answered is delivered, however the association ends: it is not sent again."""
    instance = _submit(sending, 8200 + [_a_abort, _fin, _rst].index(end))
    with scp.accept_association() as peer:
        number, command, _ = peer.recv_message()
        response = wire.c_store_rsp(wire.us(command, wire.MESSAGE_ID), 0, None, None)
        peer.send(wire.p_data(number, response, command=True, last=True))
        peer.expect(wire.A_RELEASE_RQ)
        end(peer)
    sending.wait_idle()
    row = sending.ledger().by_uid()[instance.sop_instance_uid]
    assert [delivery.state for one in row for delivery in one.deliveries] == ["delivered"]
    _until_stored(scp, _submit(sending, 8250 + [_a_abort, _fin, _rst].index(end)))


def test_a_receiver_that_lies_about_the_length_of_a_pdu_is_aborted(sending: GatewayProcess, scp: RawScp) -> None:
    instance = _submit(sending, 8300)
    with scp.accept_association() as peer:
        peer.recv_message()
        peer.send(struct.pack(">BxI", wire.P_DATA_TF, 0xFFFFFFF0))
        assert wire.A_ABORT in peer.wait_closed(PATIENCE_S)
    _until_stored(scp, instance)
